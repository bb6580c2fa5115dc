"""Restore of a stopped instance from what backup.py wrote, here or elsewhere: by anybody.

lock on DATA_DIR -> look through (packed.py: names, kinds, sizes, checksums; nothing is written) -> unpack aside
-> the ledger is opened, checked, its reservations cleared, everything paused until `jobs resume --all` -> put in place
A damaged, forged or newer archive, or a running instance, is refused before anything is touched; a failure while
putting in place is undone, or says what is where. What was there before lies in DATA_DIR/backups.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from app.config import QUEUES, Settings
from app.ledger import counts
from app.ledger.dialect import Connection, database_errors
from app.models import Upload
from app.services.instance import archive, schema
from app.services.instance.archive import KEYS
from app.services.instance.backup import CannotBackup, postgres
from app.support.disk import RESERVE_BYTES
from app.support.messages import Message
from app.support.process import lock_state
from app.support.redaction import redact

CORE = {"jobs", "job_metrics", "job_history", "failed_jobs", "worker_heartbeats", "users", "uploads", "queues", "meta"}
OF_SEARCH = {"job_search_rows", "job_search_deleted", "job_search_updated"}
RESTORED = Message("restored from a backup")  # without its JSON: the ledger may be of a version that has no such column
_PAUSE = """INSERT INTO queues (name, paused_at, paused_by, reason)
 VALUES (:name, :now, 'restore', :why)
 ON CONFLICT (name) DO UPDATE SET paused_at = excluded.paused_at, paused_until = NULL, paused_by = 'restore',
 reason = excluded.reason"""


class CannotRestore(Exception):
    """Nothing was changed; the text says why."""


class HalfRestored(Exception):
    """Putting in place failed and could not be undone; the text says what is where."""


def restore(settings: Settings, path: Path) -> dict[str, object]:
    """Put the archive in place; returns its manifest. Raises CannotRestore (nothing was changed) or HalfRestored."""
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone(settings):
            for left in settings.data_dir.glob("restore-*"):  # of a restore that was killed
                shutil.rmtree(left, ignore_errors=True)
            places = settings.data_dir, _database(settings).parent  # of the ledger: a rename puts it in place then
            aside = [tempfile.TemporaryDirectory(dir=place, prefix="restore-") for place in places]
            with aside[0] as name, aside[1] as beside:
                folder, ledger = Path(name), Path(beside) / "ledger"
                manifest = _unpack(settings, path, folder, ledger)
                _put_in_place(settings, folder, ledger)
            return manifest
    except (OSError, CannotBackup) as error:
        raise CannotRestore(f"Nothing was changed: {error}") from None


@contextlib.contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """The lock on DATA_DIR, and no worker at work in it."""
    in_use = f"DATA_DIR={settings.data_dir} is in use: stop the running instance first."
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(settings.data_dir / "lock", flags, 0o600), "r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CannotRestore(in_use) from None
        if any(lock_state(held) == "held" for held in (settings.data_dir / "workers").glob("*.lock")):
            raise CannotRestore(in_use)
        with contextlib.suppress(FileNotFoundError), open(settings.data_dir / "run" / "alive") as alive:
            try:  # each program that runs holds it, whoever has started it
                fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise CannotRestore(in_use) from None
        yield


def _database(settings: Settings) -> Path:
    """Where the ledger's file really is; DATA_DIR/ledger where it has none."""
    return settings.database_file.resolve() if settings.sqlite else settings.data_dir / "ledger"


def _unpack(settings: Settings, path: Path, folder: Path, ledger: Path) -> dict[str, object]:
    """Everything aside, the ledger ready to be used (on SQLite)."""
    try:
        with archive.opened(path) as file:
            room = min(shutil.disk_usage(place).free for place in (folder, ledger.parent)) - RESERVE_BYTES
            contents = archive.look_through(file, room)
            revision = str(contents.manifest["revision"])
            if revision > schema.HEAD:
                raise CannotRestore("The backup was made by a newer version of this program. "
                                    "Deploy that version first.")
            if contents.ledger.endswith(".sqlite3") != settings.sqlite:
                raise CannotRestore(f"DATABASE_URL: the backup holds {contents.ledger}, "
                                    "which is of another kind of database.")
            (folder / "uploads").mkdir()
            places = {"uploads": folder / "uploads", contents.ledger: ledger} | {key: folder / key for key in KEYS}
            archive.unpack(file, contents, places)
    except archive.Damaged as error:
        raise CannotRestore(f"{path} is no backup of this program, or it is damaged: {error}.") from None
    key = folder / "secret-key"
    if key.exists() and not re.fullmatch(r"[\x20-\x7e]{16,}\s*", key.read_text("ascii", "replace")):
        raise CannotRestore(f"{path} is no backup of this program: its secret-key is none.")
    if settings.sqlite:
        _ready(ledger, revision)
    elif revision != (found := _revision_in(settings, ledger)):
        raise CannotRestore(f"The ledger in {path} is of revision {found}, not {revision} as its manifest says.")
    return contents.manifest


