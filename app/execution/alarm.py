"""The time limit of a job, and the blocks of ours that neither it nor a stop may break.

The alarm (SIGALRM) raises `JobTimeout` in the main thread while the job's own code runs, and again each 5 s, so that no
`except` in a loop swallows it. A block inside `signals_held` is never broken: the alarm is raised when the block is done.
Blocking the signal is not enough for that: the kernel gives a process's signal to any thread that takes it (a thread of
the job, say), and Python runs the handler in the main thread all the same. So the alarm looks at a counter too.
"""

from __future__ import annotations

import signal
import threading
from _signal import SIG_BLOCK, SIG_SETMASK, SIG_UNBLOCK, getsignal, pthread_sigmask  # the public ones make Enums: 5 microseconds a job
from typing import Any

AGAIN_S = 5.0
ALRM = int(signal.SIGALRM)
_HELD = {ALRM, int(signal.SIGINT)}


class JobTimeout(BaseException):
    """The job's time is over; no `except Exception` stops it."""


class JobAlarm:  # noqa: N801  (used as a context manager)
    """In place of Huey's one-shot alarm: raises JobTimeout while the job's own code runs (`task.armed`).

    The handler is installed once a process; a job only sets and clears the timer.
    """

    task: Any = None
    depth = 0  # blocks of `signals_held` that the main thread is in
    due = False  # rang inside one of them

    def __init__(self, task: Any) -> None:
        JobAlarm.task = task

    @staticmethod
    def ring(_signum: int, _frame: Any) -> None:
        task = JobAlarm.task
        if task is not None and getattr(task, "outcome", None) is None:
            task.timed_out = task.claim.over = True
            if JobAlarm.depth:
                JobAlarm.due = True
            elif getattr(task, "armed", False):
                raise JobTimeout

    @staticmethod
    def ring_if_due() -> None:
        """Raise what `ring` put off."""
        if JobAlarm.due and not JobAlarm.depth:
            JobAlarm.due = False
            if getattr(JobAlarm.task, "armed", False):
                raise JobTimeout

    def __enter__(self) -> None:
        if getsignal(ALRM) is not JobAlarm.ring:
            signal.signal(signal.SIGALRM, JobAlarm.ring)
        pthread_sigmask(SIG_UNBLOCK, _HELD)  # the job before may have blocked them
        JobAlarm.depth, JobAlarm.due = 0, False
        signal.setitimer(signal.ITIMER_REAL, JobAlarm.task.timeout, AGAIN_S)

    def __exit__(self, *_: Any) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        JobAlarm.task = None


class signals_blocked:  # noqa: N801  (used as a context manager)
    """Keep the alarm and a stop (SIGINT) waiting until the block is done."""

    def __enter__(self) -> None:
        self._main = threading.get_ident() == threading.main_thread().ident
        self._before = pthread_sigmask(SIG_BLOCK, _HELD)
        JobAlarm.depth += self._main

    def __exit__(self, *_: Any) -> None:
        JobAlarm.depth -= self._main
        pthread_sigmask(SIG_SETMASK, self._before)
        if self._main:
            JobAlarm.ring_if_due()


class armed:  # noqa: N801  (used as a context manager)
    """The block calls the job's own code (its function, its `__str__`): the alarm may break it."""

    def __init__(self, task: Any) -> None:
        self.task = task

    def __enter__(self) -> None:
        self.task.armed = True

    def __exit__(self, *_: Any) -> None:
        self.task.armed = False
