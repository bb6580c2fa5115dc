"""A report as plain text, at most 78 columns wide: headings, sentences, and tables with aligned columns.

ReportFigures -> opening.of (words) -> `render` -> one text
A table that is too wide becomes a list: the name in one line, "column: value" in those below. Pure: no database.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

from flask_babel import force_locale, gettext as _

from app.services.reports import opening
from app.services.reports.document import PRODUCT, Document, Point, Section, Table
from app.services.reports.model import ReportFigures
from app.services.reports.wrapping import wrap

WIDE, LEAST, GAP = 78, 16, 2  # columns of the page, least of a name, between columns


def render(figures: ReportFigures, language: str, public_url: str, unsubscribe: str = "/admin/jobs/reports") -> str:
    """The report in "it" or "en". `unsubscribe` is the path of the page where one changes what one gets."""
    language = "en" if language.startswith("en") else "it"
    with force_locale(language):
        document = opening.of(figures, language, public_url, unsubscribe)
        lines = [line.rstrip() for line in _lines(document)]
    return "\n".join(line for n, line in enumerate(lines) if line or n and lines[n - 1]) + "\n"


def _lines(d: Document) -> Iterator[str]:
    yield from _heading(d.title, "=")
    for text in (d.period[:1].upper() + d.period[1:], f"{d.scope} {d.compared}", d.made):
        yield from _wrapped(text)
    yield from _link(d.home)
    yield from _heading(_("What needs attention"))
    for point in d.attention:
        yield from _wrapped(point.text, "* ", "  ")
        if point.link:
            yield "  " + point.link
    yield from _heading(_("Key numbers"))
    for fact in d.facts:
        change = f", {fact.change}" if fact.change else ""
        before = _("before: %(value)s", value=fact.before)
        yield from _wrapped(f"{fact.label}: {fact.value} ({before}{change})", "", "  ")
    for section in d.sections:
        yield from _section(section)
    if d.notes:
        yield from _heading(_("How this was counted"))
        for note in d.notes:
            yield from _wrapped(note)
    yield from ("", "-- ", PRODUCT)
    yield from _wrapped(d.why)
    yield from _link(d.change)


def _section(section: Section) -> Iterator[str]:
    yield from _heading(section.title)
    for point in section.sentences:
        yield from _wrapped(point.text)
    for title, block in section.drawn(Table):
        yield from ["", title, ""] if title else [""]
        yield from (_aligned(block) or _listed(block)) if block.rows else [block.empty]
    if section.more:
        yield ""
        yield from _link(section.more)


def _heading(text: str, rule: str = "-") -> Iterator[str]:
    yield from ("", text, rule * min(columns(text), WIDE), "")


def _link(point: Point) -> Iterator[str]:
    if point.link:
        yield from (f"{point.text}:", point.link)


def _wrapped(text: str, first: str = "", more: str = "") -> list[str]:
    parts = wrap(text, columns, WIDE - len(more or first))
    return [(more if n else first) + part for n, part in enumerate(parts)]


def columns(text: str) -> int:
    """How many columns a text takes on a screen with letters of one width."""
    return sum(0 if unicodedata.combining(sign) or unicodedata.category(sign) == "Cf" else
               2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text)


def _aligned(table: Table) -> list[str]:
    """The rows in columns; [] when they need more than the page. A second line of a cell follows in parentheses."""
    def joined(text: str, sub: str) -> str:
        return f"{text} ({sub})" if sub else text

    heads = [joined(head.text, head.sub) for head in table.heads]
    rows = [[joined(cell.text, cell.sub) for cell in row] for row in table.rows]
    split = [text.split(" ") if n else [text] for n, text in enumerate(heads)]
    wide = [max(columns(text) for text in (*split[n], *(row[n] for row in rows))) for n in range(len(heads))]
    room = WIDE - sum(wide[1:]) - GAP * (len(wide) - 1)
    if room < min(wide[0], LEAST) or room < wide[0] and any(columns(row[0]) > 2 * room for row in rows):
        return []
    wide[0] = min(wide[0], room)
    tall = max(map(len, split))
    titles = [[""] * (tall - len(parts)) + parts for parts in split]
    lines = [(" " * GAP).join(_padded(parts[n], wide[k], table.heads[k].number and k > 0)
                              for k, parts in enumerate(titles)) for n in range(tall)]
    for row in rows:
        name = wrap(row[0], columns, wide[0])
        cells = [_padded(text, wide[n], table.heads[n].number) for n, text in enumerate(row[1:], start=1)]
        lines.append((" " * GAP).join([_padded(name[0], wide[0], False), *cells]))
        lines += name[1:]
    return lines


def _padded(text: str, wide: int, right: bool) -> str:
    blank = " " * (wide - columns(text))
    return blank + text if right else text + blank


def _listed(table: Table) -> Iterator[str]:
    for row in table.rows:
        first, *cells = row
        yield from _wrapped(f"{first.text} ({first.sub})" if first.sub else first.text, "* ", "  ")
        facts = []
        for head, cell in zip(table.heads[1:], cells, strict=True):
            sub = f" ({head.sub}: {cell.sub})" if cell.sub and head.sub else f" ({cell.sub})" if cell.sub else ""
            facts.append(f"{head.text}: {cell.text}{sub}")
        yield from _wrapped("; ".join(facts), "    ", "    ")
