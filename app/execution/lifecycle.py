"""What happens to a job in a worker: claimed, ran, interrupted. EVENTS names the method that each event of Huey calls.

One `Lifecycle` a worker process. Every claim ends in one written outcome:
- An error is not a refusal: the claim is tried again until the database answers or the stop flag is set.
- A settle is tried again until it is written or fenced off.
- A stop releases the row uncounted.
- An outcome that can never be written (a value that no column can store) is replaced by a failure that says so. When
  not even that can be written, the worker finds the row again at its next claim, and that counts as a crash.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable
from typing import Any

from huey import CancelExecution, Huey, signals
from huey.exceptions import TaskTimeout

from app.execution.attempt import Attempt
from app.execution.group import LOOK_S, Group, GroupWatch
from app.execution.outcomes import class_name
from app.ledger import claim as ledger
from app.ledger.dialect import Connection
from app.ledger.rescue import claims_of, rescue
from app.ledger.settle import NOT_BEGUN, Outcome, Parked, metric, settle, settle_group
from app.support.messages import Message
from app.support.open_files import GONE, holds_write_lock, roll_back_others
from app.support.outage import LOCKED, database_errors, kind_of, wait_for
from app.support.redaction import one_line, redact

log = logging.getLogger(__name__)
CALM_S = 1.0  # after an outcome that could not be written at all
_ASKED = "SELECT id FROM jobs WHERE worker_id = :w AND state = 'processing' AND cancel_requested = 1"
UNSETTLED = Message("its worker went on without writing an outcome")
EVENTS = (
    # Huey's event               what we do
    ("pre_execute", "ticket_taken"),
    ("post_execute", "job_ran"),
    (signals.SIGNAL_INTERRUPTED, "job_interrupted"),
    (signals.SIGNAL_CANCELED, "ticket_refused"),
)


class Lifecycle:
    """The hooks of one worker. The heartbeat's thread writes `current` and `done`, the number of jobs ended."""

    def __init__(self, connection: Connection, queues: tuple[str, ...], store: str, group_size: int = 1) -> None:
        self.connection, self.store = connection, store
        self._claim_sql, self.ready_sql = ledger.claim_statement(queues), ledger.ready_statement(queues)
        self.worker_id = self.worker = ""
        self.started, self.done = False, 0
        self.current: ledger.Claim | None = None
        self.group = Group(group_size)  # claimed together with the last settle; its rows run without a ticket
        self._begun: ledger.Claim | None = None  # handed over last: found again unsettled, it is a crash
        self.broken = False  # an outcome was refused: whatever did it may have spoiled this process
        self.stopping: Callable[[], bool] = lambda: False
        self._may_prefetch: Callable[[], bool] = lambda: True
        self._asked_at = 0.0
        self.watch = GroupWatch(self.group, self._settle_beside)
        self._beside = Connection(connection.url, wait_s=0.1, guarded=True)

    @property
    def prefetched(self) -> ledger.Claim | None:
        """The row that this worker has claimed and runs next."""
        with self.group.lock:
            return self.group.waiting[0] if self.group.waiting else None

    def start(self, worker_id: str, name: str, stopping: Callable[[], bool], may_prefetch: Callable[[], bool]) -> None:
        """From now on this worker claims rows, as `worker_id`, and none before.

        `name` is its name for people. `stopping` returns whether the worker must end, `may_prefetch` whether a settle
        may claim the next row.
        """
        self.worker_id, self.worker, self.stopping, self._may_prefetch = worker_id, name, stopping, may_prefetch
        self.started = True

    def ticket_taken(self, task: Any) -> None:
        """pre_execute: claim the best ready row; only "no row" or a stop refuses (CancelExecution)."""
        task.attempt = None
        if not self.started:
            raise CancelExecution("this worker has not finished starting")
        if self.group.waiting:
            self._drop_cancelled()
        with self.group.lock:
            if self.group.ended and not self.group.waiting:
                self._settle(not self.stopping() and self._may_prefetch())
        if (found := self.group.begin()) is not None:
            return self._hand_over(task, found)
        try:
            answered, claims = wait_for(self._claim, self.stopping, on_error=lambda e: self._trouble("claim", e))
        except CancelExecution:
            raise
        except Exception as error:  # any other exception would make Huey run the task unclaimed
            log.exception("claim failed")
            time.sleep(CALM_S)
            raise CancelExecution(str(error)) from error
        if not answered or not claims:
            raise CancelExecution("nothing to do")
        self._take(claims)
        if (found := self.group.begin()) is None:
            raise CancelExecution("nothing to do")  # the watch was faster
        self._hand_over(task, found)

    def _drop_cancelled(self) -> None:
        """Rows of the group whose cancel was requested do not begin; asked each 10 ms, so a short group never asks."""
        now = self.group.clock()
        if now - self._asked_at < LOOK_S:
            return
        self._asked_at, group = now, self.group
        with contextlib.suppress(*database_errors()), group.lock:
            asked = {row[0] for row in self.connection.fetch_all(_ASKED, w=self.worker_id)}
            for job in [job for job in group.waiting if job.id in asked]:
                group.waiting.remove(job)
                group.ended[job.id] = job, Outcome("cancelled", error=NOT_BEGUN)

    def _take(self, claims: list[ledger.Claim]) -> None:
        self.group.add(claims)
        if len(claims) > 1:
            self._asked_at = self.group.clock()
            self.watch.wake()

    def _hand_over(self, task: Any, found: ledger.Claim) -> None:
        task.attempt, task.timeout = Attempt(found), found.timeout
        self.current = self._begun = found

    def _claim(self) -> list[ledger.Claim]:
        self.give_up_unsettled()
        return ledger.claim_more(self.connection, self._claim_sql, self.worker_id, self.worker, self.group.grouping)

    def give_up_unsettled(self) -> None:
        """Free the row that this worker began last and that has no outcome: this counts as a crash."""
        for row in claims_of(self.connection, self.worker_id, self.worker):
            if self._begun is not None and (row.uuid, row.claim_no) == (self._begun.uuid, self._begun.claim_no):
                text = "job %s (%s) was found again without an outcome: it counts as a crash"
                log.error(text, row.uuid, row.job_type)
                rescue(self.connection, row, crash=True, why=UNSETTLED, store=self.store)

    def job_ran(self, task: Any, _value: Any, exception: BaseException | None) -> None:
        """post_execute: settle until written or fenced off."""
        attempt: Attempt | None = getattr(task, "attempt", None)
        if attempt is None:
            return
        job, outcome = attempt.claim, attempt.outcome or self._unset(exception, attempt.claim)
        with self.group.lock:
            if self.group.end(job, outcome) or isinstance(outcome, Parked):
                self._settle(not self.stopping() and self._may_prefetch())
        self.done += 1
        task.attempt, self.current = None, self.prefetched

    def _settle(self, go_on: bool) -> None:
        """Write the outcomes that wait; with `go_on` claim the next rows when none is left, else hand back the rest."""
        group, ended = self.group, list(self.group.ended.values())
        statement = self._claim_sql if go_on and not group.waiting else None
        untouched = [] if go_on else list(group.waiting)
        try:
            _, (written, claims) = wait_for(
                lambda: settle_group(self.connection, ended, self.store, statement, group.grouping, untouched),
                on_error=lambda e: self._trouble("settle", e))
        except Exception as error:
            written, claims = [], []
            for n, (job, outcome) in enumerate(ended):
                status, ended[n] = self._settle_alone(job, outcome, error)
                written.append(status)
            untouched = []  # the next claim of this worker, or its end, hands them back
        group.ended.clear()
        for job in untouched:
            group.waiting.remove(job)
        self._tell_failures(ended, written)
        self._take(claims)

    def _settle_alone(self, job: ledger.Claim, outcome: Outcome | Parked,
                      error: Exception) -> tuple[str, tuple[ledger.Claim, Outcome | Parked]]:
        """After a transaction for several that the database refused: one for each."""
        if len(self.group.ended) > 1:
            try:
                _, written = wait_for(lambda: settle(self.connection, job, outcome, self.store),
                                      on_error=lambda e: self._trouble("settle", e))
                return written, (job, outcome)
            except Exception as refused:
                error = refused
        status, said = self._replace(job, outcome, error)
        return status, (job, said)

    def _settle_beside(self, hand_back: bool) -> bool:
        """For the watch, under the lock of the group: write what waits, and hand back what has not begun. Returns False
        when the database does not take it."""
        group, ended = self.group, list(self.group.ended.values())
        untouched = list(group.waiting) if hand_back else []
        try:
            written, _claims = settle_group(self._beside, ended, self.store, untouched=untouched)
        except Exception as error:  # the main thread writes them when its job has ended
            log.warning("group: outcomes wait (%s)", type(error).__name__)
            return False
        group.ended.clear()
        for job in untouched:
            group.waiting.remove(job)
        self._tell_failures(ended, written)
        return True

    @staticmethod
    def _tell_failures(ended: list[tuple[ledger.Claim, Outcome | Parked]], written: list[str]) -> None:
        for (job, outcome), status in zip(ended, written, strict=True):
            if status in ("failed", "timeout"):
                why = outcome.error if isinstance(outcome, Outcome) else outcome.reason
                text = "job %s (%s, tenant %s) %s: %s"
                log.warning(text, job.uuid, job.job_type, job.tenant_id or "-", status, why)

    def _replace(self, job: ledger.Claim, outcome: Outcome | Parked, error: Exception) -> tuple[str, Outcome | Parked]:
        """After an outcome that the database refused: write it without a claim, else a failure that says so, else leave
        the row for the next claim to find. Returns the status written ('' for none) and its outcome."""
        self.broken = True
        why = one_line(redact(f"{type(error).__name__}: {error}"), 500)
        log.error("job %s (%s): its outcome could not be written (%s)", job.uuid, job.job_type, why)
        said = Outcome("failed", error=Message("Its outcome could not be written (%(why)s).", why=why), retry=False)
        said.run_ms = max(int(outcome.run_ms or 0), 0)
        for attempt in (outcome, said):
            try:
                settled = wait_for(lambda attempt=attempt: settle(self.connection, job, attempt, self.store),
                                   on_error=lambda e: self._trouble("settle", e))
                return settled[1], attempt
            except Exception:
                log.exception("job %s: refused again", job.uuid)
        time.sleep(CALM_S)  # nothing can be written at all: do not spin
        return "", said

    @staticmethod
    def _unset(exception: BaseException | None, job: ledger.Claim) -> Outcome:
        if isinstance(exception, TaskTimeout):
            return Outcome("timeout", error=Message("timeout after %(n)s s", n=job.timeout))
        why = Message("The worker could not run the job (%(why)s).", why=class_name(exception))
        return Outcome("failed", error=why)

    def job_interrupted(self, _signal: str, task: Any) -> None:
        """A stop: release the row uncounted, or write the outcome if it was set already."""
        attempt: Attempt | None = getattr(task, "attempt", None)
        if attempt is None:
            return
        job = attempt.claim
        if attempt.outcome is None and job.over_time:
            attempt.outcome = self._unset(TaskTimeout(), job)
        if attempt.outcome is not None:
            return self.job_ran(task, None, None)

        def hand_back() -> None:
            with self.connection.transaction() as tx:
                if released := ledger.release(tx, job):
                    ran = Outcome("released", run_ms=max(tx.now() - job.reserved_ms, 0))
                    metric(tx, job, "released", tx.now(), ran)
            if not released:
                cancelled = Outcome("cancelled", error=Message("Cancelled while a worker was stopping."))
                settle(self.connection, job, cancelled, self.store)

        wait_for(hand_back, on_error=lambda e: self._trouble("release", e))
        task.attempt = self.current = None

    def release_prefetched(self) -> None:
        """Write what waits and release the rows that were claimed in advance, when the worker ends."""
        with self.group.lock:
            if self.group.waiting or self.group.ended:
                self._settle(go_on=False)
        self.current = None

    def ticket_refused(self, _signal: str, task: Any) -> None:
        """CANCELED with a claim in hand (another hook refused): release it."""
        if (attempt := getattr(task, "attempt", None)) is not None and attempt.outcome is None:
            self.job_interrupted(_signal, task)

    def work_ready(self) -> bool:
        """Whether a row is ready for this worker; False when the database does not answer."""
        try:
            return self.started and ledger.is_ready(self.connection, self.ready_sql)
        except database_errors():
            return False

    def _trouble(self, what: str, error: Exception) -> None:
        log.warning("%s waits: the database does not answer (%s: %s)", what, type(error).__name__, error)
        path = self.connection.url.removeprefix("sqlite:///")
        if self.connection.sqlite and kind_of(error) == LOCKED and holds_write_lock(path):
            found = roll_back_others({id(self.connection.raw)})
            log.error("a job has left a transaction open, which blocked all writers: %d rolled back", found)
            if not found:
                os._exit(GONE)  # out of reach: it ends with the process


def listen(huey: Huey, lifecycle: Lifecycle) -> None:
    """Connect EVENTS to Huey; called last, so that no other hook runs between our claim and the job."""
    for event, name in EVENTS:
        connect = getattr(huey, event)(name) if event.endswith("_execute") else huey.signal(event)
        connect(getattr(lifecycle, name))
