"""Batches: jobs that carry the id of one batch. No settle touches the row of a batch: 4 workers would queue for it.

create -> members join (dispatch) -> seal -> the monitor, each second (`advance`): no live member -> closed, and its
`then` job is written in the same transaction, once. A retry of a member opens the batch again (manual.requeue); `then`
does not run a second time, and not at all when the batch was cancelled. With on_failure "stop" the first final failure
cancels the batch. A cancelled batch takes no members. Those it has are cancelled by the monitor, whatever becomes of
the process that asked for it; a member that a person retries afterwards runs (`CANCEL_TO`).
A batch whose `then` job cannot be written stays open and is tried again; the others go on.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from app.ledger import control, manual
from app.ledger.batch_counts import recount, recount_open
from app.ledger.dialect import Connection, Executor, database_errors
from app.ledger.rows import insert
from app.models.job import BY_BATCH, BY_LIMIT, BY_RATE
from app.models.job_batch import STOP
from app.support.messages import Message, to_json
from app.support.validation import stored_object

STEP = 500
CANCEL_TO = "cancel_to"  # in `options`: the highest id in `jobs` of a member that the cancel of the batch ends
PAUSED, STOPPED = Message("Its batch is paused."), Message("Its batch stopped after a failure.")
CANCELLED = Message("Its batch was cancelled.")
_CREATE = insert("job_batches", (
    "id name total_jobs pending_jobs failed_jobs failed_job_ids options created_at created_ms created_by tenant_id "
    "on_failure then_json").split(), total_jobs="0", pending_jobs="0", failed_jobs="0", failed_job_ids="'[]'",
    options="'{}'", created_at=":now / 1000", created_ms=":now")
_LIVE = "EXISTS (SELECT 1 FROM jobs WHERE batch_id = :b)"
_FAILED_MEMBER = "SELECT 1 FROM job_history WHERE batch_id = :b AND status IN ('failed', 'timeout') LIMIT 1"


# A batch that holds what a limit has held: else each that ends would let the next one go.
_TO_HOLD = ("batch_id = :b AND state IN ('pending', 'scheduled', 'waiting')",
            f"COALESCE(hold_code, '') IN {(BY_LIMIT, BY_RATE)} AND state = 'held' AND batch_id = :b")
_HELD = f"hold_code = '{BY_BATCH}' AND state = 'held' AND batch_id = :b"


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
    """Cancel a batch: no member joins, `then` does not run, the monitor cancels its members (the caller may do so
    sooner). Returns 0 when it was cancelled already or has ended."""
    done = tx.execute("UPDATE job_batches SET cancelled_at = :now / 1000, sealed_ms = COALESCE(sealed_ms, :now) "
                      "WHERE id = :b AND cancelled_at IS NULL AND closed_ms IS NULL", now=tx.now(), b=batch_id)
    if done:
        last = tx.fetch_all("SELECT COALESCE(MAX(id), 0) FROM jobs WHERE batch_id = :b", b=batch_id)[0][0]
        kept = stored_object(tx.fetch_all("SELECT options FROM job_batches WHERE id = :b", b=batch_id)[0][0])
        tx.execute("UPDATE job_batches SET options = :o WHERE id = :b", b=batch_id,
                   o=json.dumps(kept | {CANCEL_TO: last}))
    return done


def pause(tx: Executor, batch_id: str, on: bool) -> int:
    """Hold the waiting members, or end that; `sweep_paused` moves the rows."""
    mark, was = (":now", "IS NULL") if on else ("NULL", "IS NOT NULL")
    return tx.execute(f"UPDATE job_batches SET paused_ms = {mark} WHERE id = :b AND closed_ms IS NULL "
                      f"AND paused_ms {was}", b=batch_id, **({"now": tx.now()} if on else {}))


def sweep_paused(connection: Connection) -> int:
    """Move members of paused batches to held, and back after a pause; returns how many. Looks before it writes: an open
    batch without anything to move costs two look-ups in an index."""
    total, said = 0, {"why": PAUSED, "json": to_json(PAUSED)}
    held = f"state = 'held', hold_code = '{BY_BATCH}', reason = :why, reason_json = :json"
    for batch_id, paused in connection.fetch_all("SELECT id, paused_ms FROM job_batches WHERE closed_ms IS NULL"):
        for condition in _TO_HOLD if paused is not None else ():
            if _any(connection, condition, batch_id):
                total += control.in_steps(connection, condition, held, b=batch_id, **said)
        if paused is None and _any(connection, _HELD, batch_id):
            total += control.free_held(connection, _HELD, b=batch_id)
    return total


def _any(connection: Connection, condition: str, batch_id: str) -> bool:
    return bool(connection.fetch_all(f"SELECT 1 FROM jobs WHERE {condition} LIMIT 1", b=batch_id))


def advance(connection: Connection, dispatch: Callable[[str, str], bool]) -> int:
    """Keep the counts of open batches, stop those that a failure ends, and close those without live members; returns
    how many were closed.

    `dispatch(batch id, then_json)` writes the `then` job and closes the batch in one transaction of its own. Raises
    RuntimeError, when the others are done, with the batches for which that failed.
    """
    closed, failed = 0, []
    ours = "SELECT id FROM job_batches WHERE closed_ms IS NULL AND created_ms > 0"  # not those of another program
    for (batch_id,) in connection.fetch_all(ours):
        try:
            recount_open(connection, batch_id)
            closed += _advance(connection, batch_id, dispatch)
        except database_errors():
            raise
        except Exception as error:
            failed.append(f"batch {batch_id}: {error}")
    if failed:
        raise RuntimeError("; ".join(failed))
    return closed


def _advance(connection: Connection, batch_id: str, dispatch: Callable[[str, str], bool]) -> int:
    columns = "sealed_ms, on_failure, then_json, then_uuid, cancelled_at, options"
    sealed, on_failure, then_json, then_uuid, cancelled, options = connection.fetch_all(
        f"SELECT {columns} FROM job_batches WHERE id = :b", b=batch_id)[0]
    if on_failure == STOP and not cancelled and connection.fetch_all(_FAILED_MEMBER, b=batch_id):
        with connection.transaction() as tx:
            done = cancel(tx, batch_id)
        return _advance(connection, batch_id, dispatch) if done else 0
    if cancelled:
        last = stored_object(options).get(CANCEL_TO)
        _cancel_members(connection, batch_id, STOPPED if on_failure == STOP else CANCELLED, last or 0)
    if sealed is None and not cancelled or connection.fetch_all(f"SELECT 1 WHERE {_LIVE}", b=batch_id):
        return 0
    if then_json and not then_uuid and not cancelled:
        return int(bool(dispatch(batch_id, then_json)))
    with connection.transaction() as tx:
        return close(tx, batch_id)


def close(tx: Executor, batch_id: str, then_uuid: str | None = None) -> int:
    """Close a batch without live members; returns 0 when it has some, or is closed already, or with `then_uuid` when
    nothing may follow it (it was cancelled, or a failure stops it)."""
    may_follow = f" AND cancelled_at IS NULL AND (on_failure <> '{STOP}' OR NOT EXISTS ({_FAILED_MEMBER}))"
    tx.execute("UPDATE job_batches SET pending_jobs = pending_jobs WHERE id = :b", b=batch_id)  # locks: `join` waits
    done = tx.execute("UPDATE job_batches SET closed_ms = :now, finished_at = :now / 1000, paused_ms = NULL, "
                      "then_uuid = COALESCE(then_uuid, :u) WHERE id = :b AND closed_ms IS NULL "
                      f"AND NOT {_LIVE}{may_follow if then_uuid else ''}", now=tx.now(), b=batch_id, u=then_uuid)
    if done:
        recount(tx, [batch_id])  # the last member may have ended since the last count
    return done


def _cancel_members(connection: Connection, batch_id: str, why: str, last: int) -> None:
    """Cancel the waiting members up to the id `last` and ask the running ones to stop."""
    done = STEP
    while done:
        with connection.transaction() as tx:
            ids = [row[0] for row in tx.fetch_all(
                "SELECT id FROM jobs WHERE batch_id = :b AND id <= :last AND (state <> 'processing' "
                f"OR cancel_requested = 0) LIMIT {STEP}", b=batch_id, last=last)]
            done = sum(manual.cancel(tx, ids, why)) if ids else 0
