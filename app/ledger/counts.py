"""Counts of live rows by state, kept by the monitor each second so that a page costs the same at any depth."""

from __future__ import annotations

import json

from app.ledger.dialect import Runner

STATES = ("pending", "processing", "scheduled", "held", "blocked", "waiting")
MAX_AGE_MS = 1000

# Each part is answered from a partial index; one GROUP BY over the table would read every payload.
_COUNT = """SELECT 'pending', COUNT(*) FROM jobs WHERE state = 'pending'
 UNION ALL SELECT 'scheduled', COUNT(*) FROM jobs WHERE state = 'scheduled'
 UNION ALL SELECT 'processing', COUNT(*) FROM jobs WHERE state = 'processing'
 UNION ALL SELECT state, COUNT(*) FROM jobs WHERE state IN ('held', 'blocked', 'waiting') GROUP BY state"""
_SAVE = """INSERT INTO meta (key, value, at_ms) VALUES (:key, :value, :now)
 ON CONFLICT (key) DO UPDATE SET value = excluded.value, at_ms = excluded.at_ms"""


def count(run: Runner) -> dict[str, int]:
    """Live rows by state, and `failed`: the failed jobs that wait for a decision. Counted now, exactly."""
    found = {state: 0 for state in STATES}
    found.update({state: number for state, number in run.all(_COUNT)})
    found["failed"] = run.all("SELECT COUNT(*) FROM failed_jobs WHERE deleted_at IS NULL")[0][0]
    return found


def save(run: Runner, key: str, value: object) -> None:
    """Write one fact of the `meta` table with its time."""
    run.run(_SAVE, key=key, value=json.dumps(value), now=run.now())


def load(run: Runner, key: str) -> tuple[object, int] | None:
    """A fact of the `meta` table and its age in ms, or None."""
    rows = run.all("SELECT value, at_ms FROM meta WHERE key = :key", key=key)
    return (json.loads(rows[0][0]), max(run.now() - rows[0][1], 0)) if rows else None


def recent(run: Runner) -> tuple[dict[str, int], int]:
    """The monitor's counts when at most 1 s old, else counted now; with their age in ms."""
    kept = load(run, "live_counts")
    if kept is not None and kept[1] <= MAX_AGE_MS:
        return dict(kept[0]), kept[1]  # type: ignore[call-overload]
    return count(run), 0
