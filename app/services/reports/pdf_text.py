"""Texts of a PDF: the embedded font, what stands for characters that it lacks, and lines that fit a width.

text -> `legible` (characters of the font) -> `lines` (wrapping.py) -> pdf_canvas.py
The font is Inter, which has Latin, Greek and Cyrillic. Of other scripts each character becomes a white square, and a
text of squares alone has its code points behind it, so that two such names differ. The tags of the PDF keep the real
text.
"""

from __future__ import annotations

import unicodedata
from functools import cache, lru_cache
from pathlib import Path

from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont

from app.services.reports.wrapping import wrap

FONTS = Path(__file__).parents[3] / "static" / "vendor"
REGULAR, BOLD = "Inter", "InterSemiBold"
SQUARE, CODES = "\u25a1", 3  # how many code points stand behind a text of squares


@cache
def fonts() -> frozenset[int]:
    """Register the font with reportlab, once a process. The code points that both of its weights have."""
    for name, file in ((REGULAR, "inter-regular.ttf"), (BOLD, "inter-semibold.ttf")):
        pdfmetrics.registerFont(TTFont(name, FONTS / file))
    return frozenset.intersection(*(frozenset(pdfmetrics.getFont(name).face.charToGlyph) for name in (REGULAR, BOLD)))


@lru_cache(8192)
def legible(text: str) -> str:
    """The text in characters of the font. Marks, joiners and variants that it lacks are left out."""
    known = fonts()
    if all(ord(sign) in known for sign in text):
        return text
    shown, lacking = [], []
    for sign in text:
        if ord(sign) in known:
            shown.append(sign)
        elif unicodedata.category(sign) not in ("Mn", "Me", "Cf", "Cc", "Sk"):
            shown.append(SQUARE)
            lacking.append(f"U+{ord(sign):04X}")
    line = "".join(shown) or SQUARE
    if lacking and not any(sign.isalnum() for sign in line):
        line += f" ({' '.join(lacking[:CODES])}{'…' if len(lacking) > CODES else ''})"
    return line


def width(text: str, font: str, size: float) -> float:
    """The width of a text of the font's characters, in points."""
    return pdfmetrics.stringWidth(text, font, size)


@lru_cache(8192)  # each text is measured for its height, and drawn, in both runs
def lines(text: str, font: str, size: float, room: float, most: int) -> tuple[str, ...]:
    """The text in at most `most` lines of the width `room`."""
    return tuple(wrap(text, lambda part: width(part, font, size), room, most))
