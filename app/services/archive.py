"""Backup while everything runs, and restore of a stopped instance.

backup:  ledger (SQLite's backup API, or pg_dump) + uploads + manifest (revision, sha256 of each file) -> one .tar.gz, 0600
restore: lock on DATA_DIR -> unpack -> check sums and revision -> put aside what was there -> put in place
         -> clear reservations -> everything paused until `jobs resume --all`
Failure cases: killed in the middle of a backup (a temporary name, renamed at the end); a damaged or newer archive, or a
running instance (refused before anything is touched). Keys are in the archive only when asked for.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import tarfile
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import make_url

from app.config import QUEUES, Settings
from app.ledger import counts
from app.ledger.dialect import Connection
from app.services import schema

KEYS = ("secret-key",)
PAUSED = "paused_after_restore"


class CannotRestore(Exception):
    """Nothing was changed; the text says why."""


def backup(settings: Settings, path: Path, with_keys: bool = False) -> dict[str, object]:
    """Write the archive; returns its manifest. Raises OSError or CalledProcessError."""
    with tempfile.TemporaryDirectory(dir=settings.data_dir, prefix="backup-") as name:
        folder = Path(name)
        ledger = _dump(settings, folder)
        members = {ledger.name: ledger}
        for file in sorted((settings.data_dir / "uploads").glob("up_*")):
            members[f"uploads/{file.name}"] = file
        if with_keys:
            members |= {key: settings.data_dir / key for key in KEYS if (settings.data_dir / key).exists()}
        connection = Connection(settings.database_url)
        manifest = {"revision": schema.revision(connection), "created": datetime.now(UTC).isoformat(timespec="seconds"), "ledger": ledger.name,
                    "keys": with_keys, "files": {}}
        connection.close()
        part = path.with_name(path.name + ".part")
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            with tarfile.open(fileobj=out, mode="w:gz") as archive:
                for name, file in members.items():
                    try:
                        copy = folder / "copy"
                        shutil.copyfile(file, copy)  # swept or changed meanwhile: what is summed is what is packed
                    except FileNotFoundError:
                        continue
                    manifest["files"][name] = _sum(copy)
                    archive.add(copy, name, filter=_plain)
                (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))
                archive.add(folder / "manifest.json", "manifest.json", filter=_plain)
            out.flush()
            os.fsync(out.fileno())
        part.rename(path)
    return manifest


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _dump(settings: Settings, folder: Path) -> Path:
    if settings.sqlite:
        source, target = sqlite3.connect(settings.database_file), sqlite3.connect(folder / "ledger.sqlite3")
        try:
            source.backup(target)
            target.execute("PRAGMA journal_mode=DELETE")
        finally:
            source.close()
            target.close()
        return folder / "ledger.sqlite3"
    _postgres(settings, "pg_dump", "--format=custom", "--no-owner", f"--file={folder / 'ledger.pgdump'}")
    return folder / "ledger.pgdump"


def _postgres(settings: Settings, program: str, *options: str) -> None:
    """Run a PostgreSQL program; the password goes through the environment, never through an argument."""
    url = make_url(settings.database_url)
    bare = url.set(drivername="postgresql", password=None).render_as_string(hide_password=False)
    env = os.environ | ({"PGPASSWORD": url.password} if url.password else {})
    subprocess.run([program, *options, f"--dbname={bare}"], check=True, env=env)


def restore(settings: Settings, path: Path) -> dict[str, object]:
    """Put the archive in place; returns its manifest. Raises CannotRestore before anything is touched."""
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(os.open(settings.data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CannotRestore(f"DATA_DIR={settings.data_dir} is in use: stop the running instance first.") from None
        with tempfile.TemporaryDirectory(dir=settings.data_dir, prefix="restore-") as name:
            manifest = _unpack(settings, path, Path(name))
            _put_in_place(settings, Path(name), manifest)
        _pause_all(settings)
    return manifest


def _unpack(settings: Settings, path: Path, folder: Path) -> dict[str, object]:
    try:
        with tarfile.open(path, "r:gz") as archive:
            archive.extractall(folder, filter="data")
        manifest = json.loads((folder / "manifest.json").read_text())
        files, revision, ledger = dict(manifest["files"]), str(manifest["revision"]), str(manifest["ledger"])
    except (OSError, EOFError, tarfile.TarError, ValueError, KeyError, TypeError) as error:
        raise CannotRestore(f"{path} is no backup of this program, or it is damaged ({error}).") from None
    for name, digest in files.items():
        if not (folder / name).is_file() or _sum(folder / name) != digest:
            raise CannotRestore(f"{path} is damaged: {name} does not have the checksum it was packed with.")
    if revision > schema.HEAD:
        raise CannotRestore("The backup was made by a newer version of this program. Deploy that version first.")
    if ledger not in files or ledger.endswith(".sqlite3") != settings.sqlite:
        raise CannotRestore(f"DATABASE_URL: the backup holds {ledger}, which is of another kind of database.")
    return manifest


def _put_in_place(settings: Settings, folder: Path, manifest: dict[str, object]) -> None:
    aside = settings.data_dir / "backups" / f"before-restore-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    aside.mkdir(mode=0o700, parents=True)
    if settings.sqlite:
        for suffix in ("", "-wal", "-shm"):
            old = settings.database_file.with_name(settings.database_file.name + suffix)
            if old.exists():
                old.rename(aside / old.name)
        (folder / str(manifest["ledger"])).rename(settings.database_file)
    else:
        _postgres(settings, "pg_restore", "--clean", "--if-exists", "--no-owner", "--single-transaction", str(folder / str(manifest["ledger"])))
    if (settings.data_dir / "uploads").exists():
        (settings.data_dir / "uploads").rename(aside / "uploads")
    (folder / "uploads").mkdir(exist_ok=True)
    (folder / "uploads").rename(settings.data_dir / "uploads")
    for key in KEYS:
        if (folder / key).exists():
            if (settings.data_dir / key).exists():
                (settings.data_dir / key).rename(aside / key)
            (folder / key).rename(settings.data_dir / key)


def _pause_all(settings: Settings) -> None:
    """No worker of that time lives: rows go back to waiting; queues are paused, schedules and alerts rest until resumed."""
    connection = Connection(settings.database_url, synchronous="FULL")
    with connection.transaction() as run:
        run.run("UPDATE jobs SET state = 'pending', worker_id = NULL, reserved_at = NULL, reserved_ms = NULL, attempts = attempts - 1 "
                "WHERE state = 'processing'")
        run.run("UPDATE worker_heartbeats SET status = 'stopped', stopped_ms = :now, reason = 'restored from a backup' WHERE status <> 'stopped'",
                now=run.now())
        run.run("DELETE FROM user_sessions")
        for name in QUEUES:
            run.run("INSERT INTO queues (name, paused_at, paused_by, reason) VALUES (:name, :now, 'restore', 'restored from a backup') "
                    "ON CONFLICT (name) DO UPDATE SET paused_at = excluded.paused_at, paused_until = NULL, paused_by = 'restore', "
                    "reason = excluded.reason", name=name, now=run.now())
        counts.save(run, PAUSED, True)
    connection.close()


def rests(run: object) -> bool:
    """Whether schedules and alerts rest since a restore."""
    kept = counts.load(run, PAUSED)  # type: ignore[arg-type]
    return kept is not None and bool(kept[0])
