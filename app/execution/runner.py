"""Run one claimed job and turn whatever happens into an `Outcome`.

Everything but KeyboardInterrupt (a stop) is caught, so Huey always sees a return. A job cannot swallow a timeout: the
alarm is a BaseException that comes again every 5 s. A timeout that was raised beats a later "completed"; an outcome
that is set beats a later alarm. All calls of the job's own code (its function, `str()` of what it returns or raises)
run with the alarm on. What the job has left behind is put right before the outcome is written (process_guard.py,
support/descendants.py).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import resource
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from flask import Flask

from app import registry
from app.execution.alarm import JobTimeout, armed, signals_blocked
from app.execution.attempt import Attempt
from app.execution.capture import Capture, JobLines
from app.execution.job_context import JobContext
from app.execution.outcomes import class_name, outcome_of, stored
from app.execution.process_guard import ProcessGuard
from app.extensions import db
from app.ledger.claimed_row import running
from app.ledger.dialect import Connection
from app.ledger.settle import Outcome, Parked
from app.services.jobs import uploads
from app.support import descendants
from app.support.bounded_json import as_json
from app.support.logs import job_of_line, report_failure
from app.support.messages import Message, text_of

log = logging.getLogger(__name__)
INTERRUPT_S = 1.0
BRIEF_S, SAME_READING_S = 0.001, 0.02
OVER_S = 1.0  # a job that ran past its limit by more has swallowed or switched off the alarm


class JobMeter:
    """Run time and peak memory of one job. On Linux the high-water mark is reset and read by getrusage (1.5
    microseconds; reading /proc/self/status takes 26); read right after a reset it is the resident size. Jobs of less
    than 1 ms share a reading for 20 ms: it costs a tenth of such a job."""

    _reset: int | None = None
    _pid = _resident = _peak = 0
    _read_at = 0.0
    _inherited = False  # getrusage gives the mark of the program before an exec, which a forked worker never has

    def __init__(self) -> None:
        if JobMeter._pid != os.getpid():
            JobMeter._pid, JobMeter._reset, JobMeter._inherited = os.getpid(), None, False
            with contextlib.suppress(OSError):
                file = os.open("/proc/self/clear_refs", os.O_WRONLY | os.O_CLOEXEC)
                os.write(file, b"5")
                JobMeter._reset = file
                usual = self._highest()
                JobMeter._inherited = True
                JobMeter._inherited = usual > self._highest() + 4 * 2**20
            JobMeter._resident = self.read()[1]
        self.start, self.resident = time.monotonic(), JobMeter._resident
        if JobMeter._reset is not None and self.start - JobMeter._read_at >= SAME_READING_S:
            os.write(JobMeter._reset, b"5")

    @staticmethod
    def read() -> tuple[int, int]:
        """Bytes at the high-water mark since the last reset, and resident now; without resets both are the process's
        highest."""
        most = now = JobMeter._highest()
        if JobMeter._reset is not None:
            os.write(JobMeter._reset, b"5")
            now = JobMeter._highest()
        return most, now

    @staticmethod
    def _highest() -> int:
        if not JobMeter._inherited:
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))

    @classmethod
    def last_resident(cls) -> int:
        """Resident bytes at the end of the last job of this process; 0 before the first."""
        return cls._resident if cls._pid == os.getpid() else 0

    def read_into(self, outcome: Outcome | Parked) -> None:
        """Write the run time (ms) and the memory (bytes) of a job that has ended into its outcome."""
        now = time.monotonic()
        outcome.run_ms, outcome.memory_peak = round((now - self.start) * 1000), JobMeter._peak
        if now - self.start >= BRIEF_S or now - JobMeter._read_at >= SAME_READING_S:
            outcome.memory_peak, JobMeter._resident = self.read()
            JobMeter._peak, JobMeter._read_at = outcome.memory_peak, now
            outcome.details["memory_growth"] = max(outcome.memory_peak - self.resident, 0)


def execute(app: Flask, attempt: Attempt, job_connection: Connection, stopping: Callable[[], bool] = lambda: True,
            guard: ProcessGuard | None = None) -> None:
    """Run the claimed job; sets `attempt.outcome` unless a stop interrupts. `guard` is that of the worker's process.

    Raises KeyboardInterrupt when the worker is `stopping`.
    """
    job = attempt.claim
    meter = JobMeter()
    lines = JobLines(job, job_connection)
    mine = running.set(job)
    whose = job_of_line.set({"uuid": job.uuid, "type": job.job_type, "tenant": job.tenant_id, "attempt": job.attempts,
                             "worker": job.worker})
    try:
        try:
            outcome = _run(app, attempt, job_connection, lines, guard)
        except KeyboardInterrupt as error:
            if _asked_to_stop(stopping):
                raise
            outcome = outcome_of(attempt, error)  # raised by the job itself: handed back it would come again for ever
        except BaseException as error:  # logged without its traceback: to format it calls the job's own code
            log.error("job %s: its outcome could not be determined (%s)", job.uuid, class_name(error))
            unknown = Message("The worker could not tell its outcome (%(why)s).", why=class_name(error))
            outcome = Outcome("failed", error=unknown, retry=False)
        meter.read_into(outcome)
        if isinstance(outcome, Outcome):
            swallowed = attempt.timed_out and outcome.status == "failed"
            if swallowed or outcome.run_ms > (job.timeout + OVER_S) * 1000:
                why = Message("timeout after %(n)s s", n=job.timeout)
                outcome = replace(outcome, status="timeout", result=None, error=why, delay=None, retry=True)
        attempt.outcome = outcome  # a stop that arrives from now on finds it
        _clean_up(lines, guard, completed=_is_completed(attempt))
    except KeyboardInterrupt:  # it may have broken the cleaning up; to block it there costs 7 % of a short job
        with signals_blocked():
            _clean_up(lines, guard, completed=_is_completed(attempt))
        raise
    finally:
        Capture.lines = None
        job_of_line.reset(whose)
        running.reset(mine)


def _is_completed(attempt: Attempt) -> bool:
    return isinstance(attempt.outcome, Outcome) and attempt.outcome.status == "completed"


def _clean_up(lines: JobLines, guard: ProcessGuard | None, completed: bool) -> None:
    """End or name the processes that the job has left, restore this process, write the last lines. Never raises."""
    try:
        changed = guard.restore() if guard else []  # first: under a limit that the job has set nothing can be written
        if guard and descendants.any_left():  # in a worker: elsewhere the children are not the job's
            if completed and (names := descendants.tolerate()):
                text = Message("Left running, until this worker ends: %(names)s", names=", ".join(names))
                lines.add(text, "WARN", "worker")
            elif not completed and (names := descendants.end_all()):
                lines.add(Message("Ended with the job: %(names)s", names=", ".join(names)), "INFO", "worker")
        for stream in guard.streams if guard else ():
            if stream.touched:
                stream.end()
        if guard and (threads := guard.new_threads()):
            text = Message("Threads left running, until this worker ends: %(names)s", names=", ".join(threads))
            lines.add(text, "WARN", "worker")
        if changed:
            lines.add(Message("Put back after the job: %(names)s", names=", ".join(changed)), "WARN", "worker")
        if lines.waiting:
            lines.write()
    except Exception as error:
        log.error("job %s: its worker could not be put right (%s)", lines.uuid, class_name(error))


def _asked_to_stop(stopping: Callable[[], bool]) -> bool:
    """Whether the worker must end. Waits up to 1 s: Ctrl-C on a terminal arrives a moment before the flag is set."""
    end = time.monotonic() + INTERRUPT_S
    while not stopping() and time.monotonic() < end:
        time.sleep(0.02)
    return stopping()


def _run(app: Flask, attempt: Attempt, job_connection: Connection, lines: JobLines,
         guard: ProcessGuard | None) -> Outcome | Parked:
    job = attempt.claim
    definition = registry.find(job.job_type)
    if definition is None:
        return Parked("blocked", Message("No job type %(name)s is known here. Deploy the code that declares it, or "
                                         "delete the job.", name=job.job_type))
    ctx = JobContext(job, job_connection, lines) if definition.wants_ctx else None
    try:
        with guard.context if guard else app.app_context():
            try:
                args = definition.fit(json.loads(job.payload)["args"])
                args = uploads.open_files(definition, args, job.tenant_id)
                if ctx is not None:
                    args["ctx"] = ctx
            except registry.InvalidArguments as error:
                return Parked("blocked", stored(Message(
                    "The arguments no longer fit %(name)s: %(why)s Edit and retry, or delete the job.",
                    name=job.job_type, why=text_of(error))))
            try:
                lines.capture = definition.options.capture
                Capture.lines = lines
                with armed(attempt):
                    result, marks = _call(definition.function, args, guard)
                if attempt.timed_out:
                    raise JobTimeout
                if db.session.registry.has():
                    db.session.commit()
            except registry.WaitForJobs:  # what it has dispatched, and that it waits, are one transaction
                attempt.armed = False
                db.session.commit()
                raise
            except BaseException:
                attempt.armed = False
                _roll_back()
                raise
            finally:
                if db.session.registry.has():
                    db.session.remove()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        outcome = outcome_of(attempt, error)
        if isinstance(outcome, Outcome) and outcome.status == "failed":
            with contextlib.suppress(Exception):
                report_failure(error)
    else:
        outcome = Outcome("completed", result=result, details={"cut": marks} if marks else {})
    if ctx is not None and ctx.costs:
        outcome.details["costs"] = list(ctx.costs)
    return outcome


def _call(function: Callable[..., Any], args: dict[str, Any], guard: ProcessGuard | None) -> tuple[str, list[str]]:
    """Call the job's own code; returns its result as JSON and the names of what was cut. A copy of the process that
    the job has forked ends here."""
    try:
        result = as_json(function(**args))
    except BaseException as error:
        if guard:
            guard.end_if_forked(error)
        raise
    if guard:
        guard.end_if_forked()
    return result


def _roll_back() -> None:
    try:
        if db.session.registry.has():
            db.session.rollback()
    except Exception:
        log.warning("rollback failed; the connections of this worker are opened again")
        db.engine.dispose()
