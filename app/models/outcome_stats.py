"""Exact counts of final outcomes over any window of time.

count = the hourly rollups of the window's hours (outcomes that the monitor has counted: ids up to `rollup_reach`)
      - the part of the first hour before the window (from the counts by minute, which go back 26 hours; from raw rows
        for the part of a minute and for older windows)
      + the raw rows past `rollup_reach`
Public figures count only completed, failed and timeout. A failure is failed or timeout.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from app.extensions import db
from app.models.types import as_integer, as_text
from app.support.clock import DAY_MS, HOUR_MS, MINUTE_MS, millis, now_ms, stamp

COUNTED = ("completed", "failed", "timeout")
FAILURES = ("failed", "timeout")
KEEP_MINUTES_MS = 26 * HOUR_MS  # rows of job_minutes and queue_minutes
KEEP_SECONDS_MS = 15 * MINUTE_MS  # rows of queue_seconds

_WANTED = "status IN ('completed', 'failed', 'timeout')"


def watermark(key: str) -> str:
    """The SQL expression of a watermark (ledger/watermark.py); 0 when `meta` has no number under this key."""
    return ("COALESCE((SELECT CASE WHEN LENGTH(value) BETWEEN 1 AND 18 AND TRIM(value, '0123456789') = '' "
            f"THEN CAST(value AS BIGINT) ELSE 0 END FROM meta WHERE key = '{key}'), 0)")


REACH = watermark("rollup_reach")
AT = "COALESCE(completed_at, completed_at)"  # written so, SQLite finds the last rows by id and not by time
# One statement a figure, so that it reads one snapshot; on PostgreSQL `rollup_reach` can change between two statements.
_SUMS = f"""SELECT job_type, status, SUM(n + 0.0), SUM(ms + 0.0) FROM (
 SELECT job_type, status, count AS n, time_ms AS ms FROM rollup_types WHERE hour >= :low AND hour < :high
 UNION ALL SELECT job_type, status, -count, -time_ms FROM job_minutes WHERE minute_ms >= :low AND minute_ms < :minute
 UNION ALL SELECT job_type, status, -1, -processing_time FROM job_metrics
  WHERE completed_at >= :minute_at AND completed_at < :low_at AND id <= {REACH}
 UNION ALL SELECT job_type, status, 1, processing_time FROM job_metrics
  WHERE id > {REACH} AND {AT} >= :low_at AND {AT} < :high_at) found WHERE {{wanted}} GROUP BY job_type, status"""
_BUCKETS = f"""SELECT hour, NULL, job_type, status, count, time_ms, {REACH} FROM rollup_types
 WHERE hour >= :low AND hour < :high AND {_WANTED}
 UNION ALL SELECT 0, CAST({AT} AS VARCHAR(30)), job_type, status, COUNT(*), SUM(processing_time), {REACH}
 FROM job_metrics WHERE id > {REACH} AND {_WANTED} GROUP BY {AT}, job_type, status"""
_RAW = f"""SELECT job_type, status, COUNT(*), SUM(processing_time) FROM job_metrics
 WHERE completed_at >= :low AND completed_at < :high AND id <= :reach AND {_WANTED} GROUP BY job_type, status"""


@dataclass
class OutcomeTotals:
    """Final outcomes of a window; `time_ms` is the sum of the run times of the completed ones."""

    completed: int = 0
    failed: int = 0
    time_ms: int = 0

    def add(self, status: str, count: int, time_ms: int, sign: int = 1) -> None:
        """Add `count` outcomes with the summed run time `time_ms`, or subtract them with `sign` -1."""
        if status == "completed":
            self.completed += sign * count
            self.time_ms += sign * time_ms
        else:
            self.failed += sign * count

    @property
    def total(self) -> int:
        """Completed and failed outcomes."""
        return self.completed + self.failed

    @property
    def success_rate(self) -> float | None:
        """Percentage (0 to 100) of completed outcomes; None without outcomes."""
        return 100.0 * self.completed / self.total if self.total else None

    @property
    def average_ms(self) -> float | None:
        """Mean run time in ms of completed outcomes; None without any."""
        return self.time_ms / self.completed if self.completed else None


def by_type(start: int, end: int, wanted: str = _WANTED) -> dict[str, OutcomeTotals]:
    """{job type: totals} over [start, end) in ms. `end` must be a full hour or not in the past. `wanted` is the SQL
    condition of the outcomes to count; all but completed ones count as failed."""
    sums: dict[str, OutcomeTotals] = {}
    low = start - start % HOUR_MS
    minute = start - start % MINUTE_MS if low > now_ms() - KEEP_MINUTES_MS + HOUR_MS else low
    rows = _rows(_SUMS.format(wanted=wanted), low=low, high=end, minute=minute, minute_at=stamp(minute),
                 low_at=stamp(start), high_at=stamp(end))
    for job_type, status, count, time_ms in rows:
        sums.setdefault(as_text(job_type), OutcomeTotals()).add(status, as_integer(count, 0), as_integer(time_ms, 0))
    return sums


def window(start: int, end: int, job_type: str | None = None, wanted: str = _WANTED) -> OutcomeTotals:
    """Totals over [start, end) in ms, of one job type or of all; arguments as in `by_type`."""
    total = OutcomeTotals()
    for name, sums in by_type(start, end, wanted).items():
        if job_type in (None, name):
            total.completed += sums.completed
            total.failed += sums.failed
            total.time_ms += sums.time_ms
    return total


def day_totals(now: int, job_type: str | None = None) -> OutcomeTotals:
    """Totals of the 24 hours before `now` (ms), the current hour included."""
    return window(now - DAY_MS, now + 1, job_type)


def lost(now: int) -> int:
    """The number of attempts lost with their worker in the 24 hours before `now` (ms)."""
    return window(now - DAY_MS, now + 1, wanted="status = 'lost'").failed


def buckets(bounds: Sequence[int], job_type: str | None = None) -> list[OutcomeTotals]:
    """Totals of each [bounds[i], bounds[i+1]) in ms. Bounds inside an hour (zones at +5:30) need raw rows."""
    result = [OutcomeTotals() for _ in bounds[:-1]]
    rows = _rows(_BUCKETS, low=bounds[0] - bounds[0] % HOUR_MS, high=bounds[-1]).all()
    for hour, at, name, status, *numbers, _reach in rows:
        moment, (count, time_ms) = _moment(at) if at else hour, (as_integer(n, 0) for n in numbers)
        if not isinstance(moment, int):
            continue  # no valid time: another program wrote it
        place = bisect_right(bounds, moment) - 1
        if job_type in (None, name) and place < len(result):
            if place >= 0:
                result[place].add(status, count, time_ms)
            # an hour with a bound inside was counted before the bound as a whole, but its later part belongs after it
            cut = bounds[place + 1]
            if not at and hour < cut < hour + HOUR_MS and place + 1 < len(result):
                result[place + 1].add(status, count, time_ms)
                if place >= 0:
                    result[place].add(status, count, time_ms, sign=-1)
    for place, cut in enumerate(bounds[:-1]):
        if cut % HOUR_MS:
            part = {"low": stamp(cut - cut % HOUR_MS), "high": stamp(cut), "reach": rows[0][-1] if rows else 0}
            for name, status, count, time_ms in _rows(_RAW, **part):
                if job_type in (None, name):
                    result[place].add(status, count, as_integer(time_ms, 0), sign=-1)
                    if place:
                        result[place - 1].add(status, count, as_integer(time_ms, 0))
    return result


def _moment(text: str) -> int | None:
    try:
        return millis(datetime.fromisoformat(text))
    except (ValueError, TypeError, OverflowError):
        return None


def _rows(sql: str, **values):
    return db.session.execute(text(sql), values)
