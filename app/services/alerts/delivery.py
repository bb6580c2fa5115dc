"""Delivery of the outbox: a lease, a process of its own for each sending, and the outcome under the lease.

channel's unsent rows, in order -> head due? -> lease (guarded: one of two monitors gets it) -> Apprise in a child, 20 s at most
  -> sent, or waiting again with backoff; the rows behind wait too, so order holds and a broken channel is asked seldom
Only a monitor that has a channel takes its messages; those that nobody can send wait, and the alerts page says so.
More than MOST_SINGLE rows waiting go out as one digest. A row found "sending" past its lease (the monitor was killed), or
whose answer did not come, is sent once more and says that it may be a repetition. Tests go alone, at once, and are tried once.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from flask import Flask
from flask_babel import force_locale

from app.config import ROOT, Settings
from app.ledger.dialect import Connection, Executor
from app.services.alerts import channels, texts
from app.support.clock import DAY_MS
from app.support.messages import Message, to_json
from app.support.redaction import one_line, redact

log = logging.getLogger(__name__)
SEND_S, LEASE_MS = 20.0, 30_000
MOST_SINGLE, MOST_ROWS = 3, 100
FIRST_MS, MOST_MS, KEEP_MS = 30_000, 3_600_000, 7 * DAY_MS
_WAITING = f"""SELECT m.id, m.phase, m.title, m.body, m.state, m.attempts, m.next_ms, m.lease_ms, m.repeated,
 m.created_ms, a.severity FROM alert_messages m LEFT JOIN alerts a ON a.id = m.alert_id
 WHERE m.channel = :c AND m.state IN ('waiting', 'sending') ORDER BY m.id LIMIT {MOST_ROWS}"""
_LEVELS = ("info", "success", "warning", "failure")  # of Apprise, the worst last
_LEASE = """UPDATE alert_messages SET repeated = CASE WHEN state = 'sending' THEN 1 ELSE repeated END, state = 'sending', lease_ms = :until,
 attempts = attempts + 1 WHERE id = :id AND (state = 'waiting' OR (state = 'sending' AND lease_ms = :held))"""
_END = """UPDATE alert_messages SET state = :state, error = :error, error_json = :json, next_ms = :next, ended_ms = :ended,
 repeated = CASE WHEN :doubt = 1 THEN 1 ELSE repeated END WHERE id = :id AND state = 'sending' AND lease_ms = :until"""


class OutboxRow(NamedTuple):
    """A row of `alert_messages` that is not sent yet, with its incident's severity (None for a test)."""

    id: int
    phase: str
    title: str
    body: str
    state: str
    attempts: int
    next_ms: int
    lease_ms: int
    repeated: int
    created_ms: int
    severity: str | None

    @property
    def sending(self) -> bool:
        """A sending of it was begun, whose outcome nobody has written yet."""
        return self.state == "sending"

    def waits(self, now: int) -> bool:
        """Not due yet, or leased; a time further ahead was written before the clock was set back."""
        return now < self.next_ms <= now + MOST_MS or (self.sending and now < self.lease_ms <= now + LEASE_MS)


