"""What an error of the database means, told by the driver's code and in its own words, for people and for the log.

A database that is locked, out of reach, full or damaged, or that refuses us, is no bug: it is asked again, or a person
is told what to do. Anything else is an error of a statement or of its values, and is logged with the statement's name.
Words of the driver may quote a value, which is left out here, and pass through the redactor.
"""

from __future__ import annotations

import errno
import re
import sqlite3
import time
import traceback
from pathlib import Path

from sqlalchemy import exc

from app.config import ROOT
from app.ledger.dialect import database_errors
from app.redact import one_line, redact

LOCKED, AWAY, FULL, READ_ONLY, DAMAGED = "locked", "away", "full", "read-only", "damaged"
EACH_S = 60.0
_SQLITE = {5: LOCKED, 6: LOCKED, 8: READ_ONLY, 10: AWAY, 11: DAMAGED, 13: FULL, 14: AWAY, 26: DAMAGED}
# by SQLSTATE or its class: 57014 is a statement that took too long, 08 a broken connection, 28 and 3D a refused login
_POSTGRES = {"55P03": LOCKED, "40001": LOCKED, "40P01": LOCKED, "57014": LOCKED, "53100": FULL,
             "25006": READ_ONLY, "XX001": DAMAGED, "XX002": DAMAGED, "08": AWAY, "28": AWAY, "3D": AWAY, "53": AWAY,
             "57": AWAY, "58": AWAY}
_NO_ANSWER = ("OperationalError", "InterfaceError", "ConnectionTimeout", "PoolTimeout")
_SENTENCES = {
    LOCKED: "The database is locked by another process ({words}). Nothing was changed; try again in a few seconds.",
    AWAY: "DATABASE_URL: the database does not answer: {words}",
    FULL: "The disk is full ({words}). Nothing was changed; free some space and try again.",
    READ_ONLY: "The database cannot be written ({words}): give its file and folder to the user who runs this.",
    DAMAGED: "The database is damaged ({words}): stop everything and restore a backup.",
}
errors = (exc.DBAPIError, exc.TimeoutError)
"""What SQLAlchemy raises; drivers' own errors are `database_errors()`."""


def cause_of(error: BaseException) -> BaseException:
    """The driver's own error inside SQLAlchemy's."""
    return getattr(error, "orig", None) or error


def kind_of(error: BaseException) -> str | None:
    """One of the kinds above, or None: an error of the statement or of its values."""
    cause = cause_of(error)
    if isinstance(cause, OSError):
        return FULL if cause.errno in (errno.ENOSPC, errno.EDQUOT) else None
    if isinstance(cause, exc.TimeoutError):
        return AWAY  # all connections of the pool were in use for 30 s
    if isinstance(cause, sqlite3.Error):
        return _SQLITE.get((getattr(cause, "sqlite_errorcode", None) or 0) & 0xFF)
    if isinstance(cause, database_errors()):
        state = getattr(cause, "sqlstate", None)
        if state is None:  # no answer of the server at all: a connection that could not be made, or broke
            return AWAY if type(cause).__name__ in _NO_ANSWER else None
        return _POSTGRES.get(state) or _POSTGRES.get(state[:2])
    return None


def words_of(error: BaseException) -> str:
    """The driver's own words on one line, without values and secrets."""
    cause = cause_of(error)
    system = cause.strerror if isinstance(cause, OSError) else None
    text = getattr(getattr(cause, "diag", None), "message_primary", None) or system or str(cause)
    if kind_of(error) is None:
        text = re.sub(r"(:|=)\s*([\"'(]).*", r"\1 ...", text.split("\n")[0])  # what follows may be a value
    return one_line(redact(" ".join(text.split())), 500) or type(cause).__name__


def sentence(error: BaseException) -> str:
    """One sentence for a terminal or a log: what is wrong and what to do."""
    kind = kind_of(error)
    if kind is None:
        return f"The database refused a statement: {named(error)}. This is a mistake of the program."
    return _SENTENCES[kind].format(words=words_of(error))


def told(error: BaseException) -> str:
    """For a log: the sentence of a database error, type and text of any other."""
    ours = isinstance(cause_of(error), (*errors, *database_errors()))
    return sentence(error) if ours else f"{type(error).__name__}: {error}"


def named(error: BaseException) -> str:
    """'SELECT job_metrics in app/services/queues.py:53 _pace: operator does not exist (UndefinedFunction)'."""
    sql = " ".join(str(getattr(error, "statement", "") or "").split())
    verb, table = sql.partition(" ")[0].upper(), re.search(r"(?i)\b(?:from|into|update|table)\s+\(?([a-z_]\w*)", sql)
    name = f"{verb} {table[1] if table else ''}".strip() or "a statement"
    ours = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).is_relative_to(ROOT / "app")]
    ours = [f for f in ours if not f.filename.endswith(("dialect.py", "trouble.py"))] or ours
    where = f" in {Path(ours[-1].filename).relative_to(ROOT)}:{ours[-1].lineno} {ours[-1].name}" if ours else ""
    return f"{name}{where}: {words_of(error)} ({type(cause_of(error)).__name__})"


class Once:
    """Says the same kind of thing once a minute: a page that polls meets a locked database every 2 s."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}

    def now(self, kind: str) -> bool:
        """Whether it is time to say something of this kind."""
        if time.monotonic() - self._told.get(kind, -EACH_S) < EACH_S:
            return False
        self._told[kind] = time.monotonic()
        return True
