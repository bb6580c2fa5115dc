"""Template filters that format numbers, times, durations, bytes and money in the reader's language.

No filter raises: a value of the wrong type (another program wrote the row) is shown as it is, cut at 40 characters.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import wraps
from typing import Any

from babel import dates, numbers
from flask_babel import get_locale, gettext as _, ngettext

from app.support.clock import MINUTE_MS, millis, now_ms, when
from app.support.number_text import amount
from app.support.settings import settings
from app.support.states import count_label, state_label


def _locale() -> str:
    return str(get_locale() or "it")


def _lenient(show: Callable[..., str]) -> Callable[..., str]:
    """A filter that shows the value itself, cut at 40 characters, where `show` fails."""

    @wraps(show)
    def shown(value: Any, *rest: Any, **named: Any) -> str:
        try:
            return show(value, *rest, **named)
        except (TypeError, ValueError, ArithmeticError, AttributeError):
            return str(value)[:40]

    return shown


@_lenient
def number(value: float | None, digits: int = 0) -> str:
    """'1.204' or '1,204', with `digits` decimals; an en dash for None."""
    if value is None:
        return "–"
    form = "#,##0" + ("." + "0" * digits if digits else "")
    return numbers.format_decimal(round(value, digits), format=form, locale=_locale())


@_lenient
def threshold(value: float) -> str:
    """'5,5' or '5.5': a limit that a person has set, with up to three decimals and none in vain."""
    return numbers.format_decimal(round(value, 3), format="#,##0.###", locale=_locale())


def localtime(moment: datetime | None) -> datetime | None:
    """The same moment in APP_TIMEZONE; None for None."""
    return moment.astimezone(settings().timezone) if moment else None


@_lenient
def ago(moment: datetime | None) -> str:
    """'12 seconds ago', '9 min ago', 'today 03:12', 'yesterday 18:20', '20 Nov 09:30'; 'in 5 min' for the future; 'now'
    for less than a second. It stands alone or behind a verb; behind "since" and "until" stands `at`."""
    if moment is None:
        return "–"
    at = when(now_ms())
    seconds = int((at - moment).total_seconds())
    if -2 < seconds < 1:
        return _("now")
    if seconds < 0:
        return _("in %(time)s", time=duration(-seconds * 1000))
    if seconds < 60:
        return ngettext("%(num)s second ago", "%(num)s seconds ago", seconds)
    if seconds < 3600:
        return _("%(n)s min ago", n=seconds // 60)
    local, now = localtime(moment), localtime(at)
    clock = dates.format_time(local, "HH:mm", locale=_locale())
    days = (now.date() - local.date()).days
    if days == 0:
        return _("today %(time)s", time=clock)
    if days == 1:
        return _("yesterday %(time)s", time=clock)
    return dates.format_date(local, "d MMM" if local.year == now.year else "d MMM y", locale=_locale()) + " " + clock


def clock(ms: int, now: int, seconds: bool = False) -> str:
    """'15:12' or '15:12:40' for a time (ms) of the day of `now`, '15:12 on 27 Nov' for one of another day. What is to
    come has the nearest minute, what is over the minute in which it was."""
    at, day = localtime(when(ms + MINUTE_MS // 2 if ms > now and not seconds else ms)), localtime(when(now))
    if at is None or day is None:
        return "–"
    time = at.strftime("%H:%M:%S" if seconds else "%H:%M")
    if at.date() == day.date():
        return time
    form = "d MMM" if at.year == day.year else "d MMM y"
    return _("%(time)s on %(date)s", time=time, date=dates.format_date(at, form, locale=_locale()))


@_lenient
def moment(at: datetime | None) -> str:
    """'Mon 30 Nov 2026, 03:00 CET', in APP_TIMEZONE: for times to come, which a change of the clocks may move."""
    local = localtime(at)
    return dates.format_datetime(local, "EEE d MMM y, HH:mm", locale=_locale()) + f" {local.tzname()}" if local else "–"


@_lenient
def due(moment: datetime | None) -> str:
    """As `ago` for what is still to come: 'in 5 min', and 'now' once its time is over."""
    return ago(max(moment, when(now_ms()))) if moment else "–"


@_lenient
def at(moment: datetime | None) -> str:
    """A point in time, behind "since", "until", "from" or "before": '15:12', or '15:12 on 27 Nov' when that is not
    today; an en dash for None."""
    return clock(millis(moment), now_ms()) if moment else "–"


@_lenient
def exact(moment: datetime | None) -> str:
    """UTC to the second, for tooltips: '2026-11-23 14:00:05 UTC'; '' for None."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if moment else ""


