"""The time that a report covers: a whole day, week or month of APP_TIMEZONE, or any range; and its name in words.

`last` (the last whole one before now), `parse` (fields of an address) -> Window -> `before`, `title`
Days of 23 and 25 hours are whole days. A range has whole hours and is at most 400 days old. What cannot be read raises
FilterError, which names the field.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo

from babel.dates import format_date

from app.services.jobs.job_filter import FilterError
from app.services.stats import usage_window
from app.support.clock import day_of, midnight, shown_twice
from app.support.messages import translate as _

PERIODS = ("day", "week", "month")


@dataclass(frozen=True)
class Window:
    """[since, until) in ms; `period` is one of PERIODS, of usage_window.PERIODS, or "" for a range."""

    period: str
    since: int
    until: int


def last(period: str, now: int, zone: tzinfo) -> Window:
    """The last whole one of PERIODS that has ended at `now` (ms). A week begins on Monday. Raises KeyError."""
    return _preceding(period, day_of(now, zone), zone)


def before(window: Window, zone: tzinfo) -> Window:
    """The period before: the day, week or month before it; for a range of whole days as many days just before it, for
    another range the same length."""
    first, end = day_of(window.since, zone), day_of(window.until, zone)
    if window.period in PERIODS:
        return _preceding(window.period, first, zone)
    if (midnight(first, zone), midnight(end, zone)) == (window.since, window.until):
        return Window(window.period, midnight(first - (end - first), zone), window.since)
    return Window(window.period, window.since - (window.until - window.since), window.since)


def _first(period: str, day: date) -> date:
    """The first day of the period that contains `day`."""
    return {"day": day, "week": day - timedelta(days=day.weekday()), "month": day.replace(day=1)}[period]


def _preceding(period: str, day: date, zone: tzinfo) -> Window:
    """The whole period before the one that contains `day`."""
    end = _first(period, day)
    return Window(period, midnight(_first(period, end - timedelta(days=1)), zone), midnight(end, zone))


def parse(period: str, since: str, until: str, now: int, zone: tzinfo) -> Window:
    """The window of `period` (day, week, month: the last whole one; 24h, 7d, 30d: until now) or, when they are given,
    of `since` and `until`: days (2026-11-23; `until` included) or times (2026-11-23T14:00), of which the hour counts as
    a whole. Without all three it is the last week. Raises FilterError with the field period, from or until."""
    period = period.strip()
    if period and (since.strip() or until.strip()):
        raise FilterError("period", _("Give a period, or a range (from, until), not both."))
    if period in PERIODS or not (period or since.strip() or until.strip()):
        return last(period or "week", now, zone)
    known = [*PERIODS, *(name for name in usage_window.PERIODS if name != "1h")]
    if period and period not in known:
        raise FilterError("period", _("Unknown period %(name)s. Use %(known)s.", name=repr(period[:20]),
                                      known=", ".join(known)))
    found, wrong = usage_window.read(period, since, until, now, zone)
    for name, sentence in wrong.items():
        raise FilterError(name, sentence)
    return Window(found.period, found.since, found.until)


def title(window: Window, zone: tzinfo, language: str) -> str:
    """The period in words, in "en" or "it": '23 to 29 November 2026', 'settimana dal 23 al 29 novembre 2026'."""
    italian = language.startswith("it")
    locale = "it" if italian else "en"
    start, end = (datetime.fromtimestamp(ms / 1000, UTC).astimezone(zone) for ms in (window.since, window.until))
    if any((at.hour, at.minute) != (0, 0) for at in (start, end)):
        return _clocks(start, end, locale)
    first, final = start.date(), end.date() - timedelta(days=1)
    if window.period == "month":
        return format_date(first, "LLLL y", locale)
    if first == final:
        return format_date(first, "EEEE d MMMM y", locale)
    form = "d" if first.replace(day=1) == final.replace(day=1) else "d MMMM" if first.year == final.year else "d MMMM y"
    texts = format_date(first, form, locale), format_date(final, "d MMMM y", locale)
    if not italian:
        return f"{texts[0]} to {texts[1]}"
    words = f"{_elided('dal', first.day, texts[0])} {_elided('al', final.day, texts[1])}"
    return f"settimana {words}" if window.period == "week" else words


def _elided(word: str, day: int, text: str) -> str:
    """'dal 23 novembre', 'dal 1º novembre', 'dall’8 novembre'."""
    if day == 1:
        text = text.replace("1", "1º", 1)
    return f"{word}l’{text}" if day in (8, 11) else f"{word} {text}"


def _clocks(start: datetime, end: datetime, locale: str) -> str:
    """A range of hours, with the offset of a time that the clocks show twice."""
    texts = []
    for at in (start, end):
        day = format_date(at.date(), "d MMMM y", locale)
        texts.append(f"{day}, {at:%H:%M}" + (f" {at:%z}" if shown_twice(at) else ""))
    return f"dal {texts[0]} al {texts[1]}" if locale == "it" else f"{texts[0]} to {texts[1]}"
