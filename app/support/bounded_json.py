"""Converts the return value of a job to JSON of at most 64 KB.

The value may be endless, refer to itself or contain one list a million times. So one walk copies it, with a budget of
nodes and of characters, and never costs more than what it keeps. The walk calls the job's own code (`str()`,
iteration), so the caller keeps the job's alarm on.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

from app.support.redaction import printable, redact_json

RESULT_BYTES = 64 * 1024
BUDGETS = tuple(RESULT_BYTES >> n for n in range(4))  # characters; an escaped one takes up to six bytes
NODES = 20_000  # 64 KB hold no more, as a node and its comma take three bytes
DEPTH = 30
CUT = "[cut]"


def as_json(value: Any) -> tuple[str, list[str]]:
    """(redacted JSON, marks): the mark `result` says that something was cut, `not json` that something became text."""
    if value is None:
        return "null", []
    for chars in BUDGETS:
        walk = _Walk(chars)
        text = json.dumps(redact_json(walk.plain(value)), ensure_ascii=False, allow_nan=False)
        text = printable(text)
        if len(text.encode()) <= RESULT_BYTES:
            break  # else it is cut with a smaller budget, so that it stays JSON
        walk.over = True
    marks = {"not json": walk.odd, "result": walk.over or chars < BUDGETS[0]}
    return text, [mark for mark, given in marks.items() if given]


class _Walk:
    """Copies a value. `odd`: something in it is no JSON; `over`: the budget was spent and the rest left out."""

    def __init__(self, chars: int) -> None:
        self.nodes, self.chars = NODES, chars
        self.odd = self.over = False
        self._path: set[int] = set()  # ids of the containers that the walk is inside of

    def plain(self, value: Any, depth: int = 0) -> Any:
        """A copy of the value of JSON's own types; what the budget cannot pay is `[cut]`."""
        self.nodes -= 1
        self.chars -= 2
        if self.nodes < 0 or self.chars <= 0:
            self.over = True
            return CUT
        kind = type(value)
        if value is None or kind is bool:
            return value
        if kind is str:
            return self._text(value)
        if kind is int:
            return self._whole(value)
        if kind is float and math.isfinite(value):
            self.chars -= len(repr(value))
            return value
        return self._other(value, depth)

    def _other(self, value: Any, depth: int) -> Any:
        fields = dataclasses.is_dataclass(value) and not isinstance(value, type)
        if not fields and not isinstance(value, Mapping | Set | list | tuple):
            return self._as_text(value)
        self.odd |= not isinstance(value, dict | list | tuple)
        if id(value) in self._path or depth >= DEPTH:
            self.odd = True
            circular = id(value) in self._path
            return self._text("[refers to itself]" if circular else f"[nested deeper than {DEPTH} levels]")
        self._path.add(id(value))
        try:
            if isinstance(value, Mapping):
                return self._pairs(value.items(), depth)
            if fields:
                return self._pairs(((f.name, getattr(value, f.name, None)) for f in dataclasses.fields(value)), depth)
            return self._items(value, depth)
        finally:
            self._path.discard(id(value))

    def _pairs(self, pairs: Iterable[tuple[Any, Any]], depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if self.nodes <= 0 or self.chars <= 0:
                self.over = True
                break
            self.odd |= not isinstance(key, str)
            found[self._text(key if type(key) is str else str(key))] = self.plain(value, depth + 1)
        return found

    def _items(self, values: Sequence[Any] | Set[Any], depth: int) -> list[Any]:
        found = []
        for value in itertools.islice(values, NODES + 1):
            if self.nodes <= 0 or self.chars <= 0:
                self.over = True
                break
            found.append(self.plain(value, depth + 1))
        return found

    def _as_text(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(str.__str__(value))
        if isinstance(value, int):
            return self._whole(int(value))
        self.odd = True
        if isinstance(value, bytes | bytearray | memoryview):
            value = bytes(value[: self.chars])
        text = str(value)
        return self._text(text if type(text) is str else str.__str__(text))

    def _text(self, text: str) -> str:
        kept = text[: max(self.chars, 0)]
        self.over |= len(kept) < len(text)
        self.chars -= len(kept) + 2
        return kept if kept.isascii() else re.sub("[\ud800-\udfff]", "\ufffd", kept)  # no page shows lone surrogates

    def _whole(self, value: int) -> int | str:
        bits = value.bit_length()
        if bits <= 63:
            self.chars -= len(str(value))
            return value
        self.odd = True
        return self._text(str(value) if bits < 1000 else f"[a whole number of {bits} bits]")
