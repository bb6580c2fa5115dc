"""`collect`: the figures of a period and of the one before it. Its parts are declared in model.py.

sides.py (outcomes and times), error_rows.py, cost_rows.py, box_rows.py -> ReportFigures
It only reads, from the rollups and the hours of use, and its transaction ends after each part, because the monitor
calls it. What no row knows is None with a code of words.py.
"""

from __future__ import annotations

from typing import Any

from app import registry
from app.extensions import db, reading
from app.services.instance.retention import KEEP_DAYS, KEEP_FAILED_DAYS
from app.services.reports import box_rows, cost_rows, error_rows, links, model, outcomes, sides
from app.services.reports.model import Costs, Figure, ReportFigures, ReportFilter, Slot, Times, TypeRow
from app.services.reports.outcomes import Tally
from app.services.reports.periods import Window, before
from app.services.reports.sides import Side
from app.services.reports.stored import from_json, to_json
from app.services.stats import usage_read
from app.support.clock import DAY_MS, now_ms
from app.support.settings import settings

MOST_ROWS, MOST_KINDS = model.MOST_ROWS, model.MOST_KINDS
__all__ = ["ReportFigures", "ReportFilter", "collect", "from_json", "to_json"]


def collect(window: Window, only: ReportFilter | None = None) -> ReportFigures:
    """The figures of a window, limited to what the filter names, as they are now."""
    only, now, zone = only or ReportFilter(), now_ms(), settings().timezone
    was = before(window, zone)
    asked = was.since, was.until, window.since, window.until
    low, low_end, since, until = outcomes.whole_hours(asked)
    with reading():
        stranger = only.tenant_id and not usage_read.is_known("tenant", only.tenant_id)
        earlier = sides.read(low, low_end, only, now, zone)
        present = sides.read(since, until, only, now, zone)
        found = _volume(present, earlier, only) | _types(present, earlier, only)
        found |= _others((since, until), (low, low_end), only, now)
    plain, behind = only == ReportFilter(), found.pop("behind") + present.behind + earlier.behind
    notes = {"running": until > now, "behind": behind, "hours": (low, low_end, since, until) != asked,
             "whole": not plain, "stranger": stranger}
    link = links.usage(since, until) if plain else links.outcomes(since, until, **_parts(only))
    return ReportFigures(window.period, since, until, low, low_end, str(zone), now, only, link,
                         notes=tuple(code for code, true in notes.items() if true), **found)


def _parts(only: ReportFilter) -> dict[str, str | None]:
    """The filter as the list of jobs names its parts."""
    return {"type": only.job_type, "tenant": only.tenant_id, "queue": only.queue}


def _volume(now: Side, was: Side, only: ReportFilter) -> dict[str, Any]:
    """The fields about numbers of jobs, bars and times of all."""
    span, of = (now.bounds[0], now.bounds[-1]), _parts(only)
    totals = [None if side.tallies is None else _sum(side.by_type.values()) for side in (now, was)]

    def figure(name: str, link: str, unknown: str = "") -> Figure:
        values = [None if total is None else getattr(total, name) for total in totals]
        whys = [side.why or (unknown if value is None else "") for side, value in zip((now, was), values, strict=True)]
        return Figure(*values, *whys, link)

    def times(what: str) -> Times:
        found = [side.spread(what) for side in (now, was)]
        whys = ["" if one else side.why_times or "never" for side, one in zip((now, was), found, strict=True)]
        return Times(*found, *whys, _of_times(span, only))

    ended = links.outcomes(*span, **of)
    return {
        "dispatched": Figure(now.sent, was.sent, now.why_sent, was.why_sent),
        "ended": figure("total", ended), "success_rate": figure("success_rate", ended, "never"),
        "completed": figure("completed", links.jobs(*span, "completed", **of)),
        "failed": figure("failed", links.outcomes(*span, "failed", **of)),
        "cancelled": figure("cancelled", links.jobs(*span, "cancelled", **of)),
        "rescued": figure("lost", links.outcomes(*span, "rescued", **of)), "wait": times("waits"), "run": times("runs"),
        "slots": _slots(now, of), "slots_before": _slots(was, of)}


