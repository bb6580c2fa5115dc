"""Reads the records of a CSV file and goes on after a bad one, whose `fault` says what is wrong.

* Bad quotes are: a quote that is open at the end of the file or past the limits, or text after a closing quote. Only
  the first physical line of such a record is rejected; the next line starts a new record. A quote left open nearly
  always ends this way, because text follows the next quote in the file.
* Otherwise (`24"` at the end of a line) the record has too many lines and too few cells. When most of its inner lines
  are records by themselves, only its first line is rejected; else all of its lines are one rejected record.
* A cell may have 1 MB and a record 4 MB, both in characters.

These are not faults: extra empty cells at the end of a record; missing cells at its end whose columns are not required;
rows with only separators and blanks (skipped); a first line `sep=;` for a spreadsheet; invisible characters around
names. Lines end with LF, CRLF or CR and are counted from 1, as in an editor.
"""

from __future__ import annotations

import contextlib
import csv
import io
import re
from collections import deque
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from app.integrations.csv_cells import is_empty, unguard
from app.support.messages import Message

CELL_MAX, RECORD_MAX = 1 << 20, 4 << 20
_LONG = Message("A cell is longer than 1 MB or the record longer than 4 MB, or a quote is not closed.")
_QUOTE = Message("A quote is not closed, or text follows a closing quote. A quote inside quotes is written twice.")
_INSIDE = Message("A quote is not closed: the lines that follow are records of their own.")
HINT = re.compile(r'[\s\ufeff]*"?sep=(\\t|[,;\t|])?"?[\s,;|"]*', re.IGNORECASE)


class Record(NamedTuple):
    """One record: number of its first line in the file, its cells, its fault or None, and its text as read."""

    line: int
    cells: list[str]
    fault: str | None
    raw: str


class _TooLong(Exception):
    pass


class _Lines:
    """Physical lines of a stream, which can be pushed back; `taken` are the lines of the current record."""

    def __init__(self, stream: io.TextIOBase) -> None:
        self._stream, self._back = stream, deque()
        self.taken: list[str] = []
        self._size, self.line = 0, 1

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self.next_line()
        if not line:
            raise StopIteration
        self.taken.append(line)
        self._size += len(line)
        if self._size > RECORD_MAX:
            raise _TooLong
        return line

    def next_line(self) -> str:
        """The next line; '' at the end of the file. Only the start of a line over 4 MB is kept."""
        if self._back:
            return self._back.popleft()
        line = part = self._stream.readline(RECORD_MAX + 1)
        while len(part) > RECORD_MAX and part[-1] not in "\r\n":
            part = self._stream.readline(RECORD_MAX + 1)
        return line

    def begin(self) -> None:
        """Start a new record at the next line."""
        self.line += len(self.taken)
        self.taken, self._size = [], 0

    def give_back(self) -> None:
        """Push back all lines of this record but the first."""
        self._back.extendleft(reversed(self.taken[1:]))
        del self.taken[1:]


def read_records(stream: io.TextIOBase, delimiter: str, width: int | None = None, least: int = 0,
                 hinted: bool = False) -> Iterator[Record]:
    """The records of a stream by the rules of this module. Each should have `width` cells and must have `least`; with
    `hinted` the first record may be a line `sep=`, which is skipped. Faults are never raised."""
    csv.field_size_limit(CELL_MAX)
    lines = _Lines(stream)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        lines.begin()
        cells, fault = [], None
        try:
            cells = next(reader)
        except StopIteration:
            return
        except _TooLong:
            fault = _LONG
        except csv.Error as error:
            fault = _LONG if "field limit" in str(error) else _QUOTE
        raw = lines.taken[0] if len(lines.taken) == 1 else "".join(lines.taken)
        if fault:
            lines.give_back()
            raw = lines.taken[0]
        elif not cells or (is_empty(cells[0]) and is_empty("".join(cells))):
            continue
        elif hinted:
            hinted = False
            if HINT.fullmatch(raw):
                continue
        elif width is not None and len(cells) != width:
            if len(lines.taken) > 2 and _are_records(lines.taken[1:-1], delimiter, least, width):
                fault = _INSIDE
                lines.give_back()
                raw = lines.taken[0]
            elif len(cells) > width and all(map(is_empty, cells[width:])):
                del cells[width:]
            elif len(cells) < width and len(cells) >= least:
                cells += [""] * (width - len(cells))
            else:
                fault = _wrong_count(len(cells), width)
        yield Record(lines.line, [unguard(cell) for cell in cells] if "'" in raw else cells, fault, raw)


@lru_cache
def _wrong_count(n: int, width: int) -> Message:
    """Made once for each number: a file may have it a million times."""
    if n < width:
        return Message("Too few cells: %(n)s, the first line names %(width)s.", n=n, width=width)
    return Message("Too many cells: %(n)s, the first line names %(width)s.", n=n, width=width)


def _are_records(lines: list[str], delimiter: str, least: int, width: int) -> bool:
    """Whether more than half of the lines are records by themselves. Prose is not: it has blanks after its commas."""
    count = 0
    for line in lines:
        with contextlib.suppress(csv.Error):
            cells = next(csv.reader([line], delimiter=delimiter, strict=True), [])
            prose = any(cell[:1] == " " for cell in cells)
            count += max(least, 2) <= len(cells) and is_empty("".join(cells[width:])) and not prose
    return count * 2 > len(lines)
