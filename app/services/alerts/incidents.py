"""Incidents: opened and closed by the monitor's check, notified once, acknowledged and snoozed by people.

check -> KINDS judge one snapshot (reads only, no transaction)
      -> one short transaction: a new finding opens an incident (a unique index: two monitors open one); one without its
         finding is over, is watched for CALM_MS and then closed with the time of the first check without it; the outbox
         gets one message for each channel and phase (unique)
The team is notified at `notify_at`: at once, or when the quiet hours or the snooze end, or `cooldown_min` after the
same incident was last over. An incident that is over by then sends nothing, except one that began in quiet hours.
"""

from __future__ import annotations

import json
import logging
from collections import namedtuple
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from flask_babel import force_locale

from app.config import Settings
from app.extensions import db
from app.ledger import counts
from app.ledger.dialect import Connection, Executor
from app.models import Alert
from app.services.alerts import channels, texts
from app.services.alerts.checks import KINDS
from app.services.alerts.snapshot import RULE_COLUMNS, Finding, Rule, Snapshot
from app.services.audit import ActionRefused, commit_audited, row_of
from app.support.clock import DAY_MS, MINUTE_MS, millis, now_ms, when
from app.support.messages import Message, _
from app.support.number_text import plain_number
from app.support.validation import ValidationError, stored_object

log = logging.getLogger(__name__)
CALM_MS = 90_000  # two checks in a row must find nothing, so an incident that flickers stays one incident
MOST_SNOOZE_MIN, MOST_NAMES, VIEW = 7 * 24 * 60, 10, "view"
_RULES = f"SELECT {RULE_COLUMNS} FROM alert_rules WHERE enabled = 1 ORDER BY id"
_LAST = """SELECT closed_ms, snoozed_ms, snoozed_by FROM alerts WHERE rule_id = :r AND subject = :s
 ORDER BY id DESC LIMIT 1"""
_OPEN = """INSERT INTO alerts
 (rule_id, kind, subject, severity, facts, link, opened_ms, seen_ms, tell_ms, snoozed_ms, snoozed_by)
 VALUES (:rule, :kind, :subject, :severity, :facts, :link, :now, :now, :notify, :snoozed, :by) ON CONFLICT DO NOTHING"""
_KNOWN = "SELECT subject, id, seen_ms, facts FROM alerts WHERE rule_id = :r AND closed_ms IS NULL"
_FACTS = "UPDATE alerts SET facts = :facts, seen_ms = :seen, link = COALESCE(:link, link) WHERE id = :id"
_CLOSE = "UPDATE alerts SET closed_ms = :at WHERE id = :id AND closed_ms IS NULL"
# Incidents of rules that were switched off or deleted end without a message.
_CLOSE_ORPHANS = """UPDATE alerts SET closed_ms = :now, told = 2 WHERE closed_ms IS NULL
 AND rule_id NOT IN (SELECT id FROM alert_rules WHERE enabled = 1)"""
# An incident that may need a message; `notified`: 0 no message yet, 1 of its begin, 2 of its end.
Due = namedtuple("Due", "id rule_id kind facts link opened closed notify_at notified")
_DUE = """SELECT id, rule_id, kind, facts, link, opened_ms, closed_ms, tell_ms, told FROM alerts
 WHERE told < 2 AND (closed_ms IS NOT NULL OR told = 0) AND (closed_ms IS NULL OR closed_ms > :old) ORDER BY id"""
_ENQUEUE = """INSERT INTO alert_messages (alert_id, channel, phase, title, body, next_ms, created_ms)
 VALUES (:alert, :channel, :phase, :title, :body, :now, :now) ON CONFLICT DO NOTHING"""

_MARK = "UPDATE alerts SET told = :told WHERE id = :id AND told = :was"
# The browsers of who asked for it show it (services/notices/feed.py); roles as in controllers/rights.py.
_TELL_BROWSERS = """INSERT INTO notices (user_id, kind, subject, title, body, link, created_ms)
 SELECT id, 'alert', CAST(:alert AS VARCHAR), '', '', '/admin/jobs/alerts', :now FROM users WHERE browser_alerts = 1
 AND disabled_ms IS NULL AND role IN ('super-admin', 'operator', 'viewer')"""