def _of_times(span: tuple[int, int], only: ReportFilter) -> str:
    """The page of use that shows the quantiles of one type or tenant; "" where none does."""
    scope = outcomes.scope_of(only)
    return links.usage(*span, *scope) if scope and scope[1] else ""


def _sum(tallies: Any) -> Tally:
    whole = Tally()
    for tally in tallies:
        whole.add(tally)
    return whole


def _slots(side: Side, of: dict[str, str | None]) -> tuple[Slot, ...]:
    found = []
    for low, high, bar in zip(side.bounds, side.bounds[1:], side.tallies or (), strict=False):
        whole = _sum(bar.values())
        found.append(Slot(low, high, whole.completed, whole.failed, whole.cancelled, whole.lost,
                          links.outcomes(low, high, **of)))
    return tuple(found)


def _types(now: Side, was: Side, only: ReportFilter) -> dict[str, Any]:
    """The fields about types."""
    span, of, earlier = (now.bounds[0], now.bounds[-1]), _parts(only), was.by_type
    counted = {name: tally for name, tally in now.by_type.items() if tally.total}
    runs = {name: now.spread("runs", name) for name in counted}

    def row(name: str) -> TypeRow:
        tally, then, plain = counted[name], earlier.get(name, Tally()), only in (ReportFilter(), ReportFilter(name))
        parts = of | {"type": name}
        return TypeRow(
            name, registry.label_of(name), tally.completed, tally.failed, tally.success_rate,
            None if was.tallies is None else then.total, None if was.tallies is None else then.failed,
            now.busy_ms(name), now.spread("waits", name), runs[name], was.spread("runs", name),
            links.usage(*span, "type", name) if plain else links.outcomes(*span, **parts),
            links.outcomes(*span, "failed", **parts))

    def rows(key: Any, names: Any = counted, most: int = MOST_ROWS) -> tuple[TypeRow, ...]:
        return tuple(map(row, sorted(names, key=lambda name: (-key(name), name))[:most]))

    slowest = rows(lambda name: runs[name].p95, [name for name, spread in runs.items() if spread])
    why = "" if slowest else "tenant" if not now.typed else now.why_times or "never"
    kinds = rows(lambda name: counted[name].total, most=MOST_KINDS)
    return {"types": kinds[:MOST_ROWS], "more_types": kinds[MOST_ROWS:], "slowest": slowest, "slowest_why": why,
            "failing": rows(lambda name: counted[name].failed, [name for name in counted if counted[name].failed]),
            "type_count": len(counted)}


def _others(now: tuple[int, int], was: tuple[int, int], only: ReportFilter, at: int) -> dict[str, Any]:
    """The fields about errors, costs, the machine, alerts and schedules; `behind`: failures without a group."""
    kept, failures = ([code if low < at - days * DAY_MS else "" for low, _high in (now, was)]
                      for days, code in ((KEEP_DAYS, "kept"), (KEEP_FAILED_DAYS, "failures")))
    found: dict[str, Any] = {"behind": 0}
    why = "queue" if only.queue else failures[0]
    if why:
        found["errors_why"] = why
    else:
        found |= error_rows.read(was[0], *now, only, not failures[1])
    db.session.rollback()
    found["costs"] = Costs(why="queue") if only.queue else cost_rows.read(*now, *was, only)
    db.session.rollback()
    found["capacity"] = box_rows.capacity(now, was, *kept)
    found["alerts_opened"], found["alerts"] = box_rows.alerts(now, was, *failures)
    found["missed"] = box_rows.missed(now, was) if only == ReportFilter() else Figure(None, None, "filter", "filter")
    return found
