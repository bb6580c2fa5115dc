"""Numbers as people write them: "0,5", "1.234,5", "1,234.5", "1 234". One reading for all forms.

Where both signs stand, the last one begins the decimals. One sign alone begins the decimals unless three digits follow
it and one to three precede it ("1.234", "1,234"): then the language decides, in which 1.234 is a thousand (Italian) or
one and a bit (English). Scripts and the command line write a point, and a comma means the same.
"""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Decimal

from flask import g, has_request_context
from flask_babel import get_locale

_NUMBER = re.compile(r"[+-]?\d[\d.,]{0,60}")
_BLANK = re.compile(r"(?<=\d)[ \u00a0\u202f'’](?=\d{3}(?!\d))")
_GROUPS = {sign: re.compile(rf"[+-]?[1-9]\d{{0,2}}(?:{re.escape(sign)}\d{{3}})+") for sign in ".,"}


def plain_number(text: str) -> str:
    """The number as a program writes it ("1234.5"); any other text, also "1,2,3", as it is without outer blanks."""
    text = text.strip()
    found = _BLANK.sub("", text)
    if not _NUMBER.fullmatch(found):
        return text
    last = max(found.rfind("."), found.rfind(","))
    if last < 0:
        return found
    sign = found[last]
    other = "," if sign == "." else "."
    whole, decimals = found[:last], found[last + 1:]
    if other in whole:  # both
        grouped = sign not in whole and _GROUPS[other].fullmatch(whole)
        return f"{whole.replace(other, '')}.{decimals}" if grouped else text
    if _GROUPS[sign].fullmatch(found) and (sign in whole or (sign != decimal_sign() and not _scripted())):
        return found.replace(sign, "")
    return f"{whole}.{decimals}" if sign not in whole and decimals else text


def decimal_sign() -> str:
    """The sign before decimals in the reader's language; a point for scripts."""
    if _scripted():
        return "."
    return "," if str(get_locale() or "it").startswith("it") else "."


def _scripted() -> bool:
    return not has_request_context() or g.get("scripted", False)


def typed_number(value: object) -> str:
    """A number as the reader would type it, without signs of thousands: `plain_number` reads it back."""
    return str(value).removesuffix(".0").replace(".", decimal_sign())


def amount(nano: int) -> Decimal:
    """Units of a currency from its billionths: with as many decimals as there are, so that parts and their sum agree,
    but at least two, and at most four (of less than a thousandth two significant digits); half a digit rounds up."""
    value = Decimal(nano).scaleb(-9)
    near = value.quantize(Decimal(1).scaleb(-min(max(4, 1 - value.adjusted()), 9)), ROUND_HALF_UP).normalize()
    return max(near, near.quantize(Decimal("0.01")), key=lambda one: -one.as_tuple().exponent)
