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
from app.process import boot_id

log = logging.getLogger(__name__)
PUBLISH_WAIT_S = 0.25
MAX_TICKETS = 1000


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
        wait = "" if "socket_connect_timeout" in url else f"{'&' if '?' in url else '?'}socket_connect_timeout={PUBLISH_WAIT_S}"
        base, extra = huey.PriorityRedisHuey, {"url": url + wait, "read_timeout": 1}
    elif url.startswith("postgres"):
        base, extra = huey.PostgresHuey, {"dsn": url, "read_timeout": 1, "create_tables": False}
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


def ticket_folder(settings: Settings) -> Path:
    """Beside the path in QUEUE_URL, when it has one; a file of its own a boot and generation, so that name itself is not used."""
    path = settings.queue_url.removeprefix("sqlite:").removeprefix("///")
    return (Path(path).parent if path.strip("/") else settings.data_dir) / "tickets"


def ticket_file(settings: Settings, generation: int) -> Path:
    return ticket_folder(settings) / f"tickets-{boot_id()[:8]}-{generation}.db"


class Trouble:
    """Logs a trouble when it begins, each minute, and when it is over: not at each of a thousand attempts."""

    def __init__(self, logger: logging.Logger) -> None:
        self.log, self.text, self.told = logger, "", 0.0

    def tell(self, text: str) -> None:
        """`text` is what is wrong, or empty when it works."""
        if text and (text != self.text or time.monotonic() - self.told > 60):
            self.log.warning(text)
            self.told = time.monotonic()
        elif self.text and not text:
            self.log.warning("over: %s", self.text)
        self.text = text


class Tickets:
    """Publishes tickets and keeps to the ledger's generation; a storage error never reaches the caller."""

    def __init__(self, settings: Settings, instance: huey.Huey, generation: Callable[[], int]) -> None:
        self.settings, self.huey, self._generation = settings, instance, generation
        self.is_file = settings.queue_url.startswith("sqlite")
        self.opened: tuple[int, int, int] | None = None  # pid, generation, inode
        self.trouble = Trouble(log)

    def open(self) -> None:
        """Open the store of the current generation, again if it rose, the file is gone or we forked."""
        if not self.is_file:
            if self.opened is None or self.opened[0] != os.getpid():
                self.huey.storage.close()
                if hasattr(self.huey.storage, "initialize_schema"):
                    self.huey.storage.initialize_schema()
                self.opened = (os.getpid(), 0, 0)
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

    def publish(self, uuids: Iterable[str]) -> int:
        """One ticket a uuid, at most 1,000; returns how many went out. Never raises."""
        sent = 0
        try:
            if self.opened is None or self.opened[0] != os.getpid():
                self.open()
            for uuid in list(uuids)[:MAX_TICKETS]:
                self.huey.enqueue(self.huey.ticket.s(uuid))
                sent += 1
        except Exception as error:  # a ticket is only a hint: workers ask the ledger when idle
            self.trouble.tell(f"tickets not published ({type(error).__name__}); idle workers will find the jobs")
            self.opened = None
        else:
            self.trouble.tell("")
        return sent

    def count(self) -> int:
        """Tickets in the store; -1 when it cannot be read."""
        try:
            self.open()
            return self.huey.pending_count()
        except Exception:
            self.opened = None
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
