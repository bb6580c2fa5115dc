"""Two texts side by side, by words and by lines, as plain values: pure arithmetic."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest

MOST_WORDS = 3000
MOST_LINES, MOST_CHARS, MOST_SHOWN, AROUND = 2000, 200_000, 400, 3  # of each text; rows on a page; equal lines around
WORDS = 2000  # characters of a line whose words are compared


@dataclass(frozen=True)
class Piece:
    """A part of a text: the same in both, or only in this one."""

    text: str
    changed: bool


@dataclass(frozen=True)
class Side:
    """A line of one text, `no` from 1, as its parts."""

    no: int
    parts: tuple[Piece, ...]


@dataclass(frozen=True)
class Row:
    """A line of the old text beside that of the new one; None where there is none. A row with neither stands for equal
    lines that are left out."""

    old: Side | None
    new: Side | None


@dataclass(frozen=True)
class Difference:
    """`rows` show what differs, the first 400 when `cut`. `compared` is False when the texts are too long for that."""

    rows: tuple[Row, ...]
    cut: bool = False
    compared: bool = True


def differences(old: str, new: str) -> tuple[tuple[Piece, ...], tuple[Piece, ...], bool]:
    """The parts of both texts, compared by words; whole and not compared (False) above 3,000 words."""
    words = [re.findall(r"\s+|\w+|[^\w\s]", text) if len(text) <= 20 * MOST_WORDS else None for text in (old, new)]
    a, b = words
    if a is None or b is None or max(len(a), len(b)) > 2 * MOST_WORDS:
        return (Piece(old, False),), (Piece(new, False),), False
    before, after = [], []
    for kind, a1, a2, b1, b2 in SequenceMatcher(None, a, b).get_opcodes():
        before += [Piece("".join(a[a1:a2]), kind != "equal")] if a2 > a1 else []
        after += [Piece("".join(b[b1:b2]), kind != "equal")] if b2 > b1 else []
    return tuple(before), tuple(after), True


def side_by_side(old: str, new: str) -> Difference:
    """The lines in which two texts differ, with three equal lines around them; no rows for equal texts."""
    a, b = old.splitlines(), new.splitlines()
    if max(len(a), len(b)) > MOST_LINES or max(len(old), len(new)) > MOST_CHARS:
        return Difference((), compared=False)
    rows: list[Row] = []
    for group in SequenceMatcher(None, a, b).get_grouped_opcodes(AROUND):
        rows += [Row(None, None)] if rows or group[0][1] else []
        for kind, a1, a2, b1, b2 in group:
            rows += [_row(a, b, i, j, kind) for i, j in zip_longest(range(a1, a2), range(b1, b2))]
        if len(rows) > MOST_SHOWN:
            return Difference(tuple(rows[:MOST_SHOWN]), cut=True)
    return Difference(tuple(rows))


def _row(a: list[str], b: list[str], i: int | None, j: int | None, kind: str) -> Row:
    old, new = "" if i is None else a[i], "" if j is None else b[j]
    before, after = (Piece(old, kind != "equal"),), (Piece(new, kind != "equal"),)
    if kind == "replace" and i is not None and j is not None and max(len(old), len(new)) <= WORDS:
        before, after, _compared = differences(old, new)
    return Row(None if i is None else Side(i + 1, before), None if j is None else Side(j + 1, after))
