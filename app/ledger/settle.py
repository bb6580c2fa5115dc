"""Settle: write the outcome of an attempt in one transaction, only while the claim is ours.

Final (completed, failed, timeout, cancelled): the row in `jobs` is deleted; rows in `job_metrics`, `job_history` and,
for a failure, `failed_jobs` are written (rollups: services/jobs/rollups.py). Another run: the row becomes `scheduled`.
When the fence finds no row, another process was first: a `late` outcome is written, and the row is not changed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from app.ledger import costs, graph, limits
from app.ledger.claim import Grouping, claim_group, claim_more, hand_back
from app.ledger.claimed_row import FENCE, FENCES, MARKED, Claim, pairs_of
from app.ledger.dialect import Connection, Executor
from app.ledger.rows import FAILED, HISTORY, METRIC, VERSION, insert, replacing
from app.models.job_metric import FINAL
from app.support.clock import stamp
from app.support.messages import Message, to_json

NOT_BEGUN = Message("Cancelled before it began.")
LEAST_DELAY_S = 1.0  # a job that asks for no delay at all ran 11 times in 15 s, without end


@dataclass(slots=True, kw_only=True)
class Figures:
    """What was measured of an attempt: run time in ms, peak memory in bytes (None: unknown), and further facts by name;
    `details["costs"]` are those of `JobContext.record_cost`."""

    run_ms: int = 0
    memory_peak: int | None = None
    details: dict = field(default_factory=dict)


@dataclass(slots=True)
class Outcome(Figures):
    """What became of an attempt.

    status: completed, failed, timeout or cancelled as the function ended; `retry` False makes a failure final at once;
    `delay` (s) asks for another run after it, not counted as a failure; `wait` (s) takes the place of the backoff after
    a failure that counts.
    """

    status: str
    result: str | None = None
    error: str | None = None
    traceback: str = ""
    retry: bool = True
    delay: float | None = None
    wait: float | None = None


@dataclass(slots=True)
class Parked(Figures):
    """In place of an Outcome: the row could not be run, or asked to wait, and now stands in `state` (blocked, held).

    `reason` is for people; `hold_code` says why a held row is held (models/job.py).
    """

    state: str
    reason: str
    hold_code: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """Either a final status, or `status='retried'` with the time to run again (ms)."""

    status: str
    run_at: int | None = None
    counted: bool = True


def decide(outcome: Outcome, job: Claim, now: int) -> Decision:
    """Policy as arithmetic: `tries` executions in all, then final; nothing runs again past `retry_until_ms`.

    After failure n the job waits backoff[n-1] seconds (the last repeats). Who asks to run again at once waits 1 s.
    """
    if outcome.status in ("completed", "cancelled") or not outcome.retry:
        return Decision(outcome.status)
    counted = outcome.delay is None
    if not counted:
        wait = max(outcome.delay or 0.0, LEAST_DELAY_S)
    elif outcome.wait is not None:
        wait = outcome.wait
    else:
        waits = [float(part) for part in job.backoff.split(",") if part] or [0.0]
        wait = waits[min(job.failures + 1, len(waits)) - 1]
    run_at = now + int(wait * 1000)
    if run_at > job.retry_until_ms or (counted and job.failures + 1 >= job.tries):
        return Decision(outcome.status)
    return Decision("retried", run_at, counted)


_LOCK = "SELECT j.id FROM jobs j WHERE j.id IN {ids} ORDER BY j.id {lock}"
_GONE = f"DELETE FROM jobs WHERE {FENCES} AND has_children = 0 RETURNING id"
_METRIC = insert("job_metrics", METRIC, "DO NOTHING", code_version=VERSION)
_HISTORY = insert("job_history", HISTORY, "(uuid) " + replacing(
    "status result error error_json traceback attempts claim_no round finished_ms payload queue batch_id"))
_FAILED = insert("failed_jobs", FAILED, "(uuid) DO NOTHING")
_MARK = f"has_children = CASE WHEN :c > 0 THEN 1 ELSE {MARKED} END"
_AGAIN = f"""UPDATE jobs SET state = 'scheduled', available_at = :at / 1000, available_ms = :at,
 failures = failures + :f, attempts = attempts - :u, worker_id = NULL, reserved_at = NULL, reserved_ms = NULL,
 reason = :reason, reason_json = :json, {_MARK} WHERE {FENCE} AND cancel_requested = 0"""


def settle(connection: Connection, job: Claim, outcome: Outcome | Parked, store: str) -> str:
    """Write the outcome; returns the status written, the state of a parked row, or 'late'.

    Errors propagate after a rollback (try again).
    `store` is the name of the database kind for failed_jobs.connection (sqlite, postgresql).
    """
    return settle_group(connection, [(job, outcome)], store)[0][0]


def settle_group(connection: Connection, ended: list[tuple[Claim, Outcome | Parked]], store: str,
                 statement: str | None = None, grouping: Grouping | None = None,
                 untouched: list[Claim] | None = None) -> tuple[list[str], list[Claim]]:
    """Settle jobs of one worker in one transaction, hand back the `untouched` rows of its group and, with a claim
    statement, claim the next ones; returns what was written (as `settle`) and the claims.

    A job of a limited type has a transaction of its own: it holds the lock of its key, and the next row may need that
    of another key.
    """
    worker = (ended or [(job, None) for job in untouched or ()])[0][0]
    together = statement is not None and all(job.limit_key is None for job, _outcome in ended)
    found, more = [], statement is not None and not together
    with connection.transaction(durable=any(job.durable for job, _outcome in ended)) as tx:
        now, rows = tx.now(), [job.id for job, _outcome in ended] + [job.id for job in untouched or ()]
        if len(rows) > 1 and not tx.sqlite:  # in the order in which a cancel of several locks them
            tx.fetch_all(_LOCK, ids=json.dumps(rows))
        done = _completed_together(tx, ended, now) if len(ended) > 1 else set()
        written = ["completed" if job.id in done else
                   _park(tx, job, outcome, now) if isinstance(outcome, Parked) else
                   _outcome(tx, job, outcome, now, store)
                   for job, outcome in ended]
        for job in hand_back(tx, untouched) if untouched else ():
            _outcome(tx, job, Outcome("cancelled", error=NOT_BEGUN), now, store)
        if together:
            found, more = claim_group(tx, statement, worker.worker_id, worker.worker, grouping)
    if more:
        found = claim_more(connection, statement, worker.worker_id, worker.worker, grouping)
    return written, found


def _completed_together(tx: Executor, ended: list[tuple[Claim, Outcome | Parked]], now: int) -> set[int]:
    """Write the completed ones among `ended`, each statement once for all; returns their ids. Who is fenced off or has
    children is left to the statements for one job."""
    jobs = {job.id: (job, outcome) for job, outcome in ended if outcome.__class__ is Outcome
            and outcome.status == "completed" and not (job.limit_key or job.has_children)}
    if not jobs:
        return set()
    gone = tx.fetch_all(_GONE, w=ended[0][0].worker_id, pairs=pairs_of(job for job, _outcome in jobs.values()))
    done = [jobs[row[0]] for row in sorted(gone)]
    tx.execute_many(_METRIC, [_metric_row(job, "completed", now, outcome) for job, outcome in done])
    tx.execute_many(_HISTORY, [_history_row(job, "completed", now, outcome) for job, outcome in done])
    for job, outcome in done:
        if "costs" in outcome.details:
            _add_costs(tx, job, outcome)
    return {job.id for job, _outcome in done}


def _outcome(tx: Executor, job: Claim, outcome: Outcome, now: int, store: str) -> str:
    decision = decide(outcome, job, now)
    if decision.run_at is not None:
        if tx.execute(_AGAIN, at=decision.run_at, f=int(decision.counted), u=int(not decision.counted),
                      c=job.has_children, reason=outcome.error, json=to_json(outcome.error), **job.fence):
            metric(tx, job, "retried", now, outcome)
            leave(tx, job)
            return "retried"
        decision = Decision("cancelled")  # 0 rows and still ours: a cancel was asked for
    elif decision.status in ("failed", "timeout") and outcome.retry and (
            outcome.delay is not None or job.failures + 1 < job.tries):
        outcome.details["ended"] = "retry_until"  # for people: tries were left, time was not
    status = decision.status
    gone = tx.fetch_all(f"DELETE FROM jobs WHERE {FENCE} RETURNING has_children", **job.fence)
    if not gone:
        if not _vanished(tx, job):
            return late(tx, job, now, outcome)
        status = outcome.status  # the job has deleted its own row: it ended all the same
    finish(tx, job, status, now, outcome, store)
    if status == "completed" and (job.has_children or not gone or gone[0][0]):
        graph.release_children(tx, [job.uuid])
    leave(tx, job)
    return status


def leave(tx: Executor, job: Claim) -> None:
    """A job of a limited type runs no more: the next one of its key may."""
    if job.limit_key is not None:
        limits.let_next_go(tx, job.job_type, job.limit_key)


def _vanished(tx: Executor, job: Claim) -> bool:
    """Whether the row is gone without an outcome: none of our statements does that."""
    return not tx.fetch_all("SELECT 1 FROM jobs WHERE uuid = :u UNION ALL SELECT 1 FROM job_metrics "
                            f"WHERE uuid = :u AND round >= :r AND status IN {FINAL}", u=job.uuid, r=job.round)


_PARK = f"""UPDATE jobs SET state = CASE WHEN :state <> 'waiting' OR waits > 0 THEN :state ELSE 'pending' END,
 hold_code = :code, reason = :reason, reason_json = :json, worker_id = NULL, reserved_at = NULL, reserved_ms = NULL,
 available_ms = :now, attempts = attempts - 1, {_MARK} WHERE {FENCE}"""
_MINE = "SELECT status FROM job_metrics WHERE uuid = :u AND claim_no = :k AND status NOT IN ('lost', 'late')"
# Another process that takes a claim away writes a row in job_metrics for it in the same transaction.
_IS_PARKED = """SELECT 1 FROM jobs WHERE uuid = :u AND (claim_no > :k OR claim_no = :k AND state <> 'processing')
 AND NOT EXISTS (SELECT 1 FROM job_metrics WHERE uuid = :u AND claim_no = :k)"""


def _park(tx: Executor, job: Claim, parked: Parked, now: int) -> str:
    if tx.execute(_PARK, state=parked.state, code=parked.hold_code, reason=parked.reason, json=to_json(parked.reason),
                  now=now, c=job.has_children, **job.fence):
        _add_costs(tx, job, parked)
        leave(tx, job)
    elif not tx.fetch_all(_IS_PARKED, u=job.uuid, k=job.claim_no):  # else it is written: an ambiguous commit
        return late(tx, job, now, Outcome("late", run_ms=parked.run_ms, memory_peak=parked.memory_peak,
                                          details=parked.details))
    return parked.state


def late(tx: Executor, job: Claim, now: int, outcome: Outcome) -> str:
    """Write the outcome of a lost claim; returns 'late', or the status of our own outcome when it is written already
    (an ambiguous commit)."""
    if mine := tx.fetch_all(_MINE, u=job.uuid, k=job.claim_no):
        return mine[0][0]
    metric(tx, job, "late", now, outcome)
    return "late"


def finish(tx: Executor, job: Claim, status: str, now: int, outcome: Outcome, store: str) -> None:
    """Write all that a final outcome needs beside the deletion of the row. `store` as in `settle`."""
    metric(tx, job, status, now, outcome)
    values = dict(zip(HISTORY, _history_row(job, status, now, outcome), strict=True))
    tx.execute(_HISTORY, **values)
    if status in ("failed", "timeout"):
        tx.execute(_FAILED, **{name: values[name] for name in FAILED if name in values}, connection=store,
                   failed_at=stamp(now), backoff=job.backoff, timeout=job.timeout, durable=job.durable,
                   limit_key=job.limit_key, exception=outcome.traceback or outcome.error or status)


def _history_row(job: Claim, status: str, now: int, outcome: Outcome) -> tuple:
    """A row of job_history, in the order of HISTORY."""
    return (job.uuid, job.job_type, job.tenant_id, job.queue, status, job.payload, outcome.result, outcome.error,
            to_json(outcome.error), outcome.traceback or None, job.attempts, job.tries, job.claim_no, job.round,
            job.created_by, job.created_ms, now, job.batch_id)


def metric(tx: Executor, job: Claim, status: str, now: int, outcome: Outcome) -> None:
    """One row in job_metrics and its costs, or nothing when the outcome stands there already."""
    if tx.execute(_METRIC, **dict(zip(METRIC, _metric_row(job, status, now, outcome), strict=True))):
        _add_costs(tx, job, outcome)


def _metric_row(job: Claim, status: str, now: int, outcome: Outcome) -> tuple:
    """A row of job_metrics, in the order of METRIC."""
    at, reserved = stamp(now), job.reserved_ms
    return (job.uuid, job.round, job.claim_no, job.job_type, job.tenant_id, job.queue, job.worker, status,
            outcome.run_ms, max((reserved or now) - job.available_ms, 0), outcome.memory_peak, job.attempts,
            outcome.error, to_json(outcome.error), json.dumps(outcome.details) if outcome.details else None,
            stamp(reserved) if reserved else None, at, at, job.worker_id, outcome.traceback or None)


def _add_costs(tx: Executor, job: Claim, attempt: Figures) -> None:
    for cost in attempt.details.get("costs", ()):
        model = str(cost.get("model") or "")
        costs.add(tx, job.uuid, job.job_type, job.tenant_id, model, None, cost["nano"], cost["currency"])
