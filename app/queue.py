"""Builds Huey with its one task `run`, and keeps the store of tickets.

A ticket is a wake-up: a signed JSON message with the uuid of the dispatched job. The worker that gets it claims the
best ready row, so a lost, duplicate, late or broken ticket does no harm. The name of the SQLite ticket file contains
the boot and a generation, which the ledger stores. The file is never renamed or synced. When it is damaged, the
generation is increased and every process opens the next file. It has no WAL: SQLite maps the file of a WAL's index into
memory, and whoever overwrites that file kills each process that uses it with SIGBUS (20 of 40 in a trial).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
import uuid as uuids
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import huey
from huey.registry import Message
from huey.serializer import SignedSerializer

from app.config import Settings
from app.support.bounded import Bounded
from app.support.logs import ThrottledWarning
from app.support.process import boot_id

log = logging.getLogger(__name__)
PUBLISH_WAIT_S = 0.25  # longest wait of a dispatch for the store, for any number of tickets
AWAY_S = 5.0  # pause in publishing after the store has failed
READ_S = 1  # longest wait of a worker for a ticket inside the store
HANGS_S = 2.0  # after this time without an answer a worker takes the store to be away
MAX_TICKETS = 1000
ENOUGH = 16  # tickets in a file: a wake-up at once for as many idle workers
_PATIENCE = {  # PostgreSQL: a dead connection is detected within 15 s
    "connect_timeout": 2, "keepalives": 1, "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 4,
    "tcp_user_timeout": 10_000}


class TicketSerializer(SignedSerializer):
    """Signed JSON in place of pickle. Bytes that do not verify or parse become a plain wake-up, because an error in
    Huey's dequeue makes the worker sleep longer each time (20 bad tickets cost 5 s). The first secret signs."""

    def __init__(self, secrets: list[str]) -> None:
        super().__init__(secret=secrets[0], salt="tickets")
        self._others = [SignedSerializer(secret=s, salt="tickets") for s in secrets[1:]]

    def _serialize(self, message: Message) -> bytes:
        return self._sign(json.dumps(message).encode())

    def _deserialize(self, data: bytes) -> Message:
        for signer in (self, *self._others):
            try:
                fields = json.loads(signer._unsign(bytes(data)))
                message = Message(*fields)
                if message.name == RUN and message.eta is None and isinstance(message.id, str):
                    return message
            except (ValueError, TypeError):
                continue
        return Message(id=str(uuids.uuid4()), name=RUN, retries=0, args=[""], kwargs={})


RUN = "queue.app.run"
_WAITING = "SELECT COUNT(*) FROM (SELECT 1 FROM task WHERE queue = ? LIMIT ?)"


def build(settings: Settings, execute: Callable[..., None], mixin: type | None = None) -> huey.Huey:
    """An instance of Huey for QUEUE_URL, with Huey's own storage and the one task `run`, which calls `execute(task)`.

    `mixin` is a base class by which the worker replaces the consumer class. `instance.ticket` is the task.
    """
    url = settings.queue_url
    if url.startswith("redis"):
        base = huey.PriorityRedisHuey
        extra: dict[str, Any] = {"connection_pool": _redis_pool(url, mixin is not None), "read_timeout": READ_S}
    elif url.startswith("postgres"):
        base, extra = huey.PostgresHuey, {"dsn": url, "read_timeout": READ_S, "create_tables": False}
        extra |= {name: value for name, value in _PATIENCE.items() if f"{name}=" not in url}
    else:
        base = huey.SqliteHuey
        extra = {"filename": str(ticket_file(settings, 1)), "fsync": False, "timeout": PUBLISH_WAIT_S,
                 "journal_mode": "persist", "create_tables": False}
    kind = type("LedgerTickets", (mixin, base), {}) if mixin else base
    instance = kind("ainstein", results=False, serializer=TicketSerializer(settings.keys("tickets")), **extra)

    def run(uuid: str, task: Any = None) -> None:
        execute(task)

    run.__module__ = "queue.app"  # gives the task the same name (RUN) wherever the consumer is started from
    instance.ticket = instance.task(context=True, name="run", retries=0)(run)
    return instance


def _redis_pool(url: str, reads: bool) -> Any:
    """Redis connections with a timeout for reading tickets (`reads`) or for a dispatch; the URL's options take
    precedence. The driver's own defaults are 5 s and 10 retries."""
    from redis import ConnectionPool
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    options = {"socket_timeout": HANGS_S if reads else PUBLISH_WAIT_S, "socket_connect_timeout": PUBLISH_WAIT_S}
    return ConnectionPool.from_url(url, retry=Retry(NoBackoff(), 0), **options)


def ticket_folder(settings: Settings) -> Path:
    """The folder of ticket files: `tickets` beside the path in QUEUE_URL, or in DATA_DIR when it has none. The name in
    the path is not used, because each boot and generation has a file of its own."""
    path = settings.queue_url.removeprefix("sqlite:").removeprefix("///")
    return (Path(path).parent if path.strip("/") else settings.data_dir) / "tickets"


