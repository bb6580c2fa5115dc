"""An archive that nobody vouches for: looked through whole before a byte of it is written, then unpacked by name.

Members are regular files with the names below, each once, each with the size and sha256 of the manifest. Nothing else
of an archive is used: no mode, no owner, no time, no link. Bytes are counted as they are unzipped; a header that wants
more than 1 MB at a time is refused (a pax header is read whole by tarfile), as is what does not fit on the disk.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

MANIFEST = "manifest.json"
LEDGERS = ("ledger.sqlite3", "ledger.pgdump")
KEYS = ("secret-key",)
UPLOAD = re.compile(r"uploads/(up_[0-9a-f]{32})")
CHUNK, MOST_READ, MOST_MANIFEST = 256 * 1024, 2**20, 32 * 2**20  # a manifest of 32 MB names 190,000 uploads
MOST_KEY, MOST_FILES = 4096, 400_000
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_BROKEN = (OSError, EOFError, tarfile.TarError, zlib.error, ValueError, OverflowError, RecursionError, LookupError,
           TypeError)


class Damaged(Exception):
    """It is no archive of ours; the text says why."""


@dataclass(frozen=True)
class Contents:
    """What an archive holds: its manifest, and the size of each file by name (the manifest's own not among them)."""

    manifest: dict[str, Any]
    sizes: dict[str, int]

    @property
    def ledger(self) -> str:
        return self.manifest["ledger"]


class _Unzipped:
    """A gzip file as tarfile reads it: forward only, and never more than 1 MB at a time."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._zip, self._raw, self._at = file, zlib.decompressobj(31), b"", 0

    def tell(self) -> int:
        return self._at

    def seek(self, to: int, _whence: int = 0) -> int:
        if to < self._at:
            raise Damaged("its parts overlap")
        while self._at < to and self.read(min(to - self._at, CHUNK)):
            pass
        return self._at

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MOST_READ:
            raise Damaged(f"a header of {size} bytes")
        pieces = []
        while size and not self._zip.eof:
            data = self._raw or self._file.read(CHUNK)
            piece = self._zip.decompress(data, size)
            if not data and not piece:
                raise EOFError("it ends early")
            self._raw = self._zip.unconsumed_tail
            pieces.append(piece)
            size -= len(piece)
            self._at += len(piece)
        return b"".join(pieces)


@contextmanager
def _understood() -> Iterator[None]:
    """What tarfile, zlib and json raise for bytes they do not understand becomes Damaged; a disk's error stays."""
    try:
        yield
    except _BROKEN as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise Damaged(str(error) or type(error).__name__) from None


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The archive's file. Raises Damaged for what is no regular file (a pipe may never end)."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise Damaged("it is no regular file")
        yield file


@_understood()
def look_through(file: BinaryIO, room: int) -> Contents:
    """Read all of it, write nothing; `room`: bytes that may be unpacked. Raises Damaged."""
    sums: dict[str, str] = {}
    sizes: dict[str, int] = {}
    manifest: dict[str, Any] = {}
    total = 0
    for name, size, content in _members(file):
        if name in sums or (name == MANIFEST and manifest):
            raise Damaged(f"{name} is in it twice")
        if name == MANIFEST:
            manifest = _manifest(content, size)
            continue
        if manifest and (name not in manifest["files"] or manifest["sizes"].get(name, size) != size):
            raise Damaged(f"{name} does not have the size and checksum of its manifest")
        total += size
        if total > room or len(sums) >= MOST_FILES:
            free = max(room, 0) // 2**20
            raise Damaged(f"it unpacks to more than fits: {free} MB are free, {MOST_FILES} files are read")
        sums[name], sizes[name] = copy(content, None), size
    if not manifest:
        raise Damaged("it has no manifest")
    for name in {*manifest["files"], *sums}:
        if name not in sums or sums[name] != manifest["files"].get(name):
            raise Damaged(f"{name} does not have the checksum it was packed with")
        if manifest["sizes"].get(name, sizes[name]) != sizes[name]:
            raise Damaged(f"{name} does not have the size and checksum of its manifest")
    return Contents(manifest, sizes)


@_understood()
def unpack(file: BinaryIO, contents: Contents, places: dict[str, Path]) -> None:
    """Write each file into its place (new, 0600); `places` by name, for uploads one folder under `uploads`. Raises
    Damaged when the archive is no longer what was looked through, OSError when the disk fails."""
    for name, size, content in _members(file):
        if name == MANIFEST:
            continue
        if size != contents.sizes.get(name):
            raise Damaged("it was changed meanwhile")
        upload = UPLOAD.fullmatch(name)
        place = places["uploads"] / upload[1] if upload else places[name]
        with open(os.open(place, NEW, 0o600), "wb") as out:
            if copy(content, out) != contents.manifest["files"][name]:
                raise Damaged("it was changed meanwhile")
            if name in LEDGERS:
                out.flush()
                os.fsync(out.fileno())


def copy(source: BinaryIO, out: BinaryIO | None) -> str:
    """Copy all that is read from `source`; returns its sha256."""
    digest = hashlib.sha256()
    while chunk := source.read(CHUNK):
        digest.update(chunk)
        if out is not None:
            out.write(chunk)
    return digest.hexdigest()


def _members(file: BinaryIO) -> Iterator[tuple[str, int, BinaryIO]]:
    """Name, size and content of each member, read before the next; raises Damaged for one that may not be in it."""
    file.seek(0)
    with tarfile.open(fileobj=_Unzipped(file), mode="r:") as archive:  # type: ignore[arg-type]
        while (member := archive.next()) is not None:
            archive.members = []  # it would keep them all
            name = member.name
            if name == "uploads" and member.type == tarfile.DIRTYPE:
                continue  # of somebody who has packed it again; nothing is made of it
            if not (name in (MANIFEST, *LEDGERS, *KEYS) or UPLOAD.fullmatch(name)):
                raise Damaged(f"{name[:80]!r} is no name of a backup")
            if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse() or member.size < 0:
                raise Damaged(f"{name} is no regular file")
            if name in KEYS and member.size > MOST_KEY:
                raise Damaged(f"{name} is too large")
            yield name, member.size, archive.extractfile(member)  # type: ignore[misc]


def _manifest(content: BinaryIO, size: int) -> dict[str, Any]:
    if size > MOST_MANIFEST:
        raise Damaged(f"a manifest of {size // 2**20} MB")
    given = json.loads(content.read())
    files, sizes = given["files"], given.get("sizes", {})
    good = (
        isinstance(files, dict) and isinstance(sizes, dict) and given["ledger"] in LEDGERS and given["ledger"] in files
        and all(isinstance(s, str) and re.fullmatch(r"[0-9a-f]{64}", s) for s in files.values())
        and all(isinstance(n, int) for n in sizes.values()) and re.fullmatch(r"\d{4}", str(given["revision"]))
    )
    if not good or len(set(files) & set(LEDGERS)) != 1:
        raise Damaged("its manifest is none of ours")
    created = datetime.fromisoformat(given["created"]).isoformat(timespec="seconds")
    return {"files": files, "sizes": sizes, "ledger": given["ledger"], "revision": given["revision"],
            "created": created, "keys": bool(given.get("keys"))}