def check(snapshot: Snapshot, connection: Connection, settings: Settings, urgent: bool = False) -> list[str]:
    """Judge the enabled rules (with `urgent` only those kinds) and write the incidents and messages. Returns 'kind:
    error' for each rule that failed."""
    names = tuple(Rule.__dataclass_fields__)
    rules = {row[0]: Rule(**dict(zip(names, row, strict=True))) for row in snapshot.tx.fetch_all(_RULES)}
    judged: list[tuple[Rule, list[Finding]]] = []
    failed, whole = [], not urgent
    for rule in _in_turn(rules.values(), snapshot.now):
        kind = KINDS.get(rule.kind)
        if kind is None or (urgent and not kind.urgent):
            continue
        try:
            judged.append((rule, kind.judge(snapshot, rule)))
        except Exception as error:
            failed.append(f"{rule.kind}: {type(error).__name__}: {error}")
            whole = whole and rule.kind == VIEW  # a view has no window that the next check must begin earlier
    with connection.transaction() as tx:
        for rule, found in judged:
            _write(tx, rule, found, snapshot.now, settings)
        if not urgent:
            tx.execute(_CLOSE_ORPHANS, now=snapshot.now)
        looked = snapshot.now if whole else snapshot.looked
        values = snapshot.kept.get("values") if urgent else None  # of the rules that are not urgent
        values = (values if isinstance(values, dict) else {}) | {str(id): n for id, n in snapshot.values.items()}
        counts.save(tx, "alerts", {"values": values, "looked": looked})
        _enqueue_due(tx, rules, snapshot.now, settings)
    return failed


def _in_turn(rules: Iterable[Rule], now: int) -> list[Rule]:
    """The rules; those that count a view stand last, each minute with another one first: their time is bounded."""
    others, views = ([rule for rule in rules if (rule.kind == VIEW) is of] for of in (False, True))
    first = now // MINUTE_MS % max(len(views), 1)
    return [*others, *views[first:], *views[:first]]


def _write(tx: Executor, rule: Rule, found: list[Finding], now: int, settings: Settings) -> None:
    """Open an incident for each new finding; close those without a finding for CALM_MS."""
    known = {row[0]: row[1:] for row in tx.fetch_all(_KNOWN, r=rule.id)}
    for finding in found:
        subject = finding.subject[:255]
        if before := known.pop(subject, None):
            alert, _seen, kept = before
            facts = json.dumps(merged(rule.kind, stored_object(kept), finding.facts | {"link": finding.link}))
            tx.execute(_FACTS, id=alert, seen=now, facts=facts, link=finding.link)
            continue
        last = tx.fetch_all(_LAST, r=rule.id, s=subject)
        closed, snoozed, by = last[0] if last else (None, None, None)
        if (snoozed or 0) <= now:
            snoozed, by = None, None
        rest = min(closed, now) + rule.cooldown_min * MINUTE_MS if closed else 0  # a clock set back must not prolong it
        notify_at = max(now, rest, snoozed or 0, quiet_end(rule, now, settings.timezone))
        facts = json.dumps(merged(rule.kind, {}, finding.facts | {"link": finding.link}))
        if tx.execute(_OPEN, rule=rule.id, kind=rule.kind, subject=subject, severity=rule.severity, facts=facts,
                      link=finding.link, now=now, notify=notify_at, snoozed=snoozed, by=by):
            log.warning("alert opened: %s %s %s", rule.kind, subject, facts)
    for alert, seen, kept in known.values():
        facts, seen = stored_object(kept), min(seen, now)  # seen, or over, before the clock was set back
        over = facts.get("over_ms")
        facts["over_ms"] = over if isinstance(over, int) and over < now else now
        tx.execute(_FACTS, id=alert, seen=seen, facts=json.dumps(facts), link=None)
        if seen <= now - CALM_MS and tx.execute(_CLOSE, id=alert, at=facts["over_ms"]):
            log.warning("alert over: %s, number %d", rule.kind, alert)


