"""Counts outcomes: by hour and type, by hour, type and tenant, by minute, and in histograms of run and wait times.

job_metrics (one row an outcome) -> `advance` (the monitor, each second, in the order of the ids) -> rollup_types,
rollup_tenants, job_minutes, job_histograms, and the watermark `rollup_reach`. Outcomes past the watermark are read from
the raw rows (models/outcome_stats.py), so figures are exact at any moment. Counting in the settle would cost every job
30 of its 330 microseconds for the two rollups alone.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

from app.ledger import watermark
from app.ledger.dialect import Connection, Executor
from app.ledger.rows import insert
from app.models.outcome_stats import KEEP_MINUTES_MS
from app.models.types import as_integer, as_text
from app.support.clock import DAY_MS, HOUR_MS, MINUTE_MS, millis, stamp

BOUNDS_MS = (100, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 120_000, 300_000, 600_000, 1_800_000, 3_600_000)
NO_BOUND = -1
KEY = "rollup_reach"
_COLUMNS = "id, job_type, queue, status, processing_time, wait_ms, started_at, completed_at, tenant_id"
_HOUR = f"SELECT {_COLUMNS} FROM job_metrics WHERE completed_at >= :low AND completed_at < :high AND id <= :reach"


def _adding(table: str, keys: str, sums: str) -> str:
    """The statement that adds `sums` to the row of `keys` or begins one."""
    grown = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in sums.split(", "))
    return insert(table, f"{keys}, {sums}".split(", "), f"({keys}) DO UPDATE SET {grown}")


_TABLES = {
    "rollup_types": ("hour, job_type, status", "count, time_ms, wait_ms"),
    "rollup_tenants": ("hour, job_type, tenant_id, status", "count, time_ms, wait_ms"),
    "job_minutes": ("minute_ms, job_type, queue, tenant_id, status", "count, time_ms"),
    "job_histograms": ("job_type, queue, what, le", "count, sum_ms"),
}
OutcomeTotals = dict[str, dict[tuple, list[int]]]


def advance(connection: Connection, steps: int = 5) -> int:
    """Count the next outcomes, at most 2,000 a step; returns how many."""
    return watermark.advance(connection, KEY, "job_metrics", _COLUMNS, _count, _add, steps)


def rebuild(connection: Connection, days: int) -> int:
    """Count the hours of the last `days` again from the raw rows, one hour a transaction; returns the number of hours.

    Histograms stay as they are, because they go back further than the raw rows. Raises ValueError for a damaged
    watermark.
    """
    now = connection.now()
    first = now - days * DAY_MS
    hours = range(first - first % HOUR_MS + HOUR_MS, now + 1, HOUR_MS)
    for hour in hours:
        following = hour + HOUR_MS
        with connection.transaction() as tx:
            tx.execute("UPDATE meta SET value = value WHERE key = :key", key=KEY)  # a row lock: `advance` has to wait
            for table, column in (("rollup_types", "hour"), ("rollup_tenants", "hour"), ("job_minutes", "minute_ms")):
                tx.execute(f"DELETE FROM {table} WHERE {column} >= :low AND {column} < :high", low=hour, high=following)
            reach = watermark.read(tx, KEY)
            sums = _count(tx.fetch_all(_HOUR, low=stamp(hour), high=stamp(following), reach=reach), now)
            sums.pop("job_histograms", None)
            _add(tx, sums)
    return len(hours)


def _count(rows: Iterable[tuple], now: int) -> OutcomeTotals:
    """Sums by table and key. Histograms get the run times of completed jobs and the wait times of all that started."""
    sums: OutcomeTotals = defaultdict(lambda: defaultdict(lambda: [0, 0, 0]))
    for _id, job_type, queue, status, run_ms, wait_ms, started, ended, tenant in rows:
        at, run_ms, wait_ms = _at(ended), as_integer(run_ms, 0) or 0, as_integer(wait_ms)
        job_type, queue, status, tenant = (as_text(text) or "" for text in (job_type, queue, status, tenant))
        hour, values = at - at % HOUR_MS, (1, run_ms, wait_ms or 0)
        _grow(sums["rollup_types"][hour, job_type, status], values)
        _grow(sums["rollup_tenants"][hour, job_type, tenant, status], values)
        if at > now - KEEP_MINUTES_MS:
            _grow(sums["job_minutes"][at - at % MINUTE_MS, job_type, queue, tenant, status], values[:2])
        times = [("wait", wait_ms)] if started is not None and wait_ms is not None else []
        times += [("run", run_ms)] if status == "completed" else []
        for what, ms in times:
            bound = (*BOUNDS_MS, NO_BOUND)[bisect_left(BOUNDS_MS, ms)]
            _grow(sums["job_histograms"][job_type, queue, what, bound], (1, ms))
    return sums


def _grow(cell: list[int], values: tuple[int, ...]) -> None:
    for place, value in enumerate(values):
        cell[place] += value


def _add(tx: Executor, sums: OutcomeTotals) -> None:
    for table, cells in sums.items():
        keys, names = _TABLES[table]
        columns = f"{keys}, {names}".split(", ")
        rows = [dict(zip(columns, (*key, *values), strict=False)) for key, values in sorted(cells.items())]
        tx.execute_many(_adding(table, keys, names), rows)


def _at(ended: datetime | str) -> int:
    try:
        return millis(datetime.fromisoformat(ended) if isinstance(ended, str) else ended)
    except (TypeError, ValueError, AttributeError, OverflowError):
        return 0  # another program wrote it
