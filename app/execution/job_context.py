"""`JobContext`: what a job can report and read while it runs.

Its writes use a connection of their own and are guarded by the claim. SIGALRM and SIGINT are blocked meanwhile, so that
neither a timeout nor a stop breaks one in the middle. A database that does not answer never fails the job: the line or
the progress is dropped, and a warning is logged. A value that cannot be stored raises TypeError or ValueError here, in
the job's own traceback.
"""

from __future__ import annotations

import contextlib
import logging
import re
import time
from collections.abc import Callable, Collection, Iterator
from operator import attrgetter
from typing import Any

from app.execution.alarm import signals_blocked
from app.execution.capture import LEVELS, JobLines
from app.extensions import db
from app.ledger import graph, limits
from app.ledger.claimed_row import FENCE, Claim
from app.ledger.dialect import Connection, SessionExecutor
from app.registry import WaitForJobs
from app.support.messages import MOST_CHARS, Message, cleaned, to_json
from app.support.outage import database_errors, wait_for
from app.support.redaction import printable, redact, redact_json
from app.support.validation import stored_json
from app.support.values import billionths, plain_details, whole

log = logging.getLogger(__name__)
EVERY_S = 0.5
_KIN = """SELECT e.{kin}, COALESCE(j.job_type, h.job_type), COALESCE(j.state, h.status), h.result
 FROM job_edges e LEFT JOIN jobs j ON j.uuid = e.{kin} LEFT JOIN job_history h ON h.uuid = e.{kin}
 WHERE e.{own} = :u ORDER BY COALESCE(j.created_ms, h.created_ms), e.{kin}"""
_PROGRESS = f"""UPDATE jobs SET progress_done = :done, progress_total = :total, progress_note = :note,
 progress_json = :json WHERE {FENCE}"""
NOTE_CHARS, MOST_COSTS, MOST_COST = 500, 10_000, 10**9


