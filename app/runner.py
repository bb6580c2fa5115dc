"""Run one claimed job and turn whatever happens into an `Outcome`.

Everything but KeyboardInterrupt (a stop) is caught, so Huey always sees a return. A timeout
cannot be swallowed: the alarm is a BaseException that comes again every 5 s, and one that was
delivered beats a later "completed"; an outcome that is set beats a later alarm.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import re
import resource
import signal
import time
import traceback
from _signal import getsignal  # the public one makes an Enum of the handler: 5 microseconds a job
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from huey.exceptions import CancelExecution, RateLimitExceeded, RetryTask, TaskLockedException

from app import registry
from app.context import JobContext
from app.extensions import db
from app.ledger.claim import Claim
from app.ledger.dialect import Connection
from app.ledger.settle import Outcome
from app.logs import job_of_line, report_failure
from app.redact import cut, printable, redact
from app.services import uploads

log = logging.getLogger(__name__)
AGAIN_S, INTERRUPT_S = 5.0, 1.0
ALRM = int(signal.SIGALRM)
OVER_S = 1.0  # a job that ran past its limit by more has swallowed or switched off the alarm
RESULT_BYTES = TRACEBACK_BYTES = 64 * 1024
ERROR_BYTES = 2000


class JobTimeout(BaseException):
    """The job's time is over; no `except Exception` stops it."""


class alarm:  # noqa: N801  (used as a context manager)
    """In place of Huey's one-shot alarm: raises JobTimeout while the job's own code runs (`task.armed`).

    The handler is installed once a process; a job only sets and clears the timer.
    """

    task: Any = None

    def __init__(self, task: Any) -> None:
        alarm.task = task

    @staticmethod
    def ring(_signum: int, _frame: Any) -> None:
        task = alarm.task
        if task is not None and getattr(task, "outcome", None) is None:
            task.timed_out = task.claim.over = True
            if getattr(task, "armed", False):
                raise JobTimeout

    def __enter__(self) -> None:
        if getsignal(ALRM) is not alarm.ring:
            signal.signal(signal.SIGALRM, alarm.ring)
        signal.setitimer(signal.ITIMER_REAL, alarm.task.timeout, AGAIN_S)

    def __exit__(self, *_: Any) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        alarm.task = None


class Meter:
    """Run time and peak memory of one job. On Linux the high-water mark is reset and read by getrusage (1.5 microseconds;
    reading /proc/self/status takes 26); read right after a reset it is the resident size."""

    _reset: int | None = None
    _pid = _resident = 0
    _inherited = False  # getrusage tells the mark of the program that this process was before an exec (never of a forked worker)

    def __init__(self) -> None:
        if Meter._pid != os.getpid():
            Meter._pid, Meter._reset, Meter._inherited = os.getpid(), None, False
            with contextlib.suppress(OSError):
                file = os.open("/proc/self/clear_refs", os.O_WRONLY | os.O_CLOEXEC)
                os.write(file, b"5")
                Meter._reset = file
                usual = self._highest()
                Meter._inherited = True
                Meter._inherited = usual > self._highest() + 4 * 2**20
            Meter._resident = self.read()[1]
        if Meter._reset is not None:
            os.write(Meter._reset, b"5")
        self.start, self.resident = time.monotonic(), Meter._resident

    @staticmethod
    def read() -> tuple[int, int]:
        """Bytes at the high-water mark since the last reset, and resident now; without resets both are the process's highest."""
        most = now = Meter._highest()
        if Meter._reset is not None:
            os.write(Meter._reset, b"5")
            now = Meter._highest()
        return most, now

    @staticmethod
    def _highest() -> int:
        if not Meter._inherited:
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))

    @classmethod
    def last_resident(cls) -> int:
        """Resident bytes at the end of the last job of this process; 0 before the first."""
        return cls._resident if cls._pid == os.getpid() else 0

    def read_into(self, outcome: Outcome) -> None:
        outcome.run_ms = round((time.monotonic() - self.start) * 1000)
        outcome.memory_peak, Meter._resident = self.read()
        outcome.details["memory_growth"] = max(outcome.memory_peak - self.resident, 0)


def execute(app: Any, task: Any, notes: Connection, stopping: Callable[[], bool] = lambda: True) -> None:
    """Run the job claimed for this task; `task.outcome` is set unless a stop interrupts."""
    job: Claim | None = getattr(task, "claim", None)
    if job is None:
        return  # a hook failed: never run what is not claimed
    meter = Meter()
    told = job_of_line.set({"uuid": job.uuid, "type": job.job_type, "tenant": job.tenant_id, "attempt": job.attempts, "worker": job.worker})
    try:
        outcome = _attempt(app, task, job, notes)
    except KeyboardInterrupt as error:
        if _asked_to_stop(stopping):
            raise
        outcome = outcome_of(error, job)  # raised by the job itself: handed back it would come again for ever
    finally:
        job_of_line.reset(told)
    meter.read_into(outcome)
    swallowed = task.timed_out and outcome.status == "failed"
    if outcome.blocked is None and (swallowed or outcome.run_ms > (job.timeout + OVER_S) * 1000):
        outcome = replace(outcome, status="timeout", result=None, error=f"timeout after {job.timeout} s", delay=None, retry=True)
    task.outcome = outcome


