"""Outcomes of consecutive times, by type: counts from the rollups, times of waiting and running from the hours of use.

bounds (ms, whole hours) + filter -> `counts` -> a Tally by type for each time: exact, as far back as there are any
                                  -> `usage_read.cut` -> a Cell by name: sketches, of 400 days
                                  -> `raw_counts`, `raw_cells` -> both, from the rows of single outcomes, for what no
                                     hour counts: a queue, or a type of a tenant
Rows that the monitor has not counted yet are read from job_metrics, so what is recorded is counted.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.extensions import db
from app.ledger.dialect import SessionExecutor
from app.models.outcome_stats import AT, FAILURES, REACH
from app.models.types import as_integer, as_text
from app.services.reports.model import ReportFilter, Spread
from app.services.stats import usage_fill
from app.services.stats.usage_fill import Cell
from app.support.clock import HOUR_MS, stamp, stored_ms
from app.support.sketch import Sketch

MOST_RAW = 50_000  # outcomes; they take 1 s
_COUNTS = f"""WITH slots (n, low, high) AS (VALUES {{slots}})
 SELECT s.n, r.job_type, r.status, SUM(r.count + 0.0), SUM(r.time_ms + 0.0), NULL FROM slots s CROSS JOIN {{table}} r
 WHERE r.hour >= s.low AND r.hour < s.high{{of}} GROUP BY s.n, r.job_type, r.status
 UNION ALL SELECT -1, r.job_type, r.status, COUNT(*), SUM(r.processing_time), CAST({AT} AS VARCHAR(30))
 FROM job_metrics r WHERE r.id > {REACH}{{of}} GROUP BY {AT}, r.job_type, r.status"""
_RAW_COUNTS = """SELECT job_type, status, COUNT(*), SUM(processing_time + 0.0) FROM job_metrics r
 WHERE completed_at >= :low AND completed_at < :high{of} GROUP BY job_type, status"""
_RAW = f"""SELECT {usage_fill.COLUMNS} FROM job_metrics r WHERE completed_at >= :low AND completed_at < :high{{of}}
 LIMIT {MOST_RAW + 1}"""


@dataclass
class Tally:
    """Jobs that completed, failed (or timed out), were cancelled; attempts lost with their worker. `time_ms` is the
    sum of the run times of the completed and failed ones."""

    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    lost: int = 0
    time_ms: int = 0

    def count(self, status: str | None, n: int, ms: int) -> None:
        """Add `n` outcomes with the summed run time `ms`; those of attempts that are tried again count nowhere."""
        if status == "completed":
            self.completed, self.time_ms = self.completed + n, self.time_ms + ms
        elif status in FAILURES:
            self.failed, self.time_ms = self.failed + n, self.time_ms + ms
        elif status in ("cancelled", "lost"):
            setattr(self, status, getattr(self, status) + n)

    def add(self, other: Tally) -> None:
        """Add the counts of another tally."""
        for name, n in vars(other).items():
            setattr(self, name, getattr(self, name) + n)

    @property
    def total(self) -> int:
        """Final outcomes: completed and failed."""
        return self.completed + self.failed

    @property
    def success_rate(self) -> float | None:
        """Percentage of completed ones; None without outcomes."""
        return 100 * self.completed / self.total if self.total else None


Tallies = list[dict[str, Tally]]


def whole_hours(bounds: Sequence[int]) -> list[int]:
    """The bounds at the beginning of their hours: nothing smaller is counted."""
    return [at - at % HOUR_MS for at in bounds]


def scope_of(only: ReportFilter) -> tuple[str, str | None] | None:
    """The scope of the hours of use that answers a filter, and the name in it (None: all); None when none does."""
    if only.queue or only.job_type and only.tenant_id:
        return None
    return ("tenant", only.tenant_id) if only.tenant_id else ("type", only.job_type)


def _of(only: ReportFilter) -> tuple[str, dict[str, str]]:
    given = {name: value for name, value in vars(only).items() if value is not None}
    return "".join(f" AND r.{name} = :{name}" for name in given), given


def counts(bounds: Sequence[int], only: ReportFilter) -> Tallies:
    """Tallies by type of each time between two bounds. The filter names no queue."""
    found: Tallies = [defaultdict(Tally) for _ in bounds[1:]]
    of, given = _of(only)
    slots = ", ".join(f"({n}, {low}, {high})" for n, (low, high) in enumerate(zip(bounds, bounds[1:], strict=False)))
    sql = _COUNTS.format(slots=slots, of=of, table="rollup_tenants" if only.tenant_id else "rollup_types")
    for place, job_type, status, n, ms, at in SessionExecutor(db.session).fetch_all(sql, **given):
        if place < 0:
            moment = stored_ms(at)
            place = -1 if moment is None else bisect_right(bounds, moment) - 1
        if 0 <= place < len(found):
            found[place][as_text(job_type) or ""].count(as_text(status), as_integer(n, 0) or 0, as_integer(ms, 0) or 0)
    return found


def raw_counts(bounds: Sequence[int], only: ReportFilter) -> Tallies:
    """As `counts`, of any filter, from single rows: a million take 2 s. The transaction ends after each bar, as in
    `raw_cells`, so that no long reading keeps SQLite's log from being emptied."""
    found: Tallies = [defaultdict(Tally) for _ in bounds[1:]]
    for tallies, rows in zip(found, _rows(_RAW_COUNTS, bounds, only), strict=True):
        for job_type, status, n, ms in rows:
            tallies[as_text(job_type) or ""].count(as_text(status), as_integer(n, 0) or 0, as_integer(ms, 0) or 0)
    return found


def raw_cells(bounds: Sequence[int], only: ReportFilter) -> dict[str, Cell] | None:
    """Cells by type of the whole time, from single rows; None when these are more than MOST_RAW."""
    cells: dict[str, Cell] = defaultdict(Cell)
    left = MOST_RAW
    for rows in _rows(_RAW, bounds, only):
        left -= len(rows)
        if left < 0:
            return None
        for (scope, name, _at), cell in usage_fill.collect(rows, 0, 2**62).items():
            if scope == "type":
                cells[name].add(cell)
    return cells


def _rows(sql: str, bounds: Sequence[int], only: ReportFilter) -> Iterator[list[tuple]]:
    given = {name: value for name, value in vars(only).items() if value is not None}
    of = "".join(f" AND COALESCE(r.{name}, '') = :{name}" for name in given)  # so the index of the time is taken
    for low, high in zip(bounds, bounds[1:], strict=False):
        yield SessionExecutor(db.session).fetch_all(sql.format(of=of), low=stamp(low), high=stamp(high), **given)
        db.session.rollback()


def spread(sketch: Sketch) -> Spread | None:
    """Quantiles of a sketch; None when it is empty."""
    if not sketch.counts:
        return None
    return Spread(*map(sketch.quantile, (0.5, 0.95, 0.99)), sketch.total, sketch.error)


def merged(cells: Sequence[Cell], what: str) -> Sketch:
    """The sketches `what` (waits, runs) of all the cells as one."""
    whole = Sketch()
    for cell in cells:
        whole.merge(getattr(cell, what))
    return whole
