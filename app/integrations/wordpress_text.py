"""Texts of a post in one form on both sides: those of one line, slugs, names of categories and tags."""

from __future__ import annotations

import html
import json
import re
import unicodedata
from urllib.parse import unquote

MOST_SLUG = 200  # bytes of WordPress's column
_EMOJI = re.compile(r"&#x(1f[0-9a-f]{3});", re.I)


def lines(value: str) -> str:
    """A text with \\n at the ends of lines and no blanks before them; emoji that WordPress wrote as numbers."""
    value = _EMOJI.sub(lambda m: chr(int(m[1], 16)), value.replace("\r\n", "\n").replace("\r", "\n"))
    return "\n".join(part.rstrip() for part in value.split("\n")).strip()


def text(value: str) -> str:
    """A text of several lines; an ampersand that stands alone is one sign."""
    return re.sub(r"&amp;(?!#?\w)", "&", lines(value))


def line(value: str) -> str:
    """A text of one line."""
    return " ".join(text(value).split())


def slug(value: str) -> str:
    """The part of an address that WordPress makes of a text (sanitize_title): at most 200 bytes."""
    plain = unicodedata.normalize("NFKD", unquote(value).removesuffix("__trashed"))
    plain = "".join(c for c in plain if not unicodedata.combining(c)).lower()
    plain = re.sub(r"[^\w\s./-]|&#?\w+;", "", plain)
    plain = re.sub(r"[\s./-]+", "-", plain).strip("-")
    return plain.encode()[:MOST_SLUG].decode("utf-8", "ignore")


def numbered(theirs: str, ours: str) -> bool:
    """Whether a slug is ours, or ours with a number, which WordPress adds to one that is taken."""
    return theirs == ours or bool(re.fullmatch(re.escape(ours) + r"-\d+", theirs))


def names(given: list[str]) -> list[str]:
    """Names of categories or tags, each once (whatever its case), sorted."""
    found = (" ".join(html.unescape(re.sub(r"<[^<>]*>", "", name)).split()) for name in given)
    unique = {name.casefold(): name for name in reversed(list(found)) if name}
    return [unique[key] for key in sorted(unique)]


def as_json(found: list[str]) -> str:
    """Names as a field."""
    return json.dumps(found, ensure_ascii=False)


def listed(value: str | None) -> list[str]:
    """The names of a field."""
    return [str(name) for name in json.loads(value)] if value else []
