"""How the ledger runs its statements, which are written once for SQLite and PostgreSQL.

A statement has `:name` parameters, and `{skip}` or `{lock}` where PostgreSQL needs a row lock. `IN {ids}` and
`(a, b) IN {pairs}` read the parameter of that name, a JSON array of whole numbers or of pairs of them: a statement
whose text is always the same is prepared once, which saves 3 microseconds a row of a group. It runs through an
`Executor`: a `Connection` (dialect.py), or a `SessionExecutor`, which joins the transaction of the caller's session.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Protocol

from sqlalchemy.orm import Session

from app.extensions import POSTGRES_CLOCK
from app.support.clock import follow, now_ms

_LISTS_OF_SQLITE = {
    "{ids}": "(SELECT value FROM json_each(:ids))",
    "{pairs}": "(SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(:pairs))"}
_LISTS_OF_POSTGRES = {
    "{ids}": "(SELECT CAST(v AS BIGINT) FROM json_array_elements_text(CAST(:ids AS JSON)) v)",
    "{pairs}": "(SELECT CAST(v->>0 AS BIGINT), CAST(v->>1 AS BIGINT) FROM json_array_elements(CAST(:pairs AS JSON)) v)"}
SKIP_LOCKED, LOCKED = "FOR UPDATE OF j SKIP LOCKED", "FOR UPDATE OF j"


class Executor(Protocol):
    """Runs statements in the open transaction. Each method can raise the errors of the driver or of SQLAlchemy."""

    sqlite: bool

    def fetch_all(self, sql: str, **params: Any) -> list[tuple]:
        """All rows. They are always read to the end, because an unread RETURNING row keeps SQLite's write lock."""

    def execute(self, sql: str, **params: Any) -> int:
        """Run a statement; returns the number of changed rows."""

    def now(self) -> int:
        """The database's clock in ms; for SQLite the clock of this machine."""
        return now_ms() if self.sqlite else follow(int(self.fetch_all(POSTGRES_CLOCK)[0][0]))

    def lock_key(self, key: str) -> None:
        """Hold a lock of this name until the transaction ends; SQLite has one writer at a time."""
        if not self.sqlite:
            self.fetch_all("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))", key=key)


@lru_cache(512)
def for_sqlite(sql: str) -> str:
    """A statement of the ledger in SQLite's form: without row locks."""
    return _replaced(sql, {"{skip}": "", "{lock}": ""} | _LISTS_OF_SQLITE)


def with_locks(sql: str) -> str:
    """A statement with PostgreSQL's row locks."""
    return _replaced(sql, {"{skip}": SKIP_LOCKED, "{lock}": LOCKED} | _LISTS_OF_POSTGRES)


def _replaced(sql: str, marks: dict[str, str]) -> str:
    for mark, text_of_mark in marks.items():
        sql = sql.replace(mark, text_of_mark)
    return sql


@lru_cache(512)
def for_postgres(sql: str) -> str:
    """A statement of the ledger in psycopg's form: with row locks, and `:name` as `%(name)s` (casts with `::` stay)."""
    return re.sub(r"(?<![:\w]):([a-z_]\w*)", r"%(\1)s", with_locks(sql.replace("%", "%%")))


@lru_cache(64)
def positional(sql: str, sqlite: bool) -> str:
    """A statement with places in place of names, in the driver's form."""
    return re.sub(r"(?<![:\w]):([a-z_]\w*)", "?" if sqlite else "%s", for_sqlite(sql) if sqlite else with_locks(sql))


class SessionExecutor(Executor):
    """Runs statements of the ledger in the transaction of the caller's SQLAlchemy session, in the driver's form: to
    compile a `text` costs as much as SQLite's INSERT of a job. Errors are those of SQLAlchemy."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.sqlite = session.get_bind().dialect.name == "sqlite"

    def _execute(self, sql: str, params: Any) -> Any:
        form = for_sqlite if self.sqlite else for_postgres
        return self.session.connection().exec_driver_sql(form(sql), params)

    def fetch_all(self, sql: str, **params: Any) -> list[tuple]:
        """All rows of a statement."""
        return [tuple(row) for row in self._execute(sql, params)]

    def execute(self, sql: str, **params: Any) -> int:
        """Run a statement; returns the number of changed rows."""
        return self._execute(sql, params).rowcount

    def execute_many(self, sql: str, rows: list[dict[str, Any]]) -> None:
        """Run one statement for many rows of parameters; nothing happens without rows."""
        if rows:
            self._execute(sql, rows)
