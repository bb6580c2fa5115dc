"""Strict parsers for input of people and scripts: JSON, tenants, queues, delays.

JSON has at most 256 KB, 32 levels and 64-bit integers, without NaN, duplicate names, NUL and lone surrogates. Each of
these once caused an error 500. `ValidationError` has a sentence that says what to do.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from app.config import QUEUES
from app.support.messages import translate as _
from app.support.number_text import plain_number

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_DELAY_S = 366 * 86_400
TENANT = re.compile(r"[A-Za-z0-9._-]{1,64}")
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class ValidationError(ValueError):
    """Invalid input; the text is a sentence for the person who sent it."""


def parse_json(text: str | bytes) -> Any:
    """A JSON value within the limits of this module. Raises ValidationError."""
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError:
            raise ValidationError(_("The JSON is not UTF-8 text.")) from None
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise ValidationError(_("The JSON is larger than %(n)s KB. Put large data in a file.", n=MAX_BYTES // 1024))
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_constant, parse_int=_integer,
                           parse_float=_float)
    except RecursionError:
        raise ValidationError(_("The JSON is nested deeper than %(n)s levels.", n=MAX_DEPTH)) from None
    except json.JSONDecodeError as error:
        raise ValidationError(_("This is not valid JSON: %(what)s at line %(line)s, column %(column)s.",
                                what=_json_fault(error.msg), line=error.lineno, column=error.colno)) from None
    check_value(value)
    return value


def _json_fault(said: str) -> str:
    """What Python says of broken JSON, in the reader's language; a sentence that it does not have yet as it is."""
    known = {
        "Expecting value": _("a value is missing or is not JSON (texts stand in quotes)"),
        "Expecting property name enclosed in double quotes": _("a name in double quotes is missing"),
        "Expecting ':' delimiter": _("a colon is missing"), "Expecting ',' delimiter": _("a comma is missing"),
        "Extra data": _("there is more after the end"), "Unterminated string starting at": _("a text has no end"),
        "Invalid control character at": _("a text has a line break or another control character"),
        "Invalid \\escape": _("a backslash stands before a sign that it does not fit"),
        "Invalid \\uXXXX escape": _("\\u needs four hexadecimal digits"),
        "Illegal trailing comma before end of object": _("a comma stands before the end"),
        "Illegal trailing comma before end of array": _("a comma stands before the end")}
    return known.get(said.removesuffix(": "), said)


def stored_json(text: Any) -> Any:
    """The value of JSON from a row, which another program may have written; None when it is not valid JSON or nested
    deeper than Python reads.

    NaN and numbers that are too large for Python become text, so that the value can be written as JSON again; a lone
    surrogate becomes U+FFFD, because no page can show it.
    """
    try:
        value = json.loads(text, parse_constant=str, parse_int=lambda t: int(t) if len(t) < 400 else t,
                           parse_float=lambda t: t if math.isinf(float(t)) else float(t))
        return _whole_characters(value) if isinstance(text, str) and "\\ud" in text.lower() else value
    except (ValueError, TypeError, RecursionError):
        return None


def _whole_characters(value: Any) -> Any:
    if isinstance(value, dict):
        return {_whole_characters(name): _whole_characters(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_whole_characters(one) for one in value]
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if isinstance(value, str) else value


def stored_object(text: Any) -> dict[str, Any]:
    """Like `stored_json` for a JSON object; {} when it is not an object."""
    value = stored_json(text)
    return value if isinstance(value, dict) else {}


def check_value(value: Any, depth: int = 0) -> None:
    """Raises ValidationError for a value that JSON, the database or a page cannot represent."""
    if depth > MAX_DEPTH:
        raise ValidationError(_("The JSON is nested deeper than %(n)s levels.", n=MAX_DEPTH))
    if isinstance(value, str):
        check_text(value)
    elif isinstance(value, bool) or value is None:
        return
    elif isinstance(value, int):
        _integer(str(value) if value.bit_length() <= 64 else "9" * 30)
    elif isinstance(value, float):
        if not math.isfinite(value):
            _constant(repr(value))
    elif isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise ValidationError(_("Names in an object must be text, not %(kind)s.", kind=type(key).__name__))
            check_text(key)
            check_value(inner, depth + 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            check_value(inner, depth + 1)
    else:
        raise ValidationError(_("%(kind)s is not JSON; use text, numbers, true, false, null, lists and objects.",
                                kind=type(value).__name__))


def check_text(text: str) -> str:
    """The text itself; raises ValidationError for a NUL character or a lone surrogate."""
    if "\x00" in text:
        raise ValidationError(_("The text contains a NUL character. Remove it."))
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValidationError(_("The text contains half of a character (a lone surrogate). Remove it.")) from None
    return text


def check_line(text: str) -> str:
    """The text itself; raises ValidationError also for line breaks, other control characters and marks of direction:
    one name would break the line of a list, or show as another name."""
    if CONTROL.search(check_text(text)):
        raise ValidationError(_("Write it in one line, without control characters and marks of direction."))
    return text


def parse_tenant(text: str | None) -> str | None:
    """A tenant id; None for a blank text. Raises ValidationError."""
    text = (text or "").strip()
    if text and not TENANT.fullmatch(text):
        raise ValidationError(
            _("The tenant may have ASCII letters (a to z), digits, dot, underscore and hyphen, at most 64 characters."))
    return text or None


def parse_queue(text: str | None, default: str | None = None) -> str | None:
    """The name of a queue; `default` for a blank text. Raises ValidationError."""
    text = (text or "").strip()
    if text and text not in QUEUES:
        known = ", ".join(QUEUES)
        raise ValidationError(_("Unknown queue %(name)s. Use %(known)s.", name=repr(text[:40]), known=known))
    return text or default


def parse_delay(value: str | float | None) -> float:
    """Seconds to wait, from 0 to 366 days; 0 for a blank text. Raises ValidationError."""
    text = plain_number(str(value if value is not None else "")) or "0"
    if not re.fullmatch(r"\d{1,12}(\.\d{1,3})?", text) or float(text) > MAX_DELAY_S:
        raise ValidationError(_("The delay must be a number of seconds from 0 to 31622400 (366 days)."))
    return float(text)


def parse_uuid(text: str) -> str | None:
    """The uuid in lower case; None when the text is not a uuid."""
    text = text.strip().lower()
    return text if UUID.fullmatch(text) else None


def parse_id(text: str | None) -> int | None:
    """The id of a row, of at most 18 digits, so that it fits into 64 bits; None for any other text."""
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValidationError(_("The name %(name)s stands twice in one object.", name=repr(key[:60])))
        found[key] = value
    return found


def _constant(name: str) -> Any:
    raise ValidationError(_("%(name)s is not a number that JSON knows.", name=name))


def _integer(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= int(text) < 2**63:
        raise ValidationError(_("A whole number is outside 64 bits. Send it as text."))
    return int(text)


def _float(text: str) -> float:
    if math.isinf(value := float(text)):
        raise ValidationError(_("A number is too large."))
    return value
