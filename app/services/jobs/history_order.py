"""Bounds of the ids of job_history for a span of time, where the ids do not always rise with the finishing time.

A million rows have no index on their time: ids are given in the order of finishing, so a binary search finds where a
time begins. Where a clock was set back, or another program wrote older rows later, the ids up to the last such row are
in no order, and all of them are read.
`facts.advance` reads each finished job once -> `note` -> the fact `history_order` of `meta` -> `bounds`, of every list
by time. A time that lies ahead (a clock that was wrong, damage) is out of order itself and does not move the others;
once the clock is right again, what was written until then counts as out of order.
"""

from __future__ import annotations

from app.ledger import counts
from app.ledger.dialect import Connection, Executor
from app.models.types import as_integer
from app.services.jobs.queue_rates import first_id
from app.support.clock import DAY_MS, HOUR_MS

KEY = "history_order"
NO_END = 2**62
SLACK_MS = HOUR_MS  # ids may be out of order by so much; bounds are wider by it
AHEAD_MS = 32 * DAY_MS  # times further ahead are of no use: finished jobs are kept as long as that
# Once, for the rows of an earlier version; 0.6 s with a million.
_SEED = """WITH seen AS (SELECT id, finished_ms, MAX(CASE WHEN finished_ms <= :soon THEN finished_ms ELSE 0 END)
 OVER (ORDER BY id) AS latest FROM job_history),
broken AS (SELECT MAX(id) AS last FROM seen WHERE finished_ms < latest - :slack OR finished_ms > :soon)
SELECT COALESCE(MAX(id), 0), COALESCE(MAX(latest), 0), COALESCE(MAX(last), 0),
 COALESCE(MAX(CASE WHEN id > last THEN 0 WHEN finished_ms > latest AND finished_ms <= :far THEN finished_ms
 ELSE latest END), 0) FROM seen CROSS JOIN broken"""


def seed(connection: Connection) -> None:
    """Read the rows that are there, unless that was done."""
    if _load(connection) is None:
        now = connection.now()
        row = connection.fetch_all(_SEED, soon=now + SLACK_MS, far=now + AHEAD_MS, slack=SLACK_MS)[0]
        with connection.transaction() as tx:
            counts.save(tx, KEY, [as_integer(value, 0) for value in row])


def note(tx: Executor, rows: list[tuple[int, int]]) -> None:
    """Take the next rows, (id, finishing time in ms) in the order of the ids, in the open transaction."""
    read, latest, broken, reaches = _load(tx) or (0, 0, 0, 0)
    soon, far = tx.now() + SLACK_MS, tx.now() + AHEAD_MS
    if latest > soon:  # the clock was ahead, and so was `soon`
        latest, broken, reaches = 0, read, latest if latest <= far else soon
    for id_, finished in rows:
        if id_ <= read:
            continue  # `seed` has read it
        read = id_
        if latest - SLACK_MS <= finished <= soon:
            latest = max(latest, finished)
        else:
            broken, reaches = id_, max(reaches, latest, finished if finished <= far else 0)
    counts.save(tx, KEY, [read, latest, broken, reaches])


def bounds(tx: Executor, low: int | None, high: int | None) -> tuple[int, int]:
    """(above, below): all rows that finished from `low` to before `high` (ms; None is no bound) have ids between."""
    _read, _latest, broken, reaches = _load(tx) or (0, 0, 0, 0)
    above, below, ordered = -1, NO_END, f"id > {broken}"
    if low is not None and not (broken and (low <= reaches or low > tx.now())):  # what lies ahead may stand anywhere
        above = max(first_id(tx, "job_history", "finished_ms", low - SLACK_MS, ordered) - 1, broken)
    if high is not None:
        below = max(first_id(tx, "job_history", "finished_ms", high + SLACK_MS, ordered), broken + 1)
    return above, below


def _load(tx: Executor) -> tuple[int, int, int, int] | None:
    """(last id read, latest time up to it, last id out of order, latest time up to that id)."""
    found = counts.load(tx, KEY)
    value = found[0] if found else None
    if not isinstance(value, list) or len(value) != 4 or not all(isinstance(n, int) for n in value):
        return None
    return tuple(value)  # type: ignore[return-value]
