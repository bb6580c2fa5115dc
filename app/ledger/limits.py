"""Limits: how many jobs with the same key run at once, and how many of them start in a time.

A row of a limited type carries its key (`limit_key`: the type, or the type with its tenant or an argument). What runs
is counted from the rows that are `processing`, so a killed holder frees its place when its row is rescued; there is no
lock and no counter. The starts of a rate are rows in `rate_starts`, so they survive restarts.

claim -> the best row has a key -> `admit`: room -> it runs
                                            no room -> it and all ready rows of its key are held (limit or rate), and
                                            the claim looks again: thousands of them at the head then cost nothing
settle, park, rescue -> `let_next_go`: as many held rows of the key as have room become ready, in the same transaction
monitor, each second -> `Sweep`: keys with room (a rate whose time has passed, a limit that was raised)
a limit that begins, or another `per` -> limit_keys.py; a claim that meets a row without its key gives it the key itself

On PostgreSQL `admit` and `let_next_go` hold an advisory lock of the key: two workers do not count at once, and a place
that becomes free while another worker holds a row back is not lost. A transaction takes the lock of one key only, so
two of them never wait for each other (claim.py, settle.py). A clock that is set back makes starts that lie in the
future count from now: a key never waits longer than its window. One that is set forward makes them older.
"""

from __future__ import annotations

from app.config import QUEUES
from app.ledger import limit_keys
from app.ledger.claimed_row import FENCE, RESTING, Claim
from app.ledger.dialect import Connection, Executor
from app.ledger.limit_keys import (  # noqa: F401  (handed on)
    MOST_KEY,
    Limit,
    Per,
    arguments,
    declare,
    key_of,
    of_type,
    stored,
)
from app.ledger.rows import among
from app.models.job import BY_LIMIT, BY_RATE, ORDER_J
from app.support.clock import DAY_MS
from app.support.messages import to_json

MOST_FREED = 500
KEEP_MS = 31 * DAY_MS  # the longest window
MOST_FORGOTTEN = 2000
KEYS_A_SWEEP = 2000  # 60 ms on SQLite; with more keys a sweep goes on where the last one ended
FAST_MS = 5000  # windows so short are swept five times a second, or a rate of 5/s would start 2.5 a second
AHEAD_MS = 1000  # a start of another worker can be later than the claim of this one, which has waited for the key
CODES = (BY_LIMIT, BY_RATE)
_RUNNING = "SELECT COUNT(*) FROM jobs WHERE limit_key = :key AND state = 'processing'"
_HOLD = f"""UPDATE jobs SET state = 'held', hold_code = :code, reason = :why, reason_json = :json, worker_id = NULL,
 reserved_at = NULL, reserved_ms = NULL, attempts = attempts - 1 WHERE {FENCE}"""
_HOLD_READY = """UPDATE jobs SET state = 'held', hold_code = :code, reason = :why, reason_json = :json
 WHERE {ids} AND state = 'pending'"""
_READY = "SELECT j.id FROM jobs j WHERE j.limit_key = :key AND j.state = 'pending' LIMIT 1000 {skip}"
# Names the partial index jobs_limited_idx in a form that no other index serves: SQLite would take one of all held rows,
# and sort them (62 ms with 10,000 of one key, each second).
LIMITED = f"COALESCE(hold_code, '') IN {CODES}"
_ANY_HELD = f"SELECT 1 FROM jobs WHERE {LIMITED} AND job_type = :t AND limit_key = :key LIMIT 1"
# Ready rows of a queue that is paused, or that no worker serves, take no place of the other queues.
_READY_BY_QUEUE = ", ".join(f"""(SELECT COUNT(*) FROM (SELECT 1 FROM jobs WHERE limit_key = :key AND state = 'pending'
 AND queue = '{queue}' LIMIT {MOST_FREED}) r)""" for queue in QUEUES)
_COUNTS = f"SELECT ({_RUNNING}), {_READY_BY_QUEUE}"
_NEXT = f"""SELECT j.id FROM jobs j WHERE {LIMITED} AND j.job_type = :t
 AND j.limit_key = :key AND j.queue = :queue ORDER BY {ORDER_J} LIMIT :n {{skip}}"""
_FREE = f"UPDATE jobs SET state = {RESTING}, hold_code = NULL, reason = NULL WHERE {{ids}} AND state = 'held'"
_NEXT_KEY = f"""SELECT job_type, limit_key FROM jobs WHERE {LIMITED} AND (job_type, limit_key) > (:t, :key)
 ORDER BY job_type, limit_key LIMIT 1"""
_OF_TYPE = "(limit_key = :t OR substr(limit_key, 1, :n) = :start)"
_TAKEN = "id = (SELECT id FROM rate_starts WHERE limit_key = :key AND at_ms = :at LIMIT 1)"


