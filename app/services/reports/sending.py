"""Sends the rows of `mails`: to addresses by SMTP_URL, to channels of ALERT_URLS by Apprise.

due rows of a lane (the mail server, each channel), one at a time -> lease -> the letter -> the lease again, if it is
still ours -> a child process, 60 s at most -> sent; or waiting again, from 30 s to an hour later. A monitor sends only
what it has an address for: without SMTP_URL mails wait, and the page says what to set. While the server itself does not
answer, only one mail is tried in 5 minutes at most. Nothing is dropped because a server is down: after 30 days
services/instance/retention.py gives up, as the page says. A mail that the server refuses for good (5xx) is dropped
after MOST_REFUSALS attempts in a row, about an hour; one whose reader may not have it (readers.py) at once. What may
have arrived is sent once more with the same Message-ID, which mailboxes fold, and says so; later repetitions are a day
apart. A test is tried once.
"""

from __future__ import annotations

import logging
from collections import namedtuple
from collections.abc import Iterable
from typing import Any, NamedTuple

from flask_babel import force_locale

from app.integrations import child
from app.ledger import counts
from app.ledger.dialect import Connection
from app.models.types import as_integer, as_text
from app.services import outbox
from app.services.alerts import channels, delivery
from app.services.outbox import backoff
from app.services.reports import letters
from app.services.reports.letters import Letter
from app.services.reports.plan_values import CHANNEL, LANGUAGES, MAIL, target_of
from app.support.clock import DAY_MS, MINUTE_MS, now_ms
from app.support.messages import Message, text_of, to_json

log = logging.getLogger(__name__)
LEASE_MS, REST_MS, MOST_WAIT_MS = 3 * MINUTE_MS, 5 * MINUTE_MS, DAY_MS
MOST_REFUSALS = 8
FIELDS = ("id kind target language plan_id report_id subject body facts state attempts refusals next_ms lease_ms "
          "repeated created_ms")
# A time further ahead than possible was written before the clock was set back.
_DUE = f"""SELECT {', '.join(FIELDS.split())} FROM mails WHERE state IN ('waiting', 'sending')
 AND (next_ms <= :now OR next_ms > :far) AND (target = :lane OR (:lane = '{MAIL}' AND substr(target, 1, 5) = '{MAIL}'))
 AND (:rests = 0 OR kind = 'test') ORDER BY CASE WHEN kind = 'test' THEN 0 ELSE 1 END, next_ms, id LIMIT 1"""
_LEASE = """UPDATE mails SET repeated = CASE WHEN state = 'sending' THEN 1 ELSE repeated END, state = 'sending',
 lease_ms = :until, next_ms = :until, attempts = attempts + 1
 WHERE id = :id AND state = :state AND next_ms = :due AND lease_ms = :held"""
_RENEW = """UPDATE mails SET lease_ms = :next, next_ms = :next
 WHERE id = :id AND state = 'sending' AND lease_ms = :until"""
_END = """UPDATE mails SET state = :state, error = :error, error_json = :json, next_ms = :next, ended_ms = :ended,
 refusals = :refusals, repeated = CASE WHEN :doubt = 1 THEN 1 ELSE repeated END
 WHERE id = :id AND state = 'sending' AND lease_ms = :until"""


class Row(namedtuple("Row", FIELDS)):
    """A row of `mails` that is not sent yet."""

    @property
    def again(self) -> bool:
        """Whether it may have been delivered already."""
        return self.state == "sending" or as_integer(self.repeated, 0) == 1


class Outcome(NamedTuple):
    """What became of a sending: what went wrong ("" if nothing did), whether it may have arrived, whether it was
    refused for good, whether the server is down, and whether it is given up at once."""

    why: str = ""
    doubtful: bool = False
    refused: bool = False
    down: bool = False
    over: bool = False


