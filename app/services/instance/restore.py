"""Restores a stopped instance from an archive of backup.py. The archive is not trusted: anybody may have made it.

lock on DATA_DIR -> inspect (archive.py: names, kinds, sizes, checksums; nothing is written) -> unpack aside -> check
the ledger, clear its reservations, pause everything until `jobs resume --all` -> put everything in place
A damaged, forged or newer archive, or a running instance, is refused before anything is changed. A failure while files
are put in place is undone; if that fails too, the error says where the files are. The previous files stay in
DATA_DIR/backups.
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
from app.support.vault import Vault, is_key

CORE = {"jobs", "job_metrics", "job_history", "failed_jobs", "worker_heartbeats", "users", "uploads", "queues", "meta"}
OF_SEARCH = {"job_search_rows", "job_search_deleted", "job_search_updated", "job_texts_deleted", "job_texts_updated",
             "job_search_added", "job_search_renewed", "job_search_removed"}
RESTORED = Message("restored from a backup")  # stored without its JSON: an older ledger has no column for it
_PAUSE = """INSERT INTO queues (name, paused_at, paused_by, reason)
 VALUES (:name, :now, 'restore', :why)
 ON CONFLICT (name) DO UPDATE SET paused_at = excluded.paused_at, paused_until = NULL, paused_by = 'restore',
 reason = excluded.reason"""


class CannotRestore(Exception):
    """The restore was refused and nothing was changed; the text says why."""


class HalfRestored(Exception):
    """Putting the files in place failed and could not be undone; the text says where they are."""


def restore(settings: Settings, path: Path) -> dict[str, object]:
    """Put the archive in place; returns its manifest. Raises CannotRestore (nothing was changed) or HalfRestored."""
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone(settings):
            for left in settings.data_dir.glob("restore-*"):  # a killed restore left it
                shutil.rmtree(left, ignore_errors=True)
            # The ledger is unpacked beside its database, so that a rename can put it in place.
            places = settings.data_dir, _database(settings).parent
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
    """Holds the lock on DATA_DIR. Raises CannotRestore while a worker or another program of the instance runs."""
    in_use = f"DATA_DIR={settings.data_dir} is in use: stop the running instance first."
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(settings.data_dir / "lock", flags, 0o600), "r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if any(lock_state(path) == "held" for path in (settings.data_dir / "workers").glob("*.lock")):
                raise BlockingIOError
            with contextlib.suppress(FileNotFoundError), open(settings.data_dir / "run" / "alive") as alive:
                # Each running program locks it, whoever has started the program.
                fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotRestore(in_use) from None
        yield


def _database(settings: Settings) -> Path:
    """The real path of SQLite's file, links followed; DATA_DIR/ledger for PostgreSQL, which has none."""
    return settings.database_file.resolve() if settings.sqlite else settings.data_dir / "ledger"


def _unpack(settings: Settings, path: Path, folder: Path, ledger: Path) -> dict[str, object]:
    """Unpack the archive into `folder` and `ledger`, and on SQLite make the ledger ready; returns the manifest."""
    try:
        with archive.opened(path) as file:
            room = min(shutil.disk_usage(place).free for place in (folder, ledger.parent)) - RESERVE_BYTES
            contents = archive.look_through(file, room)
            revision, packed = str(contents.manifest["revision"]), contents.manifest["ledger"]
            if revision > schema.HEAD:
                raise CannotRestore("The backup was made by a newer version of this program. "
                                    "Deploy that version first.")
            if packed.endswith(".sqlite3") != settings.sqlite:
                raise CannotRestore(f"DATABASE_URL: the backup holds {packed}, which is of another kind of database.")
            (folder / "uploads").mkdir()
            places = {"uploads": folder / "uploads", packed: ledger} | {key: folder / key for key in KEYS}
            archive.unpack(file, contents, places)
    except archive.Damaged as error:
        raise CannotRestore(f"{path} is no backup of this program, or it is damaged: {error}.") from None
    key = folder / "secret-key"
    if key.exists() and not re.fullmatch(r"[\x20-\x7e]{16,}\s*", key.read_text("ascii", "replace")):
        raise CannotRestore(f"{path} is no backup of this program: its secret-key is none.")
    if not all(is_key(line) for line in Vault(folder).lines()):
        raise CannotRestore(f"{path} is no backup of this program: its connections-key is none.")
    if settings.sqlite:
        _ready(ledger, revision)
    elif revision != (found := _revision_in(settings, ledger)):
        raise CannotRestore(f"The ledger in {path} is of revision {found}, not {revision} as its manifest says.")
    return contents.manifest


