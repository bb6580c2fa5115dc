"""CSV in, read strictly and with little memory; CSV out through one function.

    open_csv(path, required) -> CsvFile(encoding, delimiter, columns) -> .records() -> Record, Record, ...
    write_rows(rows) -> text, text, ...

What makes the whole file unreadable raises BadInput, a sentence that says what to do, before
any record is given out: empty, no text, UTF-16, NUL, neither UTF-8 nor Windows-1252, columns
missing or named twice. What is wrong with one record is told in its `fault`, and reading goes on:

* A record whose quotes cannot be right (open at the end of the file or past the bounds, text after
  a closing quote) costs its first physical line; the next line begins a new record. A quote left
  open meets one of these: the next quote in the file nearly always has text after it.
* If it has not (`24"` at the end of a line), the record that it seems to close has too many lines
  and too few cells: when most of the lines inside are records by themselves, it costs its first
  line only, else all of its lines are one refused record.
* A cell may have 1 MB, a record 4 MB, both in characters; lines of nothing but blanks are skipped.

Lines end with LF, CRLF or CR, and are counted from 1 as an editor does.
"""

from __future__ import annotations

import contextlib
import csv
import io
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from app.integrations.text_files import detect_encoding
from app.strict import BadInput

CELL_MAX, RECORD_MAX, COLUMNS_MAX = 1 << 20, 4 << 20, 1000
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab"}
_LONG = "A cell is longer than 1 MB or the record longer than 4 MB, or a quote is not closed."
_QUOTE = "A quote is not closed, or text follows a closing quote. A quote inside quotes is written twice."
_BLANK = " \r\n\x0b\x0c\x1a\ufeff"
_FORMULA, _GUARDED = re.compile(r"'*[=+\-@\t\r]"), re.compile(r"'+[=+\-@\t\r]")


class Record(NamedTuple):
    """One record: number of its first line in the file, its cells, what is wrong with it or None, its text as read."""

    line: int
    cells: list[str]
    fault: str | None
    raw: str


@dataclass(frozen=True)
class CsvFile:
    """A file found readable: `columns` are the names of its header, `keys` the same in one spelling."""

    path: Path
    encoding: str
    delimiter: str
    columns: tuple[str, ...]

    @cached_property
    def keys(self) -> list[str]:
        return [key_of(name) for name in self.columns]

    @property
    def dialect(self) -> str:
        """For people: 'UTF-8, separated by comma'."""
        return f"{'Windows-1252' if self.encoding == 'cp1252' else 'UTF-8'}, separated by {DELIMITERS[self.delimiter]}"

    def records(self) -> Iterator[Record]:
        """All records after the header."""
        with open(self.path, encoding=self.encoding, newline="") as stream:
            found = _records(stream, self.delimiter, len(self.columns))
            next(found)
            yield from found


def open_csv(path: Path, required: tuple[str, ...]) -> CsvFile:
    """Find out encoding, delimiter and columns; BadInput when the file cannot be read or lacks a column."""
    encoding = detect_encoding(path)
    with open(path, encoding=encoding, newline="") as stream:
        lines = iter(lambda: stream.readline(RECORD_MAX + 1), "")
        first = next((line for line in lines if line.strip(_BLANK)), "")
        if first.lower().startswith("sep="):
            raise BadInput("The first line is a hint for a spreadsheet program (sep=). Delete it: the first line must name the columns.")
        delimiter = max(DELIMITERS, key=lambda d: _header_score(first, d, required))
        stream.seek(0)
        header = next(_records(stream, delimiter), None)
    if header is None:
        raise BadInput(f"The file is empty. Its first line must name the columns {_list(required)}.")
    if header.fault:
        raise BadInput(f"The first line, which names the columns, cannot be read: {header.fault}")
    columns = tuple(" ".join(cell.split()) or f"column {i}" for i, cell in enumerate(header.cells, 1))
    keys = [key_of(name) for name in columns]
    missing = [name for name in required if name not in keys]
    if missing:
        shown = ", ".join(name[:40] for name in columns[:12])
        raise BadInput(
            f"The file has no column {_list(missing)}. Its first line must name the columns {_list(required)}, "
            f"separated by comma, semicolon or tab; it has: {shown}."
        )
    if len(columns) > COLUMNS_MAX:
        raise BadInput(f"The first line names {len(columns)} columns; at most {COLUMNS_MAX} are read. Remove some.")
    twice = next((name for name, key in zip(columns, keys, strict=True) if keys.count(key) > 1), None)
    if twice is not None:
        raise BadInput(f"The column {twice[:40]!r} is named twice in the first line. Rename or remove one of them.")
    return CsvFile(path, encoding, delimiter, columns)


