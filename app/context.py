"""`JobContext`: what a job can say and ask while it runs.

Its writes use a connection of their own, guarded by the claim, with SIGALRM and SIGINT
blocked, so that neither a timeout nor a stop can break one in the middle. A database that
does not answer never fails the job: the line or the progress is dropped and logged.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

from app.ledger.claim import FENCE, Claim
from app.ledger.dialect import Connection, database_errors, wait_for
from app.redact import cut, printable, redact

log = logging.getLogger(__name__)
LINE_BYTES = 2048
FIRST_LINES, MOST_LINES = 200, 1000
EVERY_S = 0.5
LEVELS = ("DEBUG", "INFO", "WARN", "ERROR")


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Keep SIGALRM and SIGINT waiting until the block is done."""
    held = {signal.SIGALRM, signal.SIGINT}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, held)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class JobContext:
    """Given to functions that name a parameter `ctx`."""

    def __init__(self, job: Claim, connection: Connection) -> None:
        self._job, self._connection = job, connection
        self._next_progress = self._next_ask = 0.0
        self._cancelled = bool(job.cancel_requested)
        self.costs: list[dict] = []

    @property
    def uuid(self) -> str:
        return self._job.uuid

    @property
    def attempt(self) -> int:
        """1 for the first execution of this round."""
        return self._job.attempts

    @property
    def tries(self) -> int:
        return self._job.tries

    @property
    def round(self) -> int:
        """Rises with each retry by hand."""
        return self._job.round

    @property
    def tenant_id(self) -> str | None:
        return self._job.tenant_id

    @property
    def queue(self) -> str:
        return self._job.queue

    def progress(self, done: int, total: int | None = None, note: str | None = None) -> None:
        """Show how far the job is; written at most twice a second, the last one (done == total) always."""
        now = time.monotonic()
        if now < self._next_progress and done != total:
            return
        self._next_progress = now + EVERY_S
        self._write(
            f"UPDATE jobs SET progress_done = :done, progress_total = :total, progress_note = :note WHERE {FENCE}",
            done=int(done), total=None if total is None else int(total),
            note=None if note is None else printable(redact(note))[:500], **self._job.fence,
        )

    def log(self, message: object, level: str = "INFO") -> None:
        """Keep a line with the job: 2 KB a line, the first 200 and the last 800 lines of a job."""
        text, was_cut = cut(printable(redact(str(message))), LINE_BYTES)
        with signals_held(), self._quietly(), self._connection.transaction() as run:
            run.run(
                "INSERT INTO job_logs (uuid, claim_no, attempt, at_ms, level, message) VALUES (:u, :k, :a, :at, :level, :text)",
                u=self.uuid, k=self._job.claim_no, a=self.attempt, at=run.now(),
                level=level.upper() if level.upper() in LEVELS else "INFO", text=text + (" … [cut]" if was_cut else ""),
            )
            (count,) = run.all("SELECT COUNT(*) FROM job_logs WHERE uuid = :u", u=self.uuid)[0]
            if count > MOST_LINES:
                run.run(
                    "DELETE FROM job_logs WHERE id = (SELECT id FROM job_logs WHERE uuid = :u ORDER BY id LIMIT 1 OFFSET :n)",
                    u=self.uuid, n=FIRST_LINES,
                )

    def cancelled(self) -> bool:
        """Whether somebody asked this job to stop, or it is no longer ours; asked at most twice a second."""
        now = time.monotonic()
        if not self._cancelled and now >= self._next_ask:
            self._next_ask = now + EVERY_S
            with signals_held(), self._quietly():
                rows = self._connection.all(f"SELECT cancel_requested FROM jobs WHERE {FENCE}", **self._job.fence)
                self._cancelled = not rows or bool(rows[0][0])
        return self._cancelled

    def record_cost(self, amount: float | None, currency: str = "USD", **details: object) -> None:
        """Note a cost of this attempt; stored with its outcome. None means that it is not known."""
        self.costs.append({"amount": amount, "currency": currency, **details})

    def keep(self, change: Callable[[Connection], Any]) -> Any:
        """Run `change` in a transaction that survives a power cut, again until the database took it, and that neither a timeout
        nor a stop breaks: for answers that were paid. Returns what `change` returns."""
        def once() -> Any:
            with signals_held(), self._connection.transaction(durable=True) as run:
                return change(run)

        return wait_for(once, on_error=lambda error: log.warning("job %s: the database does not take its answer yet (%s)", self.uuid, error))[1]

    @property
    def notes(self) -> Connection:
        """The job's own connection, for reading."""
        return self._connection

    @property
    def created_by(self) -> str | None:
        """Who sent it: an address, `recurring NAME`, `demo`; None from code."""
        return self._job.created_by

    @property
    def timeout(self) -> int:
        """Seconds this attempt may take."""
        return self._job.timeout

    def note(self, change: Callable[[Connection], Any]) -> None:
        """Like `keep`, but for what may be dropped while the database does not answer."""
        with signals_held(), self._quietly(), self._connection.transaction() as run:
            change(run)

    def _write(self, sql: str, **params: object) -> None:
        with signals_held(), self._quietly(), self._connection.transaction() as run:
            run.run(sql, **params)

    @contextlib.contextmanager
    def _quietly(self) -> Iterator[None]:
        try:
            yield
        except database_errors() as error:
            log.warning("job %s: a note could not be written (%s)", self.uuid, type(error).__name__)
