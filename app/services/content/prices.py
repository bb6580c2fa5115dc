"""The price table: a CSV with model, currency, input, cached, output (each per million tokens), valid_from (a date).

A price is valid from its date (UTC) until the next price of that model. Costs are whole billionths (nano) of the
currency's unit, so sums are exact: tokens x price per million x 1,000. The cost of a model that is not in the table is
unknown, never 0.
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
    """The table cannot be read; the text says which line and why."""


@dataclass(frozen=True)
class Price:
    """Prices in units of the currency per million tokens, valid from `valid_ms`."""

    currency: str
    input: Decimal
    cached: Decimal
    output: Decimal
    valid_ms: int


def cost(path: Path, model: str, tokens: tuple[int, int, int] | None, at_ms: int) -> tuple[int | None, str]:
    """Cost in billionths of the currency's unit, and the currency; None and 'USD' for what is unknown. `tokens` are
    (input, cached part of these, output). Raises BadPrices and OSError."""
    price = find(path, model, at_ms)
    if price is None or tokens is None:
        return None, price.currency if price else "USD"
    fresh, cached, out = tokens[0] - tokens[1], tokens[1], tokens[2]
    total = (fresh * price.input + cached * price.cached + out * price.output) * 1000
    return int(total.quantize(Decimal(1), ROUND_HALF_UP)), price.currency


def find(path: Path, model: str, at_ms: int) -> Price | None:
    """The price of a model at a time (ms), or None; 'gpt-4o-2024-08-06' is searched as such, then as 'gpt-4o'. Raises
    BadPrices and OSError."""
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
                model, currency, *prices, day = (row[column].strip() for column in COLUMNS)
                amounts = [Decimal(price) for price in prices]
                valid = datetime.fromisoformat(day).replace(tzinfo=UTC)
                if not all(a.is_finite() and a >= 0 for a in amounts) or not re.fullmatch(r"[A-Z]{3}", currency):
                    raise ValueError
            except (ValueError, InvalidOperation, AttributeError):
                form = "prices are numbers, the currency three letters, the date like 2026-01-31"
                raise BadPrices(f"{path.name}, line {rows.line_num}: {form}") from None
            found[model] = (*found.get(model, ()), Price(currency, *amounts, millis(valid)))
    return found