def _ready(ledger: Path, revision: str) -> None:
    """Check that the file is an intact ledger of that revision, and pause it. Raises CannotRestore."""
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
            connection.execute("PRAGMA journal_mode=DELETE")  # the ledger is one file again, without WAL
    except sqlite3.Error as error:
        raise CannotRestore(f"The ledger in the backup is no database, or a damaged one: {error}.") from None


def _revision_in(settings: Settings, dump: Path) -> str:
    """The revision inside a pg_dump, read without a database; 'none' when the dump has none."""
    text = postgres(settings, "pg_restore", "--data-only", "--table=alembic_version", "--file=-", str(dump))
    found = re.search(rb"^COPY [^\n]*alembic_version [^\n]*;\n(\d{4})\n\\\.$", text, re.MULTILINE)
    return found[1].decode() if found else "none"


def _put_in_place(settings: Settings, folder: Path, ledger: Path) -> None:
    """Put everything in place, in steps after each of which the instance could start. A failing step undoes the others.

    Raises HalfRestored when that fails too, else the error of the step.
    """
    aside = settings.data_dir / "backups" / f"before-restore-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    aside.mkdir(mode=0o700, parents=True)
    undo: list[Callable[[], object]] = []

    def move(source: Path, target: Path) -> None:
        source.rename(target)
        undo.append(lambda: target.rename(source))

    def replace(source: Path, target: Path) -> None:
        """Give the old file a second name, then rename the new one over it: the target exists at every moment."""
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
            (listed := folder / "contents").write_text(_contents(settings, ledger))
            options = "--clean", "--if-exists", "--no-owner", "--single-transaction", f"--use-list={listed}"
            postgres(settings, "pg_restore", *options, str(ledger))
    except BaseException as error:
        if left := _undone(undo):
            raise HalfRestored(f"The restore failed ({error}), and {left} could not be put back. What was there before "
                               f"lies in {aside}: move it back, or restore again.") from None
        shutil.rmtree(aside, ignore_errors=True)  # it holds only second names and copies
        raise
    if not settings.sqlite:
        try:
            _pause_all(settings.database_url)
        except database_errors() as error:
            raise HalfRestored(f"The backup is in place, but not paused ({redact(str(error)).strip()}). "
                               f"Restore again before you start. What was there before lies in {aside}.") from None


def _contents(settings: Settings, dump: Path) -> str:
    """What of a pg_dump is restored: all but extensions, which may belong to another role. Where the server has no
    pg_trgm and this role may not create it, its index is left out: the search compares the texts one by one."""
    lines = postgres(settings, "pg_restore", "--list", "--file=-", str(dump)).decode("utf-8", "replace").splitlines()
    kept = [line for line in lines if not re.match(r"\d+; \d+ \d+ (COMMENT - )?EXTENSION ", line)]
    if kept != lines:
        try:
            with contextlib.closing(Connection(settings.database_url)) as connection, connection.transaction() as tx:
                tx.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        except database_errors():
            kept = [line for line in kept if " job_texts_trigram_idx " not in line]
    return "\n".join(kept)


def _undone(undo: list[Callable[[], object]]) -> str:
    """Undo the steps, the last first; returns the names of the files that could not be put back."""
    left = []
    for step in reversed(undo):
        try:
            step()
        except OSError as error:
            left.append(str(error.filename2 or error.filename))
    return ", ".join(left)


def _keep(file: Path, kept: Path) -> None:
    """Keep the file under a second name; on another disk, as a copy."""
    try:
        os.link(file, kept)
    except OSError:
        shutil.copy2(file, kept)


def _gather(database: Path) -> None:
    """Write the WAL into SQLite's file, so that the file alone is complete; a damaged database stays as it is."""
    if database.is_file():
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _pause_all(url: str) -> None:
    """Free the running jobs, as their workers are gone, end all sessions, and pause queues, schedules and alerts."""
    with contextlib.closing(Connection(url, synchronous="FULL")) as connection, connection.transaction() as tx:
        tx.execute("UPDATE jobs SET state = 'pending', worker_id = NULL, reserved_at = NULL, reserved_ms = NULL, "
                   "attempts = attempts - 1 WHERE state = 'processing'")
        tx.execute("UPDATE worker_heartbeats SET status = 'stopped', stopped_ms = :now, reason = :why "
                   "WHERE status <> 'stopped'", why=RESTORED, now=tx.now())
        tx.execute("DELETE FROM user_sessions")
        for name in QUEUES:
            tx.execute(_PAUSE, name=name, why=RESTORED, now=tx.now())
        counts.save(tx, counts.AFTER_RESTORE, True)
