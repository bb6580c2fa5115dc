"""The CSVs of a report, which its mail carries: name of the file -> text, in the form of integrations/csv_cells.py.

ReportFigures -> `files` -> summary.csv (each number with the period before), days.csv (or hours.csv), types.csv,
errors.csv, costs.csv. Names of columns are English and fixed, because programs read them; times are those of the
report's zone. A cell of what is not known is empty; `why` says the code of words.py. The row "(others)" ends types,
errors and costs whose rows are not all: beyond MOST_KINDS, or failures without a kind, so that sums are the report's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from app.integrations.csv_cells import write_rows
from app.services.reports.metrics import short
from app.services.reports.model import CostRow, ErrorRow, Figure, Number, ReportFigures, Spread, Times, TypeRow
from app.support.clock import HOUR_MS
from app.support.formatting import tenths

_QUANTILES = ("p50", "p95", "p99")
_UNITS = {"success_rate": "percent", "busy": "percent", "cpu": "percent", "oldest_wait": "ms", "memory": "bytes",
          "disk": "bytes"}
_NUMBERS = ("dispatched", "ended", "completed", "failed", "success_rate", "cancelled", "rescued", "missed",
            "alerts_opened")
_BOX = ("busy", "workers", "oldest_wait", "cpu", "memory", "disk")
OTHERS = "(others)"  # no name of a type or tenant has these signs
Rows = Iterable[Iterable[object]]


def files(figures: ReportFigures) -> dict[str, str]:
    """{name: CSV} of a report."""
    hourly = figures.slots and figures.slots[0].until - figures.slots[0].since <= HOUR_MS
    tables: dict[str, Rows] = {
        "summary.csv": _summary(figures), "hours.csv" if hourly else "days.csv": _slots(figures, bool(hourly)),
        "types.csv": _types(figures), "errors.csv": _errors(figures), "costs.csv": _costs(figures)}
    return {name: "".join(write_rows(rows)) for name, rows in tables.items()}


def _time(ms: int, zone: str) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).astimezone(ZoneInfo(zone)).isoformat(timespec="minutes")


def _number(value: float | None) -> object:
    return short(value) if isinstance(value, float) else value


def _figure(name: str, figure: Figure) -> tuple[object, ...]:
    unit = _UNITS.get(name, "number")
    if unit == "percent":
        figure = replace(figure, now=tenths(figure.now), before=tenths(figure.before))
    return name, unit, *map(_number, (figure.now, figure.before, figure.change)), figure.why, figure.why_before


def _times(name: str, times: Times) -> Iterator[tuple[object, ...]]:
    for part in _QUANTILES:
        now, before = (None if one is None else getattr(one, part) for one in (times.now, times.before))
        yield f"{name}_{part}", "ms", *_figure("", Figure(now, before, times.why, times.why_before))[2:]


def _summary(figures: ReportFigures) -> Iterator[tuple[object, ...]]:
    yield "figure", "unit", "period", "before", "change", "why", "why_before"
    for name, low, high in (("since", figures.since, figures.before_since),
                            ("until", figures.until, figures.before_until)):
        yield name, "time", _time(low, figures.zone), _time(high, figures.zone), None, "", ""
    for name, value in vars(figures.filter).items():
        if value is not None:
            yield name, "filter", value, value, None, "", ""
    for name in _NUMBERS:
        yield _figure(name, getattr(figures, name))
    yield from _times("wait", figures.wait)
    yield from _times("run", figures.run)
    for name in _BOX:
        yield _figure(name, getattr(figures.capacity, name))


def _slots(figures: ReportFigures, hourly: bool) -> Iterator[tuple[object, ...]]:
    yield "time", "completed", "failed", "cancelled", "lost"
    for slot in figures.slots:
        time = _time(slot.since, figures.zone)
        yield time if hourly else time[:10], slot.completed, slot.failed, slot.cancelled, slot.lost


def _spread(spread: Spread | None) -> list[object]:
    return [None if spread is None else short(getattr(spread, part)) for part in _QUANTILES]


def _rest(whole: Number, rows: Iterable[object], name: str) -> Number:
    """What a column of all rows leaves of the whole; None where that is not known."""
    parts = [getattr(row, name) for row in rows]
    return None if whole is None or None in parts else whole - sum(parts)


def _types(figures: ReportFigures) -> Iterator[tuple[object, ...]]:
    yield ("type", "label", "completed", "failed", "success_rate", "total_before", "failed_before", "run_time_ms",
           *(f"{what}_{part}_ms" for what in ("wait", "run") for part in _QUANTILES), "run_p95_before_ms")
    rows: dict[str, TypeRow] = {row.name: row for row in (*figures.types, *figures.slowest, *figures.failing,
                                                 *figures.more_types)}
    for row in rows.values():
        yield (row.name, row.label, row.completed, row.failed, short(tenths(row.success_rate)), row.before,
               row.failed_before, row.busy_ms, *_spread(row.wait), *_spread(row.run), _spread(row.run_before)[1])
    rest = [_rest(whole, rows.values(), name) for name, whole in (
        ("completed", figures.completed.now), ("failed", figures.failed.now), ("before", figures.ended.before),
        ("failed_before", figures.failed.before))]
    if any(n and n > 0 for n in rest):
        yield OTHERS, "", *rest[:2], None, *rest[2:], *[None] * 8


def _errors(figures: ReportFigures) -> Iterator[tuple[object, ...]]:
    yield "error", "type", "title", "failed", "failed_before", "tenants", "first", "new"
    rows: dict[str, ErrorRow] = {row.key: row for row in (*figures.frequent_errors, *figures.new_errors,
                                                          *figures.more_errors)}
    for row in rows.values():
        yield (row.key, row.job_type, row.title, row.count, row.before, row.tenants,
               _time(row.first_ms, figures.zone), int(row.is_new))
    rest = _rest(figures.failed.now, rows.values(), "count"), _rest(figures.failed.before, rows.values(), "before")
    if not figures.errors_why and any(n and n > 0 for n in rest):
        yield OTHERS, "", "", *rest, *[None] * 3


def _costs(figures: ReportFigures) -> Iterator[tuple[object, ...]]:
    yield ("tenant", "currency", "cost", "cost_before", "requests", "of_unknown_cost", "month_to_date", "budget",
           "percent_of_budget")
    rows = [*figures.costs.rows, *figures.costs.more]
    for one in figures.costs.totals:
        mine = [row for row in rows if row.currency == one.currency]
        rest = [_rest(getattr(one, name), mine, name) for name in ("nano", "before", "requests", "unknown", "month")]
        rows += [CostRow(OTHERS, one.currency, *rest, None, None, False)] if any(rest) else []
    for row in rows:
        amounts = [None if nano is None else Decimal(nano).scaleb(-9)
                   for nano in (row.nano, row.before, row.month, row.budget)]
        yield (row.tenant_id, row.currency, *amounts[:2], row.requests, row.unknown, *amounts[2:],
               short(tenths(row.percent)))
