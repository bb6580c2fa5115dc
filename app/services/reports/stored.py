"""JSON of the dataclasses of a report, and back: each field is checked against its declared type.

value -> `to_json` -> text -> `from_json(text)` -> an equal value, or ValueError for any text that is none
Fields that the text lacks get their default, so a report of an older version is still drawn.
"""

from __future__ import annotations

import json
import math
from dataclasses import MISSING, asdict, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from app.services.reports.model import ReportFigures

T = TypeVar("T")
LONGEST = 8_000_000  # characters; a report of all its most rows has about 2,000,000


def to_json(value: Any) -> str:
    """The JSON of a dataclass of model.py."""
    return json.dumps(asdict(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def from_json(text: str) -> ReportFigures:
    """The figures of `to_json`. Raises ValueError for any other text."""
    return decode(ReportFigures, text)


def decode(kind: type[T], text: str) -> T:
    """The dataclass `kind` of its JSON. Raises ValueError for any other text."""
    try:
        if len(text) > LONGEST:
            raise ValueError("too long")
        return _made(kind, json.loads(text))
    except (TypeError, RecursionError) as error:
        raise ValueError(f"This is no {kind.__name__}: {error}") from None


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _made(kind: Any, value: Any) -> Any:
    """The value of a declared type from what JSON holds. Raises ValueError."""
    if is_dataclass(kind) and isinstance(value, dict):
        given = {f.name: _made(_hints(kind)[f.name], value[f.name]) for f in fields(kind) if f.name in value}
        lacking = [f.name for f in fields(kind) if f.name not in given and f.default is f.default_factory is MISSING]
        if lacking:
            raise ValueError(f"{kind.__name__} without {', '.join(lacking)}")
        return kind(**given)
    parts = get_args(kind)
    if isinstance(kind, UnionType):
        if value is None and NoneType in parts:
            return None
        plain = [part for part in parts if part is not NoneType]
        return _made(next((part for part in plain if part is type(value)), plain[-1]), value)
    if get_origin(kind) is tuple and isinstance(value, list):
        if parts[-1] is not Ellipsis and len(parts) != len(value):
            raise ValueError("a list of another length")
        return tuple(_made(part, one) for part, one in zip(
            [parts[0]] * len(value) if parts[-1] is Ellipsis else parts, value, strict=True))
    if kind is float and type(value) is int and abs(value) < 2**63:
        return float(value)
    if type(value) is kind and kind in (int, float, str, bool) and _sane(value):
        return value
    raise ValueError(f"{str(value)[:40]} is no {kind}")


def _sane(value: Any) -> bool:
    return not isinstance(value, int | float) or math.isfinite(value) and abs(value) < 2**100
