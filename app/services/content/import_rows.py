"""The rows of a CSV of contents, checked one by one, for the import and for its preview.

read_rows(source) -> Row(number, reference, fault, record), ...
preview(peek, columns) -> Preview: the first rows, how many would be rejected and why
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

from app.integrations.csv_files import CsvFile, Record, is_empty, key_of, placed, trim
from app.support.messages import Message, to_json
from app.support.redaction import cut

REQUIRED = ("reference", "title", "body")
KINDS = ("contents", "products")
REFERENCE_MAX, RAW_BYTES = 255, 2048
PREVIEW_ROWS, PREVIEW_S, FIRST_ROWS, EXAMPLES = 200_000, 5.0, 5, 3
# Usual names of the columns in Italian files. Only the preview suggests them, where a person confirms the mapping.
_ALIASES = {
    "reference": ("riferimento", "codice", "codice articolo", "sku", "ref", "id"),
    "title": ("titolo", "nome", "name"),
    "body": ("testo", "corpo", "descrizione", "description", "text"),
    "prompt": ("richiesta", "domanda", "istruzioni", "question", "request"),
}


class Row(NamedTuple):
    """A record with its number (from 1), its reference, and why it is rejected (or None)."""

    number: int
    reference: str
    fault: str | None
    record: Record


def located(peek: CsvFile, columns: dict[str, str] | None, kind: str = "contents") -> CsvFile:
    """The file with the index of each column of a content. Raises ValidationError as `placed` does.

    A file of products needs no body; without a title, `name` is the title.
    """
    if kind == "contents":
        return placed(peek, REQUIRED, columns)
    mapping, names = dict(columns or {}), [key_of(name) for name in placed(peek, (), columns).columns]
    if "title" not in names and "name" in names:
        source = peek.columns[names.index("name")]
        mapping = {k: v for k, v in mapping.items() if key_of(k) != key_of(source)} | {source: "title"}
    return replace(placed(peek, REQUIRED if "body" in names else REQUIRED[:2], mapping), optional=REQUIRED[2:])


@lru_cache
def empty_cell(names: str) -> Message:
    """The fault of a row with an empty cell; cached, because a file can need it a million times."""
    return Message("Empty cell in a required column: %(names)s.", names=names)


def read_rows(source: CsvFile, filled: tuple[str, ...] | None = None) -> Iterator[Row]:
    """All records of the file, in order. No cell of the columns `filled` (by default those of REQUIRED that are not
    optional) may be empty. The rows have the reference that the file's column of this name gives, if it has one."""
    if filled is None:
        filled = tuple(name for name in REQUIRED if name in source.places and name not in source.optional)
    places = [(name, source.places[name]) for name in filled]
    first = source.places.get(REQUIRED[0])
    for number, record in enumerate(source.records(), 1):
        reference, fault = "", record.fault
        if fault is None:
            cells = record.cells
            reference = trim(cells[first]) if first is not None else ""
            if empty := [name for name, at in places if is_empty(cells[at])]:
                fault = empty_cell(", ".join(empty))
            elif len(reference) > REFERENCE_MAX:
                fault = Message("The reference has %(n)s characters; at most %(most)s are allowed.",
                                n=len(reference), most=REFERENCE_MAX)
        yield Row(number, reference, fault, record)


def entry(row: Row, uuid: str, reason: str) -> dict[str, Any]:
    """The row of `import_rejects` for a rejected row: the record as read, cut at 2 KB."""
    text, was_cut = cut(row.record.raw.rstrip("\r\n"), RAW_BYTES)
    return {"uuid": uuid, "line": row.record.line, "reason": reason, "reason_json": to_json(reason),
            "row": text + (" … [cut]" if was_cut else "")}


def hash_of(reference: str) -> bytes:
    """16 bytes that stand for a reference."""
    return hashlib.blake2b(reference.encode(), digest_size=16).digest()


class LastOnes:
    """The last record of each reference, without storing all references.

    Each reference sets a bit. There is one bit for each byte of the file, so few references share one; only those that
    meet a set bit are stored. The bits of a file need 1/8 of its size.
    """

    def __init__(self, file_size: int) -> None:
        self._bits = bytearray(max(file_size // 8, 4096))
        self._last: dict[bytes, int] = {}  # number << 32 | line: an int needs half of a tuple's memory

    def note(self, reference: str, number: int, line: int) -> None:
        """Note the reference of record `number`, which begins in `line`; called in the order of the numbers."""
        key = hash_of(reference)
        place, bit = divmod(int.from_bytes(key[:8]) % (len(self._bits) * 8), 8)
        if self._bits[place] >> bit & 1:
            self._last[key] = number << 32 | line
        self._bits[place] |= 1 << bit

    def later(self, reference: str, number: int) -> int:
        """The line of the last record of the reference if it comes after record `number`, else 0."""
        last = self._last.get(hash_of(reference), 0) if self._last else 0
        return last & 0xFFFF_FFFF if last >> 32 > number else 0


@dataclass
class Group:
    """Rows rejected for the same reason: how many, the lines of the first three, the text of the first."""

    reason: str
    count: int = 0
    lines: list[int] = field(default_factory=list)
    example: str = ""


class Faults(dict[str, Group]):
    """Rejected rows by reason."""

    def add(self, row: Row) -> None:
        """Count a rejected row."""
        fault = row.fault or ""
        group = self.setdefault(re.sub(r"\d+|'[^']*'", "0", fault), Group(fault))
        group.count += 1
        if len(group.lines) < EXAMPLES:
            group.lines.append(row.record.line)
            group.example = group.example or row.record.raw.strip()[:160]

    @property
    def groups(self) -> list[Group]:
        """The groups, the largest first."""
        return sorted(self.values(), key=lambda group: -group.count)


@dataclass
class Preview:
    """What an import would find; `whole` is False when only the first `rows` were checked."""

    source: CsvFile
    first: list[list[str]] = field(default_factory=list)
    rows: int = 0
    rejected: int = 0
    repeated: int = 0
    whole: bool = True
    groups: list[Group] = field(default_factory=list)


def preview(peek: CsvFile, columns: dict[str, str] | None, kind: str = "contents") -> Preview:
    """The first rows of a file and its faults by reason, over at most 200,000 rows or 5 s. Raises ValidationError as
    `open_csv` does."""
    found = Preview(located(peek, columns, kind))
    faults = Faults()
    seen: set[bytes] = set()
    end = time.monotonic() + PREVIEW_S
    for row in read_rows(found.source):
        if row.number > PREVIEW_ROWS or (row.number % 1000 == 0 and time.monotonic() > end):
            found.whole = False
            break
        found.rows = row.number
        if len(found.first) < FIRST_ROWS and not row.record.fault:
            found.first.append(row.record.cells)
        if row.fault is None:
            key = hash_of(row.reference)[:8]
            found.repeated += key in seen
            seen.add(key)
            continue
        found.rejected += 1
        faults.add(row)
    found.groups = faults.groups
    return found


def first_rows(peek: CsvFile) -> list[list[str]]:
    """The first rows of a file whose columns are not mapped yet."""
    return [record.cells for record in islice((r for r in peek.records() if not r.fault), FIRST_ROWS)]


def suggested(names: tuple[str, ...], wanted: tuple[str, ...] = REQUIRED) -> dict[str, str]:
    """{column of the file: wanted column} for wanted columns that the file has under another usual name."""
    keys = {key_of(name): name for name in names}
    found = {target: [keys[alias] for alias in _ALIASES.get(target, ()) if alias in keys] for target in wanted}
    return {columns[0]: target for target, columns in found.items() if columns and target not in keys}
