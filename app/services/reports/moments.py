"""Times of a report as texts in its own zone: days and hours of bars, the moment of the figures; and its name."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from babel.dates import format_datetime
from flask_babel import get_locale, gettext as _

from app.services.reports import periods
from app.services.reports.model import ReportFigures, Slot
from app.support.clock import shown_twice

HOURLY_MS = 2 * 3_600_000  # a slot up to this long is an hour


def zone_of(figures: ReportFigures) -> tzinfo:
    """The zone in which the report was made; UTC for a name that this machine does not know."""
    try:
        return ZoneInfo(figures.zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def at(ms: int, figures: ReportFigures, form: str = "d MMM, HH:mm") -> str:
    """A time in the form of Babel; an en dash for one that no calendar has."""
    try:
        local = datetime.fromtimestamp(ms / 1000, UTC).astimezone(zone_of(figures))
        return format_datetime(local, form, locale=str(get_locale() or "it"))
    except (ValueError, OverflowError, OSError):
        return "–"


def hourly(one: Slot) -> bool:
    """Whether a bar is an hour, not a day or a week."""
    return one.until - one.since <= HOURLY_MS


def slot(one: Slot, figures: ReportFigures, short: bool = False) -> str:
    """The name of a bar: 'Mon 19 Oct' or, of an hour, 'Mon 19, 14:00'; `short` for the axis: 'Mon 19', '19', '14'."""
    if short:
        many = len(figures.slots)
        return at(one.since, figures, "HH" if hourly(one) else "EEE d" if many < 15 else "d" if many < 32 else "d MMM")
    if not hourly(one):
        return at(one.since, figures, "EEE d MMM")
    form = "EEE d, HH:mm"
    with contextlib.suppress(ValueError, OverflowError, OSError):
        form += " xx" * shown_twice(datetime.fromtimestamp(one.since / 1000, UTC).astimezone(zone_of(figures)))
    return at(one.since, figures, form)


def period(figures: ReportFigures, language: str, before: bool = False) -> str:
    """The period in words, or the one before; an en dash where no calendar has it."""
    since, until = (figures.before_since, figures.before_until) if before else (figures.since, figures.until)
    try:
        return periods.title(periods.Window(figures.period, since, until), zone_of(figures), language)
    except (ValueError, OverflowError, OSError):
        return "–"


def name(figures: ReportFigures) -> str:
    """'Weekly report' and so on."""
    return {"day": _("Daily report"), "week": _("Weekly report"), "month": _("Monthly report")}.get(
        figures.period, _("Report"))
