"""Run one claimed job and turn whatever happens into an `Outcome`.

Everything but KeyboardInterrupt (a stop) is caught, so Huey always sees a return. A timeout
cannot be swallowed: the alarm is a BaseException that comes again every 5 s, and one that was
delivered beats a later "completed"; an outcome that is set beats a later alarm.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import time
import traceback
from datetime import UTC, datetime
from typing import Any

from huey.exceptions import CancelExecution, RateLimitExceeded, RetryTask, TaskLockedException

from app import registry
from app.context import JobContext
from app.extensions import db
from app.ledger.claim import Claim
from app.ledger.dialect import Connection
from app.ledger.settle import Outcome
from app.redact import cut, printable, redact
from app.services import uploads

log = logging.getLogger(__name__)
AGAIN_S = 5.0
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
            task.timed_out = True
            if getattr(task, "armed", False):
                raise JobTimeout

    def __enter__(self) -> None:
        if signal.getsignal(signal.SIGALRM) is not alarm.ring:
            signal.signal(signal.SIGALRM, alarm.ring)
        signal.setitimer(signal.ITIMER_REAL, alarm.task.timeout, AGAIN_S)

    def __exit__(self, *_: Any) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        alarm.task = None


class Meter:
    """Run time and peak memory of one job: on Linux the high-water mark is reset, and read with the resident
    size at the end (15 microseconds); the size at the start is the one read at the end of the job before."""

    _files: tuple[int, int] | None = None
    _pid = _resident = 0

    def __init__(self) -> None:
        if Meter._pid != os.getpid():
            Meter._pid = os.getpid()
            try:
                flags = os.O_CLOEXEC
                Meter._files = os.open("/proc/self/status", os.O_RDONLY | flags), os.open("/proc/self/clear_refs", os.O_WRONLY | flags)
            except OSError:
                Meter._files = None
            Meter._resident = self.read()[1]
        if Meter._files is not None:
            os.write(Meter._files[1], b"5")
        self.start, self.resident = time.monotonic(), Meter._resident

    @staticmethod
    def read() -> tuple[int, int]:
        """Bytes at the high-water mark since the last reset, and resident now."""
        if Meter._files is None:
            most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            return most, most
        text = os.pread(Meter._files[0], 4096, 0)
        peak, now = (int(text[text.find(name) + len(name) :].split(None, 1)[0]) * 1024 for name in (b"VmHWM:", b"VmRSS:"))
        return peak, now

    def read_into(self, outcome: Outcome) -> None:
        outcome.run_ms = round((time.monotonic() - self.start) * 1000)
        outcome.memory_peak, Meter._resident = self.read()
        outcome.details["memory_growth"] = max(outcome.memory_peak - self.resident, 0)


def execute(app: Any, task: Any, notes: Connection) -> None:
    """Run the job claimed for this task; `task.outcome` is set unless a stop interrupts."""
    job: Claim | None = getattr(task, "claim", None)
    if job is None:
        return  # a hook failed: never run what is not claimed
    meter = Meter()
    outcome = _attempt(app, task, job, notes)
    meter.read_into(outcome)
    task.outcome = outcome


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
                result, was_cut = as_json(value)
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
    else:
        outcome = Outcome("completed", result=result, details={"cut": ["result"]} if was_cut else {})
    if ctx.costs:
        outcome.details["costs"] = ctx.costs
    return outcome


def as_json(value: Any) -> tuple[str, bool]:
    """A result as redacted JSON of at most 64 KB, and whether it was cut."""
    if value is None:
        return "null", False
    return cut(printable(redact(json.dumps(value, ensure_ascii=False, default=str))), RESULT_BYTES)


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
    if isinstance(error, CancelExecution) and not error.retry:
        return Outcome("cancelled", error=sentence(error))
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
    """One line for people: 'KeyError: 'x'', or only the text of a PermanentError."""
    text = str(error) if isinstance(error, registry.PermanentError) else traceback.format_exception_only(error)[-1].strip()
    return cut(printable(redact(text or type(error).__name__)), ERROR_BYTES)[0]


def format_traceback(error: BaseException) -> str:
    """Redacted traceback from the job's own first frame on, at most 64 KB (the end is what counts)."""
    tb = error.__traceback__
    while tb is not None and tb.tb_frame.f_globals.get("__name__") == __name__:
        tb = tb.tb_next
    text = printable(redact("".join(traceback.format_exception(type(error), error, tb))))
    raw = text.encode()
    return text if len(raw) <= TRACEBACK_BYTES else "[cut]\n" + raw[-TRACEBACK_BYTES:].decode("utf-8", "ignore")