class Outbox:
    """At most one sending a channel at a time; `step` starts what is due and never waits for it."""

    def __init__(self, app: Flask, clock: Callable[[], int] | None = None) -> None:
        self.app = app
        self.settings: Settings = app.extensions["settings"]
        self.clock, self.send_s = clock, SEND_S
        self.threads: dict[str, threading.Thread] = {}
        self.trouble: dict[str, str] = {}

    def publish_channels(self, connection: Connection) -> None:
        """Say for pages and other monitors which channels this one has; messages of others wait for theirs."""
        channels.announce(connection, self.settings.alert_channels)

    def send_due(self, connection: Connection) -> int:
        """Start what is due; returns how many sendings were started."""
        started = 0
        for channel in self.settings.alert_channels:
            thread = self.threads.get(channel)
            if thread is not None and thread.is_alive():
                continue
            if taken := self._take(connection, channel):
                self.threads[channel] = threading.Thread(target=self._send, args=(channel, *taken), name=f"alert {channel}", daemon=True)
                self.threads[channel].start()
                started += 1
        return started

    def _now(self, tx: Executor) -> int:
        return self.clock() if self.clock else tx.now()

    def _take(self, connection: Connection, channel: str) -> tuple[list[OutboxRow], int] | None:
        """The rows to send now, leased; None when nothing is due or another monitor was first."""
        now = self._now(connection)
        rows = [OutboxRow(*row) for row in connection.fetch_all(_WAITING, c=channel)]
        queue = [m for m in rows if m.phase == "test"][:1] or rows
        if not queue or queue[0].waits(now):
            return None
        batch = queue if len(queue) > MOST_SINGLE else queue[:1]
        until = now + LEASE_MS
        with connection.transaction() as tx:
            taken = [m for m in batch if tx.execute(_LEASE, id=m.id, held=m.lease_ms, until=until)]
        return (taken, until) if taken else None

    def _send(self, channel: str, messages: list[OutboxRow], until: int) -> None:
        with self.app.app_context(), force_locale(self.settings.alert_language):
            parts = [(m.title, f"{texts.repeated()}\n{m.body}" if m.sending or m.repeated else m.body)
                     for m in messages]
            title, body = parts[0] if len(parts) == 1 else texts.digest(parts)
        worst = max((level(m.phase, m.severity) for m in messages), key=_LEVELS.index)
        why, doubtful = deliver(self.settings.alert_channels[channel], title, body, self.send_s, worst)
        connection = Connection(self.settings.database_url, synchronous="FULL")
        try:
            self._end(connection, messages, until, why, doubtful)
        except Exception:  # the lease ends, and it is sent once more
            log.exception("channel %s: the outcome of a sending could not be written", channel)
        finally:
            connection.close()
        if bool(why) != bool(self.trouble.get(channel)):
            log.warning("channel %s %s", channel, f"fails ({why}); it is tried again" if why else "works again")
        self.trouble[channel] = why

    def _end(self, connection: Connection, messages: list[OutboxRow], until: int, why: str, doubtful: bool) -> None:
        now = self._now(connection)
        with connection.transaction() as tx:
            for m in messages:
                lost = why and (m.phase == "test" or now - m.created_ms > KEEP_MS)
                wait = min(FIRST_MS * 2 ** min(m.attempts, 12), MOST_MS)
                state = "sent" if not why else "dropped" if lost else "waiting"
                tx.execute(_END, id=m.id, until=until, state=state, error=why or None, json=to_json(why), next=now + wait,
                           doubt=int(doubtful), ended=None if state == "waiting" else now)

    def busy(self) -> bool:
        return any(thread.is_alive() for thread in self.threads.values())

    def finish(self, connection: Connection, seconds: float = 90.0) -> list[str]:
        """Send all that is due and wait for it; returns 'channel: why' of those that failed."""
        end = time.monotonic() + seconds
        while (self.send_due(connection) or self.busy()) and time.monotonic() < end:
            time.sleep(0.05)
        return [f"channel {name}: {why}" for name, why in self.trouble.items() if why]


def level(phase: str, severity: str | None) -> str:
    """How Apprise calls what a message says: webhooks carry it as a field, chat programs as a colour."""
    if phase in ("over", "test"):
        return "success" if phase == "over" else "info"
    return {"critical": "failure", "info": "info"}.get(severity or "", "warning")


def deliver(url: str, title: str, body: str, seconds: float, level: str = "info") -> tuple[str, bool]:
    """One sending in a child, killed after so many seconds: what went wrong, without secrets, or nothing; and whether
    it may have arrived."""
    command = [sys.executable, "-m", "app.integrations.apprise_send"]
    kept = {n: v for n, v in os.environ.items() if n not in ("ALERT_URLS", "SECRET_KEY")}
    try:
        done = subprocess.run(command, input=json.dumps({"url": url, "title": title, "body": body, "level": level}),
                              capture_output=True, text=True, timeout=seconds, cwd=ROOT, env=kept)
        answer = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return Message("no answer within %(n)s s", n=f"{seconds:.0f}"), True
    except (OSError, ValueError) as error:
        return Message("the sending broke off (%(why)s)", why=type(error).__name__), True
    return "" if answer["ok"] else one_line(redact(answer["why"]), 300), answer["doubtful"]
