"""Histograms of run and wait times, and outcomes by the minute, counted by the monitor behind the settle.

`meta.histogram_reach` is the last outcome counted. The counts and the reach change in one transaction, so each outcome
is counted once whatever is killed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from datetime import datetime

from app.clock import HOUR_MS, MINUTE_MS, millis
from app.ledger.dialect import Connection

BOUNDS_MS = (100, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 120_000, 300_000, 600_000, 1_800_000, 3_600_000)
NO_BOUND = -1
STEP = 2000
_ROWS = f"""SELECT id, job_type, queue, status, processing_time, wait_ms, started_at, completed_at, tenant_id
 FROM job_metrics WHERE id > :last ORDER BY id LIMIT {STEP}"""
_ADD = """INSERT INTO job_histograms (job_type, queue, what, le, count, sum_ms) VALUES (:t, :q, :what, :le, :n, :ms)
 ON CONFLICT (job_type, queue, what, le) DO UPDATE SET count = job_histograms.count + excluded.count,
 sum_ms = job_histograms.sum_ms + excluded.sum_ms"""
_MINUTES = """INSERT INTO job_minutes (minute_ms, job_type, queue, tenant_id, status, count, time_ms) VALUES (:m, :t, :q, :tenant, :s, :n, :ms)
 ON CONFLICT (minute_ms, job_type, queue, tenant_id, status) DO UPDATE SET count = job_minutes.count + excluded.count,
 time_ms = job_minutes.time_ms + excluded.time_ms"""
KEEP_MINUTES_MS, COMMITTED_MS = 25 * HOUR_MS, 2000
_SAVE = """INSERT INTO meta (key, value, at_ms) VALUES ('histogram_reach', :to, :now) ON CONFLICT (key) DO UPDATE SET
 value = excluded.value, at_ms = excluded.at_ms"""


def extend(connection: Connection, steps: int = 5) -> int:
    """Count the next outcomes: run time of the completed, wait of all that started; returns how many rows."""
    total = 0
    for _ in range(steps):
        kept = connection.all("SELECT value FROM meta WHERE key = 'histogram_reach'")
        last = int(kept[0][0]) if kept else 0
        rows = _settled(connection, connection.all(_ROWS, last=last))
        if not rows:
            break
        sums: dict[tuple, list[int]] = defaultdict(lambda: [0, 0])
        minutes: dict[tuple, list[int]] = defaultdict(lambda: [0, 0])
        young = connection.now() - KEEP_MINUTES_MS
        for _id, job_type, queue, status, run_ms, wait_ms, started, ended, tenant in rows:
            at = _at(ended)
            if at > young:
                cell = minutes[at - at % MINUTE_MS, job_type, queue, tenant or "", status]
                cell[0] += 1
                cell[1] += run_ms or 0
            times = [("wait", wait_ms)] if started is not None and wait_ms is not None else []
            times += [("run", run_ms)] if status == "completed" else []
            for what, ms in times:
                place = bisect_left(BOUNDS_MS, ms)
                cell = sums[job_type, queue, what, BOUNDS_MS[place] if place < len(BOUNDS_MS) else NO_BOUND]
                cell[0] += 1
                cell[1] += ms
        with connection.transaction() as run:
            now_at = run.all("SELECT value FROM meta WHERE key = 'histogram_reach'")
            if (int(now_at[0][0]) if now_at else 0) != last:
                continue  # another monitor was first
            run.run(_SAVE, to=str(rows[-1][0]), now=run.now())
            run.many(_MINUTES, [{"m": m, "t": t, "q": q, "tenant": w, "s": s, "n": n, "ms": ms} for (m, t, q, w, s), (n, ms) in minutes.items()])
            run.many(_ADD, [{"t": t, "q": q, "what": w, "le": le, "n": n, "ms": ms} for (t, q, w, le), (n, ms) in sums.items()])
        total += len(rows)
        if len(rows) < STEP:
            break
    return total


def _settled(connection: Connection, rows: list[tuple]) -> list[tuple]:
    """On PostgreSQL a smaller id can be committed after a larger one: the last 2 s are left for the next time."""
    while rows and not connection.sqlite and 0 <= connection.now() - _at(rows[-1][7]) < COMMITTED_MS:
        rows.pop()
    return rows


def _at(ended: datetime | str) -> int:
    return millis(datetime.fromisoformat(ended) if isinstance(ended, str) else ended)
