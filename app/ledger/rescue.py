"""Rescue, promote and unblock: what the monitor does to rows, each guarded by what it read."""

from __future__ import annotations

from app.ledger.claim import COLUMNS, FENCE, Claim, read_claim
from app.ledger.dialect import Connection, Executor
from app.ledger.settle import Outcome, finish, metric
from app.support.clock import stamp
from app.support.messages import Message, to_json

MAX_CRASHES, MAX_LOST = 3, 20

_PROMOTE = """UPDATE jobs SET state = 'pending' WHERE state = 'scheduled' AND id IN (SELECT j.id FROM jobs j
 WHERE j.state = 'scheduled' AND j.available_ms <= :now ORDER BY j.available_ms LIMIT 500 {skip}) RETURNING id"""
_LOST = "SELECT COUNT(*) FROM job_metrics WHERE uuid = :u AND round = :r AND status = 'lost'"
_FREE = f"""UPDATE jobs SET state = :state, worker_id = NULL, reserved_at = NULL, reserved_ms = NULL, available_ms = :at,
 available_at = :at / 1000, crashes = crashes + :c WHERE {FENCE} AND cancel_requested = 0 AND crashes + :c < {MAX_CRASHES}"""


def promote(connection: Connection) -> int:
    """Make due rows ready, 500 a transaction; returns how many."""
    total = 0
    while True:
        with connection.transaction() as tx:
            done = len(tx.fetch_all(_PROMOTE, now=tx.now()))
        total += done
        if done < 500:
            return total


def claims_of(tx: Executor, worker_id: str, worker: str = "") -> list[Claim]:
    """Rows a worker holds as processing."""
    rows = tx.fetch_all(f"SELECT {COLUMNS} FROM jobs WHERE state = 'processing' AND worker_id = :w", w=worker_id)
    return [read_claim(row, worker) for row in rows]


def rescue(connection: Connection, job: Claim, crash: bool, why: str, store: str) -> str | None:
    """Free the row of a worker given up for dead: 'lost' beside it, in the same transaction.

    `crash` says that the worker died alone (its consumer lives): from the second crash the row waits min(5 * 2^crashes,
    60) s, at the third it is failed as poison. So is one that was lost 20 times in whatever way: a job that kills its
    consumer takes the jobs of all its workers with it each time. Returns 'pending', 'scheduled', 'failed' or
    'cancelled'; None when someone was first.
    """
    with connection.transaction() as tx:
        now = tx.now()
        crashes = job.crashes + crash
        wait = min(5 * 2**crashes, 60) if crash and crashes >= 2 else 0
        outcome = Outcome("lost", error=why, run_ms=max(now - (job.reserved_ms or now), 0))
        state = "scheduled" if wait else "pending"
        lost = tx.fetch_all(_LOST, u=job.uuid, r=job.round)[0][0] + 1
        if lost < MAX_LOST and tx.execute(_FREE, state=state, at=now + wait * 1000, c=int(crash), **job.fence):
            metric(tx, job, "lost", now, outcome)
            return state
        poison = crashes >= MAX_CRASHES or (lost >= MAX_LOST and not job.cancel_requested)
        if not tx.execute(f"DELETE FROM jobs WHERE {FENCE}", **job.fence):
            return None
        metric(tx, job, "lost", now, outcome)
        final = Outcome("failed" if poison else "cancelled", error=why)
        if poison:
            final.error = (Message("Stopped after killing its worker %(n)s times. Last: %(why)s", n=crashes, why=why) if crashes >= MAX_CRASHES
                           else Message("Stopped after it was lost %(n)s times. Last: %(why)s", n=lost, why=why))
        finish(tx, job, final.status, now, final, store)
        return final.status


def forget_worker(connection: Connection, worker_id: str, reason: str) -> None:
    """Write what the monitor concluded: this worker has stopped."""
    with connection.transaction() as tx:
        now = tx.now()
        tx.execute(
            "UPDATE worker_heartbeats SET status = 'stopped', stale = 0, stopped_ms = :now, reason = :r, reason_json = :json, current_job_id = NULL, "
            "current_job_type = NULL, job_uuid = NULL, job_claim = NULL, job_since = NULL, last_heartbeat = :at, command = NULL "
            "WHERE worker_id = :w AND status <> 'stopped'",
            now=now, r=reason, json=to_json(reason), at=stamp(now), w=worker_id,
        )


def unblock(connection: Connection, uuids: list[str]) -> int:
    """Make blocked rows ready again whose type and arguments fit now."""
    changed = 0
    with connection.transaction() as tx:
        now = tx.now()
        for uuid in uuids:
            changed += tx.execute(
                "UPDATE jobs SET state = 'pending', reason = NULL, available_ms = :now WHERE uuid = :u AND state = 'blocked'",
                u=uuid, now=now,
            )
    return changed
