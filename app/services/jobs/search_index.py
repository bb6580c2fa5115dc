"""Searches finished jobs: with SQLite's full-text index (FTS5) where it exists, else by comparing the rows.

The content of the index is a view of `job_history` (type, tenant, queue, status, arguments, error). The monitor fills
the index, so that no settle pays for it; the watermark `search_reach` is the highest id in it. Triggers remove deleted
rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from app.ledger.dialect import Connection, Executor

SOURCE = "job_search s CROSS JOIN job_history r ON r.id = s.rowid"
MATCHES = "s.job_search MATCH :match"
COLUMNS = "job_type, tenant_id, queue, status, args, error"
STEP = 1000
_ARGS = "CASE WHEN json_valid({0}payload) THEN json_extract({0}payload, '$.args') END"
_ARGS_OF_TEXT = """substring({0}payload from '"args": (.*), "tenant_id": ')"""  # keys in the order of dispatch.payload
_REACH = "SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'search_reach'"
_INDEX = f"""INSERT INTO job_search (rowid, {COLUMNS}) SELECT id, {COLUMNS} FROM job_search_rows
 WHERE id > :last AND id <= :to"""
_MOVE = """INSERT INTO meta (key, value, at_ms) VALUES ('search_reach', :to, :now)
 ON CONFLICT (key) DO UPDATE SET value = excluded.value, at_ms = excluded.at_ms"""


def watermark(tx: Executor) -> int:
    """The highest id of job_history in the index; 0 without an index."""
    rows = tx.fetch_all(_REACH) if tx.sqlite else []
    return int(rows[0][0]) if rows else 0


def advance(connection: Connection, steps: int = 5) -> int:
    """Index the next finished jobs, 1,000 a transaction, in at most `steps` transactions; returns how many."""
    total, exists = 0, "SELECT 1 FROM sqlite_master WHERE name = 'job_search'"
    for _ in range(steps if connection.sqlite and connection.fetch_all(exists) else 0):
        with connection.transaction() as tx:
            last = watermark(tx)
            rows = tx.fetch_all(f"SELECT id FROM job_history WHERE id > :last ORDER BY id LIMIT {STEP}", last=last)
            if rows:
                tx.execute(_INDEX, last=last, to=rows[-1][0])
                tx.execute(_MOVE, to=str(rows[-1][0]), now=tx.now())
        total += len(rows)
        if len(rows) < STEP:
            break
    return total


def match(words: Iterable[str], fields: dict[str, str], states: Iterable[str]) -> str:
    """The FTS5 query for each word as a prefix in arguments or error, each field as a phrase, and any of the states.
    All parts are quoted. '' when there is nothing to search for."""
    tokens = [token for word in words for token in re.findall(r"[^\W_]+", word)]
    parts = [f"{{args error}} : ({' '.join(_quoted(token) + ' *' for token in tokens)})"] if tokens else []
    parts += [f"{column} : {_quoted(value)}" for column, value in fields.items() if value]
    if found := " OR ".join(_quoted(s) for s in states):
        parts.append(f"status : ({found})")
    return " AND ".join(f"({part})" for part in parts)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def like(tx: Executor, error: str, name: str) -> str:
    """The SQL condition that the arguments or the column `error` of a row `r` match the pattern in parameter `name`.
    Upper and lower case are the same.

    The payload contains the uuid too, so the arguments are extracted from it. Extracting takes 3 times as long as
    comparing, so it is done only where the whole payload matches.
    """
    args, compare = (_ARGS, "LIKE") if tx.sqlite else (_ARGS_OF_TEXT, "ILIKE")
    text = f"COALESCE({{}}, '') || ' ' || COALESCE(r.{error}, '')"
    columns = ("r.payload", args.format("r."))
    return " AND ".join(f"({text.format(column)}) {compare} :{name} ESCAPE '!'" for column in columns)


def pattern(word: str) -> str:
    """The LIKE pattern for texts that contain `word`, with `!` as the escape character."""
    return "%" + re.sub(r"([!%_])", r"!\1", word) + "%"
