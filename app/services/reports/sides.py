"""One of the two times that a report compares: its outcomes by type and bar, and its times of waiting and running.

(low, high) + filter -> `read` -> Side: counts from the rollups, times from the hours of use, or both from single rows
A filter that no hour counts (a queue, a type of a tenant) is read from the rows of 32 days, times of MOST_RAW of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta, tzinfo

from app.extensions import db
from app.ledger.dialect import SessionExecutor
from app.models.outcome_stats import watermark
from app.models.types import as_integer
from app.services.instance.retention import KEEP_DAYS
from app.services.jobs import queue_rates
from app.services.reports import outcomes
from app.services.reports.model import ReportFilter, Spread
from app.services.reports.outcomes import Tally
from app.services.stats import usage_read
from app.services.stats.usage_fill import Cell
from app.support.clock import DAY_MS, HOUR_MS, day_of, midnight

MOST_HOURLY_MS, MOST_DAILY_MS = 50 * HOUR_MS, 93 * DAY_MS + HOUR_MS
_FIRST = f"SELECT (SELECT MIN(hour) FROM rollup_types), {watermark('sent_since')}"


@dataclass(frozen=True)
class Side:
    """`bounds` (ms) of the bars, `tallies` by type of each (None: not known, `why` is the code), `sent` jobs (None:
    `why_sent`), `cells` of use by type, or by tenant when not `typed` (None: `why_times`), `behind`: how many outcomes
    are not counted yet."""

    bounds: list[int]
    tallies: outcomes.Tallies | None
    cells: dict[str, Cell] | None
    sent: int | None
    why: str
    why_times: str
    why_sent: str
    typed: bool
    behind: int

    @property
    def by_type(self) -> dict[str, Tally]:
        """The tallies of the whole time by type; {} when they are not known."""
        whole: dict[str, Tally] = {}
        for bar in self.tallies or ():
            for name, tally in bar.items():
                whole.setdefault(name, Tally()).add(tally)
        return whole

    def spread(self, what: str, job_type: str | None = None) -> Spread | None:
        """The quantiles of `waits` or `runs`, of all or of one type; None when they are not known."""
        if self.cells is None or job_type is not None and not self.typed:
            return None
        cells = list(self.cells.values()) if job_type is None else [self.cells.get(job_type, Cell())]
        return outcomes.spread(outcomes.merged(cells, what))

    def busy_ms(self, job_type: str) -> int | None:
        """The run time of all attempts of a type; None when it is not known."""
        return self.cells.get(job_type, Cell()).busy_ms if self.cells is not None and self.typed else None


def read(low: int, high: int, only: ReportFilter, now: int, zone: tzinfo) -> Side:
    """What is known of [low, high) (ms, whole hours) at `now`. Each reading ends its transaction."""
    bounds, scope, behind = bars(low, high, zone), outcomes.scope_of(only), 0
    first_ended, first_sent = map(as_integer, SessionExecutor(db.session).fetch_all(_FIRST)[0])
    first_used = usage_read.first_hour()
    db.session.rollback()
    why = why_times = ""
    tallies, cells = None, None
    if scope:
        if _covers(first_used, low, first_ended):
            (cells,), behind = usage_read.cut(scope[0], [low, high], scope[1])
            db.session.rollback()
        else:
            why_times = "usage"
    elif low < now - KEEP_DAYS * DAY_MS:
        why_times = "kept"
    if only.queue is None:
        tallies = outcomes.counts(bounds, only)
        db.session.rollback()
    elif why_times:
        why = why_times
    else:
        tallies = outcomes.raw_counts(bounds, only)
    if tallies is not None and not scope and not why_times:
        few = sum(tally.total for bar in tallies for tally in bar.values()) <= outcomes.MOST_RAW
        cells = outcomes.raw_cells(bounds, only) if few else None
        why_times = "" if cells is not None else "many"
    known, typed = _covers(first_sent, low, first_ended), scope is None or scope[0] == "type"
    given = {name: value for name, value in vars(only).items() if value is not None}
    sent = queue_rates.sent(SessionExecutor(db.session), low, high, **given) if known else None
    db.session.rollback()
    return Side(bounds, tallies, cells, sent, why, why_times, "" if known else "sent", typed, behind)


def _covers(first: int | None, low: int, first_ended: int | None) -> bool:
    """Whether counts that begin with the hour `first` are whole from `low` on: nothing ended before them."""
    return first_ended is None or first is not None and (first <= low or first <= first_ended)


def bars(low: int, high: int, zone: tzinfo) -> list[int]:
    """The bounds (ms, whole hours) of hours, of days of the zone, or of weeks, as the length asks for."""
    if high - low <= MOST_HOURLY_MS:
        return [*range(low, high, HOUR_MS), high]
    return days(low, high, zone, 1 if high - low <= MOST_DAILY_MS else 7)


def days(low: int, high: int, zone: tzinfo, step: int = 1) -> list[int]:
    """`low`, the start of each `step`th day of the zone after that of `low`, and `high`, in ms of whole hours."""
    first, last = day_of(low, zone), day_of(high - 1, zone)
    starts = [midnight(first + timedelta(days=n), zone) for n in range(step, (last - first).days + 1, step)]
    return [low, *(at for at in outcomes.whole_hours(starts) if low < at < high), high]
