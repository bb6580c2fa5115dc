"""The log lines of a job: what it writes with `ctx.log`, prints, warns and logs.

print / warnings / logging -> `JobStream`, `LogHandler` (installed once a worker) -> `JobLines` of the job that runs
-> job_logs: the first 200 and the last 800 lines of a job, 2 KB each, redacted.

A line costs a commit, and a job may print a million. So the first 200 lines of `ctx.log` are written at once. All
others are written together twice a second, by the job's own thread or, while it is silent, by the thread of the
heartbeat. A database that does not answer never fails the job: the lines are dropped, and the worker's log says so.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import sys
import threading
import time
from collections import deque
from typing import Any

from app.execution.alarm import signals_blocked
from app.ledger.claim import Claim
from app.ledger.dialect import Connection
from app.support.messages import cleaned, to_json
from app.support.outage import database_errors
from app.support.redaction import cut, printable, redact

log = logging.getLogger(__name__)
LINE_BYTES, LINE_CHARS = 2048, 8192  # kept, and looked at
FIRST_LINES, LAST_LINES = 200, 800
EVERY_S = 0.5
LEVELS = {name: name for name in ("DEBUG", "INFO", "WARN", "ERROR")} | {
    "WARNING": "WARN", "CRITICAL": "ERROR", "FATAL": "ERROR"}
_INSERT = """INSERT INTO job_logs (uuid, claim_no, attempt, at_ms, level, message, message_json, source)
 VALUES (:uuid, :claim_no, :attempt, :at, :level, :text, :json, :source)"""
_OVERFLOW = """DELETE FROM job_logs WHERE id IN
 (SELECT id FROM job_logs WHERE uuid = :u ORDER BY id LIMIT :n OFFSET :first)"""


class JobLines:
    """The lines of one attempt that are not written yet. Any thread may add."""

    _lock, _writing = threading.RLock(), threading.RLock()  # for the lists; for the order of the rows

    def __init__(self, job: Claim, connection: Connection, capture: bool = True) -> None:
        self._job, self._connection, self.capture = job, connection, capture
        self._added = 0
        self._next_write = 0.0
        self._first: list[dict[str, Any]] = []
        self._last: deque[dict[str, Any]] = deque(maxlen=LAST_LINES)

    def after_fork(self) -> None:
        """Begin with no lines and new locks: in a process that the job forks, the lines and the holder of a lock belong
        to the parent."""
        JobLines._lock, JobLines._writing = threading.RLock(), threading.RLock()
        self._first, self._last = [], deque(maxlen=LAST_LINES)

    @property
    def waiting(self) -> bool:
        """Whether there is something to write."""
        return bool(self._first or self._last)

    @property
    def uuid(self) -> str:
        """The job's id."""
        return self._job.uuid

    def add(self, text: str, level: str = "INFO", source: str | None = None, at_once: bool = False) -> None:
        """Keep one line; `source` says who wrote it when it was not `ctx.log`."""
        is_long = len(text) > LINE_CHARS
        kept = text[:LINE_CHARS] if is_long else cleaned(text, str)  # a copy of a Message, which nobody can change
        line = {"level": level, "text": kept, "cut": is_long, "source": source, "at": time.monotonic()}
        with signals_blocked():
            with self._lock:
                (self._first if self._added < FIRST_LINES else self._last).append(line)
                self._added += 1
            if (at_once and self._added <= FIRST_LINES) or time.monotonic() >= self._next_write:
                self.write()

    def write(self) -> None:
        """Write what is waiting, in one short transaction; never inside one that is open on the same connection. A stop
        comes before or after all of it: else lines would be lost, or written twice."""
        if self._connection.inside:
            return
        with signals_blocked(), self._writing:
            with self._lock:
                lines = [*self._first, *self._last]
                self._next_write = time.monotonic() + EVERY_S
            if not lines:
                return
            self._insert([self._row(line) for line in lines])
            written = set(map(id, lines))
            with self._lock:
                self._first = [line for line in self._first if id(line) not in written]
                self._last = deque((line for line in self._last if id(line) not in written), LAST_LINES)

    def _insert(self, rows: list[dict[str, Any]]) -> None:
        try:
            with self._connection.transaction() as tx:
                began = tx.now() - time.monotonic() * 1000
                for row in rows:
                    row["at"] = int(began + row["at"] * 1000)  # the moment of the line by the database's clock
                tx.execute_many(_INSERT, rows)
                (count,) = tx.fetch_all("SELECT COUNT(*) FROM job_logs WHERE uuid = :u", u=self._job.uuid)[0]
                if (over := count - FIRST_LINES - LAST_LINES) > 0:
                    tx.execute(_OVERFLOW, u=self._job.uuid, n=over, first=FIRST_LINES)
        except database_errors() as error:
            why = type(error).__name__
            log.warning("job %s: %d lines of its log could not be written (%s)", self._job.uuid, len(rows), why)

    def write_if_due(self) -> None:
        """For the heartbeat: a line that a silent job wrote last must not wait for the next one."""
        if self.waiting and time.monotonic() >= self._next_write:
            self.write()

    def _row(self, line: dict[str, Any]) -> dict[str, Any]:
        text, was_cut = cut(cleaned(line["text"], lambda part: printable(redact(part))), LINE_BYTES)
        return line | {"uuid": self._job.uuid, "claim_no": self._job.claim_no, "attempt": self._job.attempts,
                       "text": text + " … [cut]" * (was_cut or line["cut"]), "json": to_json(text)}


