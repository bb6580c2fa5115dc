"""Reads the beginning of a JSON text: the names and values up to where it is cut.

text -> the names of its object -> those of one object inside -> each value, until the text ends or is no JSON
Any text is accepted: cut, nested deeply, no JSON. What cannot be read ends the reading without an error.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from json.decoder import scanstring
from typing import Any

_decode = json.JSONDecoder().raw_decode


def pairs(text: str, inside: str) -> Iterator[tuple[str, Any]]:
    """Names and values of the object called `inside` of an object; the last text may be cut too."""
    try:
        for name, at in _names(text, _blank(text, 0)):
            if name == inside:
                for inner, place in _names(text, at):
                    yield inner, _value(text, place)
                return
    except (ValueError, IndexError, RecursionError):
        return


def _names(text: str, at: int) -> Iterator[tuple[str, int]]:
    """Each name in the object that begins at `at`, and the position of its value."""
    if text[at] != "{":
        return
    at = _blank(text, at + 1)
    while text[at] == '"':
        name, at = scanstring(text, at + 1, False)
        at = _blank(text, at)
        if text[at] != ":":
            return
        at = _blank(text, at + 1)
        yield name, at
        at = _blank(text, _decode(text, at)[1])
        if text[at] != ",":
            return
        at = _blank(text, at + 1)


def _value(text: str, at: int) -> Any:
    """The value at `at`; of a cut text its beginning, without an escape (`\\u20ac`) that the cut has split."""
    for lost in range(7) if text[at] == '"' else ():
        with suppress(ValueError):
            return scanstring(text if not lost else text[: len(text) - lost + 1] + '"', at + 1, False)[0]
    return _decode(text, at)[0]


def _blank(text: str, at: int) -> int:
    while text[at] in " \t\r\n":
        at += 1
    return at
