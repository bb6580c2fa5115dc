"""What the monitor does to rows: rescue, promote, unblock. Each change is guarded by what the monitor has read."""

from __future__ import annotations

from app.ledger.claimed_row import COLUMNS, FENCE, MARKED, Claim, read_claim
from app.ledger.dialect import Connection, Executor
from app.ledger.settle import Outcome, finish, leave, metric
from app.support.clock import stamp
from app.support.messages import Message, to_json

MAX_CRASHES, MAX_LOST = 3, 20

_PROMOTE = """UPDATE jobs SET state = 'pending' WHERE state = 'scheduled' AND id IN (SELECT j.id FROM jobs j
 WHERE j.state = 'scheduled' AND j.available_ms <= :now ORDER BY j.available_ms LIMIT 500 {skip}) RETURNING id"""
_LOST = "SELECT COUNT(*) FROM job_metrics WHERE uuid = :u AND round = :r AND status = 'lost'"
_FREE = f"""UPDATE jobs SET state = CASE WHEN waits > 0 THEN 'waiting' ELSE :state END, worker_id = NULL,
 reserved_at = NULL, reserved_ms = NULL, available_ms = :at, available_at = :at / 1000, crashes = crashes + :c,
 alone = CASE WHEN :alone > 0 THEN 1 ELSE alone END, has_children = {MARKED}
 WHERE {FENCE} AND cancel_requested = 0 AND crashes + :c < {MAX_CRASHES}"""
_STOPPED = """UPDATE worker_heartbeats SET status = 'stopped', stale = 0, stopped_ms = :now, last_heartbeat = :at,
 reason = :r, reason_json = :json, stop_code = COALESCE(:c, stop_code), command = NULL, current_job_id = NULL,
 current_job_type = NULL, job_uuid = NULL, job_claim = NULL, job_since = NULL WHERE worker_id = :w"""
_ONE_FEWER = """UPDATE consumers SET wanted = wanted - 1 WHERE wanted > 0
 AND consumer_id = (SELECT consumer_id FROM worker_heartbeats WHERE worker_id = :w)"""
_UNBLOCK = """UPDATE jobs SET state = 'pending', reason = NULL, available_ms = :now
 WHERE uuid = :u AND state = 'blocked'"""


def promote(connection: Connection) -> int:
    """Make due rows ready, 500 a transaction; returns how many."""
    total, done = 0, 500
    while done == 500:
        with connection.transaction() as tx:
            done = len(tx.fetch_all(_PROMOTE, now=tx.now()))
        total += done
    return total


def claims_of(tx: Executor, worker_id: str, worker: str = "") -> list[Claim]:
    """The `processing` rows of a worker; `worker` is its name."""
    rows = tx.fetch_all(f"SELECT {COLUMNS} FROM jobs WHERE state = 'processing' AND worker_id = :w", w=worker_id)
    return [read_claim(row, worker) for row in rows]


def rescue(connection: Connection, job: Claim, crash: bool, why: str, store: str, grouped: bool = False) -> str | None:
    """Free the row of a worker that was judged dead, and write the outcome 'lost' in the same transaction.

    `crash` means that the worker died alone (its consumer lives). After the second crash the row waits
    min(5 * 2^crashes, 60) s; after the third the job fails as poison. It fails too after it was lost 20 times for any
    reason, because a job that kills its consumer each time also ends the jobs of all other workers. `grouped`: the
    worker held other rows too, so it is not known which of them ran: none counts a crash, and each is claimed alone
    from now on. Returns 'pending', 'scheduled', 'failed' or 'cancelled'; None when another process has changed the row
    first.
    """
    crash = crash and not grouped
    with connection.transaction() as tx:
        now = tx.now()
        crashes = job.crashes + crash
        wait = min(5 * 2**crashes, 60) if crash and crashes >= 2 else 0
        outcome = Outcome("lost", error=why, run_ms=max(now - (job.reserved_ms or now), 0))
        state = "scheduled" if wait else "pending"
        lost = tx.fetch_all(_LOST, u=job.uuid, r=job.round)[0][0] + 1
        if lost < MAX_LOST and tx.execute(_FREE, state=state, at=now + wait * 1000, c=int(crash),
                                           alone=int(grouped), **job.fence):
            metric(tx, job, "lost", now, outcome)
            leave(tx, job)
            return state
        poison = crashes >= MAX_CRASHES or (lost >= MAX_LOST and not job.cancel_requested)
        if not tx.execute(f"DELETE FROM jobs WHERE {FENCE}", **job.fence):
            return None
        metric(tx, job, "lost", now, outcome)
        final = Outcome("failed" if poison else "cancelled", error=why)
        if crashes >= MAX_CRASHES:
            final.error = Message("Stopped after killing its worker %(n)s times. Last: %(why)s", n=crashes, why=why)
        elif poison:
            final.error = Message("Stopped after it was lost %(n)s times. Last: %(why)s", n=lost, why=why)
        finish(tx, job, final.status, now, final, store)
        leave(tx, job)
        return final.status


def forget_worker(connection: Connection, worker_id: str, reason: str, guarded: bool = True,
                  stop_code: str | None = None) -> None:
    """Write that a worker has stopped; with `guarded` only when its row does not say so yet. `stop_code` as in
    worker_slots.py."""
    with connection.transaction() as tx:
        now = tx.now()
        tx.execute(_STOPPED + " AND status <> 'stopped'" * guarded, now=now, at=stamp(now), r=reason,
                   json=to_json(reason), c=stop_code, w=worker_id)
        if stop_code:  # its consumer sees the end of the process up to 2 s later: no page may miss a worker meanwhile
            tx.execute(_ONE_FEWER, w=worker_id)


def unblock(connection: Connection, uuids: list[str]) -> int:
    """Make blocked rows ready again whose type and arguments fit now; returns how many."""
    with connection.transaction() as tx:
        now = tx.now()
        return sum(tx.execute(_UNBLOCK, u=uuid, now=now) for uuid in uuids)