def _is_keyed_by(job: Claim, per: Per) -> bool:
    """Whether the key of a row was made by this `per`; a shortened key is made again."""
    if per.name == "type":
        return job.limit_key == job.job_type
    return (job.limit_key or "").startswith(f"{job.job_type} {per.name}=") and len(job.limit_key or "") < MOST_KEY


def admit(tx: Executor, job: Claim) -> bool:
    """Whether a row that was just claimed may run. If not, it and all ready rows of its key are held."""
    limit, per = stored(tx, job.job_type) or (Limit(), Per())
    if limit.is_set and not _is_keyed_by(job, per):
        job.limit_key = key_of(job.job_type, per, job.tenant_id, arguments(job.payload))
        tx.execute(f"UPDATE jobs SET limit_key = :key WHERE {FENCE}", key=job.limit_key, **job.fence)
    key = job.limit_key or job.job_type
    if not limit.is_set:
        return True
    tx.lock_key(key)
    if limit.concurrency and tx.fetch_all(_RUNNING, key=key)[0][0] > limit.concurrency:
        code, why = BY_LIMIT, limit.at_once(per)
    elif limit.rate_count and not take_start(tx, limit.rate_key(job.job_type, key), limit, job.reserved_ms):
        code, why = BY_RATE, limit.in_time(per)
    else:
        return True
    said = {"code": code, "why": why, "json": to_json(why)}
    tx.execute(_HOLD, **said, **job.fence)
    ids = [row[0] for row in tx.fetch_all(_READY, key=key)]
    tx.execute(_HOLD_READY.format(ids=among(ids)), **said)
    return False


def take_start(tx: Executor, key: str, limit: Limit, now: int) -> bool:
    """Take one of the starts of a rate: never more than `rate_count` in any `rate_ms`. False when none is left."""
    tx.lock_key(f"rate {key}")  # always after that of the jobs, and nobody who holds it waits for another
    tx.execute("UPDATE rate_starts SET at_ms = :now WHERE limit_key = :key AND at_ms > :future", now=now, key=key,
               future=now + AHEAD_MS)
    tx.execute("DELETE FROM rate_starts WHERE limit_key = :key AND at_ms <= :over", key=key, over=now - limit.rate_ms)
    if _starts(tx, key, now - limit.rate_ms) >= limit.rate_count:
        return False
    tx.execute("INSERT INTO rate_starts (limit_key, at_ms) VALUES (:key, :now)", key=key, now=now)
    return True


def start_now(tx: Executor, job: Claim, at: int | None) -> int | None:
    """Make the start of a running job that was taken `at` (ms) count from now, because its request goes out now. When
    that start is over, or for None, another one is taken. Returns its time, or None when none is left."""
    limit, now = of_type(tx, job.job_type), tx.now()
    if not limit.rate_count or job.limit_key is None:
        return now
    key = limit.rate_key(job.job_type, job.limit_key)
    tx.lock_key(f"rate {key}")
    if at is not None and at > now - limit.rate_ms and tx.execute(
            f"UPDATE rate_starts SET at_ms = :now WHERE {_TAKEN}", now=now, key=key, at=at):
        return now
    return now if take_start(tx, key, limit, now) else None


def give_back(tx: Executor, job: Claim) -> None:
    """Give back the start that the claim of a running job has taken: it sends no request."""
    key = of_type(tx, job.job_type).rate_key(job.job_type, job.limit_key or job.job_type)
    tx.execute(f"DELETE FROM rate_starts WHERE {_TAKEN}", key=key, at=job.reserved_ms)


def running(tx: Executor, job_type: str) -> list[tuple[str | None, int]]:
    """(key, number of running jobs) of the keys of a type."""
    return tx.fetch_all("SELECT limit_key, COUNT(*) FROM jobs WHERE state = 'processing' AND job_type = :t "
                        "GROUP BY limit_key", t=job_type)


def started(tx: Executor, job_type: str, rate_ms: int) -> list[tuple[str, int]]:
    """(key, number of starts in the last `rate_ms`) of the keys of a type."""
    return tx.fetch_all(
        f"SELECT limit_key, COUNT(*) FROM rate_starts WHERE {_OF_TYPE} AND at_ms > :since GROUP BY limit_key",
        t=job_type, n=len(job_type) + 1, start=f"{job_type} ", since=tx.now() - rate_ms)


def _starts(tx: Executor, key: str, since: int) -> int:
    return tx.fetch_all("SELECT COUNT(*) FROM rate_starts WHERE limit_key = :key AND at_ms > :since", key=key,
                        since=since)[0][0]


# ---- held rows go on -------------------------------------------------------------------------------------------------


