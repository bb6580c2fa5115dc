"""A report as PDF: a first page with the key numbers and what needs attention, then a section for each topic.

ReportFigures -> opening.of (words) -> `draw` twice (the first time counts the pages) -> bytes
The PDF is tagged, has its language, title and bookmarks, and embeds its font. Pure: it reads no database and no clock.
"""

from __future__ import annotations

import threading

from flask_babel import force_locale, gettext as _

from app.services.reports import opening, pdf_charts
from app.services.reports.document import PRODUCT, Bars, Budgets, Document, Fact, Ranges, Table
from app.services.reports.model import ReportFigures
from app.services.reports.pdf_canvas import TaggedCanvas
from app.services.reports.pdf_pen import ACCENT, LEFT, LINE, MUTED, ROOM, TEXT, TONES, Pen
from app.services.reports.pdf_text import BOLD, REGULAR, SQUARE, legible, lines

_one = threading.Lock()  # reportlab's fonts belong to one document at a time
CARD, GAP, ACROSS = 64, 10, 3


def render(figures: ReportFigures, language: str, public_url: str) -> bytes:
    """The report in "it" or "en", with links to the pages of `public_url`. Needs an application context."""
    language = "en" if language.startswith("en") else "it"
    with force_locale(language), _one:
        document = opening.of(figures, language, public_url)
        return _drawn(document, _drawn(document, 0)[1])[0]


def _drawn(document: Document, total: int) -> tuple[bytes, int]:
    """The PDF, and how many pages it has."""
    title = f"{document.title}, {document.period}"
    canvas = TaggedCanvas(title, opening.subject(document), document.language, document.made_ms)
    pen = Pen(canvas, title, lambda n: _("page %(n)s of %(total)s", n=n, total=total))
    _first_page(pen, document)
    draws = {Table: pen.table, Bars: lambda block: pdf_charts.bars(pen, block),
             Ranges: lambda block: pdf_charts.ranges(pen, block), Budgets: lambda block: pdf_charts.budgets(pen, block)}
    for section in document.sections:
        pen.parent = canvas.element("Sect", canvas.body)
        pen.heading(section.key, section.title, 2, needs=150)
        for point in section.sentences:
            pen.text(point.text, colour=MUTED)
        for title, block in section.drawn(*draws):
            if title:
                pen.heading("", title, 3, needs=100 if isinstance(block, Table) else 240)
            draws[type(block)](block)
        if section.more:
            pen.text(section.more.text, link=section.more.link, after=6)
    pen.parent = canvas.body
    squares = [_("A %(sign)s is a character that the font of this PDF does not have; the mail and the site have it.",
                 sign=SQUARE)] if pen.squares else []
    if document.notes:
        pen.heading("notes", _("How this was counted"), 2)
    for note in [*document.notes, *squares]:
        pen.text(note, colour=MUTED)
    pen.end()
    return canvas.finish(), pen.page


def _first_page(pen: Pen, document: Document) -> None:
    pen.text(PRODUCT, bold=True, size=9, colour=ACCENT, after=6)
    pen.heading("top", document.title, 1)
    pen.text(document.period[:1].upper() + document.period[1:], size=12, bold=True, after=6)
    pen.text(f"{document.scope} {document.compared}", colour=MUTED, after=2)
    pen.text(document.made, colour=MUTED, after=2)
    if document.home.link:
        pen.text(document.home.text, link=document.home.link, after=2)
    pen.heading("attention", _("What needs attention"), 2)
    for point in document.attention:
        pen.canvas.setFillColor(TONES.get(point.tone, TEXT))
        pen.need(16)
        pen.canvas.rect(LEFT, pen.y - 9, 3, 9, stroke=0, fill=1)
        pen.text(point.text, link=point.link, indent=10, size=9.5, most=3, after=3)
    pen.heading("key", _("Key numbers"), 2)
    for n in range(0, len(document.facts), ACROSS):
        pen.need(CARD + GAP)
        for k, fact in enumerate(document.facts[n:n + ACROSS]):
            _card(pen, fact, LEFT + k * (ROOM + GAP) / ACROSS)
        pen.y -= CARD + GAP


def _card(pen: Pen, fact: Fact, x: float) -> None:
    """A key number: label, value, that of the period before, difference."""
    c, room, top = pen.canvas, (ROOM + GAP) / ACROSS - GAP, pen.y
    c.setStrokeColor(LINE)
    c.setLineWidth(.7)
    c.roundRect(x, top - CARD, room, CARD, 4, stroke=1, fill=0)
    element = c.element("P", pen.parent)
    rows = ((fact.label, 8, False, MUTED, 14, fact.link), (fact.value, 17, True, TEXT, 33, ""),
            (_("before: %(value)s", value=fact.before), 7.5, False, MUTED, 46, ""),
            (fact.change, 7.5, True, TONES.get(fact.tone, TEXT), 57, ""))
    for text, size, bold, colour, below, link in rows:
        if text:
            broken = lines(legible(text), BOLD if bold else REGULAR, size, room - 16, 1)
            pen.put(text, broken, element, x + 8, room - 16, top - below, bold, size, ACCENT if link else colour, link)
