"""The time limit of a job, and the blocks of our own code that neither the limit nor a stop may break.

The alarm (SIGALRM) raises `JobTimeout` in the main thread while the job's own code runs, and again each 5 s, so that no
`except` in a loop swallows it. A block inside `signals_blocked` is never broken: the alarm is raised after it. To block
the signal is not enough: the kernel delivers a process's signal to any thread that does not block it (for example a
thread of the job), and Python then runs the handler in the main thread. So the alarm reads a counter too.
"""

from __future__ import annotations

import signal
import threading
import time

# The public ones make Enums of what they return: 16 microseconds, 7 % of a job that does nothing.
from _signal import SIG_BLOCK, SIG_SETMASK, SIG_UNBLOCK, getsignal, pthread_sigmask
from typing import Any

from app.execution.attempt import Attempt

AGAIN_S = 5.0
EARLY_S = 0.5  # at most so much does a ring come too early
ALRM = int(signal.SIGALRM)
_BLOCKED = {ALRM, int(signal.SIGINT)}


class JobTimeout(BaseException):
    """The job's time is over; no `except Exception` stops it."""


class JobAlarm:
    """In place of Huey's one-shot alarm: raises JobTimeout while the job's own code runs (`attempt.armed`).

    The handler is installed once a process and serves `current`; a job only sets and clears the timer. With `keep` the
    timer is not cleared, because the next job sets it at once (a system call less: 3 % of a short job).
    """

    current: JobAlarm | None = None

    def __init__(self, attempt: Attempt, keep: bool = False) -> None:
        self.attempt, self.keep, self.start = attempt, keep, 0.0
        self.depth = 0  # blocks of `signals_blocked` that the main thread is in
        self.due = False  # rang inside one of them

    @staticmethod
    def ring(_signum: int, _frame: Any) -> None:
        """The handler of SIGALRM. Raises JobTimeout, or puts it off inside `signals_blocked`."""
        alarm = JobAlarm.current
        if alarm is None or alarm.attempt.outcome is not None:
            return
        left = alarm.start + alarm.attempt.claim.timeout - time.monotonic()
        if left > EARLY_S:  # the timer of the job before, or one that the job has set
            signal.setitimer(signal.ITIMER_REAL, left, AGAIN_S)
            return
        alarm.attempt.timed_out = alarm.attempt.claim.over_time = True
        if alarm.depth:
            alarm.due = True
        elif alarm.attempt.armed:
            raise JobTimeout

    def ring_if_due(self) -> None:
        """Raise the JobTimeout that `ring` has put off."""
        if self.due and not self.depth and JobAlarm.current is self:  # not in a process that the job has forked
            self.due = False
            if self.attempt.armed:
                raise JobTimeout

    def __enter__(self) -> None:
        if getsignal(ALRM) is not JobAlarm.ring:
            signal.signal(signal.SIGALRM, JobAlarm.ring)
        pthread_sigmask(SIG_UNBLOCK, _BLOCKED)  # the job before may have blocked them
        self.start = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, self.attempt.claim.timeout, AGAIN_S)
        JobAlarm.current = self

    def __exit__(self, *_: Any) -> None:
        JobAlarm.current = None
        if not self.keep:
            signal.setitimer(signal.ITIMER_REAL, 0)


class signals_blocked:  # noqa: N801  (used as a context manager)
    """Context manager: the alarm and a stop (SIGINT) wait until the block is done."""

    def __enter__(self) -> None:
        is_main = threading.get_ident() == threading.main_thread().ident
        self._alarm = JobAlarm.current if is_main else None
        self._before = pthread_sigmask(SIG_BLOCK, _BLOCKED)
        if self._alarm is not None:
            self._alarm.depth += 1

    def __exit__(self, *_: Any) -> None:
        if self._alarm is not None:
            self._alarm.depth -= 1
        pthread_sigmask(SIG_SETMASK, self._before)
        if self._alarm is not None:
            self._alarm.ring_if_due()


class armed:  # noqa: N801  (used as a context manager)
    """Context manager: the block calls the job's own code (its function, its `__str__`), which the alarm may break."""

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt

    def __enter__(self) -> None:
        self.attempt.armed = True

    def __exit__(self, *_: Any) -> None:
        self.attempt.armed = False
