"""CSV import: reads files of many forms, with little memory. The export is in csv_cells.py.

    open_csv(path, required) -> CsvFile(encoding, delimiter, columns, places) -> .records() -> Record, Record, ...

A file that cannot be read raises ValidationError before the first record, with a sentence that says what to do: it is
empty or not text, its encoding is unknown or not certain, or a column is missing or named twice. An error in one record
is in its `fault`, and reading goes on (csv_records.py).
"""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from app.integrations.csv_cells import UNSEEN, guard, is_empty, trim, unguard, write_rows  # noqa: F401  (re-exported)
from app.integrations.csv_records import CELL_MAX, HINT, RECORD_MAX, Record, read_records  # noqa: F401
from app.integrations.text_files import Encoding, find_encoding
from app.support.messages import Message
from app.support.validation import ValidationError

COLUMNS_MAX = 1000
DELIMITERS = {",": Message("comma"), ";": Message("semicolon"), "\t": Message("tab"), "|": Message("bar")}
GUESSED = ",;\t"  # a bar only when the file says `sep=|`
_NO_UNSEEN = dict.fromkeys(map(ord, UNSEEN))
_NO_SEPARATORS = dict.fromkeys(map(ord, ',;|"'))


@dataclass(frozen=True)
class CsvFile:
    """A readable file: `columns` are the names in its header, `places` the index of each required column in them, and
    `hinted` means that it begins with a line `sep=`. Cells of the `optional` ones among `places` may be empty."""

    path: Path
    encoding: Encoding
    delimiter: str
    columns: tuple[str, ...]
    places: dict[str, int]
    hinted: bool = False
    optional: tuple[str, ...] = ()

    @property
    def dialect(self) -> str:
        """For people: 'UTF-8, separated by comma'."""
        name = DELIMITERS[self.delimiter]
        return Message("%(encoding)s, separated by %(name)s", encoding=self.encoding.shown, name=name)

    @property
    def least(self) -> int:
        """The least number of cells of a record: up to the last required one."""
        return max(self.places.values(), default=0) + 1

    def records(self) -> Iterator[Record]:
        """All records after the header."""
        with open(self.path, encoding=self.encoding.codec, newline="") as stream:
            found = read_records(stream, self.delimiter, len(self.columns), self.least, self.hinted)
            next(found)
            yield from found


def open_csv(path: Path, required: tuple[str, ...], encoding: str | None = None,
             columns: dict[str, str] | None = None) -> CsvFile:
    """Detect encoding, delimiter and columns. Raises ValidationError when the file cannot be read or lacks a column.

    `encoding` is one of text_files.NAMES, None to detect it. `columns` renames columns of the file, in any case of
    letters: `{"titolo": "title"}`; the new name need not be a required one.
    """
    return placed(peek_csv(path, required, find_encoding(path, encoding), columns), required, columns)


def placed(peek: CsvFile, required: tuple[str, ...], columns: dict[str, str] | None) -> CsvFile:
    """The file with the index of each required column. Raises ValidationError when one is missing, or when `columns`
    does not fit the file."""
    names, places = _mapped(peek.columns, required, columns or {})
    missing = [name for name in required if name not in places]
    if missing:
        shown = ", ".join(name[:40] for name in peek.columns[:12])
        values = {"missing": _list(missing), "columns": _list(required), "found": shown}
        if len(required) == 1:
            raise ValidationError(Message("The file has no column %(missing)s, which its first line must name; it has: "
                                          "%(found)s.", **values))
        raise ValidationError(Message(
            "The file has no column %(missing)s. Its first line must name the columns %(columns)s, "
            "separated by comma, semicolon or tab; it has: %(found)s.", **values) if len(missing) == 1 else Message(
            "The file has no columns %(missing)s. Its first line must name the columns %(columns)s, "
            "separated by comma, semicolon or tab; it has: %(found)s.", **values))
    return replace(peek, columns=names, places=places)


