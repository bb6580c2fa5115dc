"""CSV out, for spreadsheets: every export goes through `write_rows`. What is in a cell: what would be run, or nothing.

The form is that of an Italian Excel, which opens the file by a double click: a UTF-8 mark (else it reads Windows-1252),
semicolons (its list separator there; a first line `sep=` would be a wrong header for all other readers, and makes Excel
forget the mark), decimal commas, CRLF. Programs have the JSON of the same pages.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal

MARK = "\ufeff"
SEPARATOR = ";"
# A formula begins a cell, or what another program takes for one: Excel with another list separator splits at `,` `;` and
# tab whatever the quotes say, and at line ends. Quotes and `'` may stand between. The wide forms are formulas too.
_RUN = "=+\\-@＝＋－＠"
_BARE = re.compile(rf"(?:\A(?='*[\t\r])|(?:\A|(?<=[,;\t\r\n]))(?=[\"']*[{_RUN}]))")
_GUARDED = re.compile(rf"(?:\A'(?='*[\t\r])|(?:\A|(?<=[,;\t\r\n]))'(?=[\"']*[{_RUN}]))")
# Blank to the eye, but not to str.strip(): soft hyphen, joiners and direction marks, word joiner, fillers, the byte order
# mark, control characters.
UNSEEN = "\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u2800\u3164\ufeff\uffa0\x7f" + "".join(
    chr(code)
    for first, last in (
        (0x00, 0x08),
        (0x0E, 0x1B),
        (0x180B, 0x180E),
        (0x200B, 0x200F),
        (0x202A, 0x202E),
        (0x2060, 0x206F),
        (0xFE00, 0xFE0F),
    )
    for code in range(first, last + 1)
)
_SPACES = "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)
_BLANKS = _SPACES + UNSEEN


def guard(cell: str) -> str:
    """A cell that a spreadsheet will not run: a `'` before each part that begins like a formula (or like a guarded one)."""
    return _BARE.sub("'", cell)


def unguard(cell: str) -> str:
    """The reverse of `guard`; a cell that `guard` has not written stays as it is."""
    if "'" not in cell:
        return cell
    bare = _GUARDED.sub("", cell)
    return bare if bare != cell and guard(bare) == cell else cell


def write_rows(rows: Iterable[Iterable[object]]) -> Iterator[str]:
    """CSV text, a piece for each row, the first with the UTF-8 mark; None is an empty cell, decimals have a comma."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=SEPARATOR)
    out.write(MARK)
    for row in rows:
        writer.writerow([_text(cell) for cell in row])
        yield out.getvalue()
        out.seek(0)
        out.truncate()


def _text(cell: object) -> str:
    if isinstance(cell, float | Decimal):
        return guard(f"{cell:f}".replace(".", ","))
    return "" if cell is None else guard(str(cell))


def is_empty(cell: str) -> bool:
    """Whether there is nothing to see in a cell."""
    return not cell or (not cell[0].isalnum() and not cell.strip(_BLANKS))


def trim(text: str) -> str:
    """The text without blanks and invisible characters around it."""
    return text.strip(_BLANKS)
