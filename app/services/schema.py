"""The database's revision beside the code's. Only `flask db upgrade` and `db-prepare` migrate."""

from __future__ import annotations

import logging
import sqlite3
import sys
import time

from app.config import Settings
from app.ledger.dialect import Connection, database_errors

log = logging.getLogger(__name__)
HEAD = "0011"  # newest file in migrations/versions (a test compares them); revisions are numbered in order


def revision(connection: Connection) -> str | None:
    """The database's revision; None for an empty one. Raises the driver's error when it does not answer."""
    try:
        rows = connection.all("SELECT version_num FROM alembic_version")
    except database_errors() as error:
        if "no such table" in str(error) or "does not exist" in str(error):
            return None
        raise
    return rows[0][0] if rows else None


def check(settings: Settings) -> str:
    """'current', 'older', 'newer' or 'down'."""
    if settings.sqlite and not settings.database_file.exists():
        return "older"
    connection = Connection(settings.database_url, wait_s=2)
    try:
        found = revision(connection)
    except (*database_errors(), sqlite3.Error):
        return "down"
    finally:
        connection.close()
    return "current" if found == HEAD else "newer" if (found or "") > HEAD else "older"


def wait_until_current(settings: Settings, wait_s: float = 1.0) -> None:
    """Wait with one line while the database is older or out of reach; exit with one line when it is newer."""
    said = None
    while (state := check(settings)) != "current":
        if state == "newer":
            sys.exit("The database was made by a newer version of this program. Deploy that version, or restore a backup.")
        if said != state:
            said = state
            log.warning("waiting: the database is %s", "not migrated yet (run.sh or `flask --app wsgi db-prepare` does it)"
                        if state == "older" else "not answering")
        time.sleep(wait_s)
