"""A figure in words: its value, that of the period before, and the difference with its sign and a word.

No meaning hangs on a colour: '+104, 9% more', '−1.2 s, 8% shorter', '+0.3 points, higher', 'as before'.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from flask_babel import gettext as _

from app.services.reports import words
from app.services.reports.model import Figure, Spread, Times
from app.support.formatting import duration, filesize, money, number, percent, tenths

NONE = "–"


def show(value: float | None, unit: str) -> str:
    """A value with its unit: jobs, mean, percent, ms, bytes, or nano and a currency ("nano EUR")."""
    if value is None:
        return NONE
    if unit.startswith("nano"):
        return money(int(value), unit[5:])
    forms: dict[str, Callable[[float], str]] = {
        "mean": lambda v: number(v, 1), "percent": percent, "ms": duration, "bytes": lambda v: filesize(int(v))}
    return forms.get(unit, number)(value)


def difference(now: float | None, before: float | None, unit: str) -> str:
    """How `now` differs from `before`; "" when one of them is not known."""
    if now is None or before is None:
        return ""
    if show(now, unit) == show(before, unit):
        return _("as before")
    if unit == "percent":  # of the numbers as they are shown
        points = round((tenths(now) or 0) - (tenths(before) or 0), 1)
        shown = ("+" if points > 0 else "−") + number(abs(points), 1)
        return _("%(by)s points, higher", by=shown) if points > 0 else _("%(by)s points, lower", by=shown)
    shown = ("+" if now > before else "−") + show(abs(now - before), unit)
    part = 100 * abs(now - before) / before if before > 0 else math.inf
    if part >= 1000:  # "9,900% more" says less than both numbers
        return shown
    share = number(part, 0 if part >= 9.5 else 1) + "%"
    if unit == "ms":
        return (_("%(by)s, %(share)s longer", by=shown, share=share) if now > before else
                _("%(by)s, %(share)s shorter", by=shown, share=share))
    return (_("%(by)s, %(share)s more", by=shown, share=share) if now > before else
            _("%(by)s, %(share)s less", by=shown, share=share))


def tone(now: float | None, before: float | None, good: int) -> str:
    """"good" or "bad" for a change of more than 1 %, where `good` (1 or -1) is the sign that is good; 0: ""."""
    if now is None or before is None or abs(now - before) <= abs(before) / 100:
        return ""
    return ("good" if (now > before) == (good > 0) else "bad") if good else ""


def reasons(*figures: Figure | Times) -> list[str]:
    """The sentences that say why figures are not known, each once."""
    now = sentences(one.why for one in figures if one.now is None)
    was = sentences(one.why_before for one in figures if one.before is None)
    return now + [_("Period before: %(why)s", why=why) for why in was if why not in now]


def sentences(codes: Iterable[str]) -> list[str]:
    """The sentences of the codes of words.py, each once."""
    return list(dict.fromkeys(words.sentence(code) for code in codes if code))


def quantiles(spread: Spread | None) -> tuple[float | None, float | None, float | None]:
    """Median, 95th and 99th percentile in ms."""
    return (spread.p50, spread.p95, spread.p99) if spread else (None, None, None)
