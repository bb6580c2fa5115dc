"""How many jobs came into each queue and how many ended there, in the last minutes, to the second.

job_history (a row with each finished job) -> `extend` (the monitor, each second, in the order of the ids) -> queue_seconds, and
`pace_reach`, the id of the last job counted, in one transaction. What came since, and the jobs that still live, are read from
their own rows, in one statement, so that no job that ends meanwhile is counted twice. A job counts as sent once, when it was
created; one that is put back by hand (round 2 and on) does not come again.
"""

from __future__ import annotations

from collections import defaultdict

from app.ledger.dialect import Connection, Executor, last_settled_id
from app.models.outcome_stats import watermark
from app.models.types import as_integer, as_text
from app.support.clock import MINUTE_MS

KEEP_MS = 15 * MINUTE_MS
STEP = 2000
_REACH = watermark("pace_reach")
_NEXT = f"SELECT id, queue, created_ms, finished_ms, round FROM job_history WHERE id > :last AND id <= :most ORDER BY id LIMIT {STEP}"
_MOVE = "UPDATE meta SET value = :to, at_ms = :now WHERE key = 'pace_reach' AND value = :last"
_ADD = """INSERT INTO queue_seconds (second_ms, queue, sent, ended) VALUES (:second, :queue, :sent, :ended) ON CONFLICT (second_ms, queue)
 DO UPDATE SET sent = queue_seconds.sent + excluded.sent, ended = queue_seconds.ended + excluded.ended"""
# Ids of `jobs` rise with the time of sending. `+id` keeps the databases to the small indexes of each state: 100,000 waiting rows
# are counted in 7 ms there and in 24 ms by themselves.
_STATES = "state = 'processing'", "state = 'scheduled'", "state IN ('held', 'blocked', 'waiting')"
_LIVE = " UNION ALL ".join(f"SELECT queue, 1, 0 FROM jobs WHERE {state} AND +id >= :first AND round = 1" for state in _STATES)
_RATES = f"""SELECT queue, SUM(sent + 0.0), SUM(ended + 0.0) FROM (
 SELECT queue, sent, ended FROM queue_seconds WHERE second_ms >= :since
 UNION ALL SELECT queue, CASE WHEN created_ms >= :since AND round = 1 THEN 1 ELSE 0 END, CASE WHEN finished_ms >= :since THEN 1 ELSE 0 END
 FROM job_history WHERE id > {_REACH}
 UNION ALL SELECT queue, COUNT(*), 0 FROM jobs WHERE state = 'pending' AND +id >= :first GROUP BY queue
 UNION ALL SELECT queue, -COUNT(*), 0 FROM jobs WHERE round > 1 AND +id >= :first AND state = 'pending' GROUP BY queue
 UNION ALL {_LIVE}) found GROUP BY queue"""


def advance(connection: Connection, steps: int = 5) -> int:
    """Count the next finished jobs, at most 2,000 a step; returns how many."""
    total, most = 0, last_settled_id(connection, "job_history")
    for _ in range(steps):
        last = as_integer(connection.fetch_all(f"SELECT {_REACH}")[0][0], 0)
        rows, oldest = connection.fetch_all(_NEXT, last=last, most=most), connection.now() - KEEP_MS
        if not rows:
            break
        sums: dict[tuple[int, str], list[int]] = defaultdict(lambda: [0, 0])
        for _id, queue, created, finished, round_ in rows:
            for place, at in enumerate((created if round_ == 1 else None, finished)):
                if isinstance(at, int) and at >= oldest:
                    sums[at - at % 1000, as_text(queue) or ""][place] += 1
        with connection.transaction() as tx:
            if not tx.execute(_MOVE, to=str(rows[-1][0]), last=str(last), now=tx.now()):
                break  # another monitor was first
            tx.execute_many(_ADD, [{"second": s, "queue": q, "sent": n, "ended": m} for (s, q), (n, m) in sorted(sums.items())])
        total += len(rows)
        if len(rows) < STEP:
            break
    return total


def rates(tx: Executor, since: int) -> dict[str, tuple[int, int]]:
    """By queue: jobs sent and jobs ended since `since` (ms), which is taken to its second."""
    since -= since % 1000
    rows = tx.fetch_all(_RATES, since=since, first=first_id(tx, "jobs", "created_ms", since, "round = 1"))
    return {as_text(queue) or "": (as_integer(sent, 0) or 0, as_integer(ended, 0) or 0) for queue, sent, ended in rows}


def first_id(tx: Executor, table: str, column: str, at: int, condition: str = "1 = 1") -> int:
    """The lowest id whose `column` is `at` (ms) or later, by halving: ids of these tables rise with that time."""
    low, high = 0, (tx.fetch_all(f"SELECT MAX(id) FROM {table}")[0][0] or 0) + 1
    while low < high:
        middle = (low + high) // 2
        rows = tx.fetch_all(f"SELECT id, {column} FROM {table} WHERE id >= :m AND {condition} ORDER BY id LIMIT 1", m=middle)
        low, high = (low, middle) if not rows or (as_integer(rows[0][1], 0) or 0) >= at else (rows[0][0] + 1, high)
    return low
