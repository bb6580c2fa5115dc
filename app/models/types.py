"""Column types of the models, and lenient reading of SQLite rows that another program wrote.

SQLite accepts text in integer columns and bytes in text columns. A page that reads such a row shows a replacement value
and never fails. PostgreSQL enforces its types; only its range of times is larger than Python's (extensions.py).
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, Float, Integer, MetaData, String, Text
from sqlalchemy.dialects.sqlite import DATETIME
from sqlalchemy.types import DateTime, TypeDecorator, TypeEngine

from app.support import privacy

# PostgreSQL: 64 bits. SQLite: only INTEGER PRIMARY KEY can be AUTOINCREMENT, and it has 64 bits too.
Id = BigInteger().with_variant(Integer, "sqlite")
MOST = 2**62
EPOCH = datetime.fromtimestamp(0, UTC).replace(tzinfo=None)


def as_text(value: Any) -> str | None:
    """The value of a text column as text, whatever SQLite stored; None stays None."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if value is None or isinstance(value, str) else str(value)


def as_integer(value: Any, otherwise: int | None = None) -> int | None:
    """The value of an integer column, or a sum of such values, as int of 64 bits; `otherwise` when it is no finite
    number."""
    if isinstance(value, int):
        return value
    if not isinstance(value, float | Decimal) or not math.isfinite(value):
        return otherwise
    return round(max(min(value, MOST), -MOST))


def as_float(value: Any, otherwise: float) -> float:
    """The value of a column of numbers; `otherwise` when it is no finite number."""
    return value if isinstance(value, int | float) and math.isfinite(value) else otherwise


class _LenientText(String):
    def result_processor(self, dialect: Any, coltype: Any) -> Any:
        return as_text


class _Data(TypeDecorator[str]):
    """A text that is blank for readers who see no data (support/privacy.py): None, or '' where None is not allowed.

    A decorator, because the driver of PostgreSQL puts its own type in the place of a subclass of String.
    """

    impl, cache_ok = String, True

    def __init__(self, length: int | None = None, nullable: bool = True) -> None:
        super().__init__(length)
        self.length, self.nullable = length, nullable

    def process_result_value(self, value: Any, dialect: Any) -> str | None:
        return (None if self.nullable else "") if privacy.hidden() else as_text(value)


class _LongData(_Data):
    impl, cache_ok = Text, True


class _LenientInteger(Integer):
    def __init__(self, otherwise: int | None = None) -> None:
        super().__init__()
        self.otherwise = otherwise

    def result_processor(self, dialect: Any, coltype: Any) -> Any:
        return lambda value: value if value is None else as_integer(value, self.otherwise)


class _LenientFloat(Float):
    def result_processor(self, dialect: Any, coltype: Any) -> Any:
        return lambda value: value if value is None or isinstance(value, int | float) and math.isfinite(value) else 0.0


class _LenientTime(DATETIME):
    __visit_name__ = "TIMESTAMP"  # its name in SQL

    def __init__(self, otherwise: datetime | None = None) -> None:
        super().__init__()
        self.otherwise = otherwise

    def result_processor(self, dialect: Any, coltype: Any) -> Any:
        read = super().result_processor(dialect, coltype)

        def lenient(value: Any) -> datetime | None:
            try:
                return read(value)
            except (ValueError, TypeError, OverflowError):
                return self.otherwise if value is not None else None

        return lenient


def read_leniently(metadata: MetaData) -> None:
    """Give every column of the models a type that can read any value stored by SQLite, and those of privacy.COLUMNS one
    that hides it from readers who see no data."""
    for table in metadata.tables.values():
        for column in table.columns:
            kind: TypeEngine[Any] = column.type
            if column.name in privacy.COLUMNS.get(table.name, ()):
                column.type = (_LongData if isinstance(kind, Text) else _Data)(kind.length, bool(column.nullable))
            elif isinstance(kind, String):
                column.type = kind.with_variant(_LenientText(kind.length), "sqlite")
            elif isinstance(kind, Integer) and list(table.primary_key.columns) != [column]:
                column.type = type(kind)().with_variant(_LenientInteger(None if column.nullable else 0), "sqlite")
            elif isinstance(kind, DateTime):
                column.type = kind.with_variant(_LenientTime(None if column.nullable else EPOCH), "sqlite")
            elif isinstance(kind, Float):
                column.type = kind.with_variant(_LenientFloat(), "sqlite")
