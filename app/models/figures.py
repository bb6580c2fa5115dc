"""Exact counts of final outcomes over any window, from the hourly rollups.

A window that cuts an hour counts the cut from the raw rows: [start, end) is the
rollup of the hours from floor(start) less the raw rows of [floor(start), start), or of those
from the next hour on and the raw rows until then, whichever is shorter.
Public figures count completed, failed and timeout only; a failure is failed or timeout.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text

from app.clock import DAY_MS, HOUR_MS, stamp
from app.extensions import db

COUNTED = ("completed", "failed", "timeout")
FAILURES = ("failed", "timeout")

_HOURS = """SELECT hour, job_type, status, count, time_ms FROM rollup_types
 WHERE hour >= :low AND hour < :high AND status IN ('completed', 'failed', 'timeout')"""
_SUMS = """SELECT job_type, status, SUM(count), SUM(time_ms) FROM rollup_types
 WHERE hour >= :low AND hour < :high AND status IN ('completed', 'failed', 'timeout') GROUP BY job_type, status"""
_RAW = """SELECT job_type, status, COUNT(*), SUM(processing_time) FROM job_metrics
 WHERE completed_at >= :low AND completed_at < :high AND status IN ('completed', 'failed', 'timeout')
 GROUP BY job_type, status"""


@dataclass
class Sums:
    """Final outcomes of a window; `time_ms` is the summed run time of the completed ones."""

    completed: int = 0
    failed: int = 0
    time_ms: int = 0

    def add(self, status: str, count: int, time_ms: int, sign: int = 1) -> None:
        if status == "completed":
            self.completed += sign * count
            self.time_ms += sign * time_ms
        else:
            self.failed += sign * count

    @property
    def total(self) -> int:
        return self.completed + self.failed

    @property
    def success_rate(self) -> float | None:
        return 100.0 * self.completed / self.total if self.total else None

    @property
    def average_ms(self) -> float | None:
        return self.time_ms / self.completed if self.completed else None


def by_type(start: int, end: int) -> dict[str, Sums]:
    """Sums by job type over [start, end) in ms; `end` must lie on an hour or not in the past."""
    sums: dict[str, Sums] = {}
    low = start - start % HOUR_MS
    late = start - low > HOUR_MS // 2 and low + HOUR_MS < end  # the shorter part of the cut hour is read from the raw rows
    for job_type, status, count, time_ms in _rows(_SUMS, low + HOUR_MS * late, end):
        sums.setdefault(job_type, Sums()).add(status, int(count), int(time_ms))
    if low != start:
        cut, sign = ((start, low + HOUR_MS), 1) if late else ((low, start), -1)
        for job_type, status, count, time_ms in _rows(_RAW, stamp(cut[0]), stamp(cut[1])):
            sums.setdefault(job_type, Sums()).add(status, int(count), int(time_ms), sign)
    return sums


def window(start: int, end: int, job_type: str | None = None) -> Sums:
    """Sums over [start, end) in ms, of one type or of all."""
    total = Sums()
    for name, sums in by_type(start, end).items():
        if job_type in (None, name):
            total.completed += sums.completed
            total.failed += sums.failed
            total.time_ms += sums.time_ms
    return total


def day_totals(now: int, job_type: str | None = None) -> Sums:
    """Sums over the rolling 24 hours before `now` (ms), the running hour included."""
    return window(now - DAY_MS, now + 1, job_type)


def buckets(bounds: Sequence[int], job_type: str | None = None) -> list[Sums]:
    """Sums for each [bounds[i], bounds[i+1]) in ms. Bounds off the hour (zones at +5:30) are cut from raw rows."""
    result = [Sums() for _ in bounds[:-1]]
    for hour, name, status, count, time_ms in _rows(_HOURS, bounds[0] - bounds[0] % HOUR_MS, bounds[-1]):
        place = bisect_right(bounds, hour) - 1
        if job_type in (None, name) and place < len(result):
            if place >= 0:
                result[place].add(status, count, time_ms)
            # an hour that a bound cuts was counted whole before the bound: its later part belongs after it
            cut = bounds[place + 1]
            if hour < cut < hour + HOUR_MS and place + 1 < len(result):
                result[place + 1].add(status, count, time_ms)
                if place >= 0:
                    result[place].add(status, count, time_ms, sign=-1)
    for place, cut in enumerate(bounds[:-1]):
        if cut % HOUR_MS:
            for name, status, count, time_ms in _rows(_RAW, stamp(cut - cut % HOUR_MS), stamp(cut)):
                if job_type in (None, name):
                    result[place].add(status, count, time_ms, sign=-1)
                    if place:
                        result[place - 1].add(status, count, time_ms)
    return result


def _rows(sql: str, low, high):
    return db.session.execute(text(sql), {"low": low, "high": high})