def merged(kind: str, before: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    """The facts of this check, with the `worst` ones of the incident, which has had `before`, and `had`: the `names` of
    all checks as they were first said, at most MOST_NAMES."""
    worst = max(facts, texts.worst(before) or facts, key=lambda some: texts.measure(kind, some))  # of equals the last
    had = before["had"] if isinstance(before.get("had"), list) else []
    had += [line for line in facts.get("names", ()) if line[0] not in [name for name, *_why in had]]
    return facts | {"worst": worst, "had": had[:MOST_NAMES]}


def quiet_end(rule: Rule, now: int, zone: Any) -> int:
    """The end (ms) of the rule's quiet hours that include `now` (ms), or 0."""
    start, end = rule.quiet_from, rule.quiet_until
    if not start or not end or start == end:
        return 0
    local = when(now).astimezone(zone)
    clock = local.strftime("%H:%M")
    over_midnight = start > end
    if not (clock >= start or clock < end if over_midnight else start <= clock < end):
        return 0
    day = local.date() + timedelta(days=1 if over_midnight and clock >= start else 0)
    return millis(datetime.fromisoformat(f"{day}T{end}").replace(tzinfo=zone))


def _enqueue_due(tx: Executor, rules: dict[int, Rule], now: int, settings: Settings) -> None:
    """Write the messages that are due into the outbox."""
    names = list(dict.fromkeys([*settings.alert_channels, *channels.known(tx)]))  # other monitors may have others
    for alert in map(Due._make, tx.fetch_all(_DUE, old=now - DAY_MS)):
        rule = rules.get(alert.rule_id)
        if rule is None:
            continue
        phases = ("over",) if alert.notified else ("open", "over") if alert.closed else ("open",)
        if alert.closed and not alert.notified and not quiet_end(rule, alert.opened, settings.timezone):
            phases = ()  # it was over before its first message was due
        elif (alert.notify_at > now and not alert.notified) or quiet_end(rule, now, settings.timezone):
            continue
        wanted = rule.channels.split(",")
        chosen = [name for name in names if "*" in wanted or name in wanted]
        for phase in phases:
            _enqueue(tx, alert, phase, chosen, now, settings)
        told = 2 if alert.closed else 1
        if tx.execute(_MARK, told=told, id=alert.id, was=alert.notified) and "open" in phases:
            tx.execute(_TELL_BROWSERS, alert=str(alert.id), now=now)  # once: of two monitors only one changes `told`


def _enqueue(tx: Executor, alert: Due, phase: str, names: Iterable[str], now: int, settings: Settings) -> None:
    url = settings.public_url + (alert.link or "/admin/jobs/alerts")
    with force_locale(settings.alert_language):
        title, body = texts.message(phase, alert.kind, json.loads(alert.facts), alert.opened, alert.closed, url)
    for channel in names:
        tx.execute(_ENQUEUE, alert=alert.id, channel=channel, phase=phase, title=title, body=body, now=now)


def acknowledge(alert: int, actor: str) -> None:
    """Note that somebody takes care of an open incident; the title no longer counts it. Raises ActionRefused."""
    row = _find(alert)
    if row.acked_ms is not None:
        name = row.acked_by
        db.session.rollback()
        raise ActionRefused(_("%(name)s has acknowledged this alert already.", name=name))
    row.acked_ms, row.acked_by = now_ms(), actor[:255]
    commit_audited(actor, Message("acknowledge alert"), f"{row.kind} {row.id}", Message("done"))


def parse_snooze(text: str) -> int:
    """Length of a silence in minutes. Raises ValidationError."""
    text = plain_number(text)
    if not (text.isascii() and text.isdigit() and len(text) < 7 and 1 <= int(text) <= MOST_SNOOZE_MIN):
        raise ValidationError(_("A silence lasts from 1 to %(n)s minutes.", n=MOST_SNOOZE_MIN))
    return int(text)


def snooze(alert: int, minutes: int, actor: str) -> None:
    """Send nothing about an open incident, nor about the same one if it comes again, for `minutes` (at most a week); 0
    ends the snooze. Raises ActionRefused."""
    row = _find(alert)
    row.snoozed_ms, row.snoozed_by = now_ms() + min(max(minutes, 0), MOST_SNOOZE_MIN) * MINUTE_MS, actor[:255]
    if not row.notified:
        row.notify_at = max(row.notify_at, row.snoozed_ms) if minutes else now_ms()
    action = Message("silence alert") if minutes else Message("end silence")
    commit_audited(actor, action, f"{row.kind} {row.id}", Message("%(n)s minutes", n=minutes or 0))


def _find(alert: int) -> Alert:
    row = row_of(Alert, alert, _("There is no such open alert."))
    if row.closed_ms is not None:
        db.session.rollback()
        raise ActionRefused(_("There is no such open alert."))
    return row
