"""CSV in, read liberally where nothing is lost, with little memory. CSV out is csv_cells.py.

    open_csv(path, required) -> CsvFile(encoding, delimiter, columns, places) -> .records() -> Record, Record, ...

What makes the whole file unreadable raises ValidationError, a sentence that says what to do, before any record is given
out: empty, no text, an encoding that is not read or not certain, columns missing or named twice. What is wrong with one
record is told in its `fault`, and reading goes on (csv_records.py).
"""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from app.integrations.csv_cells import UNSEEN, guard, is_empty, trim, unguard, write_rows  # noqa: F401  (handed on)
from app.integrations.csv_records import CELL_MAX, HINT, RECORD_MAX, Record, read_records  # noqa: F401
from app.integrations.text_files import Encoding, find_encoding
from app.support.messages import Message
from app.support.validation import ValidationError

COLUMNS_MAX = 1000
DELIMITERS = {",": Message("comma"), ";": Message("semicolon"), "\t": Message("tab"), "|": Message("bar")}
OFFERED = ",;\t"  # a bar only when `sep=|` asks for it
_NO_UNSEEN = dict.fromkeys(map(ord, UNSEEN))


@dataclass(frozen=True)
class CsvFile:
    """A file found readable: `columns` are the names of its header, `places` the place of each required one in them."""

    path: Path
    encoding: Encoding
    delimiter: str
    columns: tuple[str, ...]
    places: dict[str, int]
    hinted: bool = False

    @property
    def dialect(self) -> str:
        """For people: 'UTF-8, separated by comma'."""
        return Message("%(encoding)s, separated by %(name)s", encoding=self.encoding.shown, name=DELIMITERS[self.delimiter])

    @property
    def least(self) -> int:
        """So many cells a record must have at least: up to the last required one."""
        return max(self.places.values(), default=0) + 1

    def records(self) -> Iterator[Record]:
        """All records after the header."""
        with open(self.path, encoding=self.encoding.codec, newline="") as stream:
            found = read_records(stream, self.delimiter, len(self.columns), self.least, self.hinted)
            next(found)
            yield from found


def open_csv(
    path: Path, required: tuple[str, ...], encoding: str | None = None, columns: dict[str, str] | None = None
) -> CsvFile:
    """Find out encoding, delimiter and columns; ValidationError when the file cannot be read or lacks a column.

    `encoding` is one of text_files.NAMES (None: found out); `columns` says by hand as what a column is to be read:
    `{"titolo": "title"}`, in any case; to a name that is not required it is renamed.
    """
    return placed(peek_csv(path, required, find_encoding(path, encoding), columns), required, columns)


def placed(peek: CsvFile, required: tuple[str, ...], columns: dict[str, str] | None) -> CsvFile:
    """The file with its columns in their places; ValidationError when one is missing or the mapping does not fit."""
    names, places = _mapped(peek.columns, required, columns or {})
    missing = [name for name in required if name not in places]
    if missing:
        shown = ", ".join(name[:40] for name in peek.columns[:12])
        raise ValidationError(Message(
            "The file has no column %(missing)s. Its first line must name the columns %(columns)s, "
            "separated by comma, semicolon or tab; it has: %(found)s.",
            missing=_list(missing), columns=_list(required), found=shown,
        ))
    return replace(peek, columns=names, places=places)


def peek_csv(
    path: Path, required: tuple[str, ...], encoding: Encoding, columns: dict[str, str] | None = None
) -> CsvFile:
    """The header as it is, with no column in its place yet. ValidationError when it cannot be read."""
    wanted = {key_of(name) for name in (*required, *(columns or {}))}
    with open(path, encoding=encoding.codec, newline="") as stream:
        lines = iter(lambda: stream.readline(RECORD_MAX + 1), "")
        first = next((line for line in lines if not _blank(line, ",;|")), "")
        hint = HINT.fullmatch(first)
        if hint:
            first = next((line for line in lines if not _blank(line, ",;|")), "")
        asked = (hint[1] or "").replace("\\t", "\t") if hint else ""
        offered = dict.fromkeys((*asked, *OFFERED))  # of equals the first
        delimiter = max(offered, key=lambda d: _header_score(first, d, wanted))
        stream.seek(0)
        header = next(read_records(stream, delimiter, hinted=bool(hint)), None)
    if header is None:
        why = Message("The file is empty. Its first line must name the columns %(columns)s.", columns=_list(required))
        raise ValidationError(why)
    if header.fault:
        raise ValidationError(Message("The first line, which names the columns, cannot be read: %(why)s", why=header.fault))
    names = tuple(clean(cell) or f"column {i}" for i, cell in enumerate(header.cells, 1))
    if len(names) > COLUMNS_MAX:
        limit = {"n": len(names), "most": COLUMNS_MAX}
        raise ValidationError(Message("The first line names %(n)s columns; at most %(most)s are read. Remove some.", **limit))
    keys = [key_of(name) for name in names]
    twice = next((name for name, key in zip(names, keys, strict=True) if keys.count(key) > 1), None)
    if twice is not None:
        name = repr(twice[:40])
        raise ValidationError(Message("The column %(name)s is named twice in the first line. Rename or remove one of them.", name=name))
    return CsvFile(path, encoding, delimiter, names, {}, bool(hint))


def _mapped(
    names: tuple[str, ...], required: tuple[str, ...], columns: dict[str, str]
) -> tuple[tuple[str, ...], dict[str, int]]:
    """Names after the mapping, and the place of each required column; a mapped one goes before one of that name."""
    keys, renamed, taken = [key_of(name) for name in names], list(names), {}
    for source, target in columns.items():
        said = {"name": repr(clean(source)[:40]), "target": repr(clean(target)[:40])}
        if key_of(source) not in keys:
            raise ValidationError(Message(
                "The column %(name)s as %(target)s cannot be read: the file has no such column. Choose the columns again.", **said
            ))
        at, wanted = keys.index(key_of(source)), key_of(target)
        if not wanted or wanted in taken or at in taken.values():
            raise ValidationError(Message(
                "The column %(name)s as %(target)s cannot be read: each column is read once, as one name. "
                "Choose the columns again.", **said,
            ))
        taken[wanted], renamed[at] = at, clean(target)
    places = {name: taken[name] for name in required if name in taken}
    places |= {
        name: keys.index(name)
        for name in required
        if name not in places and name in keys and keys.index(name) not in taken.values()
    }
    return tuple(renamed), places


def clean(name: str) -> str:
    """A column's name: trimmed, single blanks in it."""
    return " ".join(trim(name).split())


def key_of(name: str) -> str:
    """A column's name in one spelling: case, blanks and invisible characters do not count."""
    return clean(unicodedata.normalize("NFKC", name).translate(_NO_UNSEEN)).casefold()


def _blank(line: str, separators: str) -> bool:
    return is_empty(line.translate({ord(c): None for c in separators + '"'}))


def _header_score(line: str, delimiter: str, wanted: set[str]) -> tuple[int, int]:
    try:
        cells = next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return 0, 0
    return len(wanted & {key_of(cell) for cell in cells}), len(cells)


def _list(names: Iterable[str]) -> str:
    *most, last = names
    return Message("%(names)s and %(last)s", names=", ".join(most), last=last) if most else last
