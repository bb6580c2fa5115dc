"""Outages: which errors mean that the database does not answer, and how to wait until it does."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from functools import lru_cache


@lru_cache(1)
def database_errors() -> tuple[type[Exception], ...]:
    """The errors of every driver that is installed; `does_not_answer` tells which of them mean an outage."""
    errors: list[type[Exception]] = [sqlite3.Error]
    with contextlib.suppress(ImportError):
        import psycopg

        errors.append(psycopg.Error)
    return tuple(errors)


# Primary result codes of SQLite that a later attempt may not meet: busy, locked, out of memory, read-only, interrupted,
# I/O error, corrupt, full, cannot open, locking protocol, schema changed, not a database.
SQLITE_OUTAGE = frozenset((5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 17, 26))
SQLITE_REOPEN = frozenset((10, 11, 14, 26))


def does_not_answer(error: BaseException) -> bool:
    """Whether the database, not the statement or its values, is what failed: such an attempt is worth repeating.

    A value that no column can hold (DataError, overflow), a constraint or a missing table is no outage: repeating the
    statement would fail for ever.
    """
    if isinstance(error, sqlite3.Error):
        return "closed database" in str(error) or result_code(error) in SQLITE_OUTAGE
    if not isinstance(error, database_errors()):
        return False
    import psycopg

    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError | psycopg.InternalError)


def result_code(error: BaseException) -> int:
    """SQLite's primary result code of an error; 0 when it has none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def wait_for(attempt, stop=lambda: False, first_s: float = 0.05, most_s: float = 1.0, on_error=None):
    """Call `attempt` until it answers or `stop()` is true; waits 50 ms doubling to 1 s while the database does not answer.

    Returns (True, answer) or (False, None) when stopped. Any other error is raised: repeating would not mend it.
    """
    delay = first_s
    while True:
        try:
            return True, attempt()
        except database_errors() as error:
            if not does_not_answer(error):
                raise
            if on_error:
                on_error(error)
            if stop():
                return False, None
            time.sleep(delay)
            delay = min(delay * 2, most_s)
