"""Reads on in a table whose ids rise and counts its new rows; used by the monitor.

The watermark of a table is the id of the last row counted. It is a fact of the `meta` table and changes in the same
transaction as the counts, so each row is counted once, even if a monitor is killed or several monitors run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from app.ledger.dialect import Connection, Executor
from app.models.outcome_stats import watermark
from app.models.types import as_integer

STEP = 2000
_MOVE = "UPDATE meta SET value = :to, at_ms = :now WHERE key = :key AND value = :last"
_XID = "CAST(CAST(pg_snapshot_{}(pg_current_snapshot()) AS VARCHAR) AS BIGINT)"


def read(tx: Executor, key: str) -> int:
    """The watermark stored under `key`; 0 when there is none."""
    return as_integer(tx.fetch_all(f"SELECT {watermark(key)}")[0][0], 0) or 0


def advance(connection: Connection, key: str, table: str, columns: str, count: Callable[[list[tuple], int], Any],
            add: Callable[[Executor, Any], None], steps: int) -> int:
    """Count the next rows of `table`, at most 2,000 a step; returns how many.

    `count(rows, now)` makes sums of rows (`columns`, which begin with the id); `add(tx, sums)` writes these.
    """
    following = f"SELECT {columns} FROM {table} WHERE id > :last AND id <= :most ORDER BY id LIMIT {STEP}"
    total, most = 0, last_settled_id(connection, table)
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
        if len(rows) < STEP:
            break
    return total


def last_settled_id(connection: Connection, table: str) -> int:
    """The largest id of `table` at or below which no new row can appear; 0 when it is not known yet.

    SQLite has one writer at a time. On PostgreSQL a smaller id can be committed after a larger one, so all transactions
    that were open must end first; this waits at most 50 ms for them.
    """
    if connection.sqlite:
        return connection.fetch_all(f"SELECT COALESCE(MAX(id), 0) FROM {table}")[0][0]
    last, open_until = connection.fetch_all(f"SELECT COALESCE(MAX(id), 0), {_XID.format('xmax')} FROM {table}")[0]
    for _ in range(5):
        if connection.fetch_all(f"SELECT {_XID.format('xmin')}")[0][0] >= open_until:
            return last
        time.sleep(0.01)
    return 0
