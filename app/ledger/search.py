"""Search over finished jobs: SQLite's full-text index (FTS5) where it exists, else plain reading of rows.

The index reads from a view of `job_history` (type, tenant, queue, status, arguments, error) and is filled by the
monitor, never by the settle; `meta.search_reach` is the highest id in it. Triggers take deleted rows out.
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
_ARGS_OF_TEXT = """substring({0}payload from '"args": (.*), "tenant_id": ')"""  # the order of keys is that of dispatch.payload
_REACH = "SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'search_reach'"


def watermark(tx: Executor) -> int:
    """The highest id of job_history that the index holds; 0 without an index."""
    rows = tx.fetch_all(_REACH) if tx.sqlite else []
    return int(rows[0][0]) if rows else 0


def advance(connection: Connection, steps: int = 5) -> int:
    """Take the next finished jobs into the index, 1,000 a transaction; returns how many."""
    total = 0
    for _ in range(steps if connection.sqlite and connection.fetch_all("SELECT 1 FROM sqlite_master WHERE name = 'job_search'") else 0):
        with connection.transaction() as tx:
            last = watermark(tx)
            rows = tx.fetch_all(f"SELECT id FROM job_history WHERE id > :last ORDER BY id LIMIT {STEP}", last=last)
            if rows:
                tx.execute(f"INSERT INTO job_search (rowid, {COLUMNS}) SELECT id, {COLUMNS} FROM job_search_rows WHERE id > :last AND id <= :to",
                        last=last, to=rows[-1][0])
                tx.execute("INSERT INTO meta (key, value, at_ms) VALUES ('search_reach', :to, :now) ON CONFLICT (key) DO UPDATE SET "
                        "value = excluded.value, at_ms = excluded.at_ms", to=str(rows[-1][0]), now=tx.now())
        total += len(rows)
        if len(rows) < STEP:
            break
    return total


def match(words: Iterable[str], fields: dict[str, str], states: Iterable[str]) -> str:
    """The index's expression: each word begins a word of arguments or error, fields as whole phrases, all quoted. Empty for nothing."""
    tokens = [token for word in words for token in re.findall(r"[^\W_]+", word)]
    parts = [f"{{args error}} : ({' '.join(_quoted(token) + ' *' for token in tokens)})"] if tokens else []
    parts += [f"{column} : {_quoted(value)}" for column, value in fields.items() if value]
    if found := " OR ".join(_quoted(s) for s in states):
        parts.append(f"status : ({found})")
    return " AND ".join(f"({part})" for part in parts)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def like(tx: Executor, error: str, name: str) -> str:
    """Arguments or column `error` of a row `r` hold the pattern in parameter `name`, whatever the case. The arguments are cut
    out of the payload, which holds the uuid too, only where something in it fits: cutting out takes 3 times as long as comparing."""
    args, compare = (_ARGS, "LIKE") if tx.sqlite else (_ARGS_OF_TEXT, "ILIKE")
    held = f"COALESCE({{}}, '') || ' ' || COALESCE(r.{error}, '')"
    return " AND ".join(f"({held.format(column)}) {compare} :{name} ESCAPE '!'" for column in ("r.payload", args.format("r.")))


def pattern(word: str) -> str:
    return "%" + re.sub(r"([!%_])", r"!\1", word) + "%"
