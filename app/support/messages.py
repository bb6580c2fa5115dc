"""Sentences in the reader's language: that of the request; English on the command line and in workers.

The code that raises or stores a sentence creates it as a `Message`. A row has its English text in one column and its id
and values as JSON in the column beside it (`to_json`). Code that reads the row makes the Message again from both
(`from_row`), and `translate_stored` translates it. The text is authoritative: JSON that gives another text is ignored.
Rows without JSON are old or come from another program. Their text is translated when it matches a sentence that the
code declares today (translations/stored.pot, collected by scripts/i18n.sh).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from flask import has_request_context
from flask_babel import gettext

LONGEST, DEEPEST = 20_000, 3  # characters of a Message; levels of Messages inside Messages
MOST_JSON, MOST_CHARS = 8_000, 256 * 1024  # characters of the parts of a Message; of a text that is cleaned
LEAST_FIXED = 6  # characters beside the values that a pattern needs: " and " would match many texts
_NAMED = re.compile(r"%\((\w+)\)s")
_DECLARED = Path(__file__).parents[1] / "translations" / "stored.pot"


class Message(str):
    """A sentence that can be translated: `Message("%(n)s rows, %(why)s", n=3, why=Message("no more"))`.

    The text is English with the values filled in, at most 20,000 characters. `id` and `values` (texts, numbers,
    Messages) are kept for the translation.
    """

    id: str
    values: dict[str, Any]

    def __new__(cls, id: str, /, **values: object) -> Message:
        kept = {name: value if type(value) in (Message, int, float) else str(value)
                for name, value in values.items() if f"%({name})s" in id}  # an unused value may be a secret
        self = super().__new__(cls, _filled(id, kept))
        self.id, self.values = id, kept
        return self

    def having(self, **values: object) -> Message:
        """The same sentence with some other values."""
        return Message(self.id, **self.values | values)


def translate(text: str, /, **values: Any) -> str:
    """`text` with the values filled in: translated inside a request, else a Message."""
    message = Message(text, **values)
    return _translated(message) if has_request_context() else message


_ = translate  # by this name pybabel finds the texts


def translate_stored(text: str | None) -> str | None:
    """A stored sentence in the reader's language; outside a request the text itself."""
    if not text or not has_request_context():
        return text
    return _translated(text) if type(text) is Message else _matched(text)


def text_of(error: BaseException) -> str:
    """The Message that an exception was raised with, else its text. Calls the exception's own `__str__`."""
    text = str(error)
    return error.args[0] if error.args and type(error.args[0]) is Message and error.args[0] == text else text


def tell(error: BaseException) -> str:
    """The text of an exception in the reader's language."""
    return translate_stored(text_of(error)) or ""


def to_json(text: str | None) -> str | None:
    """The JSON of a Message for the column beside its text: `["id", {"name": value}]`. None for a plain text, and when
    the parts have more than 8,000 characters."""
    if type(text) is not Message:
        return None
    try:
        return json.dumps(_form(text, str, [MOST_JSON]), ensure_ascii=False, separators=(",", ":"))
    except (TypeError, ValueError):
        return None


def from_row(text: str | None, stored: Any) -> str | None:
    """The text of a row, as a Message when its JSON gives the same text."""
    message = from_json(stored) if text else None
    return message if message is not None and message == text else text


def from_json(stored: Any) -> Message | None:
    """The Message of a column that has only its JSON; None when that cannot be read."""
    if type(stored) is not str or len(stored) > 8 * MOST_JSON:
        return None
    try:
        return _read(json.loads(stored))
    except (TypeError, ValueError, AttributeError, RecursionError):
        return None


def cleaned(text: str, clean: Callable[[str], str]) -> str:
    """`clean` applied to the first 256 K characters of `text`. A Message remains one when its cleaned parts give the
    same text as the cleaned whole; each part is copied, so no object of a job stays in it.
    """
    whole = clean(str.__getitem__(text, slice(MOST_CHARS)))  # a plain str, also of a subclass
    if type(text) is Message:
        try:
            message = _read(_form(text, clean, [MOST_JSON]))
        except (TypeError, ValueError):
            return whole
        return message if message == whole else whole
    return whole