def key_of(name: str) -> str:
    """A column's name in one spelling: case and blanks do not count."""
    return " ".join(name.split()).casefold()


def _header_score(line: str, delimiter: str, required: tuple[str, ...]) -> tuple[int, int]:
    try:
        cells = next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return 0, 0
    return len(set(required) & {key_of(cell) for cell in cells}), len(cells)


def _list(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


class _TooLong(Exception):
    pass


class _Lines:
    """Physical lines of a stream, which can be given back; `taken` are those of the record being read."""

    def __init__(self, stream: io.TextIOBase) -> None:
        self._stream, self._back = stream, deque()
        self.taken: list[str] = []
        self._size, self.line = 0, 1

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._back.popleft() if self._back else self._read()
        if not line:
            raise StopIteration
        self.taken.append(line)
        self._size += len(line)
        if self._size > RECORD_MAX:
            raise _TooLong
        return line

    def _read(self) -> str:
        """The next line; of one that is too long only the beginning, the rest is passed over."""
        line = part = self._stream.readline(RECORD_MAX + 1)
        while len(part) > RECORD_MAX and part[-1] not in "\r\n":
            part = self._stream.readline(RECORD_MAX + 1)
        return line

    def begin(self) -> None:
        """A new record begins with the next line."""
        self.line += len(self.taken)
        self.taken, self._size = [], 0

    def give_back(self) -> None:
        """All lines but the first of this record are read again."""
        self._back.extendleft(reversed(self.taken[1:]))
        del self.taken[1:]


def _records(stream: io.TextIOBase, delimiter: str, width: int | None = None) -> Iterator[Record]:
    """Records of a stream by the rules above; `width` is the number of cells that each should have."""
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
        if fault:
            lines.give_back()
        elif len(lines.taken) == 1 and not lines.taken[0].strip(_BLANK):
            continue
        elif width is not None and len(cells) != width:
            fault = f"Too {'few' if len(cells) < width else 'many'} cells: {len(cells)}, the first line names {width}."
            if _are_records(lines.taken[1:-1], delimiter, width):
                fault = "A quote is not closed: the lines that follow are records of their own."
                lines.give_back()
        cells = [unguard(cell) if cell[:1] == "'" else cell for cell in cells]
        yield Record(lines.line, cells, fault, "".join(lines.taken))


def _are_records(lines: list[str], delimiter: str, width: int) -> bool:
    """Whether more than half of the lines are records by themselves (prose has blanks behind its commas)."""
    count = 0
    for line in lines:
        with contextlib.suppress(csv.Error):
            cells = next(csv.reader([line], delimiter=delimiter, strict=True), [])
            count += len(cells) == width and not any(cell[:1] == " " for cell in cells)
    return count * 2 > len(lines)


def guard(cell: str) -> str:
    """A cell that a spreadsheet will not run: one `'` before what begins like a formula (or like a guarded one)."""
    return "'" + cell if _FORMULA.match(cell) else cell


def unguard(cell: str) -> str:
    """The reverse of `guard`."""
    return cell[1:] if _GUARDED.match(cell) else cell


def write_rows(rows: Iterable[Iterable[object]]) -> Iterator[str]:
    """CSV text, a piece for each row; None is an empty cell. Every export goes through here."""
    out = io.StringIO()
    writer = csv.writer(out)
    for row in rows:
        writer.writerow(["" if cell is None else guard(str(cell)) for cell in row])
        yield out.getvalue()
        out.seek(0)
        out.truncate()
