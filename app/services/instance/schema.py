"""The database's revision beside the code's. Only `flask db upgrade` and `db-prepare` migrate."""

from __future__ import annotations

import logging
import sys
import time

from app.config import Settings
from app.ledger.dialect import Connection, database_errors
from app.support import error_texts

log = logging.getLogger(__name__)
CONNECT_S = 5
OLDER = "The database is not migrated yet: `bash scripts/run.sh` or `flask --app wsgi db-prepare` does it."
NEWER = "The database was made by a newer version of this program. Deploy that version, or restore a backup."
HEAD = "0013"  # newest file in migrations/versions (a test compares them); revisions are numbered in order


def revision(connection: Connection) -> str | None:
    """The database's revision; None for an empty one. Raises the driver's error when it does not answer."""
    try:
        rows = connection.fetch_all("SELECT version_num FROM alembic_version")
    except database_errors() as error:
        if error_texts.kind_of(error) is None and ("no such table" in str(error) or "does not exist" in str(error)):
            return None  # a role or database that does not exist is another matter
        raise
    return rows[0][0] if rows else None


def look(settings: Settings) -> tuple[str, str]:
    """'current', 'older', 'newer' or 'down', and for the last three a sentence that says what to do, in the driver's
    own words."""
    if settings.sqlite and not settings.database_file.exists():
        return "older", OLDER
    url = settings.database_url
    if not settings.sqlite and "connect_timeout" not in url:
        url += f"{'&' if '?' in url else '?'}connect_timeout={CONNECT_S}"  # a host that is off is silent for 2 minutes
    connection = Connection(url, wait_s=2)
    try:
        found = revision(connection)
    except database_errors() as error:
        return "down", error_texts.sentence(error)
    finally:
        connection.close()
    if found == HEAD:
        return "current", ""
    return ("newer", NEWER) if (found or "") > HEAD else ("older", OLDER)


def check(settings: Settings) -> str:
    """'current', 'older', 'newer' or 'down'."""
    return look(settings)[0]


def wait_until_current(settings: Settings, wait_s: float = 1.0) -> None:
    """Wait with one line while the database is older or out of reach; exit with one line when it is newer."""
    said = None
    while (found := look(settings))[0] != "current":
        if found[0] == "newer":
            sys.exit(NEWER)
        if said != found:
            said = found
            log.warning("waiting: %s", found[1])
        time.sleep(wait_s)
