"""Checks the values that a job passes to `ctx`, in the job's call, so that its own traceback shows the mistake."""

from __future__ import annotations

import numbers
from decimal import Context, Decimal, DecimalException
from typing import Any

from app.support.messages import Message

MOST_WHOLE = 2**63 - 1
MOST_DELAY_S = 366 * 86_400
TEXT_CHARS = 200
_EXACT = Context(prec=60)  # a context of its own, because a job may change that of its thread


def number(what: str, value: object) -> Decimal:
    """An int, float, Decimal, fraction or text as a finite Decimal. Raises TypeError or ValueError naming `what`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real | Decimal | str):
        raise TypeError(Message("%(what)s must be a number, not %(value)s.", what=what, value=type(value).__name__))
    if isinstance(value, numbers.Integral):
        if abs(int(value)).bit_length() > 256:
            raise ValueError(Message("%(what)s is too large a number.", what=what))
        return Decimal(int(value))
    try:
        if not isinstance(value, str | Decimal):
            value = repr(float(value))
        found = _EXACT.create_decimal(value if isinstance(value, Decimal) else value[:TEXT_CHARS].strip())
    except (DecimalException, ValueError, OverflowError):
        shown = repr(str(value)[:40])
        raise ValueError(Message("%(what)s must be a number, not %(value)s.", what=what, value=shown)) from None
    if not found.is_finite():
        raise ValueError(Message("%(what)s must be a finite number, not %(value)s.", what=what, value=found))
    return found


def between(what: str, value: object, low: int, high: int) -> Decimal:
    """A number from `low` to `high` as Decimal. Raises TypeError or ValueError naming `what`."""
    found = number(what, value)
    if not low <= found <= high:
        raise ValueError(f"{what} must be a number from {low:,} to {high:,}, not {found:.6g}.")
    return found


def whole(what: str, value: object) -> int:
    """A number from 0 to 2^63 - 1 as int; a fraction is cut off. Raises TypeError or ValueError."""
    return int(between(what, value, 0, MOST_WHOLE))


def billionths(what: str, value: object, most: int) -> int:
    """A number from 0 to `most` as a count of billionths, rounded exactly. Raises TypeError or ValueError."""
    return round(_EXACT.multiply(between(what, value, 0, most), Decimal(10**9)))


def delay_s(what: str, value: object) -> float:
    """Seconds to wait, at most 366 days; a negative number counts as 0. Raises TypeError or ValueError."""
    found = number(what, value)
    if found > MOST_DELAY_S:
        raise ValueError(Message("%(what)s must be at most %(n)s seconds (366 days), not %(value)s.",
                                 what=what, n=MOST_DELAY_S, value=f"{found:.6g}"))
    return max(float(found), 0.0)


def plain_details(details: dict[str, Any]) -> dict[str, Any]:
    """A JSON-safe copy of a cost's details: at most 20 texts (cut at 200 characters), numbers, booleans or None. Raises
    TypeError for another type and ValueError for more details or a number past 10^15."""
    if len(details) > 20:
        raise ValueError("A cost has at most 20 details.")
    kept: dict[str, Any] = {}
    for name, value in details.items():
        if value is None or isinstance(value, bool):
            kept[name] = value
        elif isinstance(value, str):
            kept[name] = value[:TEXT_CHARS].encode("utf-8", "replace").decode().replace("\0", "")
        elif isinstance(value, numbers.Integral) and abs(int(value)) <= MOST_WHOLE:
            kept[name] = int(value)
        elif not isinstance(value, numbers.Real | Decimal):
            raise TypeError(f"The detail {name} of a cost must be text or a number, not {type(value).__name__}.")
        else:
            kept[name] = float(between(f"The detail {name} of a cost", value, -(10**15), 10**15))
    return kept
