"""CSV export for spreadsheets (`write_rows`), protection against formulas in cells, and the test for empty cells.

The format is the one that an Italian Excel opens with a double click:
* a UTF-8 byte order mark, because without it Excel reads Windows-1252;
* semicolons, its list separator (a first line `sep=` would be a wrong header for other readers, and Excel then ignores
  the byte order mark);
* decimal commas and CRLF.
Programs use the JSON of the same pages.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal

MARK = "\ufeff"
SEPARATOR = ";"
# A formula starts at the beginning of a cell, or of what another program reads as a cell: Excel with another list
# separator splits at `,`, `;`, tab and line ends, even inside quotes. Quotes and `'` may come before it. The full-width
# forms of the signs start formulas too.
_RUN = "=+\\-@＝＋－＠"
_BARE = re.compile(rf"(?:\A(?='*[\t\r])|(?:\A|(?<=[,;\t\r\n]))(?=[\"']*[{_RUN}]))")
_GUARDED = re.compile(rf"(?:\A'(?='*[\t\r])|(?:\A|(?<=[,;\t\r\n]))'(?=[\"']*[{_RUN}]))")
# Invisible, but not removed by str.strip(): soft hyphen, joiners, direction marks, fillers, byte order mark, controls.
_UNSEEN_RANGES = ((0x00, 0x08), (0x0E, 0x1B), (0x180B, 0x180E), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F),
                  (0xFE00, 0xFE0F))
UNSEEN = "\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u2800\u3164\ufeff\uffa0\x7f" + "".join(
    chr(code) for first, last in _UNSEEN_RANGES for code in range(first, last + 1))
_SPACES = "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000"
_BLANKS = _SPACES + "".join(map(chr, range(0x2000, 0x200B))) + UNSEEN


def guard(cell: str) -> str:
    """The cell with a `'` before each part that a spreadsheet would run as a formula, and before each guarded part."""
    return _BARE.sub("'", cell)


def unguard(cell: str) -> str:
    """The inverse of `guard`; a cell that `guard` cannot have written stays as it is."""
    if "'" not in cell:
        return cell
    bare = _GUARDED.sub("", cell)
    return bare if bare != cell and guard(bare) == cell else cell


def write_rows(rows: Iterable[Iterable[object]]) -> Iterator[str]:
    """CSV text, one piece a row, the first with the byte order mark. None is an empty cell; decimals have a comma."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=SEPARATOR)
    out.write(MARK)
    for row in rows:
        writer.writerow([_text(cell) for cell in row])
        yield out.getvalue()
        out.seek(0)
        out.truncate()


def _text(cell: object) -> str:
    if isinstance(cell, int | float | Decimal):  # no formula, also when it is negative
        return str(cell) if isinstance(cell, int) else f"{cell:f}".replace(".", ",")
    return "" if cell is None else guard(str(cell))


def is_empty(cell: str) -> bool:
    """Whether a cell has no visible character."""
    return not cell or (not cell[0].isalnum() and not cell.strip(_BLANKS))


def trim(text: str) -> str:
    """The text without blanks and invisible characters at its ends."""
    return text.strip(_BLANKS)
