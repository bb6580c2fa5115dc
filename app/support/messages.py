"""Sentences for whoever reads them: the language of the request, English on the command line and in workers.

A sentence stands once, where it is raised or written, as a `Message`: its text is the English sentence, which goes into
the row's old column; its id and values go as JSON into the column beside it (`to_json`). Whoever reads the row makes
the Message of both again (`from_row`) and tells it in the reader's language (`translate_stored`). The text is the fact:
JSON that says anything else than the text beside it is not looked at. Rows without JSON are old, or another program's:
what reads like a sentence that is declared today (translations/stored.pot, collected by scripts/i18n.sh) is told like
it.
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

LONGEST, DEEPEST = 20_000, 3  # characters of a sentence of ours; sentences within sentences
MOST_JSON, MOST_CHARS = 8_000, 256 * 1024  # characters of the parts of a sentence; of any text that is looked at
LEAST_FIXED = 6  # characters beside its values by which a sentence is known again: " and " stands in any text
_NAMED = re.compile(r"%\((\w+)\)s")
_DECLARED = Path(__file__).parents[1] / "translations" / "stored.pot"


class Message(str):
    """A sentence of ours: `Message("%(n)s rows, %(why)s", n=3, why=Message("no more"))`.

    The text is English with its values filled in, at most 20,000 characters; `id` and `values` (texts, numbers,
    Messages) are what it is translated by.
    """

    id: str
    values: dict[str, Any]

    def __new__(cls, id: str, /, **values: object) -> Message:
        kept = {name: value if type(value) in (Message, int, float) else str(value)
                for name, value in values.items() if f"%({name})s" in id}  # a value that is not shown might be a secret
        self = super().__new__(cls, _filled(id, kept))
        self.id, self.values = id, kept
        return self


def translate(text: str, /, **values: Any) -> str:
    """`text` with `%(name)s` filled in: translated when a person's request is being answered, else a Message."""
    message = Message(text, **values)
    return _told(message) if has_request_context() else message


_ = translate  # by this name pybabel finds the texts


def translate_stored(text: str | None) -> str | None:
    """A sentence that was written for the store, in the reader's language."""
    if not text or not has_request_context():
        return text
    return _told(text) if type(text) is Message else _known_again(text)


def text_of(error: BaseException) -> str:
    """What an exception says: the Message that it was raised with, or its text. Calls the exception's own code."""
    text = str(error)
    return error.args[0] if error.args and type(error.args[0]) is Message and error.args[0] == text else text


def tell(error: BaseException) -> str:
    """What an exception says, in the reader's language."""
    return translate_stored(text_of(error)) or ""


def to_json(text: str | None) -> str | None:
    """For the column beside the text: `["id", {"name": value}]` of a Message, at most 8,000 characters of parts, else
    None."""
    if type(text) is not Message:
        return None
    try:
        return json.dumps(_form(text, str, [MOST_JSON]), ensure_ascii=False, separators=(",", ":"))
    except (TypeError, ValueError):
        return None


def from_row(text: str | None, stored: Any) -> str | None:
    """The text of a row, as a Message when its JSON says the same."""
    if not text or type(stored) is not str or len(stored) > 8 * MOST_JSON:
        return text
    try:
        message = _read(json.loads(stored))
    except (TypeError, ValueError, AttributeError, RecursionError):
        return text
    return message if message == text else text


def cleaned(text: str, clean: Callable[[str], str]) -> str:
    """The first 256 K characters of `text` through `clean`; a Message stays one when all of it passes and then says the
    same.

    Of a Message every part is made anew, so nothing of whoever made it is left in it.
    """
    whole = clean(str.__getitem__(text, slice(MOST_CHARS)))  # of whatever kind of text, a plain one
    if type(text) is Message:
        try:
            message = _read(_form(text, clean, [MOST_JSON]))
        except (TypeError, ValueError):
            return whole
        return message if message == whole else whole
    return whole


def _filled(id: str, values: dict[str, Any]) -> str:
    """Never raises and never formats: an id may come from a row."""
    if not values:
        return id[:LONGEST]
    pieces, size = [], 0
    for n, part in enumerate(_NAMED.split(id)):
        pieces.append(str(values.get(part, f"%({part})s")) if n % 2 else part.replace("%%", "%"))
        size += len(pieces[-1])
        if size > LONGEST:
            break
    return "".join(pieces)[:LONGEST]


def _told(message: Message) -> str:
    values = {name: _told(value) if type(value) is Message else value for name, value in message.values.items()}
    return _filled(gettext(message.id) if message.id else "", values)


def _form(message: Message, clean: Callable[[str], str], left: list[int], depth: int = 0) -> list[Any]:
    """A Message as lists and texts. TypeError or ValueError when a part is not what it should be, or they are too
    large."""
    if type(message.id) is not str or type(message.values) is not dict:
        raise TypeError("not as it was made")
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
            raise TypeError("not as it was made")
        left[0] -= len(name)
        if left[0] < 0:
            raise ValueError("too large")
    if left[0] < 0:
        raise ValueError("too large")
    return [clean(message.id), form]


def _read(form: Any, depth: int = 0) -> Message:
    id, values = form
    if type(id) is not str or depth > DEEPEST:
        raise ValueError("no message")
    return Message(id, **{name: _read(value, depth + 1) if type(value) is list else value for name, value in values.items()})


# ---- rows without JSON ---------------------------------------------------------------------------------------------


def _known_again(text: str, depth: int = 0) -> str:
    if depth >= DEEPEST or len(text) > LONGEST:
        return text
    for parts, names, id in _patterns():
        values = _match(parts, text)
        if values is not None:
            return _filled(gettext(id), {name: _known_again(value, depth + 1) for name, value in zip(names, values, strict=True)})
    return text


def _match(parts: tuple[str, ...], text: str) -> list[str] | None:
    """What stands in `text` between the fixed parts of a sentence, each at least one character; None when it is another
    sentence.

    Each part is taken at its first place, so the text is passed once, where a pattern with several `.+?` goes back and
    forth.
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
    """For each sentence: its fixed parts, and the names of what stands between them; the most particular one first."""
    from babel.messages.pofile import read_po  # here: workers never need it

    with open(_DECLARED, "rb") as file:
        ids = [message.id for message in read_po(file) if message.id]
    found = [(tuple(_NAMED.split(id)[::2]), tuple(_NAMED.findall(id)), id) for id in ids]
    fixed = {id: len("".join(parts)) for parts, _names, id in found}
    telling = [entry for entry in found if fixed[entry[2]] >= LEAST_FIXED or len(entry[0]) == 1 or entry[0] == ("", ": ", "")]
    return sorted(telling, key=lambda entry: -fixed[entry[2]])