class JobContext:
    """Given to functions that name a parameter `ctx`."""

    uuid: str = property(attrgetter("_job.uuid"), doc="The id of the job.")
    attempt: int = property(attrgetter("_job.attempts"), doc="1 for the first execution of this round.")
    tries: int = property(attrgetter("_job.tries"), doc="How many executions a round has at most.")
    retry_round: int = property(attrgetter("_job.round"), doc="1, and one more after each retry by hand.")
    claim_no: int = property(attrgetter("_job.claim_no"), doc="The number of its claim; each execution has another.")
    tenant_id: str | None = property(attrgetter("_job.tenant_id"), doc="The tenant of the job, or None.")
    batch_id: str | None = property(attrgetter("_job.batch_id"), doc="The id of its batch, or None.")
    queue: str = property(attrgetter("_job.queue"), doc="The name of its queue.")
    timeout: int = property(attrgetter("_job.timeout"), doc="The time limit of an attempt in seconds.")
    created_by: str | None = property(
        attrgetter("_job.created_by"), doc="Who dispatched it: an address, `recurring NAME`, `demo`; None from code.")
    connection: Connection = property(attrgetter("_connection"), doc="The job's own connection, for reading.")

    def __init__(self, job: Claim, connection: Connection, lines: JobLines | None = None) -> None:
        self._job, self._connection = job, connection
        self._lines = lines or JobLines(job, connection)
        self._next_progress = self._next_ask = 0.0
        self._cancelled = bool(job.cancel_requested)
        self._costs: list[dict[str, Any]] = []
        self._start: int | None = job.reserved_ms  # time of the last start that counts for the rate of its type
        self._started = False

    @property
    def costs(self) -> tuple[dict[str, Any], ...]:
        """What `record_cost` has recorded: `nano` (billionths, None for unknown), `currency` and the details given."""
        return tuple(self._costs)

    def progress(self, done: float, total: float | None = None, note: object = None) -> None:
        """Show how far the job is, with a note of at most 500 characters. Written at most twice a second; the last one
        (done == total) is always written.

        TypeError or ValueError when `done` or `total` is no number from 0 to 2^63 - 1.
        """
        done, total = whole("progress: done", done), None if total is None else whole("progress: total", total)
        now = time.monotonic()
        if now < self._next_progress and done != total:
            return
        self._next_progress = now + EVERY_S
        text = None if note is None else cleaned(_text(note, 4 * NOTE_CHARS), lambda part: printable(redact(part)))
        text = text[:NOTE_CHARS] if text and len(text) > NOTE_CHARS else text
        values = {"done": done, "total": total, "note": text, "json": to_json(text), **self._job.fence}
        self.save_soft(lambda tx: tx.execute(_PROGRESS, **values))

    def log(self, message: object, level: str = "INFO") -> None:
        """Keep a line with the job: 2 KB a line, the first 200 and the last 800 lines of a job.

        `level` is DEBUG, INFO, WARN or ERROR (else INFO); TypeError when it is no text.
        """
        if not isinstance(level, str):
            raise TypeError(f"log: level must be text such as 'INFO', not {type(level).__name__}.")
        self._lines.add(_text(message), LEVELS.get(level.upper(), "INFO"), at_once=True)

    def cancelled(self) -> bool:
        """Whether somebody asked this job to stop, or it is no longer ours; asked at most twice a second."""
        now = time.monotonic()
        if not self._cancelled and now >= self._next_ask:
            self._next_ask = now + EVERY_S
            with signals_blocked(), self._quietly():
                rows = self._connection.fetch_all(f"SELECT cancel_requested FROM jobs WHERE {FENCE}", **self._job.fence)
                self._cancelled = not rows or bool(rows[0][0])
        return self._cancelled

    def record_cost(self, amount: object, currency: str = "USD", **details: object) -> None:
        """Record a cost of this attempt; stored with its outcome, or when it parks. None means that it is not known.

        `amount` is a number (also Decimal, or text such as "12.5") from 0 to a billion, exact to a billionth;
        `currency` has three letters; `details` are up to 20 texts and numbers, `model` among them. Else TypeError or
        ValueError.
        """
        nano = None if amount is None else billionths("record_cost: amount", amount, MOST_COST)
        if not isinstance(currency, str) or not re.fullmatch("[A-Za-z]{3}", currency):
            raise ValueError("record_cost: currency must be three letters such as USD.")
        if len(self._costs) >= MOST_COSTS:
            raise ValueError(f"record_cost: an attempt has at most {MOST_COSTS} costs; add them up.")
        self._costs.append({**redact_json(plain_details(details)), "nano": nano, "currency": currency.upper()})

    def parents(self) -> list[dict[str, Any]]:
        """The jobs that this one waits or has waited for, in the order in which they were dispatched: uuid, type,
        status (live state or final status) and result (None until completed)."""
        return self._kin(kin="parent_uuid", own="child_uuid")

    def children(self) -> list[dict[str, Any]]:
        """The jobs dispatched after this one (`after=[ctx.uuid]`), as `parents` gives them. A job whose worker was
        killed runs again: it dispatches its children only when there are none, so none comes twice."""
        return self._kin(kin="child_uuid", own="parent_uuid")

    def _kin(self, **columns: str) -> list[dict[str, Any]]:
        rows = self._connection.fetch_all(_KIN.format(**columns), u=self.uuid)
        return [{"uuid": uuid, "type": name, "status": status, "result": stored_json(result)}
                for uuid, name, status, result in rows]

    def wait_for(self, uuids: Collection[str]) -> None:
        """Run again, uncounted, when these jobs have completed; returns at once when they have. Called by the job's own
        code, often after it has dispatched them: all that it wrote with `db.session` is committed with it.

        The function starts anew then, and `parents` has the results. Raises WaitForJobs, which the job lets pass;
        ValueError for unknown jobs and for one that waits for this job.
        """
        tx, wanted = SessionExecutor(db.session), list(dict.fromkeys(map(str, uuids)))
        if self.uuid in wanted:
            raise ValueError("wait_for: a job cannot wait for itself")
        try:
            waits = graph.wait_for(tx, self.uuid, self._job.fence, FENCE, wanted)
        except graph.UnknownParents as error:
            raise ValueError(f"wait_for: no such job: {error}") from None
        except ValueError as error:
            raise ValueError(f"wait_for: {error} waits for this job") from None
        if waits:
            raise WaitForJobs(Message("Waits for a job that it has dispatched.") if waits == 1 else
                              Message("Waits for %(n)s jobs that it has dispatched.", n=waits))

    def take_start(self, tx: Connection, more: bool = False) -> bool:
        """Count a start for the rate of the type of this job, in the open transaction: the one that its claim has taken
        counts from now, when its request goes out; with `more` another one. For jobs that send several requests. False
        when none is left now; the job may ask again later."""
        at = limits.start_now(tx, self._job, None if more else self._start)
        self._start, self._started = at if at is not None else self._start, True
        return at is not None

    def give_back_start(self) -> None:
        """Give back the start that the claim has taken, unless `take_start` was called: this attempt sends no
        request."""
        if not self._started and self._job.limit_key is not None:
            self._started = True
            self.save_soft(lambda tx: limits.give_back(tx, self._job))

    def save_durably(self, change: Callable[[Connection], Any]) -> Any:
        """Run `change` in a transaction that survives a power cut and that neither a timeout nor a stop breaks, again
        until the database answers. For answers that were paid. Returns what `change` returns."""

        def once() -> Any:
            with signals_blocked(), self._connection.transaction(durable=True) as tx:
                return change(tx)

        text = "job %s: the database does not take its answer yet (%s)"
        return wait_for(once, on_error=lambda error: log.warning(text, self.uuid, error))[1]

    def save_soft(self, change: Callable[[Connection], Any]) -> None:
        """Like `save_durably`, but for what may be dropped while the database does not answer."""
        with signals_blocked(), self._quietly(), self._connection.transaction() as tx:
            change(tx)

    @contextlib.contextmanager
    def _quietly(self) -> Iterator[None]:
        try:
            yield
        except database_errors() as error:
            log.warning("job %s: a note could not be written (%s)", self.uuid, type(error).__name__)


def _text(given: object, most: int = MOST_CHARS) -> str:
    """The text of a value that a job gives: a Message as it is, else the first characters of its `str()`."""
    return given if type(given) is Message and len(given) <= most else str.__getitem__(str(given), slice(most))
