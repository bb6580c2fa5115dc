"""Batches: jobs that carry the id of one batch. No settle touches the row of a batch: 4 workers would queue for it.

create -> members join (dispatch) -> seal -> the monitor, each second (`advance`): no live member -> closed, and its
`then` job is written in the same transaction, once. A retry of a member opens the batch again (manual.requeue); `then`
does not run a second time, and not at all when the batch was cancelled. With on_failure "stop" the first final failure
cancels the other members.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from app.ledger import control, manual
from app.ledger.dialect import Connection, Executor
from app.ledger.rows import insert
from app.models.job import BY_BATCH, BY_LIMIT, BY_RATE
from app.models.job_batch import STOP
from app.models.job_metric import FINAL
from app.support.messages import Message, to_json

MOST_IDS, STEP = 1000, 500
PAUSED, STOPPED = Message("Its batch is paused."), Message("Its batch stopped after a failure.")
_CREATE = insert("job_batches", (
    "id name total_jobs pending_jobs failed_jobs failed_job_ids options created_at created_ms created_by tenant_id "
    "on_failure then_json").split(), total_jobs="0", pending_jobs="0", failed_jobs="0", failed_job_ids="'[]'",
    options="'{}'", created_at=":now / 1000", created_ms=":now")
_LIVE = "EXISTS (SELECT 1 FROM jobs WHERE batch_id = :b)"
_FAILED_MEMBER = "SELECT 1 FROM job_history WHERE batch_id = :b AND status IN ('failed', 'timeout') LIMIT 1"
_COUNTS = """UPDATE job_batches SET total_jobs = :total, pending_jobs = :pending, failed_jobs = :failed,
 failed_job_ids = :ids WHERE id = :b AND (total_jobs <> :total OR pending_jobs <> :pending OR failed_jobs <> :failed)"""


class BatchEnded(LookupError):
    """A batch that takes no more members, or that is not known."""


def create(tx: Executor, batch_id: str, name: str, tenant_id: str | None, on_failure: str, then_json: str | None,
           created_by: str | None) -> None:
    """Write a new batch, open for members."""
    tx.execute(_CREATE, id=batch_id, name=name, tenant_id=tenant_id, on_failure=on_failure, then_json=then_json,
               created_by=created_by, now=tx.now())


def join(tx: Executor, batch_id: str, n: int) -> None:
    """Count `n` new members and lock the batch, which must not close before they are committed. Raises BatchEnded."""
    if not tx.execute("UPDATE job_batches SET total_jobs = total_jobs + :n, pending_jobs = pending_jobs + :n "
                      "WHERE id = :b AND closed_ms IS NULL AND cancelled_at IS NULL", n=n, b=batch_id):
        raise BatchEnded(batch_id)


def seal(tx: Executor, batch_id: str) -> int:
    """No caller adds members any more: the batch may close. Returns 0 when it was sealed already."""
    return tx.execute("UPDATE job_batches SET sealed_ms = :now WHERE id = :b AND sealed_ms IS NULL", now=tx.now(),
                      b=batch_id)


def cancel(tx: Executor, batch_id: str) -> int:
    """Mark a batch as cancelled: no member joins, `then` does not run. Its members are cancelled by the caller."""
    return tx.execute("UPDATE job_batches SET cancelled_at = :now / 1000, sealed_ms = COALESCE(sealed_ms, :now) "
                      "WHERE id = :b AND cancelled_at IS NULL AND closed_ms IS NULL", now=tx.now(), b=batch_id)


def pause(tx: Executor, batch_id: str, on: bool) -> int:
    """Hold the waiting members, or end that; `sweep_paused` moves the rows."""
    mark, was = (":now", "IS NULL") if on else ("NULL", "IS NOT NULL")
    return tx.execute(f"UPDATE job_batches SET paused_ms = {mark} WHERE id = :b AND closed_ms IS NULL "
                      f"AND paused_ms {was}", b=batch_id, **({"now": tx.now()} if on else {}))


def sweep_paused(connection: Connection) -> int:
    """Move members of paused batches to held, and back after a pause; returns how many."""
    total, said = 0, {"why": PAUSED, "json": to_json(PAUSED)}
    for (batch_id,) in connection.fetch_all("SELECT id FROM job_batches WHERE paused_ms IS NOT NULL "
                                            "AND closed_ms IS NULL"):
        total += control.in_steps(
            connection, "batch_id = :b AND (state IN ('pending', 'scheduled', 'waiting') OR state = 'held' "
            f"AND hold_code IN {(BY_LIMIT, BY_RATE)})",  # else each that ends would let the next one go
            change=f"state = 'held', hold_code = '{BY_BATCH}', reason = :why, reason_json = :json", b=batch_id, **said)
    held = connection.fetch_all(f"SELECT DISTINCT batch_id FROM jobs WHERE state = 'held' AND hold_code = '{BY_BATCH}'")
    for (batch_id,) in held:
        if not connection.fetch_all("SELECT 1 FROM job_batches WHERE id = :b AND paused_ms IS NOT NULL", b=batch_id):
            total += control.free_held(connection, f"hold_code = '{BY_BATCH}' AND batch_id = :b", b=batch_id)
    return total


def members(tx: Executor, batch_id: str) -> dict[str, int]:
    """Numbers of members by live state or final status."""
    found: dict[str, int] = {}
    for table, column in (("jobs", "state"), ("job_history", "status")):
        found |= dict(tx.fetch_all(f"SELECT {column}, COUNT(*) FROM {table} WHERE batch_id = :b GROUP BY {column}",
                                   b=batch_id))
    return found


def advance(connection: Connection, dispatch: Callable[[str, str], None]) -> int:
    """Keep the counts of open batches, stop those that a failure ends, and close those without live members; returns
    how many were closed.

    `dispatch(batch id, then_json)` writes the `then` job and closes the batch in one transaction of its own.
    """
    closed = 0
    for (batch_id,) in connection.fetch_all("SELECT id FROM job_batches WHERE closed_ms IS NULL"):
        _count(connection, batch_id)
        closed += _advance(connection, batch_id, dispatch)
    return closed


def _advance(connection: Connection, batch_id: str, dispatch: Callable[[str, str], None]) -> int:
    columns = "sealed_ms, on_failure, then_json, then_uuid, cancelled_at"
    sealed, on_failure, then_json, then_uuid, cancelled = connection.fetch_all(
        f"SELECT {columns} FROM job_batches WHERE id = :b", b=batch_id)[0]
    if on_failure == STOP and not cancelled and connection.fetch_all(_FAILED_MEMBER, b=batch_id):
        with connection.transaction() as tx:
            cancel(tx, batch_id)
        cancelled = True
    if cancelled and on_failure == STOP:
        cancel_members(connection, batch_id, STOPPED)
    if sealed is None and not cancelled or connection.fetch_all(f"SELECT 1 WHERE {_LIVE}", b=batch_id):
        return 0
    if then_json and not then_uuid and not cancelled:
        return int(bool(dispatch(batch_id, then_json)))
    with connection.transaction() as tx:
        return close(tx, batch_id)


def close(tx: Executor, batch_id: str, then_uuid: str | None = None) -> int:
    """Close a batch without live members; returns 0 when it has some, or is closed already."""
    tx.execute("UPDATE job_batches SET pending_jobs = pending_jobs WHERE id = :b", b=batch_id)  # locks: `join` waits
    return tx.execute(f"UPDATE job_batches SET closed_ms = :now, finished_at = :now / 1000, pending_jobs = 0, "
                      "then_uuid = COALESCE(then_uuid, :u), paused_ms = NULL WHERE id = :b AND closed_ms IS NULL "
                      f"AND NOT {_LIVE}", now=tx.now(), b=batch_id, u=then_uuid)


def cancel_members(connection: Connection, batch_id: str, why: str) -> int:
    """Cancel the waiting members and ask the running ones to stop; returns how many."""
    total, done = 0, STEP
    while done:
        with connection.transaction() as tx:
            ids = [row[0] for row in tx.fetch_all(
                "SELECT id FROM jobs WHERE batch_id = :b AND (state <> 'processing' OR cancel_requested = 0) "
                f"LIMIT {STEP}", b=batch_id)]
            done = sum(manual.cancel(tx, ids, why)) if ids else 0
        total += done
    return total


def _count(connection: Connection, batch_id: str) -> None:
    found = members(connection, batch_id)
    failed = found.get("failed", 0) + found.get("timeout", 0)
    ids = connection.fetch_all("SELECT id FROM failed_jobs WHERE batch_id = :b ORDER BY id "
                               f"LIMIT {MOST_IDS}", b=batch_id) if failed else []
    with connection.transaction() as tx:
        tx.execute(_COUNTS, total=sum(found.values()), failed=failed, ids=json.dumps([row[0] for row in ids]),
                   pending=sum(n for state, n in found.items() if state not in FINAL), b=batch_id)
