"""When the report of a period is sent: `hour` of APP_TIMEZONE, on a day after the period.

A day's on the day after it; a week's on its `day` (1 Monday to 7) of the week after; a month's on its `day` (1 to 28)
of the month after. So it is sent before the next period ends. An hour that the clocks leave out is one later, of one
that they show twice it is the first.
"""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo

from app.services.reports.periods import Window, before, last
from app.support.clock import day_of, midnight, millis


def sent_at(window: Window, day: int, hour: int, zone: tzinfo) -> int:
    """When the report of a window is due (ms)."""
    end = day_of(window.until, zone) + timedelta(days=0 if window.period == "day" else day - 1)
    return millis(datetime(end.year, end.month, end.day, hour, tzinfo=zone))


def due(period: str, day: int, hour: int, now: int, zone: tzinfo) -> Window:
    """The latest period whose report is due at `now` (ms)."""
    window = last(period, now, zone)
    return window if sent_at(window, day, hour, zone) <= now else before(window, zone)


def following(window: Window, zone: tzinfo) -> Window:
    """The period after it."""
    day = day_of(window.until, zone)
    end = {"day": day + timedelta(days=1), "week": day + timedelta(days=7),
           "month": (day.replace(day=1) + timedelta(days=32)).replace(day=1)}[window.period]
    return Window(window.period, window.until, midnight(end, zone))


def skipped(window: Window, since: int, zone: tzinfo, most: int = 500) -> int:
    """How many periods before it ended after `since` (ms), at most `most`."""
    count = 0
    while count < most and (window := before(window, zone)).until > since:
        count += 1
    return count
