"""Claim and release: the statements by which a worker gets and gives back a row.

One UPDATE takes the best ready row of the worker's queues, in their order, and leaves out paused ones. `claim_no` never
falls; each later change of the row is guarded by it (FENCE).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import takewhile

from app.ledger import limits
from app.ledger.claimed_row import COLUMNS, FENCE, FENCES, MARKED, Claim, pairs_of, read_claim
from app.ledger.dialect import Connection, Executor
from app.models.job import ORDER_J
from app.support.clock import stamp
from app.support.messages import Message, to_json


def _best(queue: str) -> str:
    return f"""CASE WHEN EXISTS(SELECT 1 FROM queues WHERE name = '{queue}' AND paused_at IS NOT NULL) THEN NULL ELSE
 (SELECT j.id FROM jobs j WHERE j.state = 'pending' AND j.queue = '{queue}' AND NOT EXISTS
 (SELECT 1 FROM queues t WHERE t.name = 'type:' || j.job_type AND t.paused_at IS NOT NULL)
 ORDER BY {ORDER_J} LIMIT 1 {{skip}}) END"""


_CLAIM = """UPDATE jobs SET state = 'processing', worker_id = :w, reserved_at = :now / 1000, reserved_ms = :now,
 reason = NULL, over_time = 0, claim_no = claim_no + 1, attempts = attempts + 1, limit_key = COALESCE(limit_key,
 (SELECT l.job_type FROM job_limits l WHERE l.job_type = jobs.job_type))"""


def claim_statement(queues: tuple[str, ...]) -> str:
    """SQL of the claim for workers of `queues` (names from config.QUEUES, the first one first)."""
    best = ", ".join(map(_best, queues))
    return f"{_CLAIM} WHERE id = COALESCE({best}, NULL) AND state = 'pending' RETURNING {COLUMNS}"


def ready_statement(queues: tuple[str, ...]) -> str:
    """SQL that returns a row when the claim would find one: the same condition, because a plain EXISTS would be true
    for a paused queue again and again."""
    best = ", ".join(map(_best, queues)).replace("{skip}", "")
    return f"SELECT 1 WHERE COALESCE({best}, NULL) IS NOT NULL"


_TO_PENDING = f"""UPDATE jobs SET state = CASE WHEN waits > 0 THEN 'waiting' ELSE 'pending' END, worker_id = NULL,
 reserved_at = NULL, reserved_ms = NULL, attempts = attempts - 1, has_children = {MARKED}"""
_RELEASE_OTHERS = f"{_TO_PENDING} WHERE worker_id = :w AND state = 'processing'"  # as ready as before: it never began
RELEASE = f"{_TO_PENDING}, available_ms = :now WHERE {FENCE} AND cancel_requested = 0"
_SHOW = """UPDATE worker_heartbeats SET status = :status, current_job_id = :id, current_job_type = :t, job_uuid = :u,
 job_claim = :k, job_since = :since, last_heartbeat = :at, jobs_done = :done
 WHERE worker_id = :w AND status <> 'stopped'"""
OVER = Message("Over its time limit.")
_NOTE_OVER = f"UPDATE jobs SET over_time = 1, reason = :reason, reason_json = :json WHERE {FENCE}"


def show(tx: Executor, worker_id: str, job: Claim | None, done: int) -> None:
    """Write the current job of a worker into its row, in the open transaction; `done` is its number of jobs ended."""
    tx.execute(_SHOW, status="active" if job else "idle", id=job and job.id, t=job and job.job_type, u=job and job.uuid,
               k=job and job.claim_no, since=job and job.reserved_ms, at=stamp(tx.now()), done=done, w=worker_id)
    if job and job.over_time:  # should the worker die before it stops the job: a timeout, not a loss
        tx.execute(_NOTE_OVER, reason=OVER, json=to_json(OVER), **job.fence)


def claim(connection: Connection, statement: str, worker_id: str, worker: str) -> Claim | None:
    """Claim the best ready row; None without one. Any other row of this worker is released first."""
    found = claim_more(connection, statement, worker_id, worker, None)
    return found[0] if found else None


def claim_more(connection: Connection, statement: str, worker_id: str, worker: str,
               grouping: Grouping | None) -> list[Claim]:
    """As `claim`, with the rows of a group; [] without one."""
    full = True
    while full:
        with connection.transaction() as tx:
            tx.execute(_RELEASE_OTHERS, w=worker_id)
            found, full = claim_group(tx, statement, worker_id, worker, grouping)
    return found


def claim_in(tx: Executor, statement: str, worker_id: str, worker: str) -> tuple[Claim | None, bool]:
    """The claim itself, in the open transaction: alone, or together with the settle of the job before. (None, True):
    the best row has a limit that is full and is held now; ask again in another transaction, as one transaction holds
    the lock of one key."""
    if not (rows := tx.fetch_all(statement, w=worker_id, now=tx.now())):
        return None, False
    job = read_claim(rows[0], worker)
    return (job, False) if job.limit_key is None or limits.admit(tx, job) else (None, True)


@dataclass(frozen=True, slots=True)
class Grouping:
    """What a worker may claim together: at most `most` rows of `types` (short ones), and no more than its share of the
    ready rows among `workers`."""

    types: frozenset[str]
    most: int
    workers: int

    def fits(self, job_type: str, durable: int, limit_key: str | None, has_children: int, crashes: int,
             alone: int) -> bool:
        """Whether a row may be in a group: if its worker dies, it comes back uncounted and may run twice."""
        return job_type in self.types and not (durable or limit_key or has_children or crashes or alone)


_MORE = f"""SELECT j.id, j.job_type, j.durable, COALESCE(j.limit_key, (SELECT l.job_type FROM job_limits l
 WHERE l.job_type = j.job_type)), j.has_children, j.crashes, j.alone FROM jobs j
 WHERE j.state = 'pending' AND j.queue = :q AND NOT EXISTS
 (SELECT 1 FROM queues t WHERE t.name = 'type:' || j.job_type AND t.paused_at IS NOT NULL)
 ORDER BY {ORDER_J} LIMIT :n {{skip}}"""
_CLAIM_THESE = f"{_CLAIM} WHERE id IN {{ids}} AND state = 'pending' RETURNING {COLUMNS}"
_DEPTH = "SELECT COUNT(*) FROM (SELECT 1 FROM jobs WHERE state = 'pending' AND queue = :q LIMIT :n) r"


def claim_group(tx: Executor, statement: str, worker_id: str, worker: str,
                grouping: Grouping | None) -> tuple[list[Claim], bool]:
    """The best ready row and, when it is short, the short rows that follow it in its queue, in the open transaction;
    and whether to ask again (`claim_in`)."""
    first, full = claim_in(tx, statement, worker_id, worker)
    if first is None or grouping is None or not grouping.fits(
            first.job_type, first.durable, first.limit_key, first.has_children, first.crashes, first.alone):
        return ([first] if first else []), full
    n, share = grouping.most - 1, grouping.workers
    if share > 1:
        n = min(n, -(-tx.fetch_all(_DEPTH, q=first.queue, n=grouping.most * share)[0][0] // share))
    rows = tx.fetch_all(_MORE, q=first.queue, n=n) if n > 0 else []
    following = list(takewhile(lambda row: grouping.fits(*row[1:]), rows))
    if not following:
        return [first], False
    ids = [row[0] for row in following]
    found = tx.fetch_all(_CLAIM_THESE, w=worker_id, now=tx.now(), ids=json.dumps(ids))
    place = {id_: n for n, id_ in enumerate(ids)}
    return [first, *sorted((read_claim(row, worker) for row in found), key=lambda job: place[job.id])], False


def hand_back(tx: Executor, jobs: list[Claim]) -> list[Claim]:
    """Make rows of a group that have not begun as ready as before, uncounted; returns those with a cancel request."""
    these = {"w": jobs[0].worker_id, "pairs": pairs_of(jobs)}
    tx.execute(f"{_TO_PENDING} WHERE {FENCES} AND cancel_requested = 0", **these)
    left = {row[0] for row in tx.fetch_all(f"SELECT id FROM jobs WHERE {FENCES}", **these)}
    return [job for job in jobs if job.id in left]


def is_ready(tx: Executor, statement: str) -> bool:
    """Whether a row is ready for a worker with this `ready_statement`."""
    return bool(tx.fetch_all(statement))


def release(tx: Executor, held: Claim) -> bool:
    """Make an unfinished row ready again, uncounted (a stop). False when it is no longer ours, or when its cancel was
    requested."""
    return bool(tx.execute(RELEASE, now=tx.now(), **held.fence))
