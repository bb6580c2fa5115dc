"""Since when the longest waiting ready job of each tenant and type is ready.

jobs -> `read` (pages); with more than MOST_READ ready jobs: Sampler, each minute -> `sample` -> meta -> `read`
One reading takes each row: 110 ms of 100,000 on SQLite. A fact that is missing or damaged is {}.
"""

from __future__ import annotations

from app.ledger import counts
from app.ledger.dialect import Executor
from app.models.types import as_integer, as_text

MOST_READ, COLUMNS = 20_000, ("tenant_id", "job_type")
_SINCE = """SELECT {column}, MIN(available_ms) FROM jobs WHERE state = 'pending' AND {column} IS NOT NULL
 GROUP BY {column} ORDER BY 2 LIMIT 5000"""
Since = dict[str, int]


def _count(tx: Executor, column: str) -> Since:
    return {text: since for name, at in tx.fetch_all(_SINCE.format(column=column))
            if (text := as_text(name)) and (since := as_integer(at)) is not None}


def sample(tx: Executor, ready: int) -> dict[str, Since]:
    """The facts that `read` needs with so many ready jobs, by their keys of `meta`."""
    return {f"waiting_since_{column}": _count(tx, column) for column in COLUMNS} if ready > MOST_READ else {}


def read(tx: Executor, column: str) -> tuple[Since, int]:
    """({tenant or type, as `column` says: time in ms}, age of the answer in ms)."""
    if counts.recent(tx)[0]["pending"] <= MOST_READ:
        return _count(tx, column), 0
    kept, age = counts.load(tx, f"waiting_since_{column}") or ({}, 0)
    found = kept if isinstance(kept, dict) else {}
    return {name: since for name, at in found.items() if name and (since := as_integer(at)) is not None}, age
