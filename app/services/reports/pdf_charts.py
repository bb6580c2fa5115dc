"""Charts of a PDF, as vectors in the colours of the product (Okabe and Ito's, told apart also by people who see few).

Each is a figure with its numbers in words for screen readers; a table with the same numbers follows in the report.
Nothing is told by colour alone: parts have a place and a legend, values are printed.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from reportlab.lib.colors import HexColor, white

from app.services.reports.document import Bars, Budgets, Ranges
from app.services.reports.pdf_pen import LEFT, LINE, MUTED, ROOM, SMALL, TEXT, Pen
from app.services.reports.pdf_text import REGULAR, legible, lines, width
from app.support.formatting import duration, number

FAILED, COMPLETED, BLUE, SKY, ORANGE = (HexColor(c) for c in ("#d55e00", "#009e73", "#0072b2", "#56b4e9", "#e69f00"))
PLOT, ROW, NAMES = 110, 19, 150  # heights of bars and of a row, width of names


def bars(pen: Pen, chart: Bars) -> None:
    """Stacked bars, the failures at their base, and a line for the period before."""
    pen.need(PLOT + 54)
    c, top = pen.canvas, pen.y
    most = _round(max(max(low + high, before or 0) for _label, low, high, before in chart.points))
    said = "; ".join(f"{label}: {chart.names[0]} {number(low)}, {chart.names[1]} {number(high)}"
                     for label, low, high, _before in chart.points)
    before = [was for *_rest, was in chart.points]
    with c.content(c.element("Figure", pen.parent, Alt=f"{chart.title}. {said}")):
        x = _legend(pen, LEFT, top - 9, [(chart.names[0], FAILED, False), (chart.names[1], COMPLETED, False)])
        if any(was is not None for was in before):
            _legend(pen, x, top - 9, [(chart.names[2], TEXT, True)])
        base, left = top - 22 - PLOT - 6, LEFT + 6 + width(number(most), REGULAR, SMALL)
        for part in (0, .5, 1):
            y = base + PLOT * part
            c.setStrokeColor(LINE)
            c.setLineWidth(.5)
            c.line(left, y, LEFT + ROOM, y)
            c.write(left - 4, y - 2.5, number(most * part), size=SMALL, colour=MUTED, right=True)
        step = (LEFT + ROOM - left) / len(chart.points)
        every = math.ceil(26 / step) if step < 26 else 1
        for n, (label, low, high, was) in enumerate(chart.points):
            x, thick = left + n * step + step * .18, step * .64
            c.setFillColor(FAILED)
            c.rect(x, base, thick, PLOT * low / most, stroke=0, fill=1)
            c.setFillColor(COMPLETED)
            c.rect(x, base + PLOT * low / most, thick, PLOT * high / most, stroke=0, fill=1)
            if low and high:  # the parts meet in a white line
                c.setStrokeColor(white)
                c.line(x, base + PLOT * low / most, x + thick, base + PLOT * low / most)
            if was is not None:
                c.setStrokeColor(TEXT)
                c.setLineWidth(1.2)
                y = base + PLOT * was / most
                c.line(left + n * step + 1, y, left + (n + 1) * step - 1, y)
            if n % every == 0:
                middle = left + n * step + step / 2
                c.write(middle - width(legible(label), REGULAR, SMALL) / 2, base - 11, label, size=SMALL, colour=MUTED)
    pen.y = base - 22


def ranges(pen: Pen, chart: Ranges) -> None:
    """For each name a line from its median over its 95th to its 99th percentile, on a scale of powers of ten."""
    values = [value for _name, three, _texts in chart.rows for value in three if value > 0]
    low, high = math.floor(math.log10(min(values, default=1))), math.ceil(math.log10(max(values, default=10)))
    high = max(high, low + 1)

    def draw(top: float, left: float, room: float) -> None:
        def at(value: float) -> float:
            return left + room * min(max((math.log10(max(value, 10**low)) - low) / (high - low), 0), 1)

        c, foot = pen.canvas, top - len(chart.rows) * ROW
        c.setStrokeColor(LINE)
        c.setLineWidth(.5)
        for power in range(low, high + 1):
            x, text = at(10**power), duration(10**power)
            c.line(x, top, x, foot)
            if high - low <= 5 or (power - low) % 2 == 0:
                c.write(x - width(legible(text), REGULAR, SMALL) / 2, foot - 10, text, size=SMALL, colour=MUTED)
        for n, (_name, three, texts) in enumerate(chart.rows):
            y, (a, b, d) = top - n * ROW - ROW / 2, map(at, three)
            for start, end, colour, thick in ((a, b, BLUE, 5), (b, d, SKY, 2.5)):
                c.setFillColor(colour)
                c.rect(start, y - thick / 2, max(end - start, .6), thick, stroke=0, fill=1)
            c.setFillColor(TEXT)
            c.rect(a - 1, y - 5, 2, 10, stroke=0, fill=1)
            _printed(pen, left + room + 6, y, " · ".join(texts))

    legend = [(f"{chart.names[0]} – {chart.names[1]}", BLUE, False), (f"– {chart.names[2]}", SKY, False)]
    printed = max(width(" · ".join(texts), REGULAR, SMALL) for _name, _three, texts in chart.rows) + 8
    _rows(pen, chart.title, [(name, ", ".join(f"{what} {text}" for what, text in zip(chart.names, texts, strict=True)))
                             for name, _three, texts in chart.rows], legend, printed, draw, 14)


def budgets(pen: Pen, chart: Budgets) -> None:
    """For each name a bar of what is spent, and a line where its budget ends."""
    most = max(125.0, min(max(share for _name, share, _text in chart.rows), 300.0))

    def draw(top: float, left: float, room: float) -> None:
        c, limit = pen.canvas, left + room * 100 / most
        for n, (_name, share, text) in enumerate(chart.rows):
            y = top - n * ROW - ROW / 2
            c.setFillColor(FAILED if share >= 100 else ORANGE if share >= 80 else BLUE)
            c.rect(left, y - 4, max(room * min(share, most) / most, .6), 8, stroke=0, fill=1)
            if share > most:  # the bar is cut
                c.setFillColor(white)
                c.rect(left + room - 9, y - 5, 2.5, 10, stroke=0, fill=1)
            _printed(pen, left + room + 6, y, text)
        c.setStrokeColor(TEXT)
        c.setLineWidth(1)
        foot = top - len(chart.rows) * ROW
        c.line(limit, top, limit, foot)
        text = f"100% {chart.limit}"
        c.write(limit - width(text, REGULAR, SMALL) / 2, foot - 10, text, size=SMALL, colour=MUTED)

    printed = max(width(legible(text), REGULAR, SMALL) for _name, _share, text in chart.rows) + 8
    _rows(pen, chart.title, [(name, text) for name, _share, text in chart.rows], [], printed, draw, 14)


def _rows(pen: Pen, title: str, rows: list[tuple[str, str]], legend: list, printed: float,  # type: ignore[type-arg]
          draw: Callable[[float, float, float], None], foot: float) -> None:
    """The frame of a chart with a name for each row; `draw(top, left, room)` draws between names and printed values."""
    head = 18 if legend else 4
    pen.need(len(rows) * ROW + head + foot + 8)
    c, top = pen.canvas, pen.y
    said = "; ".join(f"{name}: {numbers}" for name, numbers in rows)
    with c.content(c.element("Figure", pen.parent, Alt=f"{title}. {said}")):
        _legend(pen, LEFT, top - 9, legend)
        for n, (name, _numbers) in enumerate(rows):
            fitting = lines(legible(name), REGULAR, SMALL, NAMES - 8, 1)[0]
            c.write(LEFT, top - head - n * ROW - ROW / 2 - 2.5, fitting, size=SMALL, colour=TEXT)
        draw(top - head, LEFT + NAMES, max(ROOM - NAMES - printed, 60))
    pen.y = top - head - len(rows) * ROW - foot - 8


def _printed(pen: Pen, x: float, y: float, text: str) -> None:
    """The value of a row, cut at the edge of the page."""
    fitting = lines(legible(text), REGULAR, SMALL, LEFT + ROOM - x, 1)[0]
    pen.canvas.write(x, y - 2.5, fitting, size=SMALL, colour=TEXT)


def _legend(pen: Pen, x: float, y: float, entries: list) -> float:  # type: ignore[type-arg]
    for text, colour, line in entries:
        pen.canvas.setFillColor(colour)
        pen.canvas.rect(x, y + (2 if line else 0), 12 if line else 7, 1.2 if line else 7, stroke=0, fill=1)
        pen.canvas.write(x + (16 if line else 11), y, text, size=SMALL, colour=MUTED)
        x += (16 if line else 11) + width(legible(text), REGULAR, SMALL) + 14
    return x


def _round(value: float) -> float:
    """The end of an axis: the next round number whose half is whole, at least 2."""
    if value <= 2:
        return 2
    power = 10 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 20)
                if step * power >= value and step * power % 2 == 0)
