"""Addresses of the pages that count what a report counts: path and query, built without a request, because the monitor
makes reports too. Times are those of APP_TIMEZONE, as the list of jobs and the pages of use read them.
"""

from __future__ import annotations

from urllib.parse import quote, urlencode

from app.support.clock import day_of, midnight, shown_twice, when
from app.support.formatting import localtime
from app.support.settings import settings

BASE = "/admin/jobs/"


def local_time(ms: int) -> str:
    """A time as the list reads it, in APP_TIMEZONE; with its offset where the clocks show it twice."""
    local = localtime(when(ms))
    return f"{local:%Y-%m-%dT%H:%M%z}" if shown_twice(local) else f"{local:%Y-%m-%dT%H:%M}"


def jobs(since: int, until: int, state: str = "", **parts: str | None) -> str:
    """The list of the jobs that ended from `since` to before `until` (ms), with further parts of its filter."""
    given = {"state": state, "since": local_time(since), "until": local_time(until)} | parts
    return f"{BASE}list?{urlencode({name: text for name, text in given.items() if text})}"


def outcomes(since: int, until: int, part: str = "outcome", **parts: str | None) -> str:
    """The list of the jobs that completed or failed in this time (ms), of `part` failed or rescued that failed or of
    which an attempt was lost; whatever became of them."""
    times = f"{local_time(since)}..{local_time(until)}"
    return f"{BASE}list?{urlencode({part: times} | {name: text for name, text in parts.items() if text})}"


def usage(since: int, until: int, scope: str = "", name: str = "", by: str = "type") -> str:
    """The page of use of a name, or the table of all names `by` a scope."""
    times = {"from": local_time(since), "until": local_time(until)}
    path = f"{scope}/{quote(name, safe='')}" if scope else ""
    return f"{BASE}usage/{path}?{urlencode(times if scope else {'by': by} | times)}"


def costs(since: int, until: int) -> str:
    """The page of costs; "" when the time is not of whole days, because that page counts days."""
    zone = settings().timezone
    first, last = day_of(since, zone), day_of(until - 1, zone)
    if since != midnight(first, zone) or until != midnight(day_of(until, zone), zone):
        return ""
    return f"{BASE}costs/?{urlencode({'since': first.isoformat(), 'until': last.isoformat()})}"
