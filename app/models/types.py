"""Column types shared by the models; and what a row says that another program wrote: any bytes, in any column.

SQLite keeps text in integer columns and bytes in text columns; a page that reads such a row shows it as well as it can and
never fails. PostgreSQL holds its types; only its times reach further than Python's (extensions.py).
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, Float, Integer, MetaData, String
from sqlalchemy.dialects.sqlite import DATETIME
from sqlalchemy.types import DateTime, TypeEngine

# PostgreSQL: 64 bits. SQLite: only INTEGER PRIMARY KEY can be AUTOINCREMENT (and is 64 bits anyway).
Id = BigInteger().with_variant(Integer, "sqlite")
EPOCH = datetime.fromtimestamp(0, UTC).replace(tzinfo=None)


def as_text(value: Any) -> str | None:
    """A text column's value as text."""
    return value if value is None or isinstance(value, str) else value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def as_integer(value: Any, otherwise: int | None = None) -> int | None:
    """An integer column's value, or a sum of it, as an integer; `otherwise` when it is none."""
    if isinstance(value, int):
        return value
    return round(value) if isinstance(value, float | Decimal) and math.isfinite(value) else otherwise


class _Words(String):
    def result_processor(self, dialect: Any, coltype: Any) -> Any:
        return as_text


class _Whole(Integer):
    def __init__(self, otherwise: int | None = None) -> None:
        super().__init__()
        self.otherwise = otherwise

    def result_processor(self, dialect: Any, coltype: Any) -> Any:
        return lambda value: value if value is None else as_integer(value, self.otherwise)


class _Real(Float):
    def result_processor(self, dialect: Any, coltype: Any) -> Any:
        return lambda value: value if value is None or isinstance(value, int | float) and math.isfinite(value) else 0.0


class _Moment(DATETIME):
    __visit_name__ = "TIMESTAMP"  # its name in a statement of SQL

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


def take_anything(metadata: MetaData) -> None:
    """Have every column of the models read whatever SQLite holds in it."""
    for table in metadata.tables.values():
        for column in table.columns:
            kind: TypeEngine[Any] = column.type
            if isinstance(kind, String):
                column.type = kind.with_variant(_Words(kind.length), "sqlite")
            elif isinstance(kind, Integer) and list(table.primary_key.columns) != [column]:
                column.type = type(kind)().with_variant(_Whole(None if column.nullable else 0), "sqlite")
            elif isinstance(kind, DateTime):
                column.type = kind.with_variant(_Moment(None if column.nullable else EPOCH), "sqlite")
            elif isinstance(kind, Float):
                column.type = kind.with_variant(_Real(), "sqlite")
