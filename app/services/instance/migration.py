"""Migrates the database: a backup first, then one transaction, on SQLite with foreign keys off and checked before the
COMMIT.

Callers are `db-prepare` (in run.sh, which holds the lock on DATA_DIR) and `flask db upgrade`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from flask import current_app
from flask_migrate import upgrade

from app.config import ROOT, Settings
from app.services.instance import schema

KEEP = 5


class CannotMigrate(Exception):
    """The database stays as it was; the text is one line that says why and what to do."""


def prepare(settings: Settings) -> str:
    """Bring the database to the code's revision; returns a line that says what was done. Raises CannotMigrate."""
    state, why = schema.look(settings)
    if state == "current":
        return f"database is at revision {schema.HEAD}"
    if state in ("newer", "down"):
        raise CannotMigrate(why)
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    kept = backup(settings) if settings.sqlite and settings.database_file.exists() else None
    current_app.extensions["migration_guarded"] = True  # the launcher holds the lock, the backup is made
    try:
        upgrade(directory=str(ROOT / "migrations"))
    except SystemExit:
        saved = f"; backup: {kept}" if kept else ""
        raise CannotMigrate(f"The migration failed and nothing was changed{saved}. See the log above.") from None
    return f"database migrated to revision {schema.HEAD}" + (f", backup in {kept}" if kept else "")


@contextlib.contextmanager
def guarded(settings: Settings) -> Iterator[None]:
    """Guards a `flask db upgrade` by hand: takes the lock on DATA_DIR and makes a backup. Raises SystemExit while an
    instance runs there."""
    if current_app.extensions.get("migration_guarded"):
        yield
        return
    with open(os.open(settings.data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SystemExit(f"DATA_DIR={settings.data_dir} is in use: stop the running instance first.") from None
        if settings.sqlite and settings.database_file.exists():
            backup(settings)
        yield


def backup(settings: Settings) -> Path:
    """Copy the SQLite database with the backup API into DATA_DIR/backups, where the newest five stay; returns the
    path."""
    folder = settings.data_dir / "backups"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"before-migration-{datetime.now(UTC):%Y%m%dT%H%M%S%f}.sqlite3"
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    ends = sqlite3.connect(settings.database_file), sqlite3.connect(path)
    with contextlib.closing(ends[0]) as source, contextlib.closing(ends[1]) as target:
        source.backup(target)
    for old in sorted(folder.glob("before-migration-*.sqlite3"))[:-KEEP]:
        old.unlink()
    return path
