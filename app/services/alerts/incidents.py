"""Incidents: opened and closed by the monitor's check, told once, acknowledged and silenced by people.

check -> rules.KINDS judge one Look (reads only, no transaction)
      -> one short transaction: new findings open an incident (a unique index: two monitors open one), absent ones close
         theirs after CALM_MS, and who is due to be told gets rows in the outbox (unique: one message a channel and phase)
Notified at `notify_at`: at once; or when quiet hours end, the silence ends, or `cooldown_min` after the same thing was last over
(should it be over again by then, nobody is bothered). An incident that came and went in quiet hours is told afterwards.
"""

from __future__ import annotations

import json
import logging
from collections import namedtuple
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flask_babel import force_locale
from sqlalchemy import func, select

from app.config import Settings
from app.extensions import db
from app.ledger import counts
from app.ledger.dialect import Connection, Executor, SessionExecutor
from app.models import Alert, AlertMessage, AlertRule
from app.services.alerts import channels as announced
from app.services.alerts import texts
from app.services.alerts.checks import KINDS, RULE_COLUMNS, Finding, Rule, Snapshot
from app.services.audit import ActionRefused, audit
from app.support.clock import DAY_MS, MINUTE_MS, millis, now_ms, when
from app.support.messages import Message, from_row, translate_stored
from app.support.messages import translate as _
from app.support.validation import stored_object

log = logging.getLogger(__name__)
CALM_MS = 90_000  # over when the second check in a row finds nothing: one that flickers is one incident
MOST_SNOOZE_MIN = 7 * 24 * 60
_OPEN = """INSERT INTO alerts (rule_id, kind, subject, severity, facts, link, opened_ms, seen_ms, tell_ms, snoozed_ms, snoozed_by)
 VALUES (:rule, :kind, :subject, :severity, :facts, :link, :now, :now, :tell, :snoozed, :by) ON CONFLICT DO NOTHING"""
_TELL = """INSERT INTO alert_messages (alert_id, channel, phase, title, body, next_ms, created_ms)
 VALUES (:alert, :channel, :phase, :title, :body, :now, :now) ON CONFLICT DO NOTHING"""


# An incident of which somebody may have to be told; `notified`: 0 nothing yet, 1 that it began, 2 that it is over.
Due = namedtuple("Due", "id rule_id kind facts link opened closed notify_at notified")


def check(look: Snapshot, connection: Connection, settings: Settings, urgent: bool = False) -> list[str]:
    """Judge the enabled rules (`urgent`: only those kinds) and write what follows; returns 'kind: error' of rules that
    failed."""
    rules = [Rule(*row) for row in look.tx.fetch_all(f"SELECT {RULE_COLUMNS} FROM alert_rules WHERE enabled = 1 ORDER BY id")]
    judged: dict[int, tuple[Rule, list[Finding]]] = {}
    failed = []
    for rule in rules:
        kind = KINDS.get(rule.kind)
        if kind is None or (urgent and not kind.urgent):
            continue
        try:
            judged[rule.id] = rule, kind.judge(look, rule)
        except Exception as error:
            failed.append(f"{rule.kind}: {type(error).__name__}: {error}")
    with connection.transaction() as tx:
        for rule, found in judged.values():
            _write(tx, rule, found, look.now, settings)
        if not urgent:
            _close_orphans(tx, {rule.id for rule in rules}, look.now)
            counts.save(tx, "alerts", {"values": look.values})
        _enqueue_due(tx, {rule.id: rule for rule in rules}, look.now, settings)
    return failed


