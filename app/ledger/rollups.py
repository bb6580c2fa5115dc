"""Outcomes counted: by hour and type, by hour, type and tenant, by minute, and into histograms of run and wait times.

job_metrics (a row with each outcome) -> `extend` (the monitor, each second, in the order of the ids) -> rollup_types,
rollup_tenants, job_minutes, job_histograms, and `rollup_reach`, the id of the last outcome counted. Counts and reach
change in one transaction, so each outcome is counted once whatever is killed and however many monitors there are.
Outcomes past the reach are read from the raw rows (models/figures.py), so figures are exact at any moment.
Counted within the settle, the two rollups alone cost every job 30 of its 330 microseconds.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

from app.ledger.dialect import Connection, Executor, last_settled_id
from app.ledger.rows import insert
from app.models.outcome_stats import KEEP_MINUTES_MS
from app.models.types import as_integer, as_text
from app.support.clock import DAY_MS, HOUR_MS, MINUTE_MS, millis, stamp

BOUNDS_MS = (100, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 120_000, 300_000, 600_000, 1_800_000, 3_600_000)
NO_BOUND = -1
STEP = 2000
_COLUMNS = "SELECT id, job_type, queue, status, processing_time, wait_ms, started_at, completed_at, tenant_id FROM job_metrics WHERE"
_NEXT = f"{_COLUMNS} id > :last AND id <= :most ORDER BY id LIMIT {STEP}"
_OF_AN_HOUR = f"{_COLUMNS} completed_at >= :low AND completed_at < :high AND id <= :reach"
_REACH = "SELECT value FROM meta WHERE key = 'rollup_reach'"
_MOVE = "UPDATE meta SET value = :to, at_ms = :now WHERE key = 'rollup_reach' AND value = :last"


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
    total, most = 0, last_settled_id(connection, "job_metrics")
    for _ in range(steps):
        last = _reach(connection)
        rows = connection.fetch_all(_NEXT, last=last, most=most)
        if not rows:
            break
        sums = _count(rows, connection.now())
        with connection.transaction() as tx:
            if not tx.execute(_MOVE, to=str(rows[-1][0]), last=str(last), now=tx.now()):
                continue  # another monitor was first
            _add(tx, sums)
        total += len(rows)
        if len(rows) < STEP:
            break
    return total


def rebuild(connection: Connection, days: int) -> int:
    """Count the hours of the last `days` anew from the raw rows, an hour a transaction; returns how many hours.

    Histograms go back further than the raw rows and stay as they are.
    """
    now = connection.now()
    first = now - days * DAY_MS
    hour, hours = first - first % HOUR_MS + HOUR_MS, 0
    while hour <= now:
        with connection.transaction() as tx:
            tx.execute("UPDATE meta SET value = value WHERE key = 'rollup_reach'")  # `extend` waits until we are done
            for table, column in (("rollup_types", "hour"), ("rollup_tenants", "hour"), ("job_minutes", "minute_ms")):
                tx.execute(f"DELETE FROM {table} WHERE {column} >= :hour AND {column} < :next", hour=hour, next=hour + HOUR_MS)
            sums = _count(tx.fetch_all(_OF_AN_HOUR, low=stamp(hour), high=stamp(hour + HOUR_MS), reach=_reach(tx)), now)
            sums.pop("job_histograms", None)
            _add(tx, sums)
        hour, hours = hour + HOUR_MS, hours + 1
    return hours


def _reach(tx: Executor) -> int:
    return int(tx.fetch_all(_REACH)[0][0])


def _count(rows: Iterable[tuple], now: int) -> OutcomeTotals:
    """Sums by table and key. Run times of the completed and waits of all that started go into the histograms."""
    sums: OutcomeTotals = defaultdict(lambda: defaultdict(lambda: [0, 0, 0]))
    for _id, job_type, queue, status, run_ms, wait_ms, started, ended, tenant in rows:
        at, run_ms, wait_ms = _at(ended), as_integer(run_ms, 0) or 0, as_integer(wait_ms)
        job_type, queue, status, tenant = as_text(job_type) or "", as_text(queue) or "", as_text(status) or "", as_text(tenant)
        hour, values = at - at % HOUR_MS, (1, run_ms, wait_ms or 0)
        _grow(sums["rollup_types"][hour, job_type, status], values)
        _grow(sums["rollup_tenants"][hour, job_type, tenant or "", status], values)
        if at > now - KEEP_MINUTES_MS:
            _grow(sums["job_minutes"][at - at % MINUTE_MS, job_type, queue, tenant or "", status], values[:2])
        times = [("wait", wait_ms)] if started is not None and wait_ms is not None else []
        times += [("run", run_ms)] if status == "completed" else []
        for what, ms in times:
            place = bisect_left(BOUNDS_MS, ms)
            _grow(sums["job_histograms"][job_type, queue, what, BOUNDS_MS[place] if place < len(BOUNDS_MS) else NO_BOUND], (1, ms))
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
        return 0  # written by another program
