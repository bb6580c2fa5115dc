"""One reader of "how long" and "until when", as people type it in English or Italian, for pauses and delays.

"30" | "2h" | "1d 6h" | "until 18:00" | "fino a domani alle 8" | "2026-12-01 08:00" -> `parse_moment` -> ms since 1970
A number alone is minutes. A time without a day is one of today. Nothing is guessed: a time that is over, and what
cannot be read, is a ValidationError with a sentence. Times are those of `zone`; of two equal ones when the clocks are
set back the first that lies ahead counts, one that the clocks leave out is an hour later.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from typing import Any

from app.support.clock import DAY_MS, HOUR_MS, MINUTE_MS, day_of, millis, when
from app.support.messages import translate as _
from app.support.validation import ValidationError

MOST_DAYS, LONGEST = 366, 60  # days ahead; characters
_UNITS = {"s": 1000, "m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS, "w": 7 * DAY_MS}
_WORDS = {word: unit for unit, words in {
    "s": "s sec secs second seconds secondo secondi", "m": "m min mins minute minutes minuto minuti",
    "h": "h hr hrs hour hours o ora ore", "d": "d day days g gg giorno giorni",
    "w": "w week weeks settimana settimane"}.items() for word in words.split()}
_UNTIL = ("until", "till", "til", "fino", "sino")
_AT = ("at", "alle", "all", "al", "alla", "a", "to", "the", "il", "le", "ore")
_FOR = ("for", "in", "per", "tra", "fra")
_DAYS = {"today": 0, "oggi": 0, "tomorrow": 1, "domani": 1, "dopodomani": 2}
_LENGTH = re.compile(r"([0-9]{1,7}(?:[.,][0-9]{1,3})?) ?([a-z]{0,9})")
_CLOCK = re.compile(r"([0-9]{1,2})(?:[:.]([0-9]{2}))?(am|pm)?")
_T = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})t")
_ISO, _EUROPEAN = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}"), re.compile(r"([0-9]{1,2})[/.]([0-9]{1,2})[/.]([0-9]{4})")


def parse_moment(text: str, now: int, zone: Any) -> int | None:
    """The time (ms) that a length from `now` (ms) or a time of `zone` means; None for a blank text. Raises
    ValidationError, also for a time that is over or more than 366 days ahead."""
    if len(text) > LONGEST:
        raise _nonsense()
    words = _T.sub(r"\1 ", text.lower().replace("'", " ").replace("’", " ")).split()
    if not words:
        return None
    until = words[0] in _UNTIL
    plain = " ".join(words[1:] if words[0] in _FOR else words)
    length = None if until else _length(plain)
    at = now + length if length is not None else _time([w for w in words[until:] if w not in _AT], now, zone, until)
    if at <= now:
        over = clock_text(at, zone)
        raise ValidationError(_("%(time)s is over. Write a time that lies ahead, with its day unless it is today.",
                                time=over) if length is None else _("It lasts no time: write at least a minute."))
    if at - now > MOST_DAYS * DAY_MS:
        raise ValidationError(_("That is more than %(n)s days ahead.", n=MOST_DAYS))
    return at


def _nonsense() -> ValidationError:
    return ValidationError(_('Write how long, as 30 (minutes), 2h or 1d 6h, or until when, as "until 18:00" or '
                             '"until 2026-12-01 08:00".'))


def clock_text(at: int, zone: Any) -> str:
    """A time in ms as '2026-12-01 08:00' of `zone`, as `parse_moment` reads it."""
    moment = when(at)
    return moment.astimezone(zone).strftime("%Y-%m-%d %H:%M") if moment else str(at)


def _length(text: str) -> int | None:
    """Milliseconds of '30', '2h', '1d 6h', '1 ora e 30'; None when the text is no length."""
    at, total, smallest = 0, 0.0, None
    while at < len(text):
        found = _LENGTH.match(text, at)
        if not found:
            return None
        unit = _WORDS.get(found[2]) if found[2] else "m" if smallest in (None, "h") else None
        if unit is None or not found[2] and (found.end() < len(text) or not found[1].isdigit()):
            return None  # 18.30 without a unit is a time of day
        if smallest is not None and _UNITS[unit] >= _UNITS[smallest]:
            return None  # "6h 1d" and "1h 2h" are slips
        total, smallest, at = total + float(found[1].replace(",", ".")) * _UNITS[unit], unit, found.end()
        while at < len(text) and text[at] in " ,":
            at += 1
        for word in ("and ", "e "):
            if at and text.startswith(word, at):
                at += len(word)
    return round(total)


def _time(words: list[str], now: int, zone: Any, until: bool) -> int:
    """A time of `zone` in ms: a clock time of today, a day, or both in either order. Raises ValidationError."""
    day, clock = None, None
    if words and words[-1] in ("am", "pm") and len(words) > 1:
        words = [*words[:-2], words[-2] + words[-1]]
    for word in words:
        if day is None and (found := _day(word, now, zone)):
            day = found
        elif clock is None and (found := _clock(word, until or day is not None)):
            clock = found
        else:
            raise _nonsense()
    if day is None and clock is None:
        raise _nonsense()
    hour, minute = clock or (0, 0)
    day = (day or day_of(now, zone)) + timedelta(days=hour // 24)  # 24:00 is the end of the day
    moment = datetime(day.year, day.month, day.day, hour % 24, minute, tzinfo=zone)
    first, second = millis(moment), millis(moment.replace(fold=1))
    return second if first <= now < second else first


def _day(word: str, now: int, zone: Any) -> date | None:
    if word in _DAYS:
        return day_of(now, zone) + timedelta(days=_DAYS[word])
    european = _EUROPEAN.fullmatch(word)
    try:
        if _ISO.fullmatch(word):
            return date.fromisoformat(word)
        return date(int(european[3]), int(european[2]), int(european[1])) if european else None
    except ValueError:
        raise ValidationError(_("There is no such day: %(day)s.", day=word)) from None


def _clock(word: str, hour_alone: bool) -> tuple[int, int] | None:
    found = _CLOCK.fullmatch(word)
    if not found or not (found[2] or found[3] or hour_alone):
        return None
    hour, minute = int(found[1]), int(found[2] or 0)
    if found[3]:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + 12 * (found[3] == "pm")
    return (hour, minute) if (hour < 24 and minute < 60) or (hour, minute) == (24, 0) else None
