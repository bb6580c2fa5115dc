"""Loaded through JOB_MODULES: SQLite databases of this process have no room to grow, as on a full disk."""

import sqlite3

from sqlalchemy import event
from sqlalchemy.engine import Engine

from app.ledger import dialect

_open = dialect.Connection._open


def _limit(raw) -> None:
    pages = raw.execute("PRAGMA page_count").fetchone()[0]
    raw.execute(f"PRAGMA max_page_count={pages}")


@event.listens_for(Engine, "connect")
def _full(connection, _record) -> None:
    if isinstance(connection, sqlite3.Connection):
        _limit(connection)


def _opened(self):
    raw = _open(self)
    if self.sqlite:
        _limit(raw)
    return raw


dialect.Connection._open = _opened
