"""Compares the database's revision with the code's. Only `flask db upgrade` and `db-prepare` migrate."""

from __future__ import annotations

import logging
import sys
import time
from contextlib import closing

from app.config import Settings
from app.ledger.dialect import Connection, database_errors
from app.support import error_texts

log = logging.getLogger(__name__)
CONNECT_S = 5
OLDER = "The database is not migrated yet: `bash scripts/run.sh` or `flask --app wsgi db-prepare` does it."
NEWER = "The database was made by a newer version of this program. Deploy that version, or restore a backup."
HEAD = "0025"  # newest file in migrations/versions (a test compares them); revisions are numbered in order


def revision(connection: Connection) -> str | None:
    """The database's revision; None for an empty one. Raises the driver's error when it does not answer."""
    try:
        rows = connection.fetch_all("SELECT version_num FROM alembic_version")
    except database_errors() as error:
        if getattr(error, "sqlstate", None) == "42P01" or "no such table" in str(error):
            return None  # undefined_table of PostgreSQL, told by its code: its words follow the server's language
        raise
    return rows[0][0] if rows else None


def look(settings: Settings) -> tuple[str, str]:
    """The state 'current', 'older', 'newer' or 'down', and a sentence: '' for 'current', what to do for 'older' and
    'newer', the driver's own words for 'down'."""
    if settings.sqlite and not settings.database_file.exists():
        return "older", OLDER
    url = settings.database_url
    if not settings.sqlite and "connect_timeout" not in url:
        # Without it, connecting to a host that is off takes 2 minutes.
        url += f"{'&' if '?' in url else '?'}connect_timeout={CONNECT_S}"
    try:
        with closing(Connection(url, wait_s=2)) as connection:
            found = revision(connection)
    except database_errors() as error:
        return "down", error_texts.sentence(error)
    if found == HEAD:
        return "current", ""
    return ("newer", NEWER) if (found or "") > HEAD else ("older", OLDER)


def check(settings: Settings) -> str:
    """The state of the database: 'current', 'older', 'newer' or 'down'."""
    return look(settings)[0]


def wait_until_current(settings: Settings, wait_s: float = 1.0) -> None:
    """Wait while the database is older or does not answer, and log each reason once; exit when it is newer. It checks
    every `wait_s` seconds."""
    logged = None
    while (found := look(settings))[0] != "current":
        if found[0] == "newer":
            sys.exit(NEWER)
        if logged != found:
            logged = found
            log.warning("waiting: %s", found[1])
        time.sleep(wait_s)
