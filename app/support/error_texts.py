"""Texts for errors of the database, for people and for the log. The driver's error code decides, its text is quoted.

An outage (locked, away, full, read-only or damaged) is not a bug: the program retries, or the text tells a person what
to do. Any other error is one of a statement or its values and is logged with the statement. The driver's text is
redacted, and the values that it quotes are left out.
"""

from __future__ import annotations

import re
import time
import traceback
from pathlib import Path

from sqlalchemy import exc

from app.config import ROOT
from app.support.outage import AWAY, DAMAGED, FULL, LOCKED, READ_ONLY, cause_of, database_errors, kind_of
from app.support.redaction import one_line, redact

EACH_S = 60.0
_SENTENCES = {
    LOCKED: "The database is locked by another process ({words}). Nothing was changed; try again in a few seconds.",
    AWAY: "DATABASE_URL: the database does not answer: {words}",
    FULL: "The disk is full ({words}). Nothing was changed; free some space and try again.",
    READ_ONLY: "The database cannot be written ({words}): give its file and folder to the user who runs this.",
    DAMAGED: "The database is damaged ({words}): stop everything and restore a backup.",
}
errors = (exc.DBAPIError, exc.TimeoutError)
"""The errors of SQLAlchemy; those of the drivers are `database_errors()`."""


def words_of(error: BaseException) -> str:
    """The driver's text on one line, without values and secrets, at most 500 bytes."""
    cause = cause_of(error)
    system = cause.strerror if isinstance(cause, OSError) else None
    text = getattr(getattr(cause, "diag", None), "message_primary", None) or system or str(cause)
    if kind_of(error) is None:
        text = re.sub(r"(:|=)\s*([\"'(]).*", r"\1 ...", text.split("\n")[0])  # a value may follow
    return one_line(redact(" ".join(text.split())), 500) or type(cause).__name__


def sentence(error: BaseException) -> str:
    """A sentence for a terminal or a log: what is wrong and what to do."""
    kind = kind_of(error)
    if kind is None:
        return f"The database refused a statement: {named(error)}. This is a mistake of the program."
    return _SENTENCES[kind].format(words=words_of(error))


def describe(error: BaseException) -> str:
    """For a log: `sentence` for an error of the database, else the type and text of the error."""
    ours = isinstance(cause_of(error), (*errors, *database_errors()))
    return sentence(error) if ours else f"{type(error).__name__}: {error}"


def named(error: BaseException) -> str:
    """The statement, its place and the driver's text, for a log:
    'SELECT job_metrics in app/services/jobs/queues.py:53 rates: operator does not exist (UndefinedFunction)'."""
    sql = " ".join(str(getattr(error, "statement", "") or "").split())
    verb, table = sql.partition(" ")[0].upper(), re.search(r"(?i)\b(?:from|into|update|table)\s+\(?([a-z_]\w*)", sql)
    name = f"{verb} {table[1] if table else ''}".strip() or "a statement"
    ours = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).is_relative_to(ROOT / "app")]
    ours = [f for f in ours if not f.filename.endswith(("dialect.py", "outage.py"))] or ours
    where = f" in {Path(ours[-1].filename).relative_to(ROOT)}:{ours[-1].lineno} {ours[-1].name}" if ours else ""
    return f"{name}{where}: {words_of(error)} ({type(cause_of(error)).__name__})"


class Once:
    """Limits a kind of message to one a minute; a page that polls a locked database would cause one every 2 s."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}  # monotonic time in s of the last message, by kind

    def now(self, kind: str) -> bool:
        """Whether a message of this kind may be written now; if so, the minute starts again."""
        if time.monotonic() - self._last.get(kind, -EACH_S) < EACH_S:
            return False
        self._last[kind] = time.monotonic()
        return True
