"""The kind of an error: its message without what differs from one job to the next.

A sentence of ours is stored with its template, and its kind is that. In any other text these parts become `…`, in this
order: quoted parts, addresses, paths, ids (with a digit, or of 8 hexadecimal digits or more), numbers. What is left,
cut at 200 characters, and the job's type name the group.
"""

from __future__ import annotations

import hashlib
import re

from app.support.messages import LEAST_FIXED, Message, from_row

GAP = "…"
MOST_READ, MOST_TITLE = 2_000, 200  # characters
_QUOTED = re.compile(r"\"[^\"\n]{0,500}\"|(?<![^\W_])'[^'\n]{0,500}'(?![^\W_])|`[^`\n]{0,500}`|«[^»\n]{0,500}»"
                     r"|“[^”\n]{0,500}”")
_ADDRESS = re.compile(r"\b[a-z][a-z0-9+.-]{0,30}://[^\s<>…]{1,500}|(?<!\S)[^\s@/]{1,64}@[^\s@/]{1,255}", re.IGNORECASE)
_PATH = re.compile(r"(?<![^\s(=:,\[])(?:[A-Za-z]:\\|\.{0,2}/)[^\s:,;)\]]{1,500}")
_WORD = re.compile(r"[^\W_]{1,200}(?:[-_.:][^\W_]{1,200}){0,50}")
_HEX = re.compile(r"(?:0x)?[0-9a-fA-F]{8,200}")
_NUMBER = re.compile(r"[+-]?\d{1,50}(?:[.,:]\d{1,50}){0,20}")
_GAPS = re.compile(rf"{GAP}(?:[\s,;:/-]{{0,5}}{GAP})+")
_BLANKS = re.compile(r"\s+")


def group_of(job_type: str, error: str, stored: str | None = None) -> tuple[str, str]:
    """(key of 16 hexadecimal digits, title) of the kind of an error of a type; `stored` is the JSON of a Message."""
    text = from_row(error, stored)
    title = (_of_message(text) if type(text) is Message else kind_of(error))[:MOST_TITLE]
    return hashlib.sha256(f"{job_type}\0{title}".encode("utf-8", "replace")).hexdigest()[:16], title


def kind_of(error: str) -> str:
    """The message without numbers, ids, paths, addresses and quoted parts."""
    text = error[:MOST_READ]
    for pattern in (_QUOTED, _ADDRESS, _PATH):
        text = pattern.sub(GAP, text)
    text = _NUMBER.sub(GAP, _WORD.sub(_without_ids, text))
    return _BLANKS.sub(" ", _GAPS.sub(GAP, text)).strip()[:MOST_TITLE] or GAP


def _of_message(message: Message) -> str:
    """The sentence with the kinds of the sentences in it, and gaps for its other values; the kind of its text when it
    says little itself ("%(name)s: %(error)s")."""
    inner = {name: _of_message(value) if type(value) is Message else GAP for name, value in message.values.items()}
    words = message.having(**{name: "" for name, value in message.values.items() if type(value) is not Message})
    return message.having(**inner) if len(words) >= LEAST_FIXED else kind_of(message)


def _without_ids(found: re.Match[str]) -> str:
    word = found[0]
    plain = word.replace("-", "")
    digits = sum(character.isdigit() for character in word)
    if digits and (not word.isalnum() or len(word) > 12 or digits * 2 >= len(word) or _HEX.fullmatch(plain)):
        return GAP
    return re.sub(r"\d+", GAP, word)