@_lenient
def utc(moment: datetime | None) -> str:
    """UTC to the second, as scripts of a page read it: '2026-11-23T14:00:05Z'; '' for None. Naive times are UTC."""
    if moment is None:
        return ""
    return (moment.astimezone(UTC) if moment.tzinfo else moment).strftime("%Y-%m-%dT%H:%M:%SZ")


@_lenient
def duration(ms: float | None, fine: bool = False) -> str:
    """From milliseconds: '40 ms', '0.9 s', '15.2 s', '2 min 40 s', '3 h', '2 d 4 h'. 59.96 s is a minute. With `fine`:
    '912 ms', '15.24 s'."""
    if ms is None:
        return "–"
    seconds = ms / 1000
    if abs(ms) < (1000 if fine else 100):
        return f"{number(ms, 1 if 0 < abs(ms) < 1 else 0)} ms"
    if round(seconds, 1) < 60:
        return f"{number(seconds, 2 if fine else 0 if seconds >= 10 and seconds == int(seconds) else 1)} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    unit = _("d")
    return f"{days} {unit} {hours} h" if hours else f"{days} {unit}"


def tenths(value: float | None, digits: int = 1) -> float | None:
    """A percentage with one decimal (or `digits`), the nearest one; but below 100 for all that is less, because 100 %
    means that no job failed: 97.1 for 97.08, 99.9 for 99.97."""
    if value is None:
        return None
    step = 10**digits
    near = math.floor(value * step + 0.5 + 1e-6)
    return (near - 1 if near >= 100 * step > value * step + 1e-6 else near) / step


@_lenient
def percent(value: float | None) -> str:
    """'99.9%' for 99.97, by `tenths`."""
    return number(tenths(value), 1) + ("" if value is None else "%")


@_lenient
def filesize(value: int | None) -> str:
    """From bytes: '900 KB', '184 MB', '1.2 GB'; 1,023.9 KB is '1 MB'."""
    if value is None:
        return "–"
    for unit, size in (("GB", 2**30), ("MB", 2**20), ("KB", 2**10)):
        if value >= size - size / 2048:
            return f"{number(value / size, 1 if unit == 'GB' else 0)} {unit}"
    return f"{value} B"


@_lenient
def money(nano: int | None, currency: str | None = "") -> str:
    """'1.20 USD', '1.255 USD' from billionths (nano) of a currency, by `amount`."""
    if nano is None:
        return "–"
    shown = numbers.format_decimal(amount(nano), format="#,##0.00#######", locale=_locale())
    return f"{shown} {currency or ''}".strip()


def short_ids(rows: Iterable[Any]) -> dict[str, str]:
    """By the uuid of each of the rows: its first eight digits, or as many more as tell it from the other rows."""
    ids: set[Any] = {row.uuid for row in rows}
    told: dict[Any, str] = {}
    for length in (8, 13, 18, 36):
        left = {uuid: str(uuid)[:length] for uuid in ids - told.keys()}
        times = Counter(left.values())
        told |= {uuid: text for uuid, text in left.items() if times[text] == 1 or length == 36}
    return told


FILTERS = {"money": money, "number": number, "threshold": threshold, "ago": ago, "at": at, "due": due, "moment": moment,
           "exact": exact, "utc": utc, "duration": duration, "bytes": filesize, "localtime": localtime,
           "percent": percent, "state_label": state_label, "count_label": count_label, "short_ids": short_ids}
