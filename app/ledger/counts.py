"""Counts of live rows by state. The monitor stores them each second, so that a page costs the same at any queue depth;
and the facts of the `meta` table."""

from __future__ import annotations

import json
from typing import Any

from app.config import QUEUES
from app.ledger.dialect import Connection, Executor
from app.models.job import LIVE_STATES
from app.models.types import as_integer
from app.support.validation import stored_json

MAX_AGE_MS = 1000
AFTER_RESTORE = "paused_after_restore"  # a fact of `meta`

# Each part uses a partial index; one GROUP BY over the table would read every payload.
_COUNT = """SELECT 'scheduled', COUNT(*) FROM jobs WHERE state = 'scheduled'
 UNION ALL SELECT 'processing', COUNT(*) FROM jobs WHERE state = 'processing'
 UNION ALL SELECT state, COUNT(*) FROM jobs WHERE state IN ('held', 'blocked', 'waiting') GROUP BY state"""
# The index of the order has this time too. The first of a line is not the one that waits longest: a person has moved a
# row to the top, or a delayed one with a lower id has become ready.
_DEPTHS = "SELECT queue, COUNT(*), MIN(available_ms) FROM jobs WHERE state = 'pending' GROUP BY queue"
_SAVE = """INSERT INTO meta (key, value, at_ms) VALUES (:key, :value, :now)
 ON CONFLICT (key) DO UPDATE SET value = excluded.value, at_ms = excluded.at_ms"""


def count(tx: Executor) -> dict[str, Any]:
    """{state: live rows, "failed": rows that wait for a decision, "queues": {name: {"depth", "since"}}}; `since` is the
    time (ms) from which the longest waiting row of the queue is ready, or None."""
    found: dict[str, Any] = dict.fromkeys(LIVE_STATES, 0) | dict(tx.fetch_all(_COUNT))
    found["queues"] = {name: {"depth": depth, "since": as_integer(since)}
                       for name, depth, since in tx.fetch_all(_DEPTHS)}
    found["pending"] = sum(queue["depth"] for queue in found["queues"].values())
    found["failed"] = tx.fetch_all("SELECT COUNT(*) FROM failed_jobs WHERE deleted_at IS NULL")[0][0]
    return found


def oldest(live: dict[str, Any], now: int, queue: str | None = None) -> int | None:
    """How long (ms) the longest waiting ready job of a queue, or of all, has waited at `now`; None without any."""
    since = [found["since"] for name, found in live["queues"].items()
             if queue in (None, name) and found["since"] is not None]
    return max(now - min(since), 0) if since else None


_SAMPLE = """INSERT INTO queue_minutes (minute_ms, queue, depth, oldest_ms) VALUES (:minute, :queue, :depth, :oldest)
 ON CONFLICT (minute_ms, queue) DO NOTHING"""


def sample(connection: Connection, minute: int) -> None:
    """Store the depth of each queue at this minute (ms), and how long its oldest ready job has waited."""
    live, now = recent(connection)[0], connection.now()
    with connection.transaction() as tx:
        for name in QUEUES:
            tx.execute(_SAMPLE, minute=minute, queue=name, depth=live["queues"].get(name, {"depth": 0})["depth"],
                       oldest=oldest(live, now, name))


def save(tx: Executor, key: str, value: object) -> None:
    """Write a fact of the `meta` table, as JSON and with the current time."""
    tx.execute(_SAVE, key=key, value=json.dumps(value), now=tx.now())


def load(tx: Executor, key: str) -> tuple[object, int] | None:
    """(value, age in ms) of a fact of the `meta` table; None when it is missing, no JSON or without a time."""
    rows = tx.fetch_all("SELECT value, at_ms FROM meta WHERE key = :key", key=key)
    value = stored_json(rows[0][0]) if rows else None
    return None if value is None or not isinstance(rows[0][1], int) else (value, max(tx.now() - rows[0][1], 0))


def paused_after_restore(tx: Executor) -> bool:
    """Whether schedules and alerts are paused since a restore; `jobs resume --all` ends it."""
    kept = load(tx, AFTER_RESTORE)
    return kept is not None and bool(kept[0])


def recent(tx: Executor) -> tuple[dict[str, Any], int]:
    """(counts, age in ms): the monitor's counts when at most 1 s old, else counted now; of the form of `count`."""
    kept = load(tx, "live_counts")
    if kept is not None and kept[1] <= MAX_AGE_MS and _are_counts(kept[0]):
        return dict(kept[0]), kept[1]  # type: ignore[call-overload]
    return count(tx), 0


def _are_counts(kept: object) -> bool:
    """Whether a value has the form of `count`."""
    try:
        queues, names = kept["queues"].values(), (*LIVE_STATES, "failed")  # type: ignore[index]
        numbers = [kept[name] for name in names] + [q["depth"] for q in queues]  # type: ignore[index]
        return all(isinstance(n, int) for n in numbers) and all(isinstance(q["since"], int | None) for q in queues)
    except (TypeError, KeyError, AttributeError):
        return False
