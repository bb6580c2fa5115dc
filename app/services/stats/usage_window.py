"""The time that a page of use covers: a period before now, or a range; and a time of the same length before it.

fields of an address -> `read` -> Window, whose bars (`step`) divide it; the last hour is read from the raw rows, every
other window has whole hours, of which the running one may be the last.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo

from app.services.instance.retention import KEEP_USAGE_DAYS
from app.support.clock import DAY_MS, HOUR_MS, MINUTE_MS, millis
from app.support.messages import _

PERIODS = {"1h": HOUR_MS, "24h": DAY_MS, "7d": 7 * DAY_MS, "30d": 30 * DAY_MS}
_STEPS = [hours * HOUR_MS for hours in (1, 2, 3, 4, 6, 12, 24, 48, 168)]
MOST_BARS = 60


@dataclass(frozen=True)
class Window:
    """[since, until) in ms, in bars of `step` ms; `period` is one of PERIODS, or "" for a range. `raw`: it is read from
    raw rows. `until` may be later than now, by less than an hour (`raw`: a minute). `back`: how many ms earlier the one
    it is compared with begins; 0: its own length."""

    period: str
    since: int
    until: int
    step: int
    raw: bool = False
    back: int = 0

    @property
    def before(self) -> Window:
        """The window of the same length that it is compared with: the one just before it, unless `back`."""
        back = self.back or self.until - self.since
        return replace(self, since=self.since - back, until=self.until - back)

    @property
    def bars(self) -> list[tuple[int, int]]:
        """(since, until) of the bars, oldest first."""
        return [(at, min(at + self.step, self.until)) for at in range(self.since, self.until, self.step)]

    def hours(self, now: int) -> float:
        """How many hours of it have passed."""
        return max(min(self.until, now) - self.since, 1) / HOUR_MS


def last(period: str, now: int) -> Window:
    """The window of one of PERIODS before `now` (ms), with the running hour (1h: minute) as its last."""
    if period == "1h":
        until = now - now % MINUTE_MS + MINUTE_MS
        return Window(period, until - HOUR_MS, until, 5 * MINUTE_MS, True)
    return whole(period, now - now % HOUR_MS + HOUR_MS - PERIODS[period], now - now % HOUR_MS + HOUR_MS)


def whole(period: str, since: int, until: int) -> Window:
    """A window of whole hours (ms)."""
    step = next((step for step in _STEPS if (until - since) / step <= MOST_BARS), _STEPS[-1])
    return Window(period, since, until, step)


def read(period: str, since: str, until: str, now: int, zone: tzinfo) -> tuple[Window, dict[str, str]]:
    """The window of an address, and the sentences of fields that cannot be read: then it is the last 24 hours. A day
    (2026-11-23) as `until` is included, a time (2026-11-23T14:00) is not. An unknown period is 24h."""
    wrong: dict[str, str] = {}
    usual = last(period if period in PERIODS else "24h", now)
    if not since and not until:
        return usual, wrong
    times: dict[str, int | None] = {}
    for name, text in (("from", since), ("until", until)):
        try:
            times[name] = parse_time(text.strip(), zone, name == "until") if text.strip() else None
        except (ValueError, OverflowError):
            wrong[name] = _("A date is written as 2026-11-23, a time as 2026-11-23T14:00.")
    if wrong:
        return usual, wrong
    end = now - now % HOUR_MS + HOUR_MS
    high = min(-(-(end if times["until"] is None else times["until"]) // HOUR_MS) * HOUR_MS, end)
    low = times["from"] if times["from"] is not None else high - DAY_MS
    low -= low % HOUR_MS
    if low < end - KEEP_USAGE_DAYS * DAY_MS:
        told = "from" if times["from"] is not None else "until"
        return usual, {told: _("Figures are kept for %(n)s days.", n=KEEP_USAGE_DAYS)}
    if low >= high:
        return usual, {"from": _("The range begins before it ends, and not in the future.")}
    return whole("", low, high), wrong


def parse_time(text: str, zone: tzinfo, end: bool) -> int:
    """A day or a time in ms; with `end` the end of a day. Raises ValueError and OverflowError."""
    moment = datetime.fromisoformat(text)
    if not 1971 <= moment.year <= 9000:  # another time that has no figures; further ones do not fit into clocks
        return 0 if moment.year < 1971 else millis(datetime(9000, 1, 1, tzinfo=UTC))
    if end and len(text) <= len("2026-11-23"):
        moment += timedelta(days=1)
    return millis((moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC))