def ticket_file(settings: Settings, generation: int) -> Path:
    """The path of the ticket file of this boot and a generation."""
    return ticket_folder(settings) / f"tickets-{boot_id()[:8]}-{generation}.sqlite3"


class Tickets:
    """Publishes tickets, in the file of the ledger's current generation. Errors of the store never reach a dispatch."""

    def __init__(self, settings: Settings, instance: huey.Huey, generation: Callable[[], int]) -> None:
        self.settings, self.huey, self._generation = settings, instance, generation
        self.is_file = settings.queue_url.startswith("sqlite")
        self.opened: tuple[int, int, int] | None = None  # pid, generation, inode
        self.trouble = ThrottledWarning(log)
        self._away_until = 0.0
        self._bounded, self._taking = Bounded("tickets"), Bounded("take ticket")

    def open(self) -> None:
        """Open the store; again after a fork, a new generation or the loss of the file. Raises its errors."""
        if not self.is_file:
            if self.opened is None or self.opened[0] != os.getpid():
                self._bounded(PUBLISH_WAIT_S, self._open_server)
            return
        generation = self._generation()
        path = ticket_file(self.settings, generation)
        inode = path.stat().st_ino if path.exists() else 0
        if inode and self.opened == (os.getpid(), generation, inode):
            return
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.opened and self.opened[0] == os.getpid():
            with contextlib.suppress(Exception):
                self.huey.storage.close()
        self.huey.storage._conn = None
        self.huey.storage.filename = str(path)
        self.huey.storage.initialize_schema()
        self.opened = (os.getpid(), generation, path.stat().st_ino)

    def _open_server(self) -> None:
        if self.opened is None or self.opened[0] != os.getpid():
            self.huey.storage.close()
            if hasattr(self.huey.storage, "initialize_schema"):
                self.huey.storage.initialize_schema()
            self.opened = (os.getpid(), 0, 0)

    def publish(self, uuids: Iterable[str]) -> int:
        """Publish one ticket a uuid, at most 1,000 and for at most 250 ms; returns how many were published. Never
        raises. After a failure the store is not used for 5 s."""
        sent: list[str] = []
        if time.monotonic() < self._away_until:
            return 0
        try:
            self._call(lambda: self._send(list(uuids)[:MAX_TICKETS], time.monotonic() + PUBLISH_WAIT_S, sent))
        except Exception as error:  # tickets are only hints: idle workers ask the ledger
            self.trouble.report(f"tickets not published ({type(error).__name__}); idle workers will find the jobs")
            self.opened, self._away_until = None, time.monotonic() + AWAY_S
        else:
            self.trouble.report("")
        return len(sent)

    def _send(self, uuids: list[str], end: float, sent: list[str]) -> None:
        if self.opened is None or self.opened[0] != os.getpid():
            self.open() if self.is_file else self._open_server()
        for uuid in uuids:
            self.huey.enqueue(self.huey.ticket.s(uuid))
            sent.append(uuid)
            if time.monotonic() > end:
                break

    def room(self) -> int:
        """How many tickets more are of use: in a file, whose workers poll it and ask the ledger when they find none,
        until ENOUGH wait. The idle workers of a server are blocked, and each needs a ticket of its own."""
        if not self.is_file or self.opened is None or self.opened[0] != os.getpid():
            return MAX_TICKETS
        try:
            waiting = self.huey.storage.sql(_WAITING, (self.huey.storage.name, ENOUGH), results=True)
        except Exception:
            return MAX_TICKETS  # to publish meets it again, and reports it
        return max(ENOUGH - waiting[0][0], 0)

    def _call(self, function: Callable[[], Any]) -> Any:
        """Call a function of the store; a server can block, so it gets a time limit. A file has one of its own."""
        return function() if self.is_file else self._bounded(PUBLISH_WAIT_S, function)

    def take(self, dequeue: Callable[[], Any]) -> Any:
        """The result of a worker's `dequeue`. Raises TimeoutError when the store does not answer for 2 s."""
        return self._taking(HANGS_S, dequeue) if self.settings.queue_url.startswith("postgres") else dequeue()

    def count(self) -> int:
        """The number of tickets in the store; -1 when it cannot be read within 250 ms."""
        try:
            self.open()
            count = self._call(self.huey.pending_count)
            self._away_until = 0.0
            return count
        except Exception:
            self.opened, self._away_until = None, time.monotonic() + AWAY_S
            return -1

    def sweep(self) -> int:
        """Delete the ticket files of other boots and old generations, never one that may be open; returns how many."""
        if not self.is_file:
            return 0
        generation = self._generation()
        keep = {ticket_file(self.settings, number).name for number in (generation, generation - 1)}
        files = ticket_folder(self.settings).glob("tickets-*")
        old = [path for path in files if path.name.removesuffix("-journal") not in keep]
        for path in old:
            path.unlink(missing_ok=True)
        return len(old)
