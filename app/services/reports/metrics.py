"""The metrics of a period as rows: one for each bar of time and job type, or of a tenant for each of its types.

window + filter + bucket -> `rows`: a day (or a week of days) at a time, so that neither memory nor a transaction grows
Counts and mean run times are from the rollups; quantiles from the hours of use of a type: all of completed and failed
jobs. A cell of what no hour counts (quantiles of a type of one tenant) is empty. Costs are those of the type, and of
the tenant, in the same time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from typing import Any

from app.extensions import db
from app.ledger.costs import MOST
from app.ledger.dialect import SessionExecutor
from app.models.types import as_integer, as_text
from app.services.reports import outcomes, sides
from app.services.reports.model import ReportFilter
from app.services.reports.periods import Window
from app.services.stats import usage_read
from app.services.stats.usage_fill import Cell
from app.support.clock import HOUR_MS
from app.support.formatting import tenths

SHARES = (0.5, 0.95, 0.99)
COLUMNS = ("time", "type", "tenant", "completed", "failed", "total", "success_rate", "mean_run_ms",
           *(f"{what}_p{round(100 * share)}_ms" for what in ("run", "wait") for share in SHARES),
           "cost", "currency", "requests_of_unknown_cost")
_COSTS = f"""SELECT job_type, currency, SUM(CASE WHEN cost_nano BETWEEN -{MOST} AND {MOST} THEN cost_nano END),
 SUM(CASE WHEN cost_nano BETWEEN -{MOST} AND {MOST} THEN 0 ELSE 1 END) FROM job_costs
 WHERE at_ms >= :low AND at_ms < :high{{of}} GROUP BY job_type, currency ORDER BY job_type, currency"""


def rows(window: Window, only: ReportFilter, bucket: str, zone: tzinfo) -> Iterator[tuple[Any, ...]]:
    """The rows of COLUMNS, oldest first. `bucket` is hour or day; a time is written as 2026-10-25T02:00+01:00 of the
    zone, a day as 2026-10-25. A type that was paid for in two currencies has a row for the second one, with the costs
    alone."""
    low, high = outcomes.whole_hours((window.since, window.until))
    parts = sides.days(low, high, zone, 7 if bucket == "day" else 1)
    for first, last in zip(parts, parts[1:], strict=False):
        bounds = sides.days(first, last, zone) if bucket == "day" else [*range(first, last, HOUR_MS), last]
        tallies, scope = outcomes.counts(bounds, only), outcomes.scope_of(only)
        cells = usage_read.cut("type", bounds, only.job_type)[0] if scope and scope[0] == "type" else None
        paid = [_costs(since, until, only) for since, until in zip(bounds, bounds[1:], strict=False)]
        db.session.rollback()
        for place, by_type in enumerate(tallies):
            at = datetime.fromtimestamp(bounds[place] / 1000, UTC).astimezone(zone)
            time = at.date().isoformat() if bucket == "day" else at.isoformat(timespec="minutes")
            names = {name for name, tally in by_type.items() if tally.total} | paid[place].keys()
            for name in sorted(names):
                costs = paid[place][name] or [(None, None, None)]
                cell = cells[place].get(name) if cells else None
                yield time, name, only.tenant_id, *_figures(by_type[name], cell), *costs[0]
                for more in costs[1:]:
                    yield time, name, only.tenant_id, *(None,) * (len(COLUMNS) - 6), *more


def _figures(tally: outcomes.Tally, cell: Cell | None) -> tuple[Any, ...]:
    sketches = (cell.runs, cell.waits) if cell else ()
    quantiles = [sketch.quantile(share) for sketch in sketches for share in SHARES] or [None] * 6
    mean = tally.time_ms / tally.total if tally.total else None
    return (tally.completed, tally.failed, tally.total,
            *map(short, (tenths(tally.success_rate), mean, *quantiles)))


def short(value: float | None) -> Decimal | None:
    """A number for a cell, with at most two decimals."""
    return None if value is None else Decimal(str(round(value, 2)))


def _costs(low: int, high: int, only: ReportFilter) -> dict[str, list[tuple[Any, ...]]]:
    given = {name: value for name, value in vars(only).items() if value is not None}
    of = "".join(f" AND {name} = :{name}" for name in given)
    found: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for job_type, currency, nano, unknown in SessionExecutor(db.session).fetch_all(
            _COSTS.format(of=of), low=low, high=high, **given):
        known = as_integer(nano)
        found[as_text(job_type) or ""].append((None if known is None else Decimal(known).scaleb(-9),
                                               as_text(currency), as_integer(unknown, 0)))
    return found