def _write(tx: Executor, rule: Rule, found: list[Finding], now: int, settings: Settings) -> None:
    rows = tx.fetch_all("SELECT subject, id FROM alerts WHERE rule_id = :r AND closed_ms IS NULL", r=rule.id)
    open_ = {subject: id_ for subject, id_ in rows}
    for finding in found:
        subject, facts = finding.subject[:255], json.dumps(finding.facts)
        if subject in open_:
            tx.execute("UPDATE alerts SET seen_ms = :now, facts = :facts WHERE id = :id", now=now, facts=facts, id=open_[subject])
            continue
        last = tx.fetch_all("SELECT closed_ms, snoozed_ms, snoozed_by FROM alerts WHERE rule_id = :r AND subject = :s "
                            "ORDER BY id DESC LIMIT 1", r=rule.id, s=subject)
        closed, snoozed, by = last[0] if last else (None, None, None)
        rest = min(closed, now) + rule.cooldown_min * MINUTE_MS if closed else 0  # a clock set back must not prolong it
        notify_at = max(now, rest, snoozed or 0, quiet_end(rule, now, settings.timezone))
        if tx.execute(_OPEN, rule=rule.id, kind=rule.kind, subject=subject, severity=rule.severity, facts=facts, link=finding.link, now=now,
                   tell=notify_at, snoozed=snoozed if (snoozed or 0) > now else None, by=by if (snoozed or 0) > now else None):
            log.warning("alert opened: %s %s %s", rule.kind, subject, facts)
    tx.execute("UPDATE alerts SET seen_ms = :now WHERE rule_id = :r AND closed_ms IS NULL AND seen_ms > :now", r=rule.id, now=now)
    for (id_,) in tx.fetch_all("SELECT id FROM alerts WHERE rule_id = :r AND closed_ms IS NULL AND seen_ms <= :calm", r=rule.id, calm=now - CALM_MS):
        tx.execute("UPDATE alerts SET closed_ms = :now WHERE id = :id AND closed_ms IS NULL", now=now, id=id_)
        log.warning("alert over: %s, number %d", rule.kind, id_)


def _close_orphans(tx: Executor, rules: set[int], now: int) -> None:
    """Incidents of rules that were switched off or deleted end without a word."""
    for id_, rule_id in tx.fetch_all("SELECT id, rule_id FROM alerts WHERE closed_ms IS NULL"):
        if rule_id not in rules:
            tx.execute("UPDATE alerts SET closed_ms = :now, told = 2 WHERE id = :id", now=now, id=id_)


def quiet_end(rule: Rule, now: int, zone: Any) -> int:
    """When the rule's quiet hours that hold now end (ms), or 0."""
    if not rule.quiet_from or not rule.quiet_until or rule.quiet_from == rule.quiet_until:
        return 0
    local = when(now).astimezone(zone)
    clock = local.strftime("%H:%M")
    over_midnight = rule.quiet_from > rule.quiet_until
    inside = clock >= rule.quiet_from or clock < rule.quiet_until if over_midnight else rule.quiet_from <= clock < rule.quiet_until
    if not inside:
        return 0
    day = local.date() + timedelta(days=1 if over_midnight and clock >= rule.quiet_from else 0)
    return millis(datetime.fromisoformat(f"{day}T{rule.quiet_until}").replace(tzinfo=zone))


def _enqueue_due(tx: Executor, rules: dict[int, Rule], now: int, settings: Settings) -> None:
    """Rows of the outbox for incidents of which somebody is to be told."""
    rows = tx.fetch_all(
        "SELECT id, rule_id, kind, facts, link, opened_ms, closed_ms, tell_ms, told FROM alerts WHERE told < 2 AND "
        "(closed_ms IS NOT NULL OR told = 0) AND (closed_ms IS NULL OR closed_ms > :old) ORDER BY id", old=now - DAY_MS)
    names = list(dict.fromkeys([*settings.alert_channels, *announced.known(tx)]))  # other monitors may have others
    for alert in map(Due._make, rows):
        rule = rules.get(alert.rule_id)
        if rule is None:
            continue
        phases = ("over",) if alert.notified else ("open", "over") if alert.closed else ("open",)
        if alert.closed and not alert.notified and not quiet_end(rule, alert.opened, settings.timezone):
            phases = ()  # it was over before anybody was to be told
        elif (alert.notify_at > now and not alert.notified) or quiet_end(rule, now, settings.timezone):
            continue
        for phase in phases:
            _enqueue(tx, alert, phase, channels_of(rule, names), now, settings)
        tx.execute("UPDATE alerts SET told = :told WHERE id = :id", told=2 if alert.closed else 1, id=alert.id)


