"""Finds jobs by the words of a search, in the meaning of search_text.py.

job_history -> `advance` (the monitor, each second, in the order of the ids) -> job_texts (id, folded text) up to the
watermark `search_reach`. SQLite's trigram index (FTS5) or PostgreSQL's (pg_trgm) finds texts of three characters and
more, and each found text is compared. Without an index, and for shorter words, all texts are compared.
Jobs that are not there yet (live ones, those past the watermark, those that changed: their text is NULL) are read and
compared one by one (`Way.words`, list_plan.py). So no settle pays for the index.
Triggers keep `job_texts` in step when a row of job_history is changed or deleted, also by other programs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from app.ledger import watermark
from app.ledger.dialect import Connection, Executor
from app.ledger.rows import among, insert
from app.services.jobs import facts
from app.services.jobs.search_text import marks, text_of

KEY, STEP = "search_reach", 250  # rows a transaction: 25 ms with the trigram index
MOST_TRIGRAMS = 24
COLUMNS = "r.job_type, r.tenant_id, r.payload, r.{}"  # what a program compares with words (search_text.has)
INDEX = "job_search s CROSS JOIN job_history r ON r.id = s.rowid"
MATCHES = "s.job_search MATCH :match"
CHANGED = "r.id IN (SELECT id FROM job_texts WHERE text IS NULL)"
_READ = "id, job_type, tenant_id, payload, error, queue, status"
# Only for a row that is still there; a row of job_texts that a trigger has written meanwhile stays NULL.
_WRITE = insert("job_texts", ("id", "text"), "(id) DO NOTHING", "job_history WHERE id = :id", text=":text")
_STALE = f"SELECT id FROM job_texts WHERE text IS NULL ORDER BY id LIMIT {STEP}"


def reach(tx: Executor) -> int:
    """The highest id of job_history that job_texts has; 0 when that is not known."""
    try:
        return watermark.read(tx, KEY)
    except ValueError:
        return 0


def advance(connection: Connection, steps: int = 8) -> int:
    """Write the texts of the next finished jobs, 250 a transaction, and of changed ones, and the facts of these;
    returns how many. Raises ValueError for a damaged watermark."""
    if ids := [row[0] for row in connection.fetch_all(_STALE)]:
        with connection.transaction() as tx:
            facts.copy(tx, ids)  # locks the rows first, as their triggers lock the texts
            texts = _texts(tx.sqlite, tx.fetch_all(f"SELECT {_READ} FROM job_history WHERE {among(ids)}"))
            tx.execute_many("UPDATE job_texts SET text = :text WHERE id = :id", texts)
    return len(ids) + watermark.advance(connection, KEY, "job_history", _READ,
                                        lambda rows, _now: _texts(connection.sqlite, rows),
                                        lambda tx, texts: tx.execute_many(_WRITE, texts), steps, STEP)


def _texts(sqlite: bool, rows: list[tuple]) -> list[tuple]:
    """(folded text, id) of each row; for SQLite's index with the marks of its columns before the text."""
    def marked(row: tuple) -> str:
        job_type, tenant, queue, status = row[1], row[2], *row[5:]
        return "".join(marks(job_type=job_type, tenant_id=tenant, queue=queue, status=status).values())

    return [((marked(row) if sqlite else "") + text_of(*row[1:5]), row[0]) for row in rows]


def lookup(tx: Executor, words: Iterable[str], columns: dict[str, str],
           indexed: bool = True) -> tuple[str, str, dict[str, Any], str]:
    """(source, condition, its parameters, key) of the rows of job_texts with all the words. `columns` has values of
    MARKED that the others of the filter make sure of: they narrow the reading of the index. Without `indexed`
    the texts are read for rows that another index finds."""
    values: dict[str, Any] = {f"w{n}": word if tx.sqlite else like(word) for n, word in enumerate(words)}
    compare = "instr(t.text, :{}) > 0" if tx.sqlite else "t.text LIKE :{} ESCAPE '!'"
    found = list(map(compare.format, values))
    match = _match(words, columns) if indexed and has_index(tx) else ""
    if not match:
        conditions = " AND ".join(["t.text IS NOT NULL", *found])
        return "job_texts t JOIN job_history r ON r.id = t.id", conditions, values, "t.id"
    texts = " CROSS JOIN job_texts t ON t.id = s.rowid" * bool(found)
    return f"{INDEX}{texts}", " AND ".join([MATCHES, *found]), values | {"match": match}, "s.rowid"


def has_index(tx: Executor) -> bool:
    """Whether there is SQLite's trigram index, and texts in it."""
    return tx.sqlite and reach(tx) > 0 and bool(tx.fetch_all("SELECT 1 FROM sqlite_master WHERE name = 'job_search'"))


def of_columns(columns: dict[str, str]) -> str:
    """What :match of MATCHES is for the rows with these values of MARKED."""
    return _match((), columns)


def _match(words: Iterable[str], columns: dict[str, str]) -> str:
    grams = [*marks(**columns).values(), *(word[at:at + 3] for word in words for at in range(len(word) - 2))]
    return " AND ".join('"' + gram.replace('"', '""') + '"' for gram in list(dict.fromkeys(grams))[:MOST_TRIGRAMS])


def like(word: str) -> str:
    """The LIKE pattern for texts that contain `word`, with `!` as the escape character."""
    return "%" + word.replace("!", "!!").replace("%", "!%").replace("_", "!_") + "%"
