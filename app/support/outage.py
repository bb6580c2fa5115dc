"""Tells an outage of the database from an error of a statement or its values, and waits until the database answers
again. The error code of the driver decides, never its text."""

from __future__ import annotations

import errno
import sqlite3
import sys
import time

from sqlalchemy import exc


def database_errors() -> tuple[type[Exception], ...]:
    """The base errors of the drivers in use, for `except`; `kind_of` tells which of them are outages. psycopg is not
    imported for this, because it costs 9 MB in each process and raises nothing before it is imported."""
    psycopg = sys.modules.get("psycopg")
    return (sqlite3.Error, psycopg.Error) if psycopg is not None else (sqlite3.Error,)


LOCKED, AWAY, FULL, READ_ONLY, DAMAGED = "locked", "away", "full", "read-only", "damaged"
# By SQLite's primary result code (sqlite.org/rescode.html): busy, locked, out of memory, read-only, interrupted, I/O
# error, corrupt, full, cannot open, locking protocol, schema changed, not a database.
_SQLITE = {5: LOCKED, 6: LOCKED, 7: AWAY, 8: READ_ONLY, 9: LOCKED, 10: AWAY, 11: DAMAGED, 13: FULL, 14: AWAY,
           15: LOCKED, 17: LOCKED, 26: DAMAGED}
REOPEN = frozenset((10, 11, 14, 26))  # after these a connection of SQLite may be broken itself
# By SQLSTATE or its class: 57014 is a statement that took too long, 08 a broken connection, 28 and 3D a refused login.
_POSTGRES = {"55P03": LOCKED, "40001": LOCKED, "40P01": LOCKED, "57014": LOCKED, "53100": FULL, "25006": READ_ONLY,
             "XX001": DAMAGED, "XX002": DAMAGED, "08": AWAY, "25": AWAY, "28": AWAY, "3D": AWAY, "53": AWAY, "57": AWAY,
             "58": AWAY}
_NO_ANSWER = ("OperationalError", "InterfaceError", "ConnectionTimeout", "PoolTimeout")


def cause_of(error: BaseException) -> BaseException:
    """The driver's error inside an error of SQLAlchemy; any other error itself."""
    return getattr(error, "orig", None) or error


def kind_of(error: BaseException) -> str | None:
    """LOCKED, AWAY, FULL, READ_ONLY or DAMAGED; None for an error of a statement or its values."""
    cause = cause_of(error)
    if isinstance(cause, OSError):
        return FULL if cause.errno in (errno.ENOSPC, errno.EDQUOT) else None
    if isinstance(cause, exc.TimeoutError):
        return AWAY  # all connections of the pool were in use for 30 s
    if isinstance(cause, sqlite3.Error):
        return AWAY if "closed database" in str(cause) else _SQLITE.get(result_code(cause))
    if isinstance(cause, database_errors()):
        state = getattr(cause, "sqlstate", None)
        if state is None:  # the server gave no answer: the connection failed or broke
            return AWAY if type(cause).__name__ in _NO_ANSWER else None
        return _POSTGRES.get(state) or _POSTGRES.get(state[:2])
    return None


def result_code(error: BaseException) -> int:
    """SQLite's primary result code of an error; 0 when it has none."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def wait_for(attempt, stop=lambda: False, first_s: float = 0.05, most_s: float = 1.0, on_error=None):
    """Call `attempt` until it succeeds or `stop()` is true. In an outage it waits `first_s`, doubled up to `most_s`
    (s).

    Returns (True, result), or (False, None) when stopped. `on_error(error)` is called for each outage. Errors that are
    no outage are raised, because repeating would not help.
    """
    delay = first_s
    while True:
        try:
            return True, attempt()
        except database_errors() as error:
            if kind_of(error) is None:
                raise
            if on_error:
                on_error(error)
            if stop():
                return False, None
            time.sleep(delay)
            delay = min(delay * 2, most_s)