def let_next_go(tx: Executor, job_type: str, key: str) -> int:
    """Make as many held rows of a key ready as may start now, by queue, rank and id; returns how many."""
    tx.lock_key(key)
    if not tx.fetch_all(_ANY_HELD, t=job_type, key=key):
        return 0
    limit, now = of_type(tx, job_type), tx.now()
    at_work, *ready = tx.fetch_all(_COUNTS, key=key)[0]
    room = MOST_FREED
    if limit.concurrency:
        room = min(room, limit.concurrency - at_work)
    if limit.rate_count:
        room = min(room, limit.rate_count - _starts(tx, limit.rate_key(job_type, key), now - limit.rate_ms))
    ids: list[int] = []
    for queue, waiting in zip(QUEUES, ready, strict=True):
        n = min(room - len(ids), room - waiting)
        if n > 0:
            ids += [row[0] for row in tx.fetch_all(_NEXT, t=job_type, key=key, queue=queue, n=n)]
    return tx.execute(_FREE.format(ids=among(ids)), now=now) if ids else 0


def free(connection: Connection, job_type: str, key: str) -> int:
    """`let_next_go`, 500 a transaction; returns how many rows became ready."""
    total, done = 0, MOST_FREED
    while done == MOST_FREED:
        with connection.transaction() as tx:
            done = let_next_go(tx, job_type, key)
        total += done
    return total


class Sweep:
    """The monitor's look at the keys with held rows; a round goes on where the last one ended."""

    def __init__(self, connection: Connection) -> None:
        self.connection, self._last = connection, ("", "")

    def run(self) -> int:
        """Make rows ready that are held by a limit or a rate that has room; returns how many."""
        limit_keys.key_rows(self.connection)
        total, left, types = 0, KEYS_A_SWEEP, {}
        while left and (found := self.next(self._last)):
            (job_type, key), left = found, left - 1
            if self._last[0] != job_type or not types:
                types[job_type] = self._full(job_type)
            self._last = found
            if key not in types[job_type]:
                total += free(self.connection, job_type, key)
        if left:
            self._last = "", ""
        return total

    def fast(self) -> int:
        """The same for rates with a short window."""
        total = 0
        for (job_type,) in self.connection.fetch_all(
                "SELECT job_type FROM job_limits WHERE COALESCE(set_rate_ms, rate_ms) BETWEEN 1 AND :ms", ms=FAST_MS):
            total += sum(free(self.connection, job_type, key) for key in held_keys(self.connection, job_type))
        return total

    def _full(self, job_type: str) -> set[str]:
        """The keys of a type that have no room; two statements for all of them (500 took 360 ms one by one)."""
        tx, limit, full = self.connection, of_type(self.connection, job_type), set()
        if limit.concurrency:
            full.update(key for key, n in running(tx, job_type) if n >= limit.concurrency)
        if limit.rate_count:
            counted = {key for key, n in started(tx, job_type, limit.rate_ms) if n >= limit.rate_count}
            full.update(held_keys(tx, job_type) if limit.whole_type and counted else counted)
        return full

    def next(self, last: tuple[str, str]) -> tuple[str, str] | None:
        """The (type, key) with held rows after `last`, or None."""
        found = self.connection.fetch_all(_NEXT_KEY, t=last[0], key=last[1])
        return (found[0][0], found[0][1]) if found else None


def held_keys(connection: Connection, job_type: str) -> list[str]:
    """At most 2,000 keys of a type that hold rows back."""
    sweep, last, keys = Sweep(connection), (job_type, ""), []
    while len(keys) < KEYS_A_SWEEP and (found := sweep.next(last)) and found[0] == job_type:
        last = found
        keys.append(found[1])
    return keys


def sweep(connection: Connection) -> int:
    """One look at the keys with held rows; returns how many rows became ready."""
    return Sweep(connection).run()


def forget_old_starts(tx: Executor) -> None:
    """Delete the starts of keys that nothing asks for any more."""
    tx.execute("DELETE FROM rate_starts WHERE at_ms < :old", old=tx.now() - KEEP_MS)


def forget_past_starts(connection: Connection) -> int:
    """Delete the starts that are older than the windows of their type, 2,000 a transaction; returns how many. A key
    deletes its own with its next start, and one that has no next start would keep them for a month: with 600,000 of
    them `started`, which the monitor asks each second, took 48 ms."""
    total = 0
    for job_type, by_code, by_person in connection.fetch_all("SELECT job_type, rate_ms, set_rate_ms FROM job_limits"):
        if (ms := max(by_code or 0, by_person or 0)) == 0:
            continue
        over = connection.now() - ms
        while True:
            ids = [row[0] for row in connection.fetch_all(
                f"SELECT id FROM rate_starts WHERE {_OF_TYPE} AND at_ms <= :over LIMIT {MOST_FORGOTTEN}", t=job_type,
                n=len(job_type) + 1, start=f"{job_type} ", over=over)]
            if not ids:
                break
            with connection.transaction() as tx:  # one may count from now since: its request goes out
                total += tx.execute(f"DELETE FROM rate_starts WHERE {among(ids)} AND at_ms <= :over", over=over)
    return total
