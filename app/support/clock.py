"""Times as the ledger stores them: milliseconds since 1970 in UTC, and text timestamps.

All stored times come from one clock, the database's. SQLite uses this machine's clock. PostgreSQL may run on another
machine: code that reads its time calls `follow`, and `now_ms` is this machine's clock plus the difference. Durations
inside one process are measured with `time.monotonic`.
"""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, tzinfo
from functools import lru_cache

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
# A day after the start of year 1 and before the end of 9999, because time zones differ by up to 14 hours from UTC.
FIRST_MS, LAST_MS = -62_135_500_000_000, 253_402_000_000_000

_ahead_ms = 0  # the database's clock minus this machine's
_asked = float("-inf")


def now_ms() -> int:
    """Milliseconds by the database's clock."""
    return wall_ms() + _ahead_ms


def wall_ms() -> int:
    """Milliseconds by this machine's clock."""
    return time.time_ns() // 1_000_000


def follow(database_ms: int) -> int:
    """Correct `now_ms` by the present time of the database's clock (ms), and return that time."""
    global _ahead_ms, _asked
    ahead = database_ms - wall_ms()
    # An answer takes a few milliseconds to arrive, so a difference up to 20 ms counts as none.
    _ahead_ms, _asked = ahead if abs(ahead) > 20 else 0, time.monotonic()
    return database_ms


def unfollowed_s() -> float:
    """Seconds since the database's clock was last asked."""
    return time.monotonic() - _asked


@lru_cache(64)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


@lru_cache(64)
def stamp(ms: int) -> str:
    """Milliseconds as the text of a TIMESTAMP column: '2026-11-23 14:00:00.123000' (UTC)."""
    return f"{_second(ms // 1000)}.{ms % 1000:03d}000"


def when(ms: int | None) -> datetime | None:
    """Milliseconds as an aware datetime in UTC; None for None and for a value outside the years 1 to 9999."""
    return datetime.fromtimestamp(ms / 1000, UTC) if isinstance(ms, int | float) and FIRST_MS <= ms < LAST_MS else None


def naive(ms: int) -> datetime:
    """Milliseconds as the naive UTC datetime that TIMESTAMP columns hold."""
    return datetime.fromtimestamp(ms / 1000, UTC).replace(tzinfo=None)


def iso(ms: float) -> str:
    """Milliseconds as '2026-11-23T14:00:00.123Z'; a value outside the years 1 to 9999 is moved to their limit."""
    moment = datetime.fromtimestamp(min(max(ms, FIRST_MS), LAST_MS) / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def shown_twice(local: datetime) -> bool:
    """Whether the clocks of its zone show this time twice: in the hour that is repeated in autumn."""
    return local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()


def millis(moment: datetime) -> int:
    """An aware (or naive UTC) datetime as milliseconds."""
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def stored_ms(at: object) -> int | None:
    """A TIMESTAMP as its driver gives it (text or datetime), in ms; None where another program wrote another form."""
    try:
        return millis(datetime.fromisoformat(at) if isinstance(at, str) else at)  # type: ignore[arg-type]
    except (TypeError, ValueError, AttributeError, OverflowError):
        return None


def day_of(ms: int, zone: tzinfo) -> date:
    """The day in `zone` of a time in ms. Raises ValueError outside the years 1 to 9999."""
    return datetime.fromtimestamp(ms / 1000, zone).date()


def midnight(day: date, zone: tzinfo) -> int:
    """The start of a day in `zone`, in ms."""
    return millis(datetime(day.year, day.month, day.day, tzinfo=zone))


def month_start(now: int, zone: tzinfo) -> int:
    """The start of the month in `zone` that contains `now` (ms), in ms."""
    return midnight(day_of(now, zone).replace(day=1), zone)


def offsets(zone: tzinfo, since: int, until: int) -> list[tuple[int, int]]:
    """[(from which time in ms, how far the zone's clock is ahead of UTC in ms)] between two times, oldest first; the
    first is that of `since`."""
    def ahead(ms: int) -> int:
        return round(datetime.fromtimestamp(ms / 1000, zone).utcoffset().total_seconds() * 1000)  # type: ignore

    found = [(since, ahead(since))]
    for day in range(since, until, DAY_MS):
        low, high = day, min(day + DAY_MS, until)
        if ahead(high) == found[-1][1]:
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if ahead(middle) == found[-1][1] else (low, middle)
        found.append((high, ahead(high)))
    return found
