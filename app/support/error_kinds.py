"""The kind of an error: its message without what differs from one job to the next.

A sentence of ours is stored with its template, and its kind is that. In any other text these parts become `…`, in this
order: quoted parts, addresses, paths and names of files, ids (with a digit, or of 8 hexadecimal digits or more),
numbers. The class of the exception stays ("psycopg2.OperationalError:"). What is left, cut at 200 characters, and the
job's type name the group. Of a type that writes random words the callers group the kinds by this class (`head_of`).
"""

from __future__ import annotations

import hashlib
import re

from app.support.messages import LEAST_FIXED, Message, from_row

GAP = "…"
MOST_READ, MOST_TITLE = 2_000, 200  # characters
_QUOTED = re.compile(r"\"[^\"\n]{0,500}\"|(?<![^\W_])'[^'\n]{0,500}'(?![^\W_])|`[^`\n]{0,500}`|«[^»\n]{0,500}»"
                     r"|“[^”\n]{0,500}”|„[^“”\n]{0,500}[“”]|‘[^’\n]{0,500}’(?![^\W_])")
_ADDRESS = re.compile(r"\b[a-z][a-z0-9+.-]{0,30}://[^\s<>…]{1,500}|(?<!\S)[^\s@/]{1,64}@[^\s@/]{1,255}", re.IGNORECASE)
_PATH = re.compile(r"(?<![^\s(=:,\[])(?:[A-Za-z]:\\|\.{0,2}/)[^\s:,;)\]]{1,500}")
_FILE = re.compile(r"(?<![\w/.-])(?:[\w.-]{1,100}/){0,20}[\w.-]{1,100}\.(?:csv|tsv|txt|json|xml|ya?ml|html?|pdf|xlsx?|"
                   r"docx?|png|jpe?g|gif|webp|svg|zip|gz|log|sql|tmp|parquet)(?![\w/-])", re.IGNORECASE)
_DEEP = re.compile(r"(?<![\w/.-])[\w.-]{1,100}(?:/[\w.-]{1,100}){2,20}/?")
_CLASS = re.compile(r"(?:[A-Za-z_]\w{0,60}\.){0,8}[A-Z][A-Za-z_]{2,80}(?=:|\()")
_WORD = re.compile(r"[^\W_]{1,200}(?:[-_.:][^\W_]{1,200}){0,50}")
_HEX = re.compile(r"[0-9a-fA-F]{8,200}|0x[0-9a-fA-F]{1,200}")
_MIXED = re.compile(r"[^\W\d]*\d+[^\W\d]+\d.*|.{10,}")  # two groups of digits, or long
_SIGN = re.compile(rf"(?<![\w{GAP}])[+-](?={GAP})")
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
    head = head_of(text)
    text = text[len(head):]
    for pattern in (_QUOTED, _ADDRESS, _PATH, _FILE, _DEEP):
        text = pattern.sub(GAP, text)
    text = _SIGN.sub("", _NUMBER.sub(GAP, _WORD.sub(_without_ids, text)))
    return _BLANKS.sub(" ", head + _GAPS.sub(GAP, text)).strip()[:MOST_TITLE] or GAP


def head_of(error: str) -> str:
    """The class of the exception with which the message begins; "" when it begins otherwise."""
    found = _CLASS.match(error)
    return found[0] if found else ""


def _of_message(message: Message) -> str:
    """The sentence with the kinds of the sentences in it, and gaps for its other values; the kind of its text when it
    says little itself ("%(name)s: %(error)s")."""
    inner = {name: _of_message(value) if type(value) is Message else GAP for name, value in message.values.items()}
    words = message.having(**{name: "" for name, value in message.values.items() if type(value) is not Message})
    return message.having(**inner) if len(words) >= LEAST_FIXED else kind_of(message)


def _without_ids(found: re.Match[str]) -> str:
    word = found[0]
    digits = sum(character.isdigit() for character in word)
    if _HEX.fullmatch(word.replace("-", "")) or digits and (
            not word.isalnum() or digits * 2 >= len(word) or _MIXED.fullmatch(word)):
        return GAP
    return re.sub(r"\d+", GAP, word)
