"""Texts of a PDF: the embedded font, what stands for characters that it lacks, and lines that fit a width.

text -> `legible` (characters of the font) -> `lines` (at most so many, the last one with an ellipsis) -> pdf_canvas.py
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
    """The text in at most `most` lines of the width `room`, broken at blanks, long words anywhere."""
    found: list[str] = []
    words = text.split(" ")
    line = ""
    while words:
        word = words.pop(0)
        longer = f"{line} {word}" if line else word
        if width(longer, font, size) <= room:
            line = longer
        elif line:
            found.append(line)
            line = ""
            words.insert(0, word)
        else:
            fits = _fitting(word, font, size, room)
            found.append(word[:fits])
            words.insert(0, word[fits:])
        if len(found) >= most and (line or words):
            rest = " ".join(part for part in (line, *words) if part)
            return *found[:most - 1], ellipsis(f"{found[most - 1]} {rest}", font, size, room)
    return (*found, line) if line or not found else tuple(found)


def ellipsis(text: str, font: str, size: float, room: float) -> str:
    """The text, cut with an ellipsis where it is wider than `room`."""
    if width(text, font, size) <= room:
        return text
    return text[:_fitting(text, font, size, room - width("…", font, size))].rstrip() + "…"


def _fitting(text: str, font: str, size: float, room: float) -> int:
    """How many characters from the start fit, at least one."""
    low, high = 1, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if width(text[:middle], font, size) <= room else (low, middle - 1)
    return low
