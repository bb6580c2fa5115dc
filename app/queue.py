"""The only builder of Huey; the one task `run`; tickets and their store.

A ticket is a wake-up: a signed JSON message with the uuid of the job that asked. The worker
it wakes claims the best ready row, so a lost, doubled, late or broken ticket does no harm.
The SQLite ticket file is named after the boot and a generation that stands in the ledger: a
file is never renamed or synced; on damage the generation rises and everyone reopens.
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
from app.support.process import boot_id

log = logging.getLogger(__name__)
PUBLISH_WAIT_S = 0.25  # that a dispatch waits at most for the store, however many tickets it has
AWAY_S = 5.0  # that a store which failed is left alone by those who publish
READ_S = 1  # that a worker waits for a ticket, at the store
HANGS_S = 2.0  # after which a worker that waits at the store takes it to be away
MAX_TICKETS = 1000
_PATIENCE = {  # PostgreSQL: a line that is dead is found out within 15 s
    "connect_timeout": 2, "keepalives": 1, "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 4,
    "tcp_user_timeout": 10_000}


class TicketSerializer(SignedSerializer):
    """Signed JSON in place of pickle. Bytes that do not verify or parse are a plain wake-up:
    an error in Huey's dequeue would make the worker sleep longer each time (20 bad ones cost 5 s)."""

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


def build(settings: Settings, execute: Callable[..., None], mixin: type | None = None) -> huey.Huey:
    """Stock Huey for QUEUE_URL with the one task `run`, whose body is `execute(task)`.

    `mixin` lets the worker replace the consumer class; the storage is Huey's own.
    """
    options: dict[str, Any] = {"results": False, "serializer": TicketSerializer(settings.keys("tickets"))}
    url = settings.queue_url
    if url.startswith("redis"):
        pool = _redis_pool(url, reads=mixin is not None)
        base, extra = huey.PriorityRedisHuey, {"connection_pool": pool, "read_timeout": READ_S}
    elif url.startswith("postgres"):
        base, extra = huey.PostgresHuey, {"dsn": url, "read_timeout": READ_S, "create_tables": False}
        extra |= {name: value for name, value in _PATIENCE.items() if f"{name}=" not in url}
    else:
        base = huey.SqliteHuey
        extra = {"filename": str(ticket_file(settings, 1)), "fsync": False, "timeout": PUBLISH_WAIT_S, "create_tables": False}
    kind = type("LedgerTickets", (mixin, base), {}) if mixin else base
    instance = kind("ainstein", **options, **extra)

    def run(uuid: str, task: Any = None) -> None:
        execute(task)

    run.__module__ = "queue.app"  # the name in tickets stays the same wherever the consumer is started from
    instance.ticket = instance.task(context=True, name="run", retries=0)(run)
    return instance


def _redis_pool(url: str, reads: bool) -> Any:
    """Connections that wait for an answer as long as a ticket may take (`reads`) or a dispatch has; what the URL says
    comes first. The driver's own patience is 5 s and 10 tries."""
    from redis import ConnectionPool
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    options = {"socket_timeout": HANGS_S if reads else PUBLISH_WAIT_S, "socket_connect_timeout": PUBLISH_WAIT_S}
    return ConnectionPool.from_url(url, retry=Retry(NoBackoff(), 0), **options)


def ticket_folder(settings: Settings) -> Path:
    """Beside the path in QUEUE_URL, when it has one; a file of its own a boot and generation, so that name itself is not used."""
    path = settings.queue_url.removeprefix("sqlite:").removeprefix("///")
    return (Path(path).parent if path.strip("/") else settings.data_dir) / "tickets"


def ticket_file(settings: Settings, generation: int) -> Path:
    return ticket_folder(settings) / f"tickets-{boot_id()[:8]}-{generation}.db"


class ThrottledWarning:
    """Logs a trouble when it begins, each minute, and when it is over: not at each of a thousand attempts."""

    def __init__(self, logger: logging.Logger) -> None:
        self.log, self.text, self.reported = logger, "", 0.0

    def report(self, text: str) -> None:
        """`text` is what is wrong, or empty when it works."""
        if text and (text != self.text or time.monotonic() - self.reported > 60):
            self.log.warning(text)
            self.reported = time.monotonic()
        elif self.text and not text:
            self.log.warning("over: %s", self.text)
        self.text = text


class Tickets:
    """Publishes tickets and keeps to the ledger's generation; a storage error never reaches the caller."""

    def __init__(self, settings: Settings, instance: huey.Huey, generation: Callable[[], int]) -> None:
        self.settings, self.huey, self._generation = settings, instance, generation
        self.is_file = settings.queue_url.startswith("sqlite")
        self.opened: tuple[int, int, int] | None = None  # pid, generation, inode
        self.trouble = ThrottledWarning(log)
        self._away_until = 0.0
        self._bounded, self._taking = Bounded("tickets"), Bounded("take ticket")

    def open(self) -> None:
        """Open the store of the current generation, again if it rose, the file is gone or we forked."""
        if not self.is_file:
            if self.opened is None or self.opened[0] != os.getpid():
                self._bounded(PUBLISH_WAIT_S, self._open_server)
            return
        generation = self._generation()
        path = ticket_file(self.settings, generation)
        try:
            inode = path.stat().st_ino
        except FileNotFoundError:
            inode = 0
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
        """One ticket a uuid, at most 1,000 and as many as go out in 250 ms; returns how many did. Never raises. A store
        that failed is not asked again for 5 s."""
        sent: list[str] = []
        if time.monotonic() < self._away_until:
            return 0
        try:
            self._call(lambda: self._send(list(uuids)[:MAX_TICKETS], time.monotonic() + PUBLISH_WAIT_S, sent))
        except Exception as error:  # a ticket is only a hint: workers ask the ledger when idle
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

    def _call(self, function: Callable[[], Any]) -> Any:
        """A file is asked directly, as it has a bound of its own; a server may stand still."""
        return function() if self.is_file else self._bounded(PUBLISH_WAIT_S, function)

    def take(self, dequeue: Callable[[], Any]) -> Any:
        """A worker's `dequeue`; raises TimeoutError when the store stands still (Redis says so by its own timeout)."""
        return self._taking(HANGS_S, dequeue) if self.settings.queue_url.startswith("postgres") else dequeue()

    def count(self) -> int:
        """Tickets in the store; -1 when it cannot be read within 250 ms."""
        try:
            self.open()
            count = self._call(self.huey.pending_count)
            self._away_until = 0.0
            return count
        except Exception:
            self.opened, self._away_until = None, time.monotonic() + AWAY_S
            return -1

    def sweep(self) -> int:
        """Delete ticket files of other boots and old generations (never one that may be open)."""
        if not self.is_file:
            return 0
        keep, removed = {ticket_file(self.settings, g).name for g in (self._generation(), self._generation() - 1)}, 0
        for path in ticket_folder(self.settings).glob("tickets-*.db*"):
            if path.name.split(".db")[0] + ".db" not in keep:
                path.unlink(missing_ok=True)
                removed += 1
        return removed