def _enqueue(tx: Executor, alert: Due, phase: str, names: Iterable[str], now: int, settings: Settings) -> None:
    url = settings.public_url + (alert.link or "/admin/jobs/alerts")
    with force_locale(settings.alert_language):
        title, body = texts.message(phase, alert.kind, json.loads(alert.facts), alert.opened, alert.closed, url)
    for channel in names:
        tx.execute(_TELL, alert=alert.id, channel=channel, phase=phase, title=title, body=body, now=now)


def channels_of(rule: Rule | AlertRule, known: Iterable[str]) -> list[str]:
    wanted = rule.channels.split(",")
    return [name for name in known if "*" in wanted or name in wanted]


# ---- what people see and do ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AlertView:
    """An incident in the reader's language: `text` says what was measured, `link` is a path of this site.

    `quiet`: somebody has taken or silenced it; `sent_to` names the channels that delivered a message of it.
    """

    id: int
    kind: str
    name: str
    text: str
    link: str | None
    severity: str
    opened_at: datetime
    closed_at: datetime | None
    rule_id: int
    lasted_ms: int
    acked_by: str | None
    acked_at: datetime | None
    snoozed_until: datetime | None
    snoozed_by: str | None
    quiet: bool
    sent_to: list[str]


@dataclass(frozen=True)
class ChannelView:
    """What became of a channel's messages: when the last was delivered, how many wait.

    `live`: a running monitor has it, so what waits will be sent. `error` says why the last one fails after `attempts`,
    which is tried again at `next_at` (None: it was given up).
    """

    live: bool
    sent_at: datetime | None
    waiting: int
    next_at: datetime | None
    error: str | None
    attempts: int


def open_alerts() -> list[AlertView]:
    """Open incidents, those that nobody has taken first."""
    rows = db.session.scalars(select(Alert).where(Alert.closed_ms.is_(None)).order_by(Alert.id.desc()).limit(100))
    return sorted(map(_view, rows), key=lambda a: (a.quiet, a.severity != "critical", -a.id))


def history(size: int = 50) -> list[AlertView]:
    """Incidents that are over, the latest first."""
    rows = db.session.scalars(select(Alert).where(Alert.closed_ms.is_not(None)).order_by(Alert.id.desc()).limit(size))
    return [_view(row) for row in rows]


def count_open() -> int:
    """Open incidents that nobody has taken or silenced: what the menu and the tab's title show."""
    query = select(func.count()).select_from(Alert).where(Alert.closed_ms.is_(None), Alert.acked_ms.is_(None))
    return int(db.session.scalar(query.where((Alert.snoozed_ms.is_(None)) | (Alert.snoozed_ms <= now_ms()))) or 0)


def _view(row: Alert) -> AlertView:
    now = now_ms()
    snoozed = (row.snoozed_ms or 0) > now
    return AlertView(
        id=row.id, kind=row.kind, name=texts.name(row.kind),
        text=texts.notification(row.kind, stored_object(row.facts)),
        link=row.link if row.link and row.link.startswith("/") and not row.link.startswith("//") else None,
        severity=row.severity, opened_at=when(row.opened_ms), closed_at=when(row.closed_ms), rule_id=row.rule_id,
        lasted_ms=(row.closed_ms or now) - row.opened_ms, acked_by=row.acked_by, acked_at=when(row.acked_ms),
        snoozed_until=when(row.snoozed_ms) if snoozed else None, snoozed_by=row.snoozed_by if snoozed else None,
        quiet=bool(snoozed or row.acked_ms), sent_to=[] if not row.notified else _sent_to(row.id))


def _sent_to(alert: int) -> list[str]:
    query = select(AlertMessage.channel).where(AlertMessage.alert_id == alert, AlertMessage.state == "sent").distinct()
    return list(db.session.scalars(query.order_by(AlertMessage.channel)))


