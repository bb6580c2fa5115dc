"""Counts, by the second, the jobs that were sent to each queue and that ended there in the last minutes; and by the
hour all that were sent.

job_history (one row a finished job) -> `advance` (the monitor, each second, in the order of the ids) -> queue_seconds,
rollup_sent, and the watermark `pace_reach`. One statement reads the rows past the watermark and the live jobs from
their own tables, so that it does not count a job twice that ends meanwhile. A job counts as sent once, when it was
created; a job that a person puts back (round 2 and later) does not count again.
"""

from __future__ import annotations

from collections import Counter, defaultdict

from app.ledger import watermark
from app.ledger.dialect import Connection, Executor
from app.ledger.rows import insert
from app.models.outcome_stats import KEEP_SECONDS_MS, watermark as watermark_sql
from app.models.types import as_integer, as_text
from app.support.clock import HOUR_MS

KEY = "pace_reach"
_ADD = """INSERT INTO queue_seconds (second_ms, queue, sent, ended) VALUES (:second, :queue, :sent, :ended)
 ON CONFLICT (second_ms, queue)
 DO UPDATE SET sent = queue_seconds.sent + excluded.sent, ended = queue_seconds.ended + excluded.ended"""
_ADD_SENT = insert("rollup_sent", "hour job_type tenant_id queue sent".split(),
                   "(hour, job_type, tenant_id, queue) DO UPDATE SET sent = rollup_sent.sent + excluded.sent")
_SENT = f"""SELECT SUM(sent + 0.0) FROM (
 SELECT sent FROM rollup_sent WHERE hour >= :low AND hour < :high{{of_hours}}
 UNION ALL SELECT COUNT(*) FROM job_history WHERE id > {watermark_sql(KEY)} AND {{of}}
 UNION ALL SELECT COUNT(*) FROM jobs WHERE {{of}}) found"""
# Ids of `jobs` rise with the time of sending. `+id` makes the databases use the small index of each state, where
# 100,000 waiting rows are counted in 7 ms; through the table it takes 24 ms.
_STATES = "state = 'processing'", "state = 'scheduled'", "state IN ('held', 'blocked', 'waiting')"
_LIVE = " UNION ALL ".join(
    f"SELECT queue, 1, 0 FROM jobs WHERE {state} AND +id >= :first AND round = 1" for state in _STATES)
_RATES = f"""SELECT queue, SUM(sent + 0.0), SUM(ended + 0.0) FROM (
 SELECT queue, sent, ended FROM queue_seconds WHERE second_ms >= :since
 UNION ALL SELECT queue, CASE WHEN created_ms >= :since AND round = 1 THEN 1 ELSE 0 END,
 CASE WHEN finished_ms >= :since THEN 1 ELSE 0 END FROM job_history WHERE id > {watermark_sql(KEY)}
 UNION ALL SELECT queue, COUNT(*), 0 FROM jobs WHERE state = 'pending' AND +id >= :first GROUP BY queue
 UNION ALL SELECT queue, -COUNT(*), 0 FROM jobs WHERE round > 1 AND +id >= :first AND state = 'pending' GROUP BY queue
 UNION ALL {_LIVE}) found GROUP BY queue"""


def advance(connection: Connection, steps: int = 5) -> int:
    """Count the next finished jobs, at most 2,000 a step; returns how many."""
    columns = "id, queue, created_ms, finished_ms, round, job_type, tenant_id"
    return watermark.advance(connection, KEY, "job_history", columns, _count, _add, steps)


def _count(rows: list[tuple], now: int) -> tuple[dict[tuple[int, str], list[int]], Counter[tuple]]:
    """[sent, ended] by (second in ms, queue), of the last 15 minutes; the number sent by the keys of rollup_sent."""
    sums: dict[tuple[int, str], list[int]] = defaultdict(lambda: [0, 0])
    hours: Counter[tuple] = Counter()
    for _id, queue, created, finished, round_, job_type, tenant in rows:
        queue = as_text(queue) or ""
        for place, at in enumerate((created if round_ == 1 else None, finished)):
            if isinstance(at, int) and at >= now - KEEP_SECONDS_MS:
                sums[at - at % 1000, queue][place] += 1
        if isinstance(created, int) and round_ == 1:
            hours[created - created % HOUR_MS, as_text(job_type) or "", as_text(tenant) or "", queue] += 1
    return sums, hours


def _add(tx: Executor, counted: tuple[dict[tuple[int, str], list[int]], Counter[tuple]]) -> None:
    sums, hours = counted
    tx.execute_many(_ADD, [{"second": second, "queue": queue, "sent": sent, "ended": ended}
                           for (second, queue), (sent, ended) in sorted(sums.items())])
    tx.execute_many(_ADD_SENT, [(*key, n) for key, n in sorted(hours.items())])


def sent(tx: Executor, since: int, until: int, **only: str) -> int:
    """How many jobs were sent from `since` to before `until` (ms, whole hours), of `job_type`, `tenant_id` and
    `queue`."""
    of_hours = "".join(f" AND {name} = :{name}" for name in only)
    of = f"round = 1 AND created_ms >= :low AND created_ms < :high{of_hours}"
    return as_integer(tx.fetch_all(_SENT.format(of=of, of_hours=of_hours), low=since, high=until, **only)[0][0], 0) or 0


def rates(tx: Executor, since: int) -> dict[str, tuple[int, int]]:
    """{queue: (jobs sent, jobs ended)} from `since` (ms, rounded down to the second) until now."""
    since -= since % 1000
    rows = tx.fetch_all(_RATES, since=since, first=first_id(tx, "jobs", "created_ms", since, "round = 1"))
    return {as_text(queue) or "": (as_integer(sent, 0) or 0, as_integer(ended, 0) or 0) for queue, sent, ended in rows}


def first_id(tx: Executor, table: str, column: str, at: int, condition: str = "1 = 1") -> int:
    """The id from which `column` is `at` (ms) or later: no row before it is, and it is at most one behind the last
    row. It is found by binary search, because the ids of these tables rise with that time; in one statement, because a
    million rows take 20 steps."""
    at_middle = (f"SELECT CAST(COALESCE({column}, 0) AS BIGINT) FROM {table} "
                 f"WHERE id >= (low + high) / 2 AND {condition} ORDER BY id LIMIT 1")
    is_late = f"COALESCE(({at_middle}) >= :at, 1 = 1)"
    return tx.fetch_all(
        f"""WITH RECURSIVE step (low, high) AS (
 SELECT CAST(0 AS BIGINT), (SELECT COALESCE(MAX(id), 0) FROM {table}) + 1
 UNION ALL SELECT CASE WHEN {is_late} THEN low ELSE (low + high) / 2 + 1 END,
 CASE WHEN {is_late} THEN (low + high) / 2 ELSE high END FROM step WHERE low < high)
SELECT MAX(low) FROM step""", at=at)[0][0]
