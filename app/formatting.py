"""Numbers, times, durations and bytes in the reader's language (filters of the templates)."""

from __future__ import annotations

from datetime import UTC, datetime

from babel import dates, numbers
from flask import current_app
from flask_babel import get_locale, ngettext
from flask_babel import gettext as _


def _locale() -> str:
    return str(get_locale() or "it")


def number(value: float | None, digits: int = 0) -> str:
    """1.204 or 1,204; an en dash without a value."""
    if value is None:
        return "–"
    return numbers.format_decimal(round(value, digits), format="#,##0" + ("." + "0" * digits if digits else ""), locale=_locale())


def localtime(moment: datetime | None) -> datetime | None:
    """The moment in APP_TIMEZONE."""
    return moment.astimezone(current_app.extensions["settings"].timezone) if moment else None


def ago(moment: datetime | None) -> str:
    """'12 seconds ago', '9 min ago', 'today 03:12', 'yesterday 18:20', '20 Nov 09:30'; in future 'in 5 min'."""
    if moment is None:
        return "–"
    seconds = int((datetime.now(UTC) - moment).total_seconds())
    if seconds < -1:
        return _("in %(time)s", time=duration(-seconds * 1000))
    if seconds < 60:
        return ngettext("%(num)s second ago", "%(num)s seconds ago", max(seconds, 0))
    if seconds < 3600:
        return _("%(n)s min ago", n=seconds // 60)
    local, now = localtime(moment), localtime(datetime.now(UTC))
    clock = dates.format_time(local, "HH:mm", locale=_locale())
    days = (now.date() - local.date()).days
    if days == 0:
        return _("today %(time)s", time=clock)
    if days == 1:
        return _("yesterday %(time)s", time=clock)
    return dates.format_date(local, "d MMM" if local.year == now.year else "d MMM y", locale=_locale()) + " " + clock


def exact(moment: datetime | None) -> str:
    """UTC to the second, for titles: '2026-11-23 14:00:05 UTC'."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if moment else ""


def duration(ms: float | None) -> str:
    """0.9 s; 15.2 s; 2 min 40 s; 3 h; 2 d 4 h. Milliseconds in."""
    if ms is None:
        return "–"
    seconds = ms / 1000
    if seconds < 60:
        return f"{number(seconds, 0 if seconds >= 10 and seconds == int(seconds) else 1)} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    unit = _("d")
    return f"{days} {unit} {hours} h" if hours else f"{days} {unit}"


def filesize(value: int | None) -> str:
    """184 MB, 1.2 GB, 900 KB."""
    if value is None:
        return "–"
    for unit, size in (("GB", 2**30), ("MB", 2**20), ("KB", 2**10)):
        if value >= size:
            return f"{number(value / size, 1 if unit == 'GB' else 0)} {unit}"
    return f"{value} B"


def money(nano: int | None, currency: str | None = "") -> str:
    """1.20 USD from thousand-millionths; more decimals below a cent's worth."""
    if nano is None:
        return "–"
    value = nano / 1_000_000_000
    return f"{number(value, 2 if value >= 0.1 or not value else 4)} {currency or ''}".strip()


FILTERS = {"money": money, "number": number, "ago": ago, "exact": exact, "duration": duration, "bytes": filesize, "localtime": localtime}
