"""The channels of alerts: the names that running monitors have in ALERT_URLS, each with the time of its last report.

Each monitor adds its own names and removes no others, so monitors with different lists can run side by side: a message
waits for a monitor that has its channel. When no monitor reports a name any more, it is removed: after an hour by a
monitor that has channels, after a week by one that has none, which may have been started without its ALERT_URLS.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select

from app.extensions import db
from app.ledger import counts
from app.ledger.dialect import Connection, Executor, SessionExecutor
from app.models import AlertMessage
from app.services.alerts import texts
from app.services.audit import commit_audited, refuse_unless
from app.support.clock import DAY_MS, HOUR_MS, MINUTE_MS, now_ms, when
from app.support.messages import Message, _, from_row, translate_stored

FACT, SENDERS = "channels", "mail senders"  # of the `meta` table: time (ms) by name
REPORT_MS, LIVE_MS = 30_000, 2 * MINUTE_MS
FORGET_MS, FORGET_WITHOUT_MS = HOUR_MS, 7 * DAY_MS
PENDING = ("waiting", "sending")


def known(tx: Executor, fact: str = FACT) -> dict[str, int]:
    """The age (ms) of each channel's last report, by its name (SENDERS: of each sender of mails by SMTP). A report from
    the future, written before the clock was set back, is as old as a week."""
    kept = counts.load(tx, fact)
    if kept is None:
        return {}
    names, age = kept
    if isinstance(names, list):  # of earlier versions: names only
        return {name: age for name in names if isinstance(name, str)}
    now, times = tx.now(), names.items() if isinstance(names, dict) else ()
    return {name: now - at if at <= now + REPORT_MS else FORGET_WITHOUT_MS for name, at in times if isinstance(at, int)}


def announce(connection: Connection, own: Iterable[str], fact: str = FACT) -> None:
    """Report the names of this monitor's channels, never their addresses; written every 30 s at most."""
    own = list(own)
    forget = FORGET_MS if own else FORGET_WITHOUT_MS
    if not _due(known(connection, fact), own, forget):
        return
    with connection.transaction() as tx:
        ages, now = known(tx, fact), tx.now()
        if _due(ages, own, forget):
            others = {name: now - age for name, age in ages.items() if age < forget}
            counts.save(tx, fact, others | dict.fromkeys(own, now))


def _due(ages: dict[str, int], own: list[str], forget: int) -> bool:
    return any(ages.get(name, REPORT_MS) >= REPORT_MS for name in own) or any(age >= forget for age in ages.values())


@dataclass(frozen=True)
class ChannelView:
    """The messages of a channel: when the last one was delivered, how many wait.

    `live`: a running monitor has it and will send what waits. `error` says why a message fails after `attempts`; it is
    tried again at `next_at` (None: it was given up).
    """

    live: bool
    sent_at: datetime | None
    waiting: int
    next_at: datetime | None
    error: str | None
    attempts: int


def listing() -> dict[str, ChannelView]:
    """By name: the channels that monitors know, then those whose messages were not sent."""
    ages = known(SessionExecutor(db.session))
    unsent = AlertMessage.state.in_((*PENDING, "expired"))
    orphans = db.session.scalars(select(AlertMessage.channel).where(unsent).distinct())
    return {name: _view(name, ages.get(name, LIVE_MS)) for name in dict.fromkeys([*ages, *sorted(orphans)])}


def _view(name: str, age: int) -> ChannelView:
    def first(order, *states: str) -> AlertMessage | None:
        mine = select(AlertMessage).where(AlertMessage.channel == name, AlertMessage.state.in_(states))
        return db.session.scalar(mine.order_by(order).limit(1))

    latest = AlertMessage.id.desc()
    sent, head, dropped = first(latest, "sent"), first(AlertMessage.id, *PENDING), first(latest, "dropped", "expired")
    failing = head if head is not None and head.error else None
    if failing is None and dropped is not None and (sent is None or dropped.id > sent.id):
        failing = dropped
    waiting = select(func.count()).where(AlertMessage.channel == name, AlertMessage.state.in_(PENDING))
    return ChannelView(
        live=age < LIVE_MS, sent_at=when(sent.ended_ms) if sent else None, waiting=db.session.scalar(waiting),
        next_at=when(failing.next_ms) if failing and failing is head else None,
        error=failing and translate_stored(from_row(failing.error, failing.error_json)),
        attempts=failing.attempts if failing else 0)


def request_test(name: str, actor: str) -> int:
    """Ask the monitor to send a test message; returns the id of the message. Raises ActionRefused for an unknown
    channel."""
    there = name in known(SessionExecutor(db.session))
    refuse_unless(there, _("There is no such channel; ALERT_URLS of the monitor names them."))
    title, body = texts.test_message(actor)
    row = AlertMessage(channel=name, phase="test", title=title, body=body, next_ms=now_ms(), created_ms=now_ms())
    db.session.add(row)
    commit_audited(actor, Message("test channel"), name, Message("asked"))
    return row.id


def message_state(message: int) -> tuple[str, str | None]:
    """State and error of a message: waiting, sending, sent or dropped. No transaction stays open."""
    query = select(AlertMessage.state, AlertMessage.error).where(AlertMessage.id == message)
    state, error = db.session.execute(query).one()
    db.session.rollback()  # a session of the command line holds the write lock
    return state, error
