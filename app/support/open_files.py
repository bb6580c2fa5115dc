"""Protects the files of SQLite in a worker, whose jobs can do anything with file descriptors; and shrinks the WAL.

SQLite writes to descriptors by number. When a job closes or replaces them (`os.closerange`, a library that makes a
daemon), SQLite writes database pages into the job's own files; an empty file in place of the database loses the WAL. So
before each transaction a worker checks that its descriptors are still its files (2 microseconds). If not, it ends at
once, before another statement runs.

A job can open a connection of its own and leave a transaction open. This holds the write lock against everybody, also
against the worker's own settle. `holds_write_lock` tells this case from a lock of another process.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import sqlite3
import struct
import time
from typing import Any

WAL_BYTES = 64 * 2**20  # SQLite cuts a larger WAL to this size
GONE = 78  # exit code of a worker whose files were closed or replaced
_FLOCK = struct.Struct("@hhqqi")
_WRITE_LOCK = 120  # byte of the -shm file: UNIX_SHM_BASE + WAL_WRITE_LOCK in SQLite's os_unix.c and wal.c
_kept: dict[str, int] = {}  # never closed, as a close frees all locks of the process on the file


class OpenFiles:
    """The descriptors of one connection; made before the connection is opened."""

    def __init__(self, path: str) -> None:
        self.paths = {os.path.realpath(path) + end for end in ("", "-wal", "-shm")}
        self._before = self._all()
        self._mine: list[tuple[int, int, int]] = []

    def _all(self) -> set[int]:
        found = set()
        for entry in os.scandir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
            try:
                if os.readlink(entry.path) in self.paths:
                    found.add(int(entry.name))
            except OSError:
                continue
        return found

    def opened(self) -> None:
        """Call after opening the connection: descriptors that are new since `__init__` belong to it."""
        found = ((number, os.fstat(number)) for number in self._all() - self._before)
        self._mine = [(number, stat.st_dev, stat.st_ino) for number, stat in found]

    def check(self) -> None:
        """End the process with exit code 78, without calling SQLite, when a descriptor is no longer the same file."""
        for number, device, inode in self._mine:
            try:
                found = os.fstat(number)
            except OSError:
                found = None
            if found is None or (found.st_dev, found.st_ino) != (device, inode):
                os.write(2, b"A job has closed or replaced the files of the database in this worker: it ends.\n")
                os._exit(GONE)


def holds_write_lock(path: str) -> bool:
    """Whether this process holds SQLite's write lock, watched for 50 ms. Valid only after SQLite has answered
    "locked"."""
    if path not in _kept:
        try:
            _kept[path] = os.open(path + "-shm", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
    for _ in range(10):
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _WRITE_LOCK, 1, 0)
        if _FLOCK.unpack(fcntl.fcntl(_kept[path], fcntl.F_GETLK, asked))[0] != fcntl.F_UNLCK:
            return False  # F_GETLK never reports own locks, so another process holds it
        time.sleep(0.005)
    return True


def roll_back_others(ours: set[int]) -> int:
    """Roll back the transactions of all sqlite3 connections whose `id()` is not in `ours`; returns how many."""
    done = 0
    for thing in gc.get_objects():
        if type(thing) is sqlite3.Connection and id(thing) not in ours:
            try:
                if thing.in_transaction:
                    thing.rollback()
                    done += 1
            except sqlite3.Error:
                continue  # it belongs to another thread, or is closed
    return done


def shrink_wal(connection: Any, file: str) -> bool:
    """Truncate SQLite's WAL when it is over 125 % of its limit, as after a long reader; returns whether it did.

    A passive checkpoint first copies the content while writers go on. The truncation blocks writers, but only if nobody
    reads, and only for the rest (0.3 s after 356 MB).
    """
    with contextlib.suppress(OSError):
        if connection.sqlite and os.path.getsize(f"{file}-wal") > WAL_BYTES * 5 // 4:
            _busy, pages, copied = connection.fetch_all("PRAGMA wal_checkpoint(PASSIVE)")[0]
            return copied == pages and connection.fetch_all("PRAGMA wal_checkpoint(TRUNCATE)")[0][0] == 0
    return False


def in_transaction(raw: Any) -> bool:
    """Whether a connection of sqlite3 or psycopg has a transaction open."""
    if isinstance(raw, sqlite3.Connection):
        return raw.in_transaction
    return not raw.closed and raw.info.transaction_status != 0  # libpq's PQTRANS_IDLE
