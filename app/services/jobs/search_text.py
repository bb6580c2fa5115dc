"""What a search means: which text of a job is searched, and which words are contained in it.

job -> text_of (type, tenant, names and values of the arguments, error; without secrets) -> folded parts, one a line
search -> words (split at blanks, "quoted ones" together) -> folded -> each is contained in the text

Waiting, finished and indexed jobs go through these two functions, on both databases, so they all give one answer.
Folding forgets upper and lower case, accents and the form of characters (é = e, ß = ss, ﬁ = fi) and invisible
characters. A payload that is no JSON object has no arguments. No text is refused.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from typing import Any
from zlib import crc32

from app.models.types import as_text
from app.support.redaction import HIDDEN, redact, redact_json

MOST = 300_000  # characters of a job's text; a payload of 256 KB fits
_WORD = re.compile(r'"([^"\s][^"]*)"(?=\s|\Z)|\S+')
_BLANKS = re.compile(r"[\s\0]+")
_MARKS = re.compile("[\u034f\u180b-\u180d\ufe00-\ufe0f\U000e0100-\U000e01ef]")  # choose a form of a character
MARKED = ("job_type", "tenant_id", "queue", "status")
PART = "\x01"  # stands between parts, so that quoted words are within one


class _Kept(dict[int, int | None]):
    """For str.translate: None for accents and invisible characters, learned as they come."""

    def __missing__(self, code: int) -> int | None:
        one = chr(code)
        gone = unicodedata.combining(one) or unicodedata.category(one) in ("Me", "Cf", "Cs", "Co") or _MARKS.match(one)
        self[code] = None if gone else code
        return self[code]


_kept = _Kept()


def fold(text: str) -> str:
    """The text without case, accents and invisible characters, each run of blanks as one blank."""
    if not text.isascii():
        text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
        text = text.translate(_kept)
    return _BLANKS.sub(" ", text.lower() if text.isascii() else text)


def words(search: str) -> list[str]:
    """The folded words of a search, each once; [] when nothing is left of it (blanks, only accents)."""
    found = (fold(match[1] or match[0]) for match in _WORD.finditer(search))
    return list(dict.fromkeys(word for word in found if word.strip()))


def text_of(job_type: Any, tenant: Any, payload: Any, error: Any, hidden: bool = True) -> str:
    """The folded text of a job from its columns, without secrets, at most 300,000 characters; with them, and
    whole, unless `hidden`."""
    given, last = _literal(as_text(payload) or ""), as_text(error) or ""
    args = given.get("args") if isinstance(given, dict) else None
    parts = [as_text(job_type), as_text(tenant)]
    if isinstance(args, dict):
        _walk(redact_json(args) if hidden else args, parts)
    parts.append(redact(last) if hidden else last)
    text = fold(PART.join(part for part in parts if part).replace(HIDDEN, PART))
    return text[:MOST] if hidden else text


def has(words: Iterable[str], *columns: Any) -> bool:
    """Whether the text of a job, from the columns of `text_of`, contains each of the folded words. Most time goes
    into hiding secrets, so it is done only where the words are."""
    raw = "\n".join(as_text(column) or "" for column in columns)
    if raw.isascii() and "\\" not in raw:  # nothing in it is folded but case
        raw = raw.lower()
        if any(word not in raw for word in words if " " not in word):
            return False
    return contains(text_of(*columns, hidden=False), words) and contains(text_of(*columns), words)


def contains(text: str, wanted: Iterable[str]) -> bool:
    """Whether each of the folded words is in the folded text."""
    return all(word in text for word in wanted)


def marks(**columns: Any) -> dict[str, str]:
    """By name of a column three characters that stand for its value (job_type, tenant_id, queue, status): the index
    finds rows by them. They are private characters, which no folded text or word has; two values may share one."""
    return {name: chr(0xE000 + n) + chr(0xE100 + crc32((as_text(value) or "").encode("utf-8", "replace")) % 0x1700)
            + chr(0xE001 + n) for n, name in enumerate(MARKED) if (value := columns.get(name)) is not None}


def _literal(text: str) -> Any:
    """The value of JSON with its numbers as they are written; None when it is no JSON, or nested too deeply."""
    try:
        return json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
    except (ValueError, RecursionError):
        return None


def _walk(value: Any, parts: list[str | None]) -> None:
    """Add the names and values within a JSON value to `parts`, in their order."""
    stack = [value]
    while stack:
        one = stack.pop()
        if isinstance(one, dict):
            stack += [item for pair in reversed(one.items()) for item in reversed(pair)]
        elif isinstance(one, list):
            stack += reversed(one)
        else:
            parts.append(one if isinstance(one, str) else json.dumps(one))
