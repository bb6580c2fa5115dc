"""Finds jobs by the words of a search, in the meaning of search_text.py.

job_history -> `advance` (the monitor, each second, in the order of the ids) -> job_texts (id, folded text) up to the
watermark `search_reach`. SQLite's trigram index (FTS5) or PostgreSQL's (pg_trgm) finds texts of three characters and
more, and each found text is compared. Without an index, and for shorter words, all texts are compared.
Jobs that are not there yet (live ones, those past the watermark, those that changed: their text is NULL) are read and
folded one by one (`read_on`), at most for the time that the caller gives. So no settle pays for the index.
Triggers keep `job_texts` in step when a row of job_history is changed or deleted, also by other programs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from app.ledger import watermark
from app.ledger.dialect import Connection, Executor
from app.ledger.rows import among, insert
from app.services.jobs.search_text import has, text_of

KEY, STEP = "search_reach", 500  # rows a transaction: 60 ms with the trigram index
CHUNK, MOST_TRIGRAMS = 250, 24
READ = "r.job_type, r.tenant_id, r.payload, {}"  # what `read_on` needs behind the columns
FOUND = "job_texts t JOIN job_history r ON r.id = t.id"
INDEXED = "job_search s CROSS JOIN job_texts t ON t.id = s.rowid CROSS JOIN job_history r ON r.id = t.id"
CHANGED = "r.id IN (SELECT id FROM job_texts WHERE text IS NULL)"
_COLUMNS = "id, job_type, tenant_id, payload, error"
# Only for a row that is still there; a row of job_texts that a trigger has written meanwhile stays NULL.
_WRITE = insert("job_texts", ("id", "text"), "(id) DO NOTHING", "job_history WHERE id = :id", text=":text")
_STALE = f"SELECT j.id FROM job_texts j WHERE j.text IS NULL ORDER BY j.id LIMIT {STEP} {{lock}}"
_EXISTS = "SELECT 1 FROM sqlite_master WHERE name = 'job_search'"


def reach(tx: Executor) -> int:
    """The highest id of job_history that job_texts has; 0 when that is not known."""
    try:
        return watermark.read(tx, KEY)
    except ValueError:
        return 0


def advance(connection: Connection, steps: int = 8) -> int:
    """Write the texts of the next finished jobs, 500 a transaction, and of changed ones; returns how many. Raises
    ValueError for a damaged watermark."""
    renewed = 0
    if connection.fetch_all(_STALE.replace("{lock}", "")):
        with connection.transaction() as tx:
            ids = among(row[0] for row in tx.fetch_all(_STALE))
            texts = _texts(tx.fetch_all(f"SELECT {_COLUMNS} FROM job_history WHERE {ids}"))
            tx.execute_many("UPDATE job_texts SET text = :text WHERE id = :id", texts)
            renewed = len(texts)
    return renewed + watermark.advance(connection, KEY, "job_history", _COLUMNS, lambda rows, _now: _texts(rows),
                                       lambda tx, texts: tx.execute_many(_WRITE, texts), steps, STEP)


def _texts(rows: list[tuple]) -> list[tuple]:
    """(folded text, id) of each row."""
    return [(text_of(*row[1:]), row[0]) for row in rows]


def condition(tx: Executor, words: Iterable[str], also: list[str]) -> tuple[str, str, dict[str, Any]]:
    """(source, condition, its parameters) of the finished jobs in job_texts whose text has all the words. `also` are
    folded texts that the others of the filter make sure of: they narrow the search in the index."""
    values: dict[str, Any] = {f"w{n}": word if tx.sqlite else like(word) for n, word in enumerate(words)}
    compare = "instr(t.text, :{}) > 0" if tx.sqlite else "t.text LIKE :{} ESCAPE '!'"
    found = " AND ".join(map(compare.format, values))
    grams = [text[at:at + 3] for text in (*words, *also) for at in range(len(text) - 2)]
    if not grams or not tx.sqlite or not tx.fetch_all(_EXISTS):
        return FOUND, found, values
    match = " AND ".join(map(_quoted, list(dict.fromkeys(grams))[:MOST_TRIGRAMS]))
    return INDEXED, f"s.job_search MATCH :match AND {found}", values | {"match": match}


def _quoted(gram: str) -> str:
    return '"' + gram.replace('"', '""') + '"'


def like(word: str) -> str:
    """The LIKE pattern for texts that contain `word`, with `!` as the escape character."""
    return "%" + word.replace("!", "!!").replace("%", "!%").replace("_", "!_") + "%"


def read_on(fetch: Callable[[int | None, int], list[tuple]], words: Iterable[str], size: int,
            until: float | None) -> tuple[list[tuple], int | None]:
    """(at most `size` rows whose text has the words, the id at which the time was over or None).

    `fetch(last, n)` reads the next `n` rows behind the id `last`, with the columns of READ at their end. The time is
    `until` on time.monotonic(); None is without end.
    """
    found: list[tuple] = []
    last = None
    while len(found) < size:
        rows = fetch(last, CHUNK)
        found += [row[:-4] for row in rows if has(words, *row[-4:])]
        if len(rows) < CHUNK:
            break
        last = rows[-1][0]
        if until is not None and time.monotonic() > until and len(found) < size:
            return found, last
    return found[:size], None