class Capture:
    """`lines` of the job that runs in this process; None between jobs and in a process that a job has forked."""

    lines: JobLines | None = None
    warned = False  # a warning was shown since the last job; Python shows each place once a process

    @staticmethod
    def current() -> JobLines | None:
        """The lines of the job that runs, or None without one and with `@job(capture=False)`."""
        lines = Capture.lines
        return lines if lines is not None and lines.capture else None


class JobStream(io.TextIOBase):
    """In place of sys.stdout and sys.stderr of a worker: whole lines go to the log of the job that runs.

    Without one (and with `@job(capture=False)`) the text goes where it went before, redacted. A job can neither close
    it nor break it.
    """

    encoding, errors = "utf-8", "backslashreplace"  # type: ignore[assignment]

    def __init__(self, original: Any, source: str) -> None:
        super().__init__()
        self._original, self._source, self._rest, self.touched = original, source, "", False

    def write(self, text: str) -> int:
        """Keep the whole lines of `text`; returns its length in characters. Raises TypeError when it is no text."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        lines, self.touched = Capture.current(), True
        if lines is None:
            with contextlib.suppress(OSError, ValueError, AttributeError):
                self._original.write(redact(text))
            return len(text)
        whole, newline, rest = (self._rest + text).rpartition("\n")
        for line in whole.split("\n") if newline else ():
            self._keep(lines, line)
        is_long = len(rest) >= LINE_CHARS
        self._rest = "" if is_long else rest.rpartition("\r")[2]  # a progress bar draws over itself
        if is_long:
            self._keep(lines, rest)
        return len(text)

    def _keep(self, lines: JobLines, line: str) -> None:
        line = line.removesuffix("\r").rpartition("\r")[2]
        if line.strip():
            lines.add(line, "INFO", self._source)

    def end(self) -> None:
        """Keep what stands without a line break; called when the job has ended."""
        rest, self._rest, self.touched = self._rest, "", False
        self.flush()
        if rest and (lines := Capture.current()) is not None:
            self._keep(lines, rest)

    def flush(self) -> None:
        """Flush the original stream, as far as it can be."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            self._original.flush()

    def close(self) -> None:
        """A job that closes its output closes nothing."""

    def fileno(self) -> int:
        """The descriptor of the original stream."""
        return self._original.fileno()

    def writable(self) -> bool:
        """Always True."""
        return True

    @property
    def buffer(self) -> Any:
        """Bytes that are written past us go where they went before."""
        return self._original.buffer


class LogHandler(logging.Handler):
    """Lines logged at INFO and above while a job runs, but for the product's own and Huey's."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)

    def emit(self, record: logging.LogRecord) -> None:
        """Add the record to the lines of the job that runs."""
        lines, name = Capture.current(), record.name
        Capture.warned |= name == "py.warnings"
        if lines is None or re.match(r"huey(\.|$)|app\.(?!jobs\.)", name):
            return
        try:
            text = self.format(record)
        except Exception:  # a message that does not fit its arguments, an exception whose text cannot be made
            text = "a line that cannot be told"
            if type(record.msg) is str:
                text = f"{record.msg[:LINE_CHARS]} (its arguments do not fit)"
        lines.add(text, LEVELS.get(record.levelname, "INFO"), name[:100])


def install() -> tuple[JobStream, JobStream]:
    """Redirect standard output, standard error, warnings and logging of a worker process; called once. Returns the
    streams for standard output and standard error."""
    sys.stdout, sys.stderr = out, error = JobStream(sys.stdout, "stdout"), JobStream(sys.stderr, "stderr")
    logging.captureWarnings(True)
    logging.raiseExceptions = False  # a line that cannot be formatted is one line, not a traceback of logging
    logging.getLogger().addHandler(LogHandler())
    return out, error