def acknowledge(alert: int, actor: str) -> None:
    """Somebody has taken it: it no longer counts in the title. Raises ActionRefused."""
    row = _find(alert)
    if row.acked_ms is not None:
        name = row.acked_by
        db.session.rollback()
        raise ActionRefused(_("%(name)s has acknowledged this alert already.", name=name))
    row.acked_ms, row.acked_by = now_ms(), actor[:255]
    audit(actor, Message("acknowledge alert"), f"{row.kind} {row.id}", Message("done"))
    db.session.commit()


def snooze(alert: int, minutes: int, actor: str) -> None:
    """Silence it, and the same thing should it come again, for so long; 0 ends the silence. Raises ActionRefused."""
    row = _find(alert)
    row.snoozed_ms, row.snoozed_by = now_ms() + min(max(minutes, 0), MOST_SNOOZE_MIN) * MINUTE_MS, actor[:255]
    if not row.notified:
        row.notify_at = max(row.notify_at, row.snoozed_ms) if minutes else now_ms()
    audit(actor, Message("silence alert") if minutes else Message("end silence"), f"{row.kind} {row.id}",
          Message("%(n)s minutes", n=minutes or 0))
    db.session.commit()


def _find(alert: int) -> Alert:
    row = db.session.get(Alert, alert) if 0 < alert < 2**62 else None
    if row is None or row.closed_ms is not None:
        db.session.rollback()
        raise ActionRefused(_("There is no such open alert."), unknown=row is None)
    return row


def test_channel(name: str, actor: str) -> int:
    """Ask the monitor to send a test message; returns its number. Raises ActionRefused for an unknown channel."""
    if name not in announced.known(SessionExecutor(db.session)):
        db.session.rollback()
        raise ActionRefused(_("There is no such channel; ALERT_URLS of the monitor names them."), unknown=True)
    title, body = texts.test_message(actor)
    row = AlertMessage(channel=name, phase="test", title=title, body=body, next_ms=now_ms(), created_ms=now_ms())
    db.session.add(row)
    audit(actor, Message("test channel"), name, Message("asked"))
    db.session.commit()
    return row.id


def channels() -> dict[str, ChannelView]:
    """The channels that monitors know, and those that messages wait for, by name."""
    ages = announced.known(SessionExecutor(db.session))
    unsent = AlertMessage.state.in_(("waiting", "sending", "expired"))
    orphans = db.session.scalars(select(AlertMessage.channel).where(unsent).distinct())
    result: dict[str, ChannelView] = {}
    for name in dict.fromkeys([*ages, *sorted(orphans)]):
        mine, waits = AlertMessage.channel == name, AlertMessage.state.in_(("waiting", "sending"))
        messages, latest = select(AlertMessage).where(mine).limit(1), AlertMessage.id.desc()
        sent = db.session.scalar(messages.where(AlertMessage.state == "sent").order_by(latest))
        head = db.session.scalar(messages.where(waits).order_by(AlertMessage.id))
        dropped = db.session.scalar(messages.where(AlertMessage.state.in_(("dropped", "expired"))).order_by(latest))
        failing = head if head is not None and head.error else None
        if failing is None and dropped is not None and (sent is None or dropped.id > sent.id):
            failing = dropped
        waiting = db.session.scalar(select(func.count()).select_from(AlertMessage).where(mine, waits))
        result[name] = ChannelView(
            live=ages.get(name, announced.LIVE_MS) < announced.LIVE_MS, sent_at=when(sent.ended_ms) if sent else None,
            waiting=int(waiting or 0), next_at=when(failing.next_ms) if failing and failing is head else None,
            error=failing and translate_stored(from_row(failing.error, failing.error_json)),
            attempts=failing.attempts if failing else 0)
    return result


def last_check() -> tuple[dict[str, float | None], datetime | None]:
    """What each rule measured at the last check, by its number as text, and when that was."""
    kept = counts.load(SessionExecutor(db.session), "alerts")
    values = kept[0].get("values") if kept and isinstance(kept[0], dict) else None
    return (values, when(now_ms() - kept[1])) if kept and isinstance(values, dict) else ({}, None)