def _ready(ledger: Path, revision: str) -> None:
    """Check that the file is a ledger of that revision, whole, and pause it. Raises CannotRestore."""
    try:
        with contextlib.closing(sqlite3.connect(ledger)) as connection:
            connection.execute("PRAGMA trusted_schema=OFF")
            connection.execute("PRAGMA cell_size_check=ON")
            objects = connection.execute("SELECT type, name FROM sqlite_master").fetchall()
            tables = {name for kind, name in objects if kind == "table"}
            strange = {name for kind, name in objects if kind in ("trigger", "view")} - OF_SEARCH
            missing = (set(Upload.metadata.tables) if revision == schema.HEAD else CORE) - tables
            missing |= {"alembic_version"} - tables
            found = [] if missing else connection.execute("SELECT version_num FROM alembic_version").fetchall()
            if found != [(revision,)] or missing or strange:
                raise CannotRestore(f"The ledger in the backup is not one of revision {revision}: other contents.")
            if (said := connection.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
                raise CannotRestore(f"The ledger in the backup is damaged: {said}.")
            connection.execute("PRAGMA journal_mode=DELETE")
        _pause_all(f"sqlite:///{ledger}")
        with contextlib.closing(sqlite3.connect(ledger)) as connection:
            connection.execute("PRAGMA journal_mode=DELETE")  # one file again
    except sqlite3.Error as error:
        raise CannotRestore(f"The ledger in the backup is no database, or a damaged one: {error}.") from None


def _revision_in(settings: Settings, dump: Path) -> str:
    """The revision inside a pg_dump, without a database."""
    text = postgres(settings, "pg_restore", "--data-only", "--table=alembic_version", "--file=-", str(dump))
    found = re.search(rb"^COPY [^\n]*alembic_version [^\n]*;\n(\d{4})\n\\\.$", text, re.MULTILINE)
    return found[1].decode() if found else "none"


def _put_in_place(settings: Settings, folder: Path, ledger: Path) -> None:
    """Each step leaves something that starts; one that fails undoes those before it."""
    aside = settings.data_dir / "backups" / f"before-restore-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    aside.mkdir(mode=0o700, parents=True)
    undo: list[Callable[[], object]] = []

    def move(source: Path, target: Path) -> None:
        source.rename(target)
        undo.append(lambda: target.rename(source))

    def replace(source: Path, target: Path) -> None:
        """The old one is kept under a second name first, so there is no moment without one."""
        kept = aside / target.name
        if target.exists():
            _keep(target, kept)
            undo.append(lambda: kept.replace(target))
        else:
            undo.append(lambda: target.unlink(missing_ok=True))
        source.replace(target)

    try:
        if (settings.data_dir / "uploads").exists():
            move(settings.data_dir / "uploads", aside / "uploads")
        move(folder / "uploads", settings.data_dir / "uploads")
        for key in KEYS:
            if (folder / key).exists():
                replace(folder / key, settings.data_dir / key)
        if settings.sqlite:
            database = _database(settings)
            _gather(database)
            for suffix in ("-wal", "-shm"):
                if (beside := database.with_name(database.name + suffix)).exists():
                    _keep(beside, aside / beside.name)
                    beside.unlink()
                    undo.append(lambda beside=beside: (aside / beside.name).rename(beside))
            replace(ledger, database)
        else:
            options = "--clean", "--if-exists", "--no-owner", "--single-transaction"
            postgres(settings, "pg_restore", *options, str(ledger))
    except BaseException as error:
        if left := _undone(undo):
            raise HalfRestored(f"The restore failed ({error}), and {left} could not be put back. What was there before "
                               f"lies in {aside}: move it back, or restore again.") from None
        shutil.rmtree(aside, ignore_errors=True)  # second names and copies only
        raise
    if not settings.sqlite:
        try:
            _pause_all(settings.database_url)
        except database_errors() as error:
            raise HalfRestored(f"The backup is in place, but not paused ({redact(str(error)).strip()}). "
                               f"Restore again before you start. What was there before lies in {aside}.") from None


def _undone(undo: list[Callable[[], object]]) -> str:
    """Take back what was done, the last first; returns what could not be."""
    left = []
    for step in reversed(undo):
        try:
            step()
        except OSError as error:
            left.append(str(error.filename2 or error.filename))
    return ", ".join(left)


def _keep(file: Path, kept: Path) -> None:
    """The same file under a second name; on another disk, a copy."""
    try:
        os.link(file, kept)
    except OSError:
        shutil.copy2(file, kept)


def _gather(database: Path) -> None:
    """What is in the WAL into the file, so that the file alone is whole; a damaged one stays as it is."""
    if database.is_file():
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _pause_all(url: str) -> None:
    """No worker of that time lives: rows go back to waiting; queues are paused, schedules and alerts rest until
    resumed."""
    connection = Connection(url, synchronous="FULL")
    try:
        with connection.transaction() as tx:
            tx.execute("UPDATE jobs SET state = 'pending', worker_id = NULL, reserved_at = NULL, reserved_ms = NULL, "
                    "attempts = attempts - 1 WHERE state = 'processing'")
            tx.execute("UPDATE worker_heartbeats SET status = 'stopped', stopped_ms = :now, "
                       "reason = :why WHERE status <> 'stopped'", why=RESTORED, now=tx.now())
            tx.execute("DELETE FROM user_sessions")
            for name in QUEUES:
                tx.execute(_PAUSE, name=name, why=RESTORED, now=tx.now())
            counts.save(tx, counts.AFTER_RESTORE, True)
    finally:
        connection.close()
