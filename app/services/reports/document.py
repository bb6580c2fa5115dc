"""What a report says, in words and numbers of one language, before it is drawn: PDF, mail and text draw the same parts.

ReportFigures -> opening.py, chapters.py (words) -> Document -> pdf.py, html_mail.py, plain.py
All texts are ready to be shown: numbers are formatted, names are one line without control characters and cut. They are
not escaped: they may hold markup, which the drawers must escape. Links are whole addresses, or "".
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from app.support.redaction import printable

PRODUCT = "Ainstein Jobs"
MOST_NAME, MOST_TITLE = 100, 160  # characters of a name, and of the title of an error


@dataclass(frozen=True)
class Point:
    """A sentence with its link. `tone` is "bad" where somebody should look, "good", or ""."""

    text: str
    link: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Fact:
    """A key number: its label, its value, that of the period before, and the difference in words."""

    label: str
    value: str
    before: str
    change: str
    tone: str = ""
    link: str = ""


@dataclass(frozen=True)
class Head:
    """A column: its title, what the second line of its cells is, and whether it has numbers (aligned at their end).
    `share` is its part of the width of the page."""

    text: str
    sub: str = ""
    number: bool = True
    share: float = 1


@dataclass(frozen=True)
class Cell:
    """A text, a second line ("": none) and a link."""

    text: str
    sub: str = ""
    link: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of cells, one for each head; `empty` is the sentence that stands for no rows. `title` may be ""."""

    title: str
    heads: tuple[Head, ...]
    rows: tuple[tuple[Cell, ...], ...]
    empty: str = ""


@dataclass(frozen=True)
class Bars:
    """Stacked bars: (label, lower part, upper part, sum of the period before or None); `names` are of these three."""

    title: str
    names: tuple[str, str, str]
    points: tuple[tuple[str, int, int, int | None], ...]


@dataclass(frozen=True)
class Ranges:
    """Of each name its median, 95th and 99th percentile in ms, and the same as texts."""

    title: str
    names: tuple[str, str, str]
    rows: tuple[tuple[str, tuple[float, float, float], tuple[str, str, str]], ...]


@dataclass(frozen=True)
class Budgets:
    """Of each name the percentage of its budget that is spent, and the same in words."""

    title: str
    limit: str
    rows: tuple[tuple[str, float, str], ...]


Block = Table | Bars | Ranges | Budgets
Link = Callable[[str], str]  # the address of a path


@dataclass(frozen=True)
class Section:
    """A part of the report. `key` names it in addresses; `more` is the link to the page that has it all."""

    key: str
    title: str
    sentences: tuple[Point, ...]
    blocks: tuple[Block, ...]
    more: Point | None = None

    def drawn(self, *kinds: type) -> Iterator[tuple[str, Block]]:
        """The blocks of some kinds, each with its title; "" where that of the block before is the same."""
        last = ""
        for block in self.blocks:
            if isinstance(block, kinds):
                yield "" if block.title == last else block.title, block
                last = block.title


@dataclass(frozen=True)
class Document:
    """A report. `attention` has what needs a look, the most urgent first (never empty: else one good sentence);
    `why` says why one gets it and `change` where to change that. `made_ms` is when the figures were read."""

    language: str
    title: str
    period: str
    scope: str
    compared: str
    made: str
    made_ms: int
    facts: tuple[Fact, ...]
    attention: tuple[Point, ...]
    sections: tuple[Section, ...]
    notes: tuple[str, ...]
    home: Point
    why: str
    change: Point

    @property
    def urgent(self) -> int:
        """How many points need a look."""
        return sum(point.tone == "bad" for point in self.attention)


def tidy(text: object, most: int = MOST_NAME) -> str:
    """The text as one line of at most `most` characters; control characters and marks of direction show as escapes."""
    line = unicodedata.normalize("NFC", printable(" ".join(str(text)[: 4 * most].split())))
    line = line if len(line) <= most else line[: most - 1].rstrip() + "…"
    rightward = any(unicodedata.bidirectional(sign) in ("R", "AL", "AN") for sign in line)
    return f"\u2068{line}\u2069" if rightward else line  # isolated, so that it does not turn the numbers beside it


def absolute(public_url: str, path: str) -> str:
    """The address of a page; "" without one, and for a site that is not http(s)."""
    if not path.startswith("/") or urlsplit(public_url).scheme not in ("http", "https"):
        return ""
    return quote(public_url.rstrip("/") + path, safe=":/?#[]@!$&()*+,;=%-._~")
