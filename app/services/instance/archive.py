"""Reads an untrusted archive: inspects all of it before a byte is written, then unpacks the files by name.

Members are regular files with the names below, each once, each with the size and sha256 of the manifest. Nothing else
of an archive is used: no mode, owner, time or link. Bytes are counted while they are unzipped, and an archive that does
not fit on the disk is refused. A header of more than 1 MB is refused too, because tarfile reads a pax header whole.
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
KEYS = ("secret-key", "connections-key")
UPLOAD = re.compile(r"uploads/(up_[0-9a-f]{32})")
CHUNK, MOST_READ, MOST_MANIFEST = 256 * 1024, 2**20, 32 * 2**20  # a manifest of 32 MB names 190,000 uploads
MOST_KEY, MOST_FILES = 4096, 400_000
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_BROKEN = (OSError, EOFError, tarfile.TarError, zlib.error, ValueError, OverflowError, RecursionError, LookupError,
           TypeError)


class Damaged(Exception):
    """The archive is damaged or no backup of this program; the text says why."""


@dataclass(frozen=True)
class Contents:
    """The content of an archive: its manifest (`ledger` is one of LEDGERS), and the size in bytes of each other file by
    name."""

    manifest: dict[str, Any]
    sizes: dict[str, int]


class _Unzipped:
    """A gzip file for tarfile, which reads it forward only and at most 1 MB at a time. Raises Damaged otherwise."""

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
    """Raises Damaged for an error of tarfile, zlib or json about the bytes; an error of the disk stays an OSError."""
    try:
        yield
    except _BROKEN as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise Damaged(str(error) or type(error).__name__) from None


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The archive's open file. Raises Damaged when it is no regular file, as a pipe may never end."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise Damaged("it is no regular file")
        yield file


@_understood()
def look_through(file: BinaryIO, room: int) -> Contents:
    """Read all of the archive and write nothing; `room` is the number of bytes that may be unpacked. Raises Damaged."""
    sums, sizes, manifest, total = {}, {}, {}, 0
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
    """Write each file to its place, a new file with mode 0600; `places` has a path by name and the folder of `uploads`.

    Raises Damaged when the archive has changed since `look_through`, OSError when the disk fails.
    """
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
    """Read `source` to its end and copy it to `out`, if given; returns the sha256 in hex."""
    digest = hashlib.sha256()
    while chunk := source.read(CHUNK):
        digest.update(chunk)
        if out is not None:
            out.write(chunk)
    return digest.hexdigest()


def _members(file: BinaryIO) -> Iterator[tuple[str, int, BinaryIO]]:
    """Name, size and content of each member; a content must be read before the next one. Raises Damaged for a member
    that no backup has."""
    file.seek(0)
    with tarfile.open(fileobj=_Unzipped(file), mode="r:") as archive:  # type: ignore[arg-type]
        while (member := archive.next()) is not None:
            archive.members = []  # tarfile would keep all members in memory
            name = member.name
            if name == "uploads" and member.type == tarfile.DIRTYPE:
                continue  # somebody has packed the archive again; the folder is not used
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
        and all(isinstance(n, int) for n in sizes.values()) and re.fullmatch(r"\d{4}", str(given["revision"])))
    if not good or len(set(files) & set(LEDGERS)) != 1:
        raise Damaged("its manifest is none of ours")
    created = datetime.fromisoformat(given["created"]).isoformat(timespec="seconds")
    return {"files": files, "sizes": sizes, "ledger": given["ledger"], "revision": given["revision"],
            "created": created, "keys": bool(given.get("keys"))}
