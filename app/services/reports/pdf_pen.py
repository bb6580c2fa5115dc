"""Writes the parts of a document from top to bottom over pages of A4: texts, tables, charts, the foot of each page.

A part that does not fit goes to the next page; a table goes on there with its heads repeated. A text never leaves its
column: it is broken into lines, and what is still too long ends with an ellipsis.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4

from app.services.reports.document import PRODUCT, Cell, Head, Table
from app.services.reports.pdf_canvas import Element, TaggedCanvas
from app.services.reports.pdf_text import BOLD, REGULAR, SQUARE, legible, lines, width

WIDE, HIGH = A4
LEFT, TOP, BOTTOM = 46, 50, 54
ROOM = WIDE - 2 * LEFT
TEXT, MUTED, ACCENT, LINE, SUNKEN = (HexColor(c) for c in ("#1b2330", "#586374", "#2457c5", "#cfd5de", "#f3f5f8"))
BAD, GOOD = HexColor("#9a2312"), HexColor("#14603a")
TONES = {"bad": BAD, "good": GOOD}
SIZE, SMALL, PAD = 8.5, 7.5, 5
LINES = 3  # of a name in a table


class Pen:
    """The place of the next part: `y` is its top, in points from the foot of the page."""

    def __init__(self, canvas: TaggedCanvas, foot: str, pages: Callable[[int], str]) -> None:
        """`foot` stands at the left of each foot, `pages(n)` ("page 2 of 5") at its right."""
        self.canvas, self._foot, self._pages = canvas, foot, pages
        self.page, self.y = 1, HIGH - TOP
        self.parent, self.squares = canvas.body, False  # whether a text has squares for characters that the font lacks

    def need(self, height: float) -> bool:
        """Begin a new page if less than `height` is left; whether it did."""
        if self.y - height >= BOTTOM or self.y >= HIGH - TOP:
            return False
        self.end()
        self.page, self.y = self.page + 1, HIGH - TOP
        return True

    def end(self) -> None:
        """The foot of the page, and its end."""
        c, right = self.canvas, self._pages(self.page)
        c.setStrokeColor(LINE)
        c.setLineWidth(.5)
        c.line(LEFT, BOTTOM - 14, WIDE - LEFT, BOTTOM - 14)
        room = ROOM - width(legible(right), REGULAR, SMALL) - 12
        c.write(LEFT, BOTTOM - 26, lines(legible(f"{PRODUCT} · {self._foot}"), REGULAR, SMALL, room, 1)[0], size=SMALL,
                colour=MUTED)
        c.write(WIDE - LEFT, BOTTOM - 26, right, size=SMALL, colour=MUTED, right=True)
        c.showPage()

    def text(self, text: str, kind: str = "P", bold: bool = False, size: float = 9, colour: Any = TEXT, link: str = "",
             after: float = 4, indent: float = 0, most: int = 6) -> None:
        """A paragraph or heading over the whole width."""
        room = ROOM - indent
        broken = lines(legible(text), BOLD if bold else REGULAR, size, room, most)
        self.need(len(broken) * size * 1.4)
        element = self.canvas.element(kind, self.parent)
        self.put(text, broken, element, LEFT + indent, room, self.y - size, bold, size, colour, link)
        self.y -= len(broken) * size * 1.4 + after

    def heading(self, key: str, text: str, level: int, needs: float = 90) -> None:
        """A heading with its bookmark; `needs` is the height that must fit below it on the same page."""
        size = {1: 20, 2: 13}.get(level, 10)
        self.y -= {1: 0, 2: 12}.get(level, 6)
        self.need(needs)
        if level < 3:
            self.canvas.bookmark(key, text, min(self.y + 8, HIGH), level - 1)
        self.text(text, f"H{level}", bold=True, size=size, after=5, most=2)

    def put(self, text: str, broken: tuple[str, ...], element: Element, x: float, room: float, y: float,
            bold: bool = False, size: float = SIZE, colour: Any = TEXT, link: str = "", right: bool = False) -> None:
        """Lines of a text whose first has its base at `y`, as the content of an element; links are underlined."""
        c, shown = self.canvas, legible(text)
        self.squares |= SQUARE in shown and SQUARE not in text
        if link:
            element = c.element("Link", element)
        with c.content(element, text if shown != text or len(broken) > 1 else None):
            for n, line in enumerate(broken):
                at = y - n * size * 1.4
                c.write(x + room if right else x, at, line, bold, size, ACCENT if link else colour, right)
        if link:
            far = max(width(line, BOLD if bold else REGULAR, size) for line in broken)
            start = x + room - far if right else x
            c.setStrokeColor(ACCENT)
            c.setLineWidth(.4)
            for n, line in enumerate(broken):
                at, long = y - n * size * 1.4 - 1.6, width(line, BOLD if bold else REGULAR, size)
                c.line(x + room - long if right else x, at, x + room if right else x + long, at)
            c.link(link, (start, y - (len(broken) - 1) * size * 1.4 - 3, start + far, y + size), element, text)

    def table(self, table: Table) -> None:
        """A table; without rows the sentence that says so."""
        if not table.rows:
            self.text(table.empty, colour=MUTED, after=8)
            return
        total = sum(head.share for head in table.heads)
        widths = [ROOM * head.share / total for head in table.heads]
        element = self.canvas.element("Table", self.parent)
        heads = [Cell(head.text, head.sub) for head in table.heads]
        self.need(70)
        self._row(heads, table.heads, widths, element, head=True)
        for row in table.rows:
            if self.need(self._height(row, widths)):
                self._row(heads, table.heads, widths, None, head=True)
            self._row(row, table.heads, widths, element)
        self.y -= 10

    def _broken(self, cell: Cell, room: float, head: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return (lines(legible(cell.text), BOLD if head else REGULAR, SMALL if head else SIZE, room - 2 * PAD, LINES),
                lines(legible(cell.sub), REGULAR, SMALL, room - 2 * PAD, 2) if cell.sub else ())

    def _height(self, row: Any, widths: list[float], head: bool = False) -> float:
        size = SMALL if head else SIZE
        return 8 + max(len(first) * size * 1.4 + len(second) * SMALL * 1.4 for first, second in (
            self._broken(cell, room, head) for cell, room in zip(row, widths, strict=True)))

    def _row(self, row: Any, heads: tuple[Head, ...], widths: list[float], table: Element | None,
             head: bool = False) -> None:
        """A row; without an element of a table it is a repetition, which screen readers skip."""
        c, height, x = self.canvas, self._height(row, widths, head), LEFT
        if head:
            c.setFillColor(SUNKEN)
            c.rect(LEFT, self.y - height, ROOM, height, stroke=0, fill=1)
        c.setStrokeColor(LINE)
        c.setLineWidth(.5)
        c.line(LEFT, self.y - height, WIDE - LEFT, self.y - height)
        element = c.element("TR", table) if table is not None else None
        size = SMALL if head else SIZE
        for n, (cell, column, room) in enumerate(zip(row, heads, widths, strict=True)):
            first, second = self._broken(cell, room, head)
            inner = None
            if element is not None:
                scope = "Column" if head else "Row" if n == 0 else ""
                inner = c.cell(element, scope)
            y = self.y - 4 - size
            for text, broken, link, bold, high, colour in (
                    (cell.text, first, cell.link, head, size, MUTED if head else TEXT),
                    (cell.sub, second, "", False, SMALL, MUTED)):
                if not broken:
                    continue
                if inner is not None:
                    self.put(text, broken, inner, x + PAD, room - 2 * PAD, y, bold, high, colour, link, column.number)
                else:
                    at = x + room - PAD if column.number else x + PAD
                    for k, line in enumerate(broken):
                        c.write(at, y - k * high * 1.4, line, bold, high, colour, column.number)
                y -= len(broken) * high * 1.4
            x += room
        self.y -= height
