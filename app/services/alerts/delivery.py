"""Delivery of the outbox: a lease, a child process for each sending, and the outcome under the lease.

channel's unsent rows, in order -> is the first one due? -> lease (guarded: one of two monitors gets it)
  -> Apprise in a child, 20 s at most -> sent, or waiting again with backoff
The rows behind a waiting one wait too, so the order is kept and a broken channel is tried seldom. A monitor sends only
for the channels that it has; other messages wait, and the alerts page shows them. More than MOST_SINGLE waiting rows
are sent as one digest. A row that is "sending" past its lease (the monitor was killed), or whose sending got no answer,
is sent once more and says that it may be a repetition. A test is sent alone, at once, and tried once.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections import namedtuple
from collections.abc import Callable

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
_LEVELS = ("info", "success", "warning", "failure")  # of Apprise, the worst last
_FIELDS = "id phase title body state attempts next_ms lease_ms repeated created_ms"
_WAITING = f"""SELECT {', '.join(f'm.{name}' for name in _FIELDS.split())}, a.severity
 FROM alert_messages m LEFT JOIN alerts a ON a.id = m.alert_id
 WHERE m.channel = :c AND m.state IN ('waiting', 'sending') ORDER BY m.id LIMIT {MOST_ROWS}"""
_LEASE = """UPDATE alert_messages SET repeated = CASE WHEN state = 'sending' THEN 1 ELSE repeated END,
 state = 'sending', lease_ms = :until, attempts = attempts + 1
 WHERE id = :id AND (state = 'waiting' OR (state = 'sending' AND lease_ms = :held))"""
_END = """UPDATE alert_messages SET state = :state, error = :error, error_json = :json, next_ms = :next,
 ended_ms = :ended, repeated = CASE WHEN :doubt = 1 THEN 1 ELSE repeated END
 WHERE id = :id AND state = 'sending' AND lease_ms = :until"""


class OutboxRow(namedtuple("OutboxRow", f"{_FIELDS} severity")):
    """A row of `alert_messages` that is not sent yet, with the severity of its incident (None for a test)."""

    @property
    def sending(self) -> bool:
        """Whether a sending has begun and its outcome is not written yet."""
        return self.state == "sending"

    def waits(self, now: int) -> bool:
        """Whether it is leased or not due yet at `now` (ms). A time further ahead than possible does not count: it was
        written before the clock was set back."""
        return now < self.next_ms <= now + MOST_MS or (self.sending and now < self.lease_ms <= now + LEASE_MS)


class Outbox:
    """Sends the messages of this monitor's channels, at most one at a time for each channel, in threads."""

    def __init__(self, app: Flask, clock: Callable[[], int] | None = None) -> None:
        self.app = app
        self.settings: Settings = app.extensions["settings"]
        self.clock, self.send_s = clock, SEND_S
        self.threads: dict[str, threading.Thread] = {}
        self.failures: dict[str, str] = {}

    def publish_channels(self, connection: Connection) -> None:
        """Report the channels of this monitor to pages and other monitors."""
        channels.announce(connection, self.settings.alert_channels)

    def send_due(self, connection: Connection) -> int:
        """Start what is due and do not wait for it; returns how many sendings were started."""
        started = 0
        for channel in self.settings.alert_channels:
            thread = self.threads.get(channel)
            if (thread is None or not thread.is_alive()) and (taken := self._take(connection, channel)):
                thread = threading.Thread(target=self._send, args=(channel, *taken), daemon=True)
                self.threads[channel], thread.name = thread, f"alert {channel}"
                thread.start()
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
            again = texts.repeated() + "\n"
            parts = [(m.title, again + m.body if m.sending or m.repeated else m.body) for m in messages]
            title, body = parts[0] if len(parts) == 1 else texts.digest(parts)
        worst = max((level(m.phase, m.severity) for m in messages), key=_LEVELS.index)
        why, doubtful = deliver(self.settings.alert_channels[channel], title, body, self.send_s, worst)
        connection = Connection(self.settings.database_url, synchronous="FULL")
        try:
            self._end(connection, messages, until, why, doubtful)
        except Exception:  # the lease ends, and the message is sent once more
            log.exception("channel %s: the outcome of a sending could not be written", channel)
        finally:
            connection.close()
        if bool(why) != bool(self.failures.get(channel)):
            log.warning("channel %s %s", channel, f"fails ({why}); it is tried again" if why else "works again")
        self.failures[channel] = why

    def _end(self, connection: Connection, messages: list[OutboxRow], until: int, why: str, doubtful: bool) -> None:
        now = self._now(connection)
        with connection.transaction() as tx:
            for m in messages:
                lost = why and (m.phase == "test" or now - m.created_ms > KEEP_MS)
                wait = min(FIRST_MS * 2 ** min(m.attempts, 12), MOST_MS)
                state = "sent" if not why else "dropped" if lost else "waiting"
                tx.execute(_END, id=m.id, until=until, state=state, error=why or None, json=to_json(why),
                           next=now + wait, doubt=int(doubtful), ended=None if state == "waiting" else now)

    def busy(self) -> bool:
        """Whether a sending is under way."""
        return any(thread.is_alive() for thread in self.threads.values())

    def finish(self, connection: Connection, seconds: float = 90.0) -> list[str]:
        """Send what is due and wait for it, at most `seconds`; returns 'channel NAME: why' of those that failed."""
        end = time.monotonic() + seconds
        while (self.send_due(connection) or self.busy()) and time.monotonic() < end:
            time.sleep(0.05)
        return [f"channel {name}: {why}" for name, why in self.failures.items() if why]


def level(phase: str, severity: str | None) -> str:
    """The notification type of Apprise: webhooks carry it as a field, chat programs as a colour."""
    if phase in ("over", "test"):
        return "success" if phase == "over" else "info"
    return {"critical": "failure", "info": "info"}.get(severity or "", "warning")


def deliver(url: str, title: str, body: str, seconds: float, level: str = "info") -> tuple[str, bool]:
    """Send a message in a child process, killed after `seconds`. Returns what went wrong, without secrets ('' if
    nothing did), and whether the message may have been delivered."""
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
