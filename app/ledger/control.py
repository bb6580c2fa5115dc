"""What people do to waiting rows: pause, hold, delay, move, reorder. No function publishes a ticket or changes a
running row.

A pause is one row in `queues` (named after a queue, or `type:` and a job type). Every claim that begins later reads it.
Rows of a paused type are also moved to `held`, in steps, so that a claim need not skip them. `sweep_types` moves them,
and moves them back after a resume; the code that pauses calls it, and the monitor each second. `hold_code` says why a
row is held; code that frees rows finds them by it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.ledger.claimed_row import RESTING
from app.ledger.dialect import Connection, Executor
from app.ledger.fairness import assign_fair_ranks
from app.ledger.order import TOP
from app.ledger.rows import among
from app.models.job import BY_LIMIT, BY_PERSON, BY_RATE, BY_TYPE
from app.models.types import as_integer, as_text
from app.support.clock import when
from app.support.messages import Message, to_json

TYPE = "type:"
PAUSED = Message("Its type is paused.")
STEP = 500

_PAUSE = """INSERT INTO queues (name, paused_at, paused_until, paused_by, reason)
 VALUES (:name, :now, :until, :by, :reason) ON CONFLICT (name) DO UPDATE SET
 paused_at = COALESCE(queues.paused_at, excluded.paused_at), paused_until = excluded.paused_until,
 paused_by = excluded.paused_by, reason = excluded.reason"""
_RESUME = """UPDATE queues SET paused_at = NULL, paused_until = NULL, paused_by = NULL, reason = NULL
 WHERE paused_at IS NOT NULL AND """
_NEXT_TYPE = f"SELECT MIN(job_type) FROM jobs WHERE state = 'held' AND hold_code = '{BY_TYPE}' AND job_type > :last"


@dataclass(frozen=True)
class Pause:
    """A pause; times in ms. `until` is None when it lasts until somebody resumes, `by` when the platform paused."""

    since: int
    until: int | None
    by: str | None
    reason: str | None


def pauses(tx: Executor) -> dict[str, Pause]:
    """The pauses by the name of the queue, or of the type as `type:X`, the longest first. Of a row that another program
    wrote, a start in another form is the year 1970, and an end is none: by such an end nothing resumes."""
    rows = tx.fetch_all("SELECT name, paused_at, paused_until, paused_by, reason FROM queues "
                        "WHERE paused_at IS NOT NULL ORDER BY paused_at, name")
    return {as_text(name) or "": Pause(_time(since) or 0, _time(until), as_text(by), as_text(reason))
            for name, since, until, by, reason in rows}


def _time(stored: Any) -> int | None:
    return at if when(at := as_integer(stored)) else None


def kept_back(tx: Executor, name: str, depths: Mapping[str, int]) -> int:
    """How many jobs wait because this name is paused. `depths` are the numbers of ready jobs by queue."""
    if not name.startswith(TYPE):
        return depths.get(name, 0)
    held = f"SELECT COUNT(*) FROM jobs WHERE state = 'held' AND hold_code = '{BY_TYPE}' AND job_type = :t"
    return tx.fetch_all(held, t=name.removeprefix(TYPE))[0][0]


def pause(tx: Executor, name: str, until: int | None, by: str, reason: str | None) -> None:
    """Stop handing out rows of a queue or of `type:X`, until `until` (ms) or for good."""
    tx.execute(_PAUSE, name=name, now=tx.now(), until=until, by=by, reason=reason)


def resume(tx: Executor, name: str) -> int:
    """End the pause of a queue or of `type:X`; returns 0 when there was none."""
    return tx.execute(f"{_RESUME} name = :name", name=name)


def resume_due(tx: Executor) -> int:
    """End the pauses whose time is over; returns how many."""
    return tx.execute(f"{_RESUME} paused_until <= :now", now=tx.now())


def sweep_types(connection: Connection) -> int:
    """Move rows of paused types to held and back again, 500 a transaction; returns how many."""
    rows = connection.fetch_all("SELECT name FROM queues WHERE paused_at IS NOT NULL AND name LIKE 'type:%'")
    paused, total, job_type = [(as_text(row[0]) or "").removeprefix(TYPE) for row in rows], 0, ""
    for name in paused:
        total += in_steps(connection, "state = 'pending' AND job_type = :t",
                           change=f"state = 'held', hold_code = '{BY_TYPE}', reason = :why, reason_json = :json",
                           t=name, why=PAUSED, json=to_json(PAUSED))
    while (job_type := connection.fetch_all(_NEXT_TYPE, last=job_type)[0][0]) is not None:
        if job_type not in paused:
            total += free_held(connection, f"hold_code = '{BY_TYPE}' AND job_type = :t", t=job_type)
    return total


def free_held(connection: Connection, condition: str, **values: object) -> int:
    """Held rows that fit `condition` become ready, 500 a transaction; returns how many."""
    ready = f"state = {RESTING}, hold_code = NULL, reason = NULL"
    return in_steps(connection, f"state = 'held' AND {condition}", ready, now=connection.now(), **values)


def in_steps(connection: Connection, condition: str, change: str, **values: object) -> int:
    """`change`, after which no row fits `condition`, 500 a transaction. In no order: by id SQLite walks through the
    whole table, each second while a type is paused (80 ms with 200,000 held rows; by the index of the state 0.03 ms).
    """
    total, done = 0, STEP
    known = {name: value for name, value in values.items() if f":{name}" in condition}
    while done >= STEP:
        with connection.transaction() as tx:
            ids = [row[0] for row in tx.fetch_all(f"SELECT id FROM jobs WHERE {condition} LIMIT {STEP}", **known)]
            done = tx.execute(f"UPDATE jobs SET {change} WHERE {among(ids)} AND {condition}", **values)
        total += done
    return total


def hold(tx: Executor, ids: Sequence[int], by: str) -> int:
    """Waiting rows are held until a person releases them, also those that a limit holds; returns how many."""
    why = Message("Held by %(name)s.", name=by)
    return tx.execute(f"UPDATE jobs SET state = 'held', hold_code = '{BY_PERSON}', reason = :r, reason_json = :json "
                      f"WHERE {among(ids)} AND (state IN ('pending', 'scheduled', 'waiting') OR state = 'held' "
                      f"AND hold_code IN {(BY_LIMIT, BY_RATE)})", r=why, json=to_json(why))


def keep_back(tx: Executor, uuid: str, code: str, why: str) -> None:
    """Hold a row that was just dispatched, for the reason that `code` (of HOLD_CODES) names."""
    tx.execute("UPDATE jobs SET state = 'held', hold_code = :code, reason = :why, reason_json = :json WHERE uuid = :u "
               "AND state <> 'processing'", u=uuid, code=code, why=why, json=to_json(why))


def release(tx: Executor, ids: Sequence[int], _by: str) -> int:
    """Held rows wait for a worker again, or for their time; returns how many."""
    return tx.execute(f"UPDATE jobs SET state = {RESTING}, hold_code = NULL, reason = NULL WHERE {among(ids)} "
                      "AND state = 'held'", now=tx.now())


def delay(tx: Executor, ids: Sequence[int], _by: str, seconds: float) -> int:
    """Waiting rows run no sooner than `seconds` from now; returns how many. None is brought forward: a row that is due
    later stays as it is, a held one keeps its time."""
    at = "CASE WHEN available_ms > :at THEN available_ms ELSE :at END"
    later = ("state = CASE WHEN waits > 0 THEN 'waiting' ELSE 'scheduled' END, "
             f"available_ms = {at}, available_at = ({at}) / 1000, hold_code = NULL, reason = NULL")
    fits = "(state = 'held' OR state IN ('pending', 'scheduled', 'waiting') AND available_ms < :at)"
    return tx.execute(f"UPDATE jobs SET {later} WHERE {among(ids)} AND {fits}",
                      at=tx.now() + int(seconds * 1000))


def move(tx: Executor, ids: Sequence[int], _by: str, queue: str, fair: Collection[str]) -> int:
    """Move waiting rows into another queue, at rank 0; those of `fair` types get a fair rank there (fairness.py).
    Returns how many."""
    moved = tx.fetch_all(f"UPDATE jobs SET queue = :q, rank = 0, seat = NULL WHERE {among(ids)} "
                         "AND state <> 'processing' AND queue <> :q RETURNING id, queue, tenant_id, job_type", q=queue)
    assign_fair_ranks(tx, moved, fair)
    return len(moved)


def to_top(tx: Executor, ids: Sequence[int], _by: str) -> int:
    """Waiting rows ahead of all others of their queue, in their own order; returns how many."""
    tops = tx.fetch_all("SELECT queue, MAX(rank) FROM jobs WHERE state = 'pending' GROUP BY queue")
    change = f"UPDATE jobs SET rank = :top, seat = NULL WHERE {among(ids)} AND queue = :q AND state <> 'processing'"
    return sum(tx.execute(change, top=min((as_integer(top) or 0) + 1, TOP), q=queue) for queue, top in tops)
