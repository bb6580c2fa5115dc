"""Times as the ledger keeps them: milliseconds since 1970 in UTC, and text timestamps.

There is one clock for what is stored: the database's. SQLite's is this machine's own. PostgreSQL's may stand on another
machine: whoever asks it for the time says so with `follow`, and `now_ms` is this machine's clock, corrected by the
difference. Durations within one process are measured with `time.monotonic`.
"""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, tzinfo
from functools import lru_cache

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
FIRST_MS, LAST_MS = -62_135_500_000_000, 253_402_000_000_000  # a day inside the years 1 and 9999, as zones are up to 14 hours off


_ahead_ms = 0  # how far the database's clock is ahead of this machine's
_asked = float("-inf")


def now_ms() -> int:
    """Milliseconds by the database's clock."""
    return wall_ms() + _ahead_ms


def wall_ms() -> int:
    """Milliseconds by this machine's clock."""
    return time.time_ns() // 1_000_000


def follow(database_ms: int) -> int:
    """Correct `now_ms` by what the database's clock says now; returns it."""
    global _ahead_ms, _asked
    ahead = database_ms - wall_ms()
    # An answer takes a few milliseconds to arrive: a smaller difference than 20 ms is not told apart from none.
    _ahead_ms, _asked = ahead if abs(ahead) > 20 else 0, time.monotonic()
    return database_ms


def unfollowed_s() -> float:
    """Seconds since the database's clock was last asked."""
    return time.monotonic() - _asked


@lru_cache(64)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def stamp(ms: int) -> str:
    """Milliseconds as the text of a TIMESTAMP column: '2026-11-23 14:00:00.123000' (UTC)."""
    return f"{_second(ms // 1000)}.{ms % 1000:03d}000"


def when(ms: int | None) -> datetime | None:
    """Milliseconds as an aware datetime in UTC; None stays None, as does what is no time of the years 1 to 9999."""
    return datetime.fromtimestamp(ms / 1000, UTC) if isinstance(ms, int | float) and FIRST_MS <= ms < LAST_MS else None


def naive(ms: int) -> datetime:
    """Milliseconds as the naive UTC datetime that TIMESTAMP columns hold."""
    return datetime.fromtimestamp(ms / 1000, UTC).replace(tzinfo=None)


def iso(ms: int) -> str:
    """Milliseconds as '2026-11-23T14:00:00.123Z'; of what is no time, of the first or the last that is one."""
    return datetime.fromtimestamp(min(max(ms, FIRST_MS), LAST_MS) / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def millis(moment: datetime) -> int:
    """An aware (or naive UTC) datetime as milliseconds."""
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def day_of(ms: int, zone: tzinfo) -> date:
    """The day of a zone in which a time (ms) falls; ValueError outside the years 1 to 9999."""
    return datetime.fromtimestamp(ms / 1000, zone).date()


def midnight(day: date, zone: tzinfo) -> int:
    """Start of a day of a zone in ms."""
    return millis(datetime(day.year, day.month, day.day, tzinfo=zone))


def month_start(now: int, zone: tzinfo) -> int:
    """Start of the month of a zone in which `now` (ms) falls, in ms."""
    return midnight(day_of(now, zone).replace(day=1), zone)