def _filled(id: str, values: dict[str, Any]) -> str:
    """The id with its values in place. Never raises and never uses `%`, because an id may come from a row."""
    if not values:
        return id[:LONGEST]
    pieces, size = [], 0
    for n, part in enumerate(_NAMED.split(id)):
        pieces.append(str(values.get(part, f"%({part})s")) if n % 2 else part.replace("%%", "%"))
        size += len(pieces[-1])
        if size > LONGEST:
            break
    return "".join(pieces)[:LONGEST]


def translated(message: str) -> str:
    """A Message in the language of `get_locale()`, also outside a request; any other text itself."""
    return _translated(message) if type(message) is Message else message


def _translated(message: Message) -> str:
    values = {name: _translated(value) if type(value) is Message else
              _matched(value, 1) if type(value) is str and " " in value else value
              for name, value in message.values.items()}  # another program may have written a sentence as a plain value
    return _filled(gettext(message.id) if message.id else "", values)


def _form(message: Message, clean: Callable[[str], str], left: list[int], depth: int = 0) -> list[Any]:
    """A Message as lists, dicts and texts. Raises TypeError for a part of a wrong type and ValueError when all parts
    have more than `left[0]` characters."""
    if type(message.id) is not str or type(message.values) is not dict:
        raise TypeError("a job has changed the Message")
    form: dict[str, Any] = {}
    left[0] -= len(message.id)
    for name, value in message.values.items():
        if type(value) is int or type(value) is float:
            form[name] = value
            left[0] -= value.bit_length() if type(value) is int else 20
        elif type(value) is Message and depth < DEEPEST:
            form[name] = _form(value, clean, left, depth + 1)
        elif type(value) is str or type(value) is Message:
            left[0] -= len(value)
            form[name] = clean(str(value)) if left[0] >= 0 else ""
        else:
            raise TypeError("a job has changed the Message")
        left[0] -= len(name)
        if left[0] < 0:
            raise ValueError("too large")
    if left[0] < 0:
        raise ValueError("too large")
    return [clean(message.id), form]


def _read(form: Any, depth: int = 0) -> Message:
    id, given = form
    if type(id) is not str or depth > DEEPEST:
        raise ValueError("not a Message")
    values = {name: _read(value, depth + 1) if type(value) is list else value for name, value in given.items()}
    return Message(id, **values)


# ---- rows without JSON ---------------------------------------------------------------------------------------------


def _matched(text: str, depth: int = 0) -> str:
    """The translation of a text that matches a declared sentence; any other text itself."""
    if depth >= DEEPEST or len(text) > LONGEST:
        return text
    for parts, names, id in _patterns():
        found = _match(parts, text)
        if found is not None:
            values = [_matched(value, depth + 1) for value in found]
            return _filled(gettext(id), dict(zip(names, values, strict=True)))
    return text


def _match(parts: tuple[str, ...], text: str) -> list[str] | None:
    """The texts between the fixed parts of a sentence, each of at least one character; None when `text` does not match.

    Each part is taken at its first place, so one pass is enough; a pattern with several `.+?` would backtrack.
    """
    if len(parts) == 1:
        return [] if text == parts[0] else None
    first, *middle, last = parts
    if not text.startswith(first) or not text.endswith(last):
        return None
    values, at, end = [], len(first), len(text) - len(last)
    for part in middle:
        found = text.find(part, at + 1, end)
        if found < 0:
            return None
        values.append(text[at:found])
        at = found + len(part)
    return [*values, text[at:end]] if at < end else None


@cache
def _patterns() -> list[tuple[tuple[str, ...], tuple[str, ...], str]]:
    """(fixed parts, names of the values between them, id) of each declared sentence, the most specific one first."""
    from babel.messages.pofile import read_po  # imported here, because workers never need it

    with open(_DECLARED, "rb") as file:
        ids = [message.id for message in read_po(file) if message.id]
    found = [(tuple(_NAMED.split(id)[::2]), tuple(_NAMED.findall(id)), id) for id in ids]
    fixed = {id: len("".join(parts)) for parts, _names, id in found}
    usable = [(parts, names, id) for parts, names, id in found
              if fixed[id] >= LEAST_FIXED or len(parts) == 1 or parts == ("", ": ", "")]
    return sorted(usable, key=lambda entry: -fixed[entry[2]])
