"""Crontab times: their check, and what they mean in words.

text -> check_cron (five fields, or a ValidationError that names the wrong one) -> in_words: a sentence in the reader's
language. The sentence is made from the sets of minutes, hours and days that CronSim reads, so all ways to write one
time have one sentence. A time whose sentence would be a long list has none: pages show its fields.
moments: the minutes to come, over changes of the clocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from babel import dates, lists
from cronsim import CronSim, CronSimError
from flask import has_request_context
from flask_babel import get_locale

from app.support.clock import millis
from app.support.messages import translate as _
from app.support.validation import ValidationError, check_line

MOST_CRON = 100  # characters
REPEATED = timedelta(hours=3)  # no change of the clocks repeats more
MOST_TIMES, MOST_ITEMS = 6, 12  # times of a day, and items of a list, that a sentence names one by one
DAY = list(range(1, 32))
LAST, LAST_WEEKDAY = CronSim.LAST, CronSim.LAST_WEEKDAY


class _TooLong(Exception):
    """A list with too many items for a sentence."""


def check_cron(text: str) -> str:
    """The five fields with one space between them. Raises ValidationError, which names the field that is wrong."""
    parts = check_line(text).upper().split()
    if len(parts) != 5 or len(text) > MOST_CRON:
        raise ValidationError(_("A time has five fields: minute, hour, day of the month, month and day of the week. "
                                "0 3 * * * is each night at 3."))
    names = {"minute": _("The minute"), "hour": _("The hour"), "day-of-month": _("The day of the month"),
             "month": _("The month"), "day-of-week": _("The day of the week")}
    try:
        CronSim(" ".join(parts), datetime(2026, 1, 1))
    except CronSimError as error:
        field = str(error).removeprefix("Bad ")
        wrong = parts[list(names).index(field)] if field in names else text
        if field == "day-of-month" and _is_cron(*parts[:3], "*", parts[4]):  # a day that other months have
            raise ValidationError(_("No month of these has such a day: this never comes.")) from None
        raise ValidationError(_("%(field)s cannot be %(text)s.", field=names.get(field, ""), text=wrong)) from None
    except (ValueError, TypeError, AssertionError):
        raise ValidationError(_("%(text)s cannot be read as a time.", text=text)) from None
    return " ".join(parts)


def _is_cron(*parts: str) -> bool:
    try:
        CronSim(" ".join(parts), datetime(2026, 1, 1))
    except (CronSimError, ValueError, TypeError, AssertionError):
        return False
    return True


def moments(cron: str, zone: Any, after: int) -> Iterator[int]:
    """The minutes (ms) of a schedule after `after` (ms), without end; none for a text that cannot be read as a time.

    CronSim computes fixed times on local clocks and answers the first of two equal ones. After the clocks were set back
    it would thus answer times that are over. The walk begins before the repeated time and leaves those out.
    """
    try:
        walk = CronSim(cron, datetime.fromtimestamp(after / 1000, zone))
    except (CronSimError, ValueError, TypeError, AssertionError):
        return iter(())
    if walk.fixup_tz is not None:
        walk.dt -= REPEATED
    return (at for at in map(millis, walk) if at > after)


def in_words(cron: str) -> str | None:
    """What a crontab time means, as a sentence without its full stop; None when it cannot be said in few words."""
    try:
        return _sentence(CronSim(check_cron(cron), datetime(2026, 1, 1)))
    except (ValidationError, _TooLong):
        return None


def _locale() -> str:
    return str(get_locale() or "en") if has_request_context() else "en"


def _listed(items: list[str], style: str = "standard") -> str:
    if len(items) > MOST_ITEMS:
        raise _TooLong
    return lists.format_list(items, style=style, locale=_locale())


def _ranges(numbers: list[int]) -> str:
    """"1–5, 9 and 20": three or more in a row as a range."""
    items, n = [], 0
    while n < len(numbers):
        end = n
        while end + 1 < len(numbers) and numbers[end + 1] == numbers[end] + 1:
            end += 1
        end = end if end - n >= 2 else n
        items.append(f"{numbers[n]}–{numbers[end]}" if end > n else str(numbers[n]))
        n = end + 1
    return _listed(items)


def _step(numbers: list[int]) -> int:
    """The distance of numbers that all have the same; 0 when they have not, or when there are fewer than two."""
    found = {b - a for a, b in zip(numbers, numbers[1:], strict=False)}
    return found.pop() if len(found) == 1 else 0


def _sentence(sim: CronSim) -> str:
    minutes, hours, months = sorted(sim.minutes), sorted(sim.hours), sorted(sim.months)
    days = _days(sim)
    plain = [day for day in sim.days if day > 0]
    if len(months) == len(plain) == len(sim.days) == 1 and days and len(_weekdays(sim)) == 7:
        days, months = _("every year on %(day)s %(month)s", day=plain[0], month=_months(months)), list(range(1, 13))
    if len(minutes) * len(hours) <= MOST_TIMES and len(hours) < 24:
        times = _listed([f"{hour:02}:{minute:02}" for hour in hours for minute in minutes])
        parts = [_("%(days)s at %(times)s", days=days or _("every day"), times=times)]
    else:
        parts = [_pace(minutes, hours), *([days] if days else [])]
    if len(months) < 12:
        named = len(months) > 2 and _step(months) == 1
        parts.append(_("from %(first)s to %(last)s", first=_months(months[:1]), last=_months(months[-1:])) if named
                     else _("in %(months)s", months=_months(months)))
    text = ", ".join(parts)
    return text[:1].upper() + text[1:]


def _pace(minutes: list[int], hours: list[int]) -> str:
    """"every 5 minutes from 09:00 to 17:55" and its like."""
    step = _step(minutes)
    even = step > 1 and 60 % step == 0 and len(minutes) == 60 // step and (len(minutes) > 2 or not minutes[0])
    first, last = f"{hours[0]:02}:{minutes[0]:02}", f"{hours[-1]:02}:{minutes[-1]:02}"
    pace = None
    if len(minutes) == 60:
        pace = _("every minute")
    elif even:
        pace = _("every %(n)s minutes", n=step)
    elif len(minutes) == 1 and len(hours) < 24 and _step(hours):
        pace = _("every hour") if _step(hours) == 1 else _("every %(n)s hours", n=_step(hours))
        return _("%(pace)s from %(first)s to %(last)s", pace=pace, first=first, last=last)
    if pace and len(hours) == 24:
        return _("%(pace)s from minute %(n)s of each hour", pace=pace, n=minutes[0]) if minutes[0] else pace
    if pace and (len(hours) == 1 or _step(hours) == 1):
        return _("%(pace)s from %(first)s to %(last)s", pace=pace, first=first, last=last)
    if pace and minutes[0]:
        return _("%(pace)s from minute %(n)s of the hours %(hours)s", pace=pace, n=minutes[0], hours=_ranges(hours))
    if pace:
        return _("%(pace)s in the hours %(hours)s", pace=pace, hours=_ranges(hours))
    if len(hours) == 24:
        if minutes == [0]:
            return _("every hour, on the hour")
        return _("every hour at minute %(n)s", n=minutes[0]) if len(minutes) == 1 else _(
            "every hour at minutes %(minutes)s", minutes=_ranges(minutes))
    return _("at minute %(n)s of the hours %(hours)s", n=minutes[0], hours=_ranges(hours)) if len(minutes) == 1 else _(
        "at minutes %(minutes)s of the hours %(hours)s", minutes=_ranges(minutes), hours=_ranges(hours))


def _months(numbers: list[int]) -> str:
    names = dates.get_month_names("wide", locale=_locale())
    return _listed([names[n] for n in numbers])


def _weekdays(sim: CronSim) -> list[int]:
    """The plain days of the week, 0 is Monday."""
    return sorted({(day - 1) % 7 for day in sim.weekdays if isinstance(day, int)})


def _days(sim: CronSim) -> str | None:
    """On which days; None for each day. Crontab joins the two fields of days by "or" unless one begins with a star."""
    each_day, each_weekday = sim.days.issuperset(DAY), len(_weekdays(sim)) == 7
    if each_day and each_weekday or not sim.day_and and (each_day or each_weekday):
        return None
    if each_weekday:
        return _of_month(sim)
    if each_day:
        return _of_week(sim)
    if sim.day_and:
        return _("%(days)s, but only %(weekdays)s", days=_of_month(sim), weekdays=_of_week(sim, only=True))
    return _listed([_of_month(sim), _of_week(sim)])


def _of_month(sim: CronSim) -> str:
    plain, items = sorted(day for day in sim.days if day > 0), []
    if len(plain) > 6 and _step(plain) > 1:
        items = [_("every %(n)s days from day %(first)s to %(last)s of the month", n=_step(plain), first=plain[0],
                   last=plain[-1])]
    elif len(plain) == 1:
        items = [_("on day %(n)s of the month", n=plain[0])]
    elif plain:
        items = [_("on days %(days)s of the month", days=_ranges(plain))]
    if LAST in sim.days:
        items.append(_("on the last day of the month"))
    if LAST_WEEKDAY in sim.days:
        items.append(_("on the last day of the month from Monday to Friday"))
    return _listed(items)


def _of_week(sim: CronSim, only: bool = False) -> str:
    names, plain = dates.get_day_names("wide", locale=_locale()), _weekdays(sim)
    items = []
    if len(plain) > 2 and _step(plain) == 1:
        items = [_("from %(first)s to %(last)s", first=names[plain[0]], last=names[plain[-1]])]
    elif plain:
        listed = _listed([names[day] for day in plain])
        items = [_("on %(days)s", days=listed) if only else _("every %(days)s", days=listed)]
    # Sunday has sentences of its own, because its name is feminine in Italian.
    sundays = {1: _("on the first Sunday of the month"), 2: _("on the second Sunday of the month"),
               3: _("on the third Sunday of the month"), 4: _("on the fourth Sunday of the month"),
               5: _("on the fifth Sunday of the month"), LAST: _("on the last Sunday of the month")}
    for day, nth in sorted({((d[0] - 1) % 7, d[1]) for d in sim.weekdays if isinstance(d, tuple)},
                           key=lambda d: (d[1] == LAST, d[1], d[0])):
        others = {1: _("on the first %(day)s of the month", day=names[day]),
                  2: _("on the second %(day)s of the month", day=names[day]),
                  3: _("on the third %(day)s of the month", day=names[day]),
                  4: _("on the fourth %(day)s of the month", day=names[day]),
                  5: _("on the fifth %(day)s of the month", day=names[day]),
                  LAST: _("on the last %(day)s of the month", day=names[day])}
        items.append((sundays if day == 6 else others)[nth])
    return _listed(items)
