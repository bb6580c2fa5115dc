"""Sends the rows of an outbox in threads, one at a time for each lane (a channel, the mail server).

a lane's due rows -> lease (guarded: one of two monitors gets them) -> a thread: the message is written, however long
that takes; the lease is renewed, and nothing is sent when another monitor has the rows meanwhile; a child process sends
-> the outcome, written under the lease A row whose lease has ended without an outcome (the monitor was killed), or
whose sending got no answer, is sent once more and says so: it is `repeated`. Which rows are due, and how they are sent,
is said by the outbox of each table.
"""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask

from app.config import Settings
from app.ledger.dialect import Connection, Executor

log = logging.getLogger(__name__)
FIRST_MS, MOST_MS = 30_000, 3_600_000


def backoff(attempts: int) -> int:
    """How long (ms) to wait after a failure with so many attempts before it: 30 s, each time twice, at most an hour."""
    return min(FIRST_MS * 2 ** min(max(attempts, 0), 12), MOST_MS)


class Outbox(ABC):
    """One outbox in one monitor; `clock` gives the time (ms) in place of the database's."""

    kind = "channel"  # what a lane is called in logs
    send_s = 20.0
    lease_ms = 0
    renewal = ""  # SQL: a row's lease ends at :next, if it still ends at :until

    def __init__(self, app: Flask, clock: Callable[[], int] | None = None) -> None:
        self.app, self.clock = app, clock
        self.settings: Settings = app.extensions["settings"]
        self.threads: dict[str, threading.Thread] = {}
        self.failures: dict[str, str] = {}

    @abstractmethod
    def lanes(self) -> Iterable[str]:
        """The lanes that this monitor can serve."""

    @abstractmethod
    def _take(self, connection: Connection, lane: str) -> tuple[list[Any], int] | None:
        """The rows to send now, leased, and the end of the lease; None when nothing is due or another was first."""

    @abstractmethod
    def _prepare(self, lane: str, rows: list[Any]) -> Any:
        """What is sent."""

    @abstractmethod
    def _deliver(self, lane: str, rows: list[Any], made: Any) -> tuple[Any, ...]:
        """Send what `_prepare` made; returns what went wrong ('' if nothing did) and more for `_end`."""

    @abstractmethod
    def _end(self, connection: Connection, rows: list[Any], until: int, *outcome: Any) -> None:
        """Write what `_deliver` returned into the rows that are still leased until `until`."""

    def send_due(self, connection: Connection) -> int:
        """Start what is due and do not wait for it; returns how many sendings were started."""
        started = 0
        for lane in self.lanes():
            thread = self.threads.get(lane)
            if (thread is None or not thread.is_alive()) and (taken := self._take(connection, lane)):
                thread = threading.Thread(target=self._send, args=(lane, *taken), daemon=True)
                self.threads[lane], thread.name = thread, f"{self.kind} {lane}"
                thread.start()
                started += 1
        return started

    def _now(self, tx: Executor) -> int:
        return self.clock() if self.clock else tx.now()

    def _renewed(self, connection: Connection, rows: list[Any], until: int) -> int | None:
        """The new end of the lease of all rows; None when another monitor has one of them."""
        following = self._now(connection) + self.lease_ms
        with connection.transaction() as tx:
            ours = [tx.execute(self.renewal, id=row.id, until=until, next=following) for row in rows]
        return following if all(ours) else None

    def _send(self, lane: str, rows: list[Any], until: int) -> None:
        made = self._prepare(lane, rows)
        connection = Connection(self.settings.database_url, synchronous="FULL")
        try:
            if (lease := self._renewed(connection, rows, until)) is None:
                return
            outcome = self._deliver(lane, rows, made)
            self._end(connection, rows, lease, *outcome)
        except Exception:  # the lease ends, and the row is sent once more
            log.exception("%s %s: a sending or its outcome could not be written", self.kind, lane)
            return
        finally:
            connection.close()
        why = outcome[0]
        if bool(why) != bool(self.failures.get(lane)):
            told = f"fails ({why}); it is tried again" if why else "works again"
            log.warning("%s %s %s", self.kind, lane, told)
        self.failures[lane] = why

    def busy(self) -> bool:
        """Whether a sending is under way."""
        return any(thread.is_alive() for thread in self.threads.values())

    def finish(self, connection: Connection, seconds: float = 90.0) -> list[str]:
        """Send what is due and wait for it, at most `seconds`; returns 'channel NAME: why' of those that failed."""
        end = time.monotonic() + seconds
        while (self.send_due(connection) or self.busy()) and time.monotonic() < end:
            time.sleep(0.05)
        return [f"{self.kind} {name}: {why}" for name, why in self.failures.items() if why]
