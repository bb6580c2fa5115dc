"""The price table: a CSV with model, currency, input, cached, output (each a million tokens) and valid_from (a date).

A price counts from its date (UTC) until the next one of that model. Amounts are whole billionths (nano) of the
currency's unit, so sums are exact: tokens x price a million x 1,000. A model that is not in the table costs "unknown",
never 0.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from functools import lru_cache
from pathlib import Path

from app.support.clock import millis

COLUMNS = ("model", "currency", "input", "cached", "output", "valid_from")


class BadPrices(Exception):
    """The table cannot be used; the text says which line and why."""


@dataclass(frozen=True)
class Price:
    """Currency units a million tokens."""

    currency: str
    input: Decimal
    cached: Decimal
    output: Decimal
    valid_ms: int


def cost(path: Path, model: str, tokens: tuple[int, int, int] | None, at_ms: int) -> tuple[int | None, str]:
    """Cost in billionths of the currency's unit, and the currency; (None, 'USD') when model or tokens are unknown."""
    price = find(path, model, at_ms)
    if price is None or tokens is None:
        return None, price.currency if price else "USD"
    fresh, cached, out = tokens[0] - tokens[1], tokens[1], tokens[2]
    total = (fresh * price.input + cached * price.cached + out * price.output) * 1000
    return int(total.quantize(Decimal(1), ROUND_HALF_UP)), price.currency


def find(path: Path, model: str, at_ms: int) -> Price | None:
    """The price of a model at a time; 'gpt-4o-2024-08-06' is looked for as such, then as 'gpt-4o'."""
    table = _read(path, path.stat().st_mtime_ns)
    for name in (model, re.sub(r"-\d{4}-\d{2}-\d{2}$", "", model)):
        valid = [p for p in table.get(name, ()) if p.valid_ms <= at_ms]
        if valid:
            return max(valid, key=lambda p: p.valid_ms)
    return None


@lru_cache(4)
def _read(path: Path, _changed: int) -> dict[str, tuple[Price, ...]]:
    found: dict[str, tuple[Price, ...]] = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, restval="")
        if not set(COLUMNS) <= set(rows.fieldnames or ()):
            raise BadPrices(f"{path.name}: the first line must name {', '.join(COLUMNS)}")
        for row in rows:
            try:
                amounts = [Decimal(row[c].strip()) for c in ("input", "cached", "output")]
                day = datetime.fromisoformat(row["valid_from"].strip()).replace(tzinfo=UTC)
                if not all(a.is_finite() and a >= 0 for a in amounts) or not re.fullmatch(r"[A-Z]{3}", row["currency"].strip()):
                    raise ValueError
            except (ValueError, InvalidOperation, AttributeError):
                raise BadPrices(f"{path.name}, line {rows.line_num}: prices are numbers, the currency three letters, the date like 2026-01-31"
                                ) from None
            model = row["model"].strip()
            found[model] = (*found.get(model, ()), Price(row["currency"].strip(), *amounts, millis(day)))
    return found
