"""Samples the machine once a minute: processor, memory, disk, size of the database and its WAL, ready jobs.

psutil, control groups, statvfs, the database -> `sample` (the monitor) -> machine_minutes, kept for 32 days
What cannot be read is NULL: the WAL of a PostgreSQL whose user may not list it.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from app.ledger import counts
from app.ledger.dialect import Connection
from app.ledger.rows import insert
from app.services.stats import longest_waits
from app.support.clock import MINUTE_MS
from app.support.machine import Machine

_WRITE = insert("machine_minutes", ("minute_ms cpu memory memory_total disk_free disk_total database wal ready "
                                    "oldest_ms").split(), "(minute_ms) DO NOTHING")


class Sampler:
    """The samples of one monitor; the first processor share is since it was made."""

    def __init__(self, connection: Connection, data_dir: Path) -> None:
        self.connection, self.data_dir = connection, data_dir
        self.machine, self._minute = Machine(), 0

    def run(self) -> bool:
        """Write the sample of this minute, unless this monitor has done so; returns whether it did."""
        now = self.connection.now()
        if (minute := now // MINUTE_MS * MINUTE_MS) == self._minute:
            return False
        free, total = self.machine.memory()
        room = None
        with contextlib.suppress(OSError):
            room = os.statvfs(self.data_dir)
        live, _age = counts.recent(self.connection)
        database, wal = self.connection.sizes()
        row = (minute, round(self.machine.busy() * 1000), total - free, total, room and room.f_bavail * room.f_frsize,
               room and room.f_blocks * room.f_frsize, database, wal, live["pending"], counts.oldest(live, now))
        waits = longest_waits.sample(self.connection, live["pending"])
        with self.connection.transaction() as tx:
            tx.execute_many(_WRITE, [row])
            for key, since in waits.items():
                counts.save(tx, key, since)
        self._minute = minute
        return True
