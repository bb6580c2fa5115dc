"""The WAL of SQLite after somebody has read for long: cut again, by writers or by the monitor, and never at their cost."""

from __future__ import annotations

import os
import threading

import pytest

from app.extensions import WAL_BYTES
from app.ledger.dialect import Connection
from app.support.open_files import shrink_wal

BLOB = os.urandom(400_000)


class File:
    def __init__(self, path) -> None:
        self.path, self.url = str(path), f"sqlite:///{path}"
        self.writer, self.reader, self.monitor = Connection(self.url), Connection(self.url), Connection(self.url, synchronous="FULL")
        self.write("CREATE TABLE t (id INTEGER PRIMARY KEY, x BLOB)")

    @property
    def wal(self) -> int:
        return os.path.getsize(f"{self.path}-wal")

    def write(self, sql: str = "INSERT OR REPLACE INTO t VALUES (:id, :x)", **values) -> None:
        with self.writer.transaction() as tx:
            tx.execute(sql, **values)

    def grow(self) -> None:
        """Somebody reads while 100 MB are written."""
        self.reader.raw.execute("BEGIN")
        self.reader.fetch_all("SELECT COUNT(*) FROM t")
        for n in range(260):
            self.write(id=n % 20, x=BLOB)
        assert self.wal > WAL_BYTES * 5 // 4

    def end(self) -> None:
        self.reader.raw.execute("COMMIT")


@pytest.fixture
def file(tmp_path):
    made = File(tmp_path / "x.sqlite3")
    yield made
    for connection in (made.writer, made.reader, made.monitor):
        connection.close()


def test_the_wal_shrinks_with_the_next_writes_after_a_long_reader(file):
    file.grow()
    file.end()
    for n in range(5):
        file.write(id=n, x=b"small")
    assert file.wal <= WAL_BYTES
    assert file.monitor.fetch_all("SELECT COUNT(*) FROM t") == [(20,)]


def test_the_monitor_cuts_it_when_nobody_writes_and_waits_for_nobody(file):
    file.grow()
    before = file.wal
    assert shrink_wal(file.monitor, file.path) is False and file.wal == before  # somebody reads: not even tried
    file.write(id=1, x=b"writers go on")
    file.end()
    with file.writer.transaction() as tx:
        tx.execute("DELETE FROM t WHERE id = 2")
        assert shrink_wal(file.monitor, file.path) is False  # somebody writes: it does not wait
    assert shrink_wal(file.monitor, file.path) is True and file.wal == 0
    assert shrink_wal(file.monitor, file.path) is False  # nothing to do
    assert file.monitor.fetch_all("SELECT COUNT(*) FROM t") == [(19,)]


def test_nothing_is_lost_when_it_is_cut_under_writers_and_readers(file):
    file.grow()
    file.end()
    over, errors = threading.Event(), []
    others = [Connection(file.url) for _ in range(2)]

    def write(connection: Connection, start: int) -> None:
        try:
            for n in range(150):
                with connection.transaction() as tx:
                    tx.execute("INSERT INTO t VALUES (:id, 'x')", id=start + n)
                connection.fetch_all("SELECT COUNT(*) FROM t")
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(c, 1000 * (n + 1))) for n, c in enumerate(others)]
    cutter = threading.Thread(target=lambda: [shrink_wal(file.monitor, file.path) for _ in iter(over.is_set, True)])
    [t.start() for t in (*threads, cutter)], [t.join() for t in threads]
    over.set()
    cutter.join()
    assert errors == [] and file.wal <= WAL_BYTES
    assert file.monitor.fetch_all("SELECT COUNT(*) FROM t") == [(320,)] and file.monitor.fetch_all("PRAGMA integrity_check") == [("ok",)]
    [c.close() for c in others]


def test_the_monitor_has_the_duty_on_each_database(app):
    from app.monitor.loop import Monitor

    monitor = Monitor(app)
    next(d for d in monitor.duties if d.name == "wal").run()
    assert shrink_wal(Connection("postgresql://nobody@127.0.0.1:1/x"), "nowhere") is False
    monitor.connection.close()