def _asked_to_stop(stopping: Callable[[], bool]) -> bool:
    """Whether the worker stops; Ctrl-C on a terminal reaches us a moment before the flag is set."""
    end = time.monotonic() + INTERRUPT_S
    while not stopping() and time.monotonic() < end:
        time.sleep(0.02)
    return stopping()


def _attempt(app: Any, task: Any, job: Claim, notes: Connection) -> Outcome:
    definition = registry.find(job.job_type)
    if definition is None:
        return Outcome("failed", blocked=f"No job type {job.job_type} is known here. Deploy the code that declares it, or delete the job.")
    ctx = JobContext(job, notes)
    try:
        with app.app_context():
            try:
                args = definition.fit(json.loads(job.payload)["args"])
                args = uploads.open_files(definition, args, job.tenant_id)
                if definition.wants_ctx:
                    args["ctx"] = ctx
            except registry.Misfit as error:
                return Outcome("failed", blocked=f"The arguments no longer fit {job.job_type}: {error} Edit and retry, or delete the job.")
            try:
                task.armed = True
                try:
                    value = definition.function(**args)
                finally:
                    task.armed = False
                if task.timed_out:
                    raise JobTimeout
                result, marks = as_json(value)
                if db.session.registry.has():
                    db.session.commit()
            except BaseException:
                task.armed = False
                _roll_back()
                raise
            finally:
                if db.session.registry.has():
                    db.session.remove()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        outcome = outcome_of(error, job)
        if outcome.status == "failed":
            report_failure(error)
    else:
        outcome = Outcome("completed", result=result, details={"cut": marks} if marks else {})
    if ctx.costs:
        outcome.details["costs"] = ctx.costs
    return outcome


def as_json(value: Any) -> tuple[str, list[str]]:
    """A result as redacted JSON of at most 64 KB, and what was done to it: `result` (cut), `not json` (kept as text)."""
    if value is None:
        return "null", []
    marks = []
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):
        marks, text = ["not json"], json.dumps(_plain(value), ensure_ascii=False)
    text = re.sub("[\ud800-\udfff]", "\ufffd", text)  # half a character (a file name that is not UTF-8): no page could show it
    text, was_cut = cut(printable(redact(text)), RESULT_BYTES)
    return text, marks + ["result"] * was_cut


def _plain(value: Any, depth: int = 0) -> Any:
    """`value` with all that JSON does not know as text."""
    if depth > 30:
        return str(value)
    if isinstance(value, dict):
        return {str(k): _plain(v, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v, depth + 1) for v in value]
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return str(value)


def _roll_back() -> None:
    if not db.session.registry.has():
        return
    try:
        db.session.rollback()
    except Exception:
        log.warning("rollback failed; the connections of this worker are opened again")
        db.engine.dispose()


def outcome_of(error: BaseException, job: Claim) -> Outcome:
    """What an exception means for the job."""
    if isinstance(error, JobTimeout):
        return Outcome("timeout", error=f"timeout after {job.timeout} s", traceback=format_traceback(error))
    if isinstance(error, registry.Held):
        return Outcome("failed", blocked=sentence(error), aside="held")
    if isinstance(error, CancelExecution) and not error.retry:
        return Outcome("cancelled", error=cut(printable(redact(str(error) or "Stopped on request.")), ERROR_BYTES)[0])
    if isinstance(error, TaskLockedException | RateLimitExceeded):
        return Outcome("failed", error=sentence(error), delay=getattr(error, "delay", None) or 5)
    outcome = Outcome("failed", error=sentence(error), traceback=format_traceback(error))
    if isinstance(error, RetryTask):
        outcome.delay = error.delay
        if error.eta is not None:
            now = datetime.now(UTC) if error.eta.tzinfo else datetime.now()
            outcome.delay = max((error.eta - now).total_seconds(), 0)
    outcome.retry = not isinstance(error, registry.PermanentError)
    if not outcome.retry:
        outcome.details["permanent"] = True
    return outcome


def sentence(error: BaseException) -> str:
    """One line for people: 'KeyError: 'x'', or only the text of a Sentence."""
    text = str(error) if isinstance(error, registry.Sentence | RetryTask) and str(error) else traceback.format_exception_only(error)[-1].strip()
    return cut(printable(redact(text or type(error).__name__)), ERROR_BYTES)[0]


def format_traceback(error: BaseException) -> str:
    """Redacted traceback from the job's own first frame on, at most 64 KB (the end is what counts)."""
    tb = error.__traceback__
    while tb is not None and tb.tb_frame.f_globals.get("__name__") == __name__:
        tb = tb.tb_next
    text = printable(redact("".join(traceback.format_exception(type(error), error, tb))))
    raw = text.encode()
    return text if len(raw) <= TRACEBACK_BYTES else "[cut]\n" + raw[-TRACEBACK_BYTES:].decode("utf-8", "ignore")
