"""Makes a backup while everything runs: one .tar.gz with mode 0600, which restore.py reads.

ledger (SQLite's backup API, or pg_dump) + uploads (hard links, so that none is deleted meanwhile) + keys, if wanted
-> manifest (revision, sha256 and size of each file), the first in the archive -> a part file with a random name
-> renamed to the path, which must be free unless `force` is given. The next backup removes the part of a killed one.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import os
import re
import secrets
import shutil
import sqlite3
import stat
import subprocess
import tarfile
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import make_url

from app.config import Settings
from app.ledger.dialect import Connection, database_errors
from app.services.instance import schema
from app.services.instance.archive import KEYS, MANIFEST, MOST_FILES, MOST_MANIFEST, NEW, UPLOAD
from app.support.disk import RESERVE_BYTES
from app.support.redaction import redact
from app.support.vault import FILE, Vault


class CannotBackup(Exception):
    """No archive was written; the text says why."""


def backup(settings: Settings, path: Path, with_keys: bool = False, force: bool = False) -> dict[str, object]:
    """Write the archive; returns its manifest. Raises CannotBackup or OSError; no archive is written then."""
    path = path.absolute()
    _require_free(settings, path, force)
    with tempfile.TemporaryDirectory(dir=settings.data_dir, prefix="backup-") as name:
        folder, vault = Path(name), Vault(settings.data_dir)
        keys = vault.lines()
        ledger, revision = _dump(settings, folder)
        members = {ledger.name: ledger} | _uploads(settings.data_dir / "uploads", folder)
        if with_keys:
            members |= {key: settings.data_dir / key for key in KEYS if (settings.data_dir / key).is_file()}
            if keys := list(dict.fromkeys([*vault.lines(), *keys])):  # a rekey may have run meanwhile
                members[FILE] = folder / FILE
                members[FILE].write_text("\n".join(keys) + "\n")
        manifest: dict[str, object] = {
            "revision": revision, "created": datetime.now(UTC).isoformat(timespec="seconds"), "ledger": ledger.name,
            "keys": with_keys, "files": {name: _sum(file) for name, file in members.items()},
            "sizes": {name: file.stat().st_size for name, file in members.items()}}
        _write(path, json.dumps(manifest, indent=1).encode(), members, force)
    return manifest


def _require_free(settings: Settings, path: Path, force: bool) -> None:
    """Raises CannotBackup before the work when the path exists (`_put` checks again) or is a file of the program."""
    if not path.parent.is_dir():
        raise CannotBackup(f"There is no folder {path.parent}.")
    if os.path.lexists(path) and not force:
        raise CannotBackup(f"{path} exists. Choose another name, or replace it with --force.")
    real, ours = path.parent.resolve() / path.name, settings.data_dir.resolve()
    own = real.is_relative_to(ours) and not real.is_relative_to(ours / "backups")
    ledger = settings.database_file.resolve()
    beside = settings.sqlite and real.parent == ledger.parent and real.name.startswith(ledger.name)
    if path.is_dir() or (os.path.lexists(path) and (own or beside)):
        raise CannotBackup(f"{path} is not replaced: it is a folder, or a file that the program itself needs.")


def _uploads(source: Path, folder: Path) -> dict[str, Path]:
    """The uploads by their names in the archive: regular files, linked so that none is deleted before it is packed."""
    found = {}
    (folder / "uploads").mkdir()
    for entry in sorted(source.iterdir()) if source.is_dir() else ():
        name, copy = f"uploads/{entry.name}", folder / "uploads" / entry.name
        with contextlib.suppress(FileNotFoundError):  # the monitor has deleted it meanwhile
            if UPLOAD.fullmatch(name) and stat.S_ISREG(entry.lstat().st_mode):
                try:
                    os.link(entry, copy, follow_symlinks=False)
                except FileNotFoundError:
                    raise
                except OSError:  # another disk, or one without links
                    shutil.copyfile(entry, copy, follow_symlinks=False)
                if stat.S_ISREG(copy.lstat().st_mode):
                    found[name] = copy
    return found


def _write(path: Path, manifest: bytes, members: dict[str, Path], force: bool) -> None:
    """Write the archive under a random name (never through a link or into an existing file), then move it to `path`."""
    if len(manifest) > MOST_MANIFEST or len(members) > MOST_FILES:
        raise CannotBackup(f"{len(members)} files are more than an archive can hold. Delete jobs with files first.")
    _remove_stale(path)
    part = path.with_name(f"{path.name}.{secrets.token_hex(8)}.part")
    try:
        with open(os.open(part, NEW, 0o600), "wb") as out:
            fcntl.flock(out, fcntl.LOCK_EX)  # shows `_remove_stale` that this backup runs
            with tarfile.open(fileobj=out, mode="w:gz") as archive:
                archive.addfile(_plain(MANIFEST, len(manifest)), io.BytesIO(manifest))
                for name, file in members.items():
                    with file.open("rb") as content:
                        archive.addfile(_plain(name, os.fstat(content.fileno()).st_size), content)
            out.flush()
            os.fsync(out.fileno())
            _put(part, path, force)
    finally:
        part.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # a file system that syncs no folders
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _put(part: Path, path: Path, force: bool) -> None:
    if force:
        part.rename(path)  # a link at the place is replaced, not followed
        return
    try:
        try:
            os.link(part, path)  # fails when somebody was there first
        except FileExistsError:
            raise
        except OSError:  # a file system without links
            os.close(os.open(path, NEW, 0o600))
            part.rename(path)
    except FileExistsError:
        raise CannotBackup(f"{path} exists. Choose another name, or replace it with --force.") from None


def _remove_stale(path: Path) -> None:
    """Remove the parts of this archive that killed backups left: regular files of this user that nobody has locked."""
    for entry in path.parent.iterdir():
        if entry.name.startswith(path.name) and re.fullmatch(r"\.[0-9a-f]{16}\.part", entry.name[len(path.name):]):
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
            with contextlib.suppress(OSError), open(os.open(entry, flags), "rb") as file:
                found = os.fstat(file.fileno())
                if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid():
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    entry.unlink()


def _plain(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o600
    return member


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _dump(settings: Settings, folder: Path) -> tuple[Path, str]:
    """A copy of the ledger in `folder`, and its revision."""
    if not settings.sqlite:
        try:
            with contextlib.closing(Connection(settings.database_url)) as connection:
                revision = schema.revision(connection)
        except database_errors() as error:
            raise CannotBackup(f"The database does not answer: {redact(str(error)).strip()}") from None
        postgres(settings, "pg_dump", "--format=custom", "--no-owner", f"--file={folder / 'ledger.pgdump'}")
        return folder / "ledger.pgdump", _known(revision)
    if not settings.database_file.is_file():
        raise CannotBackup(f"There is no database {settings.database_file} yet.")
    size = settings.database_file.stat().st_size
    if size + RESERVE_BYTES > shutil.disk_usage(folder).free:
        raise CannotBackup(f"The copy of the database needs {size // 2**20} MB on the disk of {settings.data_dir}.")
    copy = folder / "ledger.sqlite3"
    try:
        ends = sqlite3.connect(settings.database_file), sqlite3.connect(copy)
        with contextlib.closing(ends[0]) as source, contextlib.closing(ends[1]) as target:
            source.backup(target)
            target.execute("PRAGMA journal_mode=DELETE")
            return copy, _known(target.execute("SELECT version_num FROM alembic_version").fetchone()[0])
    except (sqlite3.Error, TypeError) as error:
        raise CannotBackup(f"The database cannot be copied: {error}.") from None


def _known(revision: str | None) -> str:
    if not revision:
        raise CannotBackup("The database is empty: there is nothing to back up.")
    return revision


def postgres(settings: Settings, program: str, *options: str) -> bytes:
    """Run a PostgreSQL program and return its output. The password goes through the environment, never through an
    argument. Raises CannotBackup with the last line of the program's errors."""
    url = make_url(settings.database_url)
    bare = url.set(drivername="postgresql", password=None).render_as_string(hide_password=False)
    env = os.environ | ({"PGPASSWORD": url.password} if url.password else {})
    reads = () if "--file=-" in options else (f"--dbname={bare}",)
    try:
        return subprocess.run([program, *options, *reads], check=True, env=env, capture_output=True).stdout
    except FileNotFoundError:
        raise CannotBackup(f"{program} is not installed: it comes with PostgreSQL's client programs.") from None
    except subprocess.CalledProcessError as error:
        said = redact(error.stderr.decode("utf-8", "replace").strip()).splitlines()
        raise CannotBackup(f"{program} failed: {(said or ['no reason given'])[-1]}") from None