class Mails(outbox.Outbox):
    """Sends the mails for which this monitor has an address."""

    kind, send_s, lease_ms, renewal = "mails", 60.0, LEASE_MS, _RENEW

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        # lane -> (until when in ms no more is tried, how often its server was down in a row)
        self.rests: dict[str, tuple[int, int]] = {}

    def lanes(self) -> Iterable[str]:
        """MAIL for all addresses, and the target of each channel of this monitor."""
        return [*([MAIL] if self.settings.smtp_url else ()), *(CHANNEL + name for name in self.settings.alert_channels)]

    def run(self, connection: Connection) -> None:
        """Tell pages that this monitor sends to addresses, and as whom; send what is due, unless a restore has paused.
        """
        own = [self.settings.report_from[1]] if self.settings.smtp_url else []
        channels.announce(connection, own, channels.SENDERS)
        if not counts.paused_after_restore(connection):
            self.send_due(connection)

    def _take(self, connection: Connection, lane: str) -> tuple[list[Row], int] | None:
        now = self._now(connection)
        rests, _times = self.rests.get(lane, (0, 0))
        rows = connection.fetch_all(_DUE, now=now, far=now + MOST_WAIT_MS + MINUTE_MS, lane=lane,
                                    rests=int(now < rests <= now + REST_MS))
        if not rows:
            return None
        row, until = Row(*rows[0]), now + LEASE_MS
        with connection.transaction() as tx:
            taken = tx.execute(_LEASE, id=row.id, state=row.state, due=row.next_ms, held=row.lease_ms, until=until)
        return ([row], until) if taken else None

    def _prepare(self, lane: str, rows: list[Row]) -> Letter | Outcome:
        (row,) = rows
        language = row.language if row.language in LANGUAGES else self.settings.alert_language
        if target_of(as_text(row.target) or "") is None:
            return Outcome(Message("this is no mail address"), refused=True)
        try:
            with self.app.app_context(), force_locale(language):
                now = self.clock() if self.clock else now_ms()
                return letters.write(row._replace(language=language), now, row.again)
        except letters.NotWritten as error:
            return Outcome(text_of(error), refused=True, over=isinstance(error, letters.NotAllowed))
        except Exception as error:
            log.exception("mail %s could not be written", row.id)
            return Outcome(Message("the mail could not be written (%(why)s)", why=type(error).__name__))

    def _deliver(self, lane: str, rows: list[Row], letter: Letter | Outcome) -> Outcome:
        (row,) = rows
        if isinstance(letter, Outcome):
            return letter
        target = target_of(as_text(row.target) or "") or ""
        if lane != MAIL:
            url = self.settings.alert_channels[lane.removeprefix(CHANNEL)]
            why, doubtful = delivery.deliver(url, letter.subject, letter.text, self.send_s, html=letter.html,
                                             files=letter.files)
            return Outcome(why, doubtful, down=bool(why))
        answer = child.ask("app.integrations.smtp_send", {
            "url": self.settings.smtp_url, "from": self.settings.report_from, "id": self._message_id(row),
            "to": target.removeprefix(MAIL), "subject": letter.subject, "text": letter.text,
            "html": letter.html, "files": letter.files, "date_ms": row.created_ms, "seconds": self.send_s - 5},
            self.send_s)
        return Outcome(answer["why"], answer["doubtful"], bool(answer.get("refused")), bool(answer.get("down")))

    def _message_id(self, row: Row) -> str:
        """The same for each sending of a row, and of no other row anywhere."""
        mark = self.settings.key(f"mail {row.id} {row.created_ms}")[:32]
        return f"<{mark}@{self.settings.report_from[1].rpartition('@')[2].encode('idna').decode()}>"

    def _end(self, connection: Connection, rows: list[Row], until: int, *outcome: Any) -> None:
        (row,), (why, doubtful, refused, down, over) = rows, Outcome(*outcome)
        now, lane = self._now(connection), MAIL if str(row.target).startswith(MAIL) else row.target
        times = self.rests.get(lane, (0, 0))[1]
        self.rests[lane] = (now + min(backoff(times), REST_MS), times + 1) if down else (0, 0)
        refusals = (as_integer(row.refusals, 0) or 0) + 1 if refused else 0
        lost = why and (over or row.kind == "test" or refusals >= MOST_REFUSALS)
        state = "sent" if not why else "dropped" if lost else "waiting"
        wait = MOST_WAIT_MS if doubtful and row.again else backoff(as_integer(row.attempts, 0) or 0)
        with connection.transaction() as tx:
            tx.execute(_END, id=row.id, until=until, state=state, error=why or None, json=to_json(why),
                       next=now + wait, ended=None if state == "waiting" else now, refusals=refusals,
                       doubt=int(doubtful))
