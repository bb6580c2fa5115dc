"""Reads on in a table whose ids rise and counts its new rows; used by the monitor.

The watermark of a table is the id of the last row counted. It is a fact of the `meta` table and changes in the same
transaction as the counts, so each row is counted once, even if a monitor is killed or several monitors run.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from app.ledger.dialect import Connection, Executor

STEP = 2000
_MOVE = "UPDATE meta SET value = :to, at_ms = :now WHERE key = :key AND value = :last"


def read(tx: Executor, key: str) -> int:
    """The watermark stored under `key`. Raises ValueError when there is none, or something else than a number."""
    rows = tx.fetch_all("SELECT value FROM meta WHERE key = :key", key=key)
    value = rows[0][0] if rows else None
    if not isinstance(value, str) or not re.fullmatch("0|[1-9][0-9]{0,17}", value):
        raise ValueError(f"the watermark {key} in meta is {value!r:.50}: nothing is counted until it is an id")
    return int(value)


def advance(connection: Connection, key: str, table: str, columns: str, count: Callable[[list[tuple], int], Any],
            add: Callable[[Executor, Any], None], steps: int, step: int = STEP) -> int:
    """Count the next rows of `table`, at most `step` a transaction; returns how many.

    `count(rows, now)` makes sums of rows (`columns`, which begin with the id); `add(tx, sums)` writes these.
    Raises ValueError for a damaged watermark.
    """
    following = f"SELECT {columns} FROM {table} WHERE id > :last AND id <= :most ORDER BY id LIMIT {step}"
    total, most = 0, connection.last_settled_id(table)
    for _ in range(steps):
        last = read(connection, key)
        rows = connection.fetch_all(following, last=last, most=most)
        if not rows:
            break
        sums = count(rows, connection.now())
        with connection.transaction() as tx:
            if not tx.execute(_MOVE, key=key, to=str(rows[-1][0]), last=str(last), now=tx.now()):
                break  # another monitor has counted these rows
            add(tx, sums)
        total += len(rows)
        if len(rows) < step:
            break
    return total
