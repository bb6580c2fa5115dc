"""Limits: how many jobs with the same key run at once, and how many of them start in a time.

A row of a limited type carries its key (`limit_key`: the type, or the type with its tenant or an argument). What runs
is counted from the rows that are `processing`, so a killed holder frees its place when its row is rescued; there is no
lock and no counter. The starts of a rate are rows in `rate_starts`, so they survive restarts.

claim -> the best row has a key -> `admit`: room -> it runs
                                            no room -> it and all ready rows of its key are held (limit or rate), and
                                            the claim looks again: thousands of them at the head then cost nothing
settle, park, rescue -> `let_next_go`: the best held row of the key becomes ready, in the same transaction
monitor, each second -> `sweep`: keys with room (a rate whose time has passed, a limit that was raised)
On PostgreSQL `admit` takes an advisory lock of the key, so two workers do not count at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, NamedTuple

from app.config import QUEUES
from app.ledger.claimed_row import FENCE, RESTING, Claim
from app.ledger.dialect import Connection, Executor
from app.ledger.rows import among, insert
from app.models.job import BY_LIMIT, BY_RATE
from app.support.messages import Message, to_json

MOST_KEY, MOST_FREED = 200, 500
CODES = (BY_LIMIT, BY_RATE)
_OF_TYPE = """SELECT COALESCE(set_concurrency, concurrency), COALESCE(set_rate_count, rate_count),
 COALESCE(set_rate_ms, rate_ms) FROM job_limits WHERE job_type = :t"""
_RUNNING = "SELECT COUNT(*) FROM jobs WHERE limit_key = :key AND state = 'processing'"
_HOLD = f"""UPDATE jobs SET state = 'held', hold_code = :code, reason = :why, reason_json = :json, worker_id = NULL,
 reserved_at = NULL, reserved_ms = NULL, attempts = attempts - 1 WHERE {FENCE}"""
_HOLD_READY = """UPDATE jobs SET state = 'held', hold_code = :code, reason = :why, reason_json = :json
 WHERE {ids} AND state = 'pending'"""
_READY = "SELECT j.id FROM jobs j WHERE j.limit_key = :key AND j.state = 'pending' {skip}"
_NEXT = """SELECT j.id FROM jobs j WHERE j.limit_key = :key AND j.state = 'held' AND j.queue = :queue
 AND j.hold_code IN ({codes}) ORDER BY j.rank DESC, j.id LIMIT {n} {{skip}}"""
_FREE = f"UPDATE jobs SET state = {RESTING}, hold_code = NULL, reason = NULL WHERE {{ids}} AND state = 'held'"
_NEXT_KEY = f"""SELECT limit_key, MIN(job_type) FROM jobs WHERE state = 'held' AND hold_code IN {CODES} AND limit_key =
 (SELECT MIN(limit_key) FROM jobs WHERE limit_key > :last AND state = 'held' AND hold_code IN {CODES})
 GROUP BY limit_key"""
_DECLARED = insert("job_limits", ("job_type", "per", "concurrency", "rate_count", "rate_ms"), """(job_type) DO UPDATE
 SET
 per = excluded.per, concurrency = excluded.concurrency, rate_count = excluded.rate_count, rate_ms = excluded.rate_ms
 WHERE job_limits.per <> excluded.per OR COALESCE(job_limits.concurrency, 0) <> COALESCE(excluded.concurrency, 0)
 OR COALESCE(job_limits.rate_count, 0) <> COALESCE(excluded.rate_count, 0)
 OR COALESCE(job_limits.rate_ms, 0) <> COALESCE(excluded.rate_ms, 0)""")


class Limit(NamedTuple):
    """At most `concurrency` jobs at once, and `rate_count` starts in `rate_ms`; 0 is no limit."""

    concurrency: int = 0
    rate_count: int = 0
    rate_ms: int = 0


def key_of(job_type: str, per: str, tenant_id: str | None, args: dict[str, Any]) -> str:
    """The key of a job: its type, with its tenant or an argument by `per` ("type", "tenant", "args.NAME")."""
    if per == "type":
        return job_type
    value = tenant_id if per == "tenant" else args.get(per.removeprefix("args."))
    key = f"{job_type} {per}={'' if value is None else value}"
    return key if len(key) <= MOST_KEY else f"{key[:MOST_KEY - 33]} {hashlib.sha256(key.encode()).hexdigest()[:32]}"


def declare(tx: Executor, limits: Iterable[tuple[str, str, Limit]], known: Iterable[str]) -> None:
    """Store the limits of the code, as (type, per, limit); those of other `known` types end."""
    limits = list(limits)
    for job_type, per, limit in limits:
        tx.execute(_DECLARED, job_type=job_type, per=per, concurrency=limit.concurrency or None,
                   rate_count=limit.rate_count or None, rate_ms=limit.rate_ms or None)
    named = {limit[0] for limit in limits}
    for (job_type,) in tx.fetch_all("SELECT job_type FROM job_limits WHERE concurrency IS NOT NULL "
                                    "OR rate_count IS NOT NULL"):
        if job_type in set(known) - named:
            tx.execute("UPDATE job_limits SET concurrency = NULL, rate_count = NULL, rate_ms = NULL "
                       "WHERE job_type = :t", t=job_type)


def of_type(tx: Executor, job_type: str) -> Limit:
    """The limit of a type that counts now: a person's, else the code's."""
    rows = tx.fetch_all(_OF_TYPE, t=job_type)
    return Limit(*(value or 0 for value in rows[0])) if rows else Limit()


def admit(tx: Executor, job: Claim) -> bool:
    """Whether a row that was just claimed may run. If not, it and all ready rows of its key are held."""
    tx.lock_key(job.limit_key)
    limit, now = of_type(tx, job.job_type), tx.now()
    if limit.concurrency and tx.fetch_all(_RUNNING, key=job.limit_key)[0][0] > limit.concurrency:
        code, why = BY_LIMIT, Message("Its type is limited to %(n)s at once.", n=limit.concurrency)
    elif limit.rate_count and not take_start(tx, job.limit_key, limit, now):
        code, why = BY_RATE, Message("Its type is limited to %(n)s starts in %(s)s s.", n=limit.rate_count,
                                     s=limit.rate_ms // 1000)
    else:
        return True
    said = {"code": code, "why": why, "json": to_json(why)}
    tx.execute(_HOLD, **said, **job.fence)
    ids = [row[0] for row in tx.fetch_all(_READY, key=job.limit_key)]
    tx.execute(_HOLD_READY.format(ids=among(ids)), **said)
    return False


def take_start(tx: Executor, key: str, limit: Limit, now: int) -> bool:
    """Take one of the starts of a rate: never more than `rate_count` in any `rate_ms`. False when none is left."""
    first = "SELECT id, at_ms FROM rate_starts WHERE limit_key = :key ORDER BY at_ms, id LIMIT 1"
    oldest = tx.fetch_all(first, key=key)
    if oldest and oldest[0][1] <= now - limit.rate_ms:
        tx.execute("UPDATE rate_starts SET at_ms = :now WHERE id = :id", now=now, id=oldest[0][0])
        return True
    if _starts(tx, key, now - limit.rate_ms) >= limit.rate_count:
        return False
    tx.execute("INSERT INTO rate_starts (limit_key, at_ms) VALUES (:key, :now)", key=key, now=now)
    return True


def _starts(tx: Executor, key: str, since: int) -> int:
    return tx.fetch_all("SELECT COUNT(*) FROM rate_starts WHERE limit_key = :key AND at_ms > :since", key=key,
                        since=since)[0][0]


def let_next_go(tx: Executor, key: str, n: int = 1, codes: tuple[str, ...] = (BY_LIMIT,)) -> int:
    """Make the next `n` held rows of a key ready, by queue, rank and id; returns how many."""
    ids: list[int] = []
    quoted = ", ".join(f"'{code}'" for code in codes)
    for queue in QUEUES:
        if n > len(ids):
            some = _NEXT.format(n=int(n - len(ids)), codes=quoted)
            ids += [row[0] for row in tx.fetch_all(some, key=key, queue=queue)]
    return tx.execute(_FREE.format(ids=among(ids)), now=tx.now()) if ids else 0


def sweep(connection: Connection) -> int:
    """Make rows ready that are held by a limit or a rate that has room; returns how many."""
    total, last = 0, ""
    while found := connection.fetch_all(_NEXT_KEY, last=last):
        last, job_type = found[0]
        limit = of_type(connection, job_type)
        if _room(connection, last, limit):
            with connection.transaction() as tx:
                tx.lock_key(last)
                total += let_next_go(tx, last, _room(tx, last, limit), CODES)
    return total


def _room(tx: Executor, key: str, limit: Limit) -> int:
    """How many more rows of a key may be ready: what may start now, less what is ready already."""
    room = MOST_FREED
    if limit.concurrency:
        room = min(room, limit.concurrency - tx.fetch_all(_RUNNING, key=key)[0][0])
    if limit.rate_count:
        room = min(room, limit.rate_count - _starts(tx, key, tx.now() - limit.rate_ms))
    if room > 0 and (limit.concurrency or limit.rate_count):
        room -= tx.fetch_all("SELECT COUNT(*) FROM jobs WHERE limit_key = :key AND state = 'pending'", key=key)[0][0]
    return max(room, 0)
