"""Migrating under SAFETY: backup first, foreign keys off on SQLite, one transaction, checked before COMMIT.

Only run.sh (under the lock on DATA_DIR) and `flask db upgrade` come here.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import flask_migrate
from flask import current_app

from app.config import ROOT, Settings
from app.services.instance import schema

KEEP = 5


class CannotMigrate(Exception):
    """The database stays as it was; the text is one line that says why and what to do."""


def prepare(settings: Settings) -> str:
    """Bring the database to the code's revision; returns one line that says what was done."""
    state, why = schema.look(settings)
    if state == "current":
        return f"database is at revision {schema.HEAD}"
    if state in ("newer", "down"):
        raise CannotMigrate(why)
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    kept = backup(settings) if settings.sqlite and settings.database_file.exists() else None
    current_app.extensions["migration_guarded"] = True  # the launcher holds the lock, the backup is made
    try:
        flask_migrate.upgrade(directory=str(ROOT / "migrations"))
    except SystemExit:
        raise CannotMigrate(f"The migration failed and nothing was changed{f'; backup: {kept}' if kept else ''}. See the log above.") from None
    return f"database migrated to revision {schema.HEAD}" + (f", backup in {kept}" if kept else "")


@contextlib.contextmanager
def guarded(settings: Settings) -> Iterator[None]:
    """What `flask db upgrade` by hand needs as well: nobody else running on this DATA_DIR, and a backup first."""
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
    """Copy the SQLite database by the backup API into DATA_DIR/backups; the newest five are kept."""
    folder = settings.data_dir / "backups"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"before-migration-{datetime.now(UTC):%Y%m%dT%H%M%S%f}.sqlite3"
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    source, target = sqlite3.connect(settings.database_file), sqlite3.connect(path)
    try:
        source.backup(target)
    finally:
        source.close()
        target.close()
    for old in sorted(folder.glob("before-migration-*.sqlite3"))[:-KEEP]:
        old.unlink()
    return path
