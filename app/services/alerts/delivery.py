"""Delivery of the outbox: a lease, a child process for each sending, and the outcome under the lease.

channel's unsent rows, in order -> is the first one due? -> lease (guarded: one of two monitors gets it)
  -> Apprise in a child, 20 s at most -> sent, or waiting again with backoff
The rows behind a waiting one wait too, so the order is kept and a broken channel is tried seldom. A monitor sends only
for the channels that it has; other messages wait, and the alerts page shows them. More than MOST_SINGLE waiting rows
are sent as one digest. A row that is "sending" past its lease (the monitor was killed), or whose sending got no answer,
is sent once more and says that it may be a repetition. A test is sent alone, at once, and tried once.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterable

from flask_babel import force_locale

from app.integrations import child
from app.ledger.dialect import Connection
from app.services import outbox
from app.services.alerts import channels, texts
from app.services.outbox import MOST_MS, backoff
from app.support.clock import DAY_MS
from app.support.messages import to_json

LEASE_MS, KEEP_MS = 30_000, 7 * DAY_MS
MOST_SINGLE, MOST_ROWS = 3, 100
_LEVELS = ("info", "success", "warning", "failure")  # of Apprise, the worst last
_FIELDS = "id phase title body state attempts next_ms lease_ms repeated created_ms"
_WAITING = f"""SELECT {', '.join(f'm.{name}' for name in _FIELDS.split())}, a.severity
 FROM alert_messages m LEFT JOIN alerts a ON a.id = m.alert_id
 WHERE m.channel = :c AND m.state IN ('waiting', 'sending') ORDER BY m.id LIMIT {MOST_ROWS}"""
_LEASE = """UPDATE alert_messages SET repeated = CASE WHEN state = 'sending' THEN 1 ELSE repeated END,
 state = 'sending', lease_ms = :until, attempts = attempts + 1
 WHERE id = :id AND (state = 'waiting' OR (state = 'sending' AND lease_ms = :held))"""
_RENEW = """UPDATE alert_messages SET lease_ms = :next WHERE id = :id AND state = 'sending' AND lease_ms = :until"""
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


class Outbox(outbox.Outbox):
    """Sends the messages of this monitor's channels, at most one at a time for each channel."""

    lease_ms, renewal = LEASE_MS, _RENEW

    def lanes(self) -> Iterable[str]:
        """The names of this monitor's channels."""
        return self.settings.alert_channels

    def publish_channels(self, connection: Connection) -> None:
        """Report the channels of this monitor to pages and other monitors."""
        channels.announce(connection, self.settings.alert_channels)

    def _take(self, connection: Connection, channel: str) -> tuple[list[OutboxRow], int] | None:
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

    def _prepare(self, channel: str, messages: list[OutboxRow]) -> tuple[str, str]:
        with self.app.app_context(), force_locale(self.settings.alert_language):
            again = texts.repeated() + "\n"
            parts = [(m.title, again + m.body if m.sending or m.repeated else m.body) for m in messages]
            return parts[0] if len(parts) == 1 else texts.digest(parts)

    def _deliver(self, channel: str, messages: list[OutboxRow], made: tuple[str, str]) -> tuple[str, bool]:
        title, body = made
        worst = max((level(m.phase, m.severity) for m in messages), key=_LEVELS.index)
        return deliver(self.settings.alert_channels[channel], title, body, self.send_s, worst)

    def _end(self, connection: Connection, messages: list[OutboxRow], until: int, why: str, doubtful: bool) -> None:
        now = self._now(connection)
        with connection.transaction() as tx:
            for m in messages:
                lost = why and (m.phase == "test" or now - m.created_ms > KEEP_MS)
                state = "sent" if not why else "dropped" if lost else "waiting"
                ended = None if state == "waiting" else now
                tx.execute(_END, id=m.id, until=until, state=state, error=why or None, json=to_json(why),
                           next=now + backoff(m.attempts), doubt=int(doubtful), ended=ended)


def level(phase: str, severity: str | None) -> str:
    """The notification type of Apprise: webhooks carry it as a field, chat programs as a colour."""
    if phase in ("over", "test"):
        return "success" if phase == "over" else "info"
    return {"critical": "failure", "info": "info"}.get(severity or "", "warning")


def deliver(url: str, title: str, body: str, seconds: float, level: str = "info", **more: object) -> tuple[str, bool]:
    """Send a message in a child process, killed after `seconds`; `more` is what apprise_send.send takes besides.
    Returns what went wrong, without secrets ('' if nothing did), and whether it may have been delivered."""
    given = {"url": url, "title": title, "body": body, "level": level} | more
    answer = child.ask("app.integrations.apprise_send", given, seconds)
    return answer["why"], answer["doubtful"]
