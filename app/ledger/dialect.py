"""The differences between SQLite and PostgreSQL, in the driver connection that a worker or the monitor keeps: claim and
settle cost 0.1 ms through it and 0.4 ms through the ORM.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.extensions import POSTGRES_OPTIONS, PRAGMAS
from app.ledger.executor import Executor, SessionExecutor, for_postgres, for_sqlite, positional  # noqa: F401
from app.support.open_files import OpenFiles, in_transaction
from app.support.outage import REOPEN, database_errors, result_code

WRITE_LOCK_TRIES = 1000  # about 2 ms
_XID = "CAST(CAST(pg_snapshot_{}(pg_current_snapshot()) AS VARCHAR) AS BIGINT)"
log = logging.getLogger(__name__)


class CurrentProcess:
    """Caches the pid of this process; ten calls of os.getpid a job cost 2 microseconds."""

    pid = os.getpid()


_connections: weakref.WeakSet[Connection] = weakref.WeakSet()


def _after_fork() -> None:
    """Give the connections new locks: in a child, threads that do not exist there may hold the old ones."""
    CurrentProcess.pid = os.getpid()
    for connection in _connections:
        connection._lock, connection._owner = threading.RLock(), 0


os.register_at_fork(after_in_child=_after_fork)


class TooSlow(Exception):
    """A reading took longer than it may."""


@contextlib.contextmanager
def limited(session: Session, seconds: float) -> Iterator[None]:
    """Ends statements of the session that read for longer: on SQLite `seconds` for all together, on PostgreSQL for each
    one. Raises TooSlow, after a rollback. For readings only."""
    end = time.monotonic() + seconds
    raw = session.connection().connection.driver_connection
    sqlite = isinstance(raw, sqlite3.Connection)
    try:
        if sqlite:
            raw.set_progress_handler(lambda: time.monotonic() > end, 10_000)  # about every 0.1 ms
        else:
            raw.execute(f"SET LOCAL statement_timeout = {max(int(seconds * 1000), 1)}")
        try:
            yield
        finally:
            if sqlite:
                raw.set_progress_handler(None, 0)
        if not sqlite:
            raw.execute("SET LOCAL statement_timeout = 0")
    except (DBAPIError, TooSlow) as error:  # TooSlow: of a reader that looks at the time itself
        why = getattr(error, "orig", "interrupted")
        if "interrupted" not in str(why) and getattr(why, "sqlstate", None) != "57014":
            raise
        session.rollback()
        raise TooSlow from None


class Connection(Executor):
    """A driver connection of one process, opened again when it breaks and after a fork.

    For SQLite, `synchronous` is NORMAL in workers and FULL elsewhere. `wait_s` is how long a transaction waits for
    locks. `guarded` checks the file descriptors before each transaction, because jobs run in the same process.
    """

    def __init__(self, url: str, synchronous: str = "NORMAL", wait_s: float = 5.0, write_lock_path: str | None = None,
                 guarded: bool = False) -> None:
        self.url, self.synchronous, self.wait_s = url, synchronous, wait_s
        self.write_lock_path, self.guarded = write_lock_path, guarded
        self.files: OpenFiles | None = None
        self.sqlite = url.startswith("sqlite")
        self._form = for_sqlite if self.sqlite else for_postgres
        self._raw: Any = None
        self._pid = self._lock_pid = self._lock_fd = 0
        self._lock = threading.RLock()
        self._owner = 0  # the thread whose transaction is open
        _connections.add(self)

    @property
    def inside(self) -> bool:
        """Whether this thread has a transaction open on this connection."""
        return self._owner == threading.get_ident()

    @property
    def raw(self) -> Any:
        """The driver's connection, opened if necessary. Raises the driver's error when that fails."""
        if self._raw is None or self._pid != CurrentProcess.pid:
            self._raw, self._pid = self._open(), CurrentProcess.pid
        elif self.files and not self._owner:
            self.files.check()
        return self._raw

    def _open(self) -> Any:
        if not self.sqlite:
            import psycopg

            url = self.url.replace("postgresql+psycopg://", "postgresql://")
            raw = psycopg.connect(url, autocommit=True, prepare_threshold=2, **POSTGRES_OPTIONS)
            raw.execute(f"SET lock_timeout = {int(self.wait_s * 1000)}")
            return raw
        path = self.url.removeprefix("sqlite:///")
        self.files = OpenFiles(path) if self.guarded else None
        raw = sqlite3.connect(path, timeout=0.005, isolation_level=None, check_same_thread=False, cached_statements=256)
        for pragma in (*PRAGMAS, f"synchronous={self.synchronous}"):
            raw.execute(f"PRAGMA {pragma}").fetchall()
        if self.files:
            raw.execute("SELECT 1 FROM sqlite_master").fetchone()  # opens the -wal and -shm
            self.files.opened()
        return raw

    def close(self) -> None:
        """Close the connection; the next use opens another."""
        raw, self._raw = self._raw, None
        if raw is not None and self._pid == CurrentProcess.pid:
            with contextlib.suppress(Exception):
                raw.close()

    @contextlib.contextmanager
    def transaction(self, durable: bool = False) -> Iterator[Connection]:
        """A write transaction, rolled back on any BaseException. With `durable` SQLite commits it with
        synchronous=FULL. A broken connection is closed, whichever statement met it. Raises RuntimeError when nested."""
        with self._lock:
            if self._owner:
                raise RuntimeError("A transaction is open on this connection already.")
            raw = self.raw
            if self.write_lock_path and self.sqlite:
                self._acquire_write_lock()
            full = durable and self.sqlite and self.synchronous != "FULL"
            try:
                if full:
                    raw.execute("PRAGMA synchronous=FULL")
                self._begin(raw)
                self._owner = threading.get_ident()
                yield self
                raw.execute("COMMIT")
            except BaseException as error:
                self._rollback(error)
                raise
            finally:
                self._owner = 0
                if full and self._raw is not None:
                    self._raw.execute(f"PRAGMA synchronous={self.synchronous}")
                if self.write_lock_path and self.sqlite:
                    fcntl.lockf(self._write_lock(), fcntl.LOCK_UN)

    def _acquire_write_lock(self) -> None:
        """Serialise the writing workers of a machine by a lock file: the kernel wakes a blocked lockf at once, while
        SQLite's busy handler sleeps 1 to 100 ms. A wake-up costs 0.1 ms, a third of a settle: first it polls."""
        lock = self._write_lock()
        for _ in range(WRITE_LOCK_TRIES):
            try:
                return fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.sched_yield()
        fcntl.lockf(lock, fcntl.LOCK_EX)

    def _write_lock(self) -> int:
        if self._lock_pid != CurrentProcess.pid:
            self._lock_fd = os.open(self.write_lock_path or "", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._lock_pid = CurrentProcess.pid
        return self._lock_fd

    def _begin(self, raw: Any) -> None:
        """BEGIN; on SQLite BEGIN IMMEDIATE, retried after 0.05 ms at first, 5 ms at most. SQLite's busy handler sleeps
        up to 100 ms: with it four workers did half the work of one."""
        if not self.sqlite:
            raw.execute("BEGIN")
            return
        end, pause = 0.0, 0.00005
        while True:
            try:
                raw.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) and "busy" not in str(error):
                    raise
                now = time.monotonic()
                end = end or now + self.wait_s
                if now >= end:
                    log.warning("the database has been locked for %.0f s by another writer", self.wait_s)
                    raise
                time.sleep(pause)
                pause = min(pause * 1.2, 0.005)

    def _rollback(self, why: BaseException) -> None:
        self._drop_if_broken(why)
        try:
            if self._raw is not None and in_transaction(self._raw):
                self._raw.execute("ROLLBACK")
        except Exception:
            self.close()

    def _drop_if_broken(self, why: BaseException) -> None:
        """Close a connection that cannot answer any more."""
        if self._raw is None or not isinstance(why, database_errors()):
            return
        broken = result_code(why) in REOPEN or "closed database" in str(why)
        if broken if self.sqlite else self._raw.closed or self._raw.broken:
            self.close()

    def _execute(self, sql: str, params: dict[str, Any]) -> Any:
        try:
            return self.raw.execute(self._form(sql), params)
        except Exception as error:
            self._drop_if_broken(error)
            raise

    def fetch_all(self, sql: str, **params: Any) -> list[tuple]:
        """All rows of a statement."""
        with self._lock:
            try:
                return self._execute(sql, params).fetchall()
            except sqlite3.OperationalError as error:
                if "Could not decode" in str(error):  # a row with bad text must not stop all later claims
                    self.raw.text_factory = lambda data: data.decode("utf-8", "replace")
                raise

    def execute(self, sql: str, **params: Any) -> int:
        """Run a statement; returns the number of changed rows."""
        with self._lock:
            return self._execute(sql, params).rowcount

    def execute_many(self, sql: str, rows: list[dict[str, Any]] | list[tuple]) -> None:
        """Run one statement for many rows of parameters, in the open transaction. Tuples have the parameters in the
        order in which the statement names them, each once; SQLite takes them in half the time."""
        sql = positional(sql, self.sqlite) if rows and isinstance(rows[0], tuple) else self._form(sql)
        with self._lock, contextlib.closing(self.raw.cursor()) as cursor:
            cursor.executemany(sql, rows)

    def sizes(self) -> tuple[int | None, int | None]:
        """Bytes of the database and of its write-ahead log; None for what this user may not read."""
        if self.sqlite:
            path = self.url.removeprefix("sqlite:///")
            return tuple(os.stat(name).st_size if os.path.exists(name) else None for name in (path, f"{path}-wal"))
        size = "SELECT pg_database_size(current_database()), has_function_privilege('pg_ls_waldir()', 'EXECUTE')"
        database, may = self.fetch_all(size)[0]
        return database, int(self.fetch_all("SELECT SUM(size) FROM pg_ls_waldir()")[0][0]) if may else None

    def last_settled_id(self, table: str) -> int:
        """The largest id of `table` at or below which no new row can appear; 0 when it is not known yet.

        SQLite has one writer at a time. On PostgreSQL a smaller id can be committed after a larger one, so all
        transactions that were open must end first; this waits at most 50 ms for them.
        """
        largest = f"SELECT COALESCE(MAX(id), 0){'' if self.sqlite else ', ' + _XID.format('xmax')} FROM {table}"
        last, *open_until = self.fetch_all(largest)[0]
        for _ in range(5):
            if self.sqlite or self.fetch_all(f"SELECT {_XID.format('xmin')}")[0][0] >= open_until[0]:
                return last
            time.sleep(0.01)
        return 0