def peek_csv(path: Path, required: tuple[str, ...], encoding: Encoding,
             columns: dict[str, str] | None = None, optional: tuple[str, ...] = ()) -> CsvFile:
    """The file with the columns of its header, `places` still empty. Raises ValidationError when the header cannot be
    read. `required`, `optional` and `columns` help to detect the delimiter."""
    wanted = {key_of(name) for name in (*required, *optional, *(columns or {}))}
    with open(path, encoding=encoding.codec, newline="") as stream:
        lines = iter(lambda: stream.readline(RECORD_MAX + 1), "")
        filled = (line for line in lines if not is_empty(line.translate(_NO_SEPARATORS)))
        first = next(filled, "")
        hint = HINT.fullmatch(first)
        if hint:
            first = next(filled, "")
        named = (hint[1] or "").replace("\\t", "\t") if hint else ""
        guessed = dict.fromkeys((*named, *GUESSED))  # the first one wins when scores are equal
        delimiter = max(guessed, key=lambda d: _header_score(first, d, wanted))
        stream.seek(0)
        header = next(read_records(stream, delimiter, hinted=bool(hint)), None)
    if header is None:
        named = required or optional
        raise ValidationError(Message(
            "The file is empty. Its first line must name the column %(columns)s.", columns=named[0])
            if len(named) == 1 else Message(
            "The file is empty. Its first line must name the columns %(columns)s.", columns=_list(named)))
    if header.fault:
        raise ValidationError(Message(
            "The first line, which names the columns, cannot be read: %(why)s", why=header.fault))
    names = tuple(clean(cell) or f"column {i}" for i, cell in enumerate(header.cells, 1))
    if len(names) > COLUMNS_MAX:
        raise ValidationError(Message(
            "The first line names %(n)s columns; at most %(most)s are read. Remove some.",
            n=len(names), most=COLUMNS_MAX))
    keys = [key_of(name) for name in names]
    if twice := [name for name, key in zip(names, keys, strict=True) if keys.count(key) > 1]:
        name = repr(twice[0][:40])
        raise ValidationError(Message(
            "The column %(name)s is named twice in the first line. Rename or remove one of them.", name=name))
    return CsvFile(path, encoding, delimiter, names, {}, bool(hint))


def _mapped(names: tuple[str, ...], required: tuple[str, ...],
            columns: dict[str, str]) -> tuple[tuple[str, ...], dict[str, int]]:
    """(names after `columns` is applied, index of each required column). A renamed column wins over one that has the
    name by itself."""
    keys, renamed, taken = [key_of(name) for name in names], list(names), {}
    for source, target in columns.items():
        pair = {"name": repr(clean(source)[:40]), "target": repr(clean(target)[:40])}
        if key_of(source) not in keys:
            raise ValidationError(Message(
                "The column %(name)s as %(target)s cannot be read: the file has no such column. "
                "Choose the columns again.", **pair))
        at, wanted = keys.index(key_of(source)), key_of(target)
        if not wanted or wanted in taken or at in taken.values():
            raise ValidationError(Message(
                "The column %(name)s as %(target)s cannot be read: each column is read once, as one name. "
                "Choose the columns again.", **pair))
        taken[wanted], renamed[at] = at, clean(target)
    places = {key: at for at, key in enumerate(keys) if at not in taken.values()} | taken
    return tuple(renamed), {name: places[name] for name in required if name in places}


def clean(name: str) -> str:
    """The name of a column, trimmed and with single blanks."""
    return " ".join(trim(name).split())


def key_of(name: str) -> str:
    """The name of a column for comparisons: case, width, extra blanks and invisible characters do not count."""
    return clean(unicodedata.normalize("NFKC", name).translate(_NO_UNSEEN)).casefold()


def _header_score(line: str, delimiter: str, wanted: set[str]) -> tuple[int, int]:
    """(number of wanted columns, number of cells) when the header is split by a delimiter."""
    try:
        cells = next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return 0, 0
    return len(wanted & {key_of(cell) for cell in cells}), len(cells)


def _list(names: Sequence[str]) -> str:
    *most, last = names
    return Message("%(names)s and %(last)s", names=", ".join(most), last=last) if most else last
