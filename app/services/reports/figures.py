"""`collect`: the figures of a period, from the rollups and the hours of use. Its parts are declared in model.py."""

from __future__ import annotations

from app.services.reports.model import ReportFigures, ReportFilter
from app.services.reports.periods import Window, before
from app.services.reports.stored import from_json, to_json
from app.support.clock import now_ms
from app.support.settings import settings

__all__ = ["ReportFigures", "ReportFilter", "collect", "from_json", "to_json"]


def collect(window: Window, filter: ReportFilter | None = None) -> ReportFigures:
    """The figures of a window, limited to what the filter names."""
    zone = settings().timezone
    was = before(window, zone)
    return ReportFigures(window.period, window.since, window.until, was.since, was.until, str(zone), now_ms(),
                         filter or ReportFilter())
