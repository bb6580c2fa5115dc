"""The files of SQLite in a process whose jobs may do anything with descriptors.

SQLite writes to descriptors by number. A job that closes or replaces them (`os.closerange`, a library that makes a daemon)
lets it write pages of the database into the job's own files, and an empty file in the place of the database costs the
write-ahead log. So a worker looks, before each transaction, whether its descriptors still are its files (2 microseconds),
and ends at once when they are not: not a statement more may run.

A connection that a job has opened by itself and left with a transaction open holds the write lock against everybody, this
worker's own settle included. `holds_write_lock` tells that case from a lock of another process.
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

from app.extensions import WAL_BYTES

GONE = 78  # exit code of a worker whose files were taken from under it
_FLOCK = struct.Struct("@hhqqi")
_WRITE_LOCK = 120  # its byte in the -shm file: UNIX_SHM_BASE + WAL_WRITE_LOCK in SQLite's os_unix.c and wal.c
_kept: dict[str, int] = {}  # never closed: closing a file drops every lock that the process holds on it


class OpenFiles:
    """The descriptors that one connection has opened."""

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
        """The connection is open: what has come since is its own."""
        self._mine = [(number, os.fstat(number).st_dev, os.fstat(number).st_ino) for number in self._all() - self._before]

    def check(self) -> None:
        """Ends the process, without a word to SQLite, when a descriptor is no longer the file it was."""
        for number, device, inode in self._mine:
            try:
                found = os.fstat(number)
            except OSError:
                found = None
            if found is None or (found.st_dev, found.st_ino) != (device, inode):
                os.write(2, b"A job has closed or replaced the files of the database in this worker: it ends.\n")
                os._exit(GONE)


def holds_write_lock(path: str) -> bool:
    """Whether this process, and no other, holds SQLite's write lock, by a look of 50 ms; ask only after SQLite said "locked"."""
    if path not in _kept:
        try:
            _kept[path] = os.open(path + "-shm", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
    for _ in range(10):
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _WRITE_LOCK, 1, 0)
        if _FLOCK.unpack(fcntl.fcntl(_kept[path], fcntl.F_GETLK, asked))[0] != fcntl.F_UNLCK:
            return False  # one's own locks are not told, so this is another's
        time.sleep(0.005)
    return True


def roll_back_others(ours: set[int]) -> int:
    """Roll back what connections other than ours (their ids) have left open in this process; returns how many."""
    done = 0
    for thing in gc.get_objects():
        if type(thing) is sqlite3.Connection and id(thing) not in ours:
            try:
                if thing.in_transaction:
                    thing.rollback()
                    done += 1
            except sqlite3.Error:
                continue  # of another thread, or closed
    return done


def shrink_wal(connection: Any, file: str) -> bool:
    """Cut SQLite's WAL when it is far over its size, as a long reader leaves it; whether it was cut. Its content is copied first,
    beside the writers; only then, and only if nobody reads, are they held up, for what came meanwhile (0.3 s after 356 MB)."""
    with contextlib.suppress(OSError):
        if connection.sqlite and os.path.getsize(f"{file}-wal") > WAL_BYTES * 5 // 4:
            _busy, pages, copied = connection.fetch_all("PRAGMA wal_checkpoint(PASSIVE)")[0]
            return copied == pages and connection.fetch_all("PRAGMA wal_checkpoint(TRUNCATE)")[0][0] == 0
    return False
