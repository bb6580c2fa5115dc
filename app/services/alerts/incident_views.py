"""Incidents in the reader's language, and what the rules measured at the last check."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from flask_babel import gettext as _
from sqlalchemy import func, select

from app.extensions import db
from app.ledger import counts
from app.ledger.dialect import SessionExecutor
from app.models import Alert, AlertMessage
from app.services.alerts import texts
from app.services.alerts.incidents import CALM_MS
from app.support import privacy
from app.support.clock import millis, now_ms, when
from app.support.formatting import clock
from app.support.validation import stored_object

_TEXTS = re.compile(r"[?&](q|args\.[^=&]{0,300})=")  # parts of a filter that have data of jobs


@dataclass(frozen=True)
class AlertView:
    """An incident. `text` says what was measured: at the last check of an open one, at the worst of one that is over.
    `over_at` is the first check that did not find an open one any more. `link` is a path of this site; `lasted_ms`
    counts up to now or to its end.

    `quiet`: somebody has acknowledged or snoozed it; `sent_to` names the channels that delivered a message about it.
    """

    id: int
    kind: str
    name: str
    text: str
    link: str | None
    severity: str
    opened_at: datetime
    closed_at: datetime | None
    over_at: datetime | None
    rule_id: int
    lasted_ms: int
    acked_by: str | None
    acked_at: datetime | None
    snoozed_until: datetime | None
    snoozed_by: str | None
    quiet: bool
    sent_to: list[str]


def open_alerts() -> list[AlertView]:
    """At most 100 open incidents: first those that nobody has acknowledged or snoozed, that are true now, the critical
    ones, the latest."""
    rows = db.session.scalars(select(Alert).where(Alert.closed_ms.is_(None)).order_by(Alert.id.desc()).limit(100))
    return sorted(map(_view, rows), key=lambda a: (a.quiet, a.over_at is not None, a.severity != "critical", -a.id))


def history(size: int = 50) -> list[AlertView]:
    """At most `size` incidents that are over, the latest first."""
    rows = db.session.scalars(select(Alert).where(Alert.closed_ms.is_not(None)).order_by(Alert.id.desc()).limit(size))
    return [_view(row) for row in rows]


def by_id(ids: list[int]) -> dict[int, AlertView]:
    """Incidents, open or over, by their ids; unknown ids are left out."""
    rows = db.session.scalars(select(Alert).where(Alert.id.in_(ids))) if ids else ()
    return {row.id: _view(row) for row in rows}


def count_open() -> int:
    """The number of open incidents that nobody has acknowledged or snoozed, for the menu and the tab's title."""
    query = select(func.count()).select_from(Alert).where(Alert.closed_ms.is_(None), Alert.acked_ms.is_(None))
    return db.session.scalar(query.where(Alert.snoozed_ms.is_(None) | (Alert.snoozed_ms <= now_ms())))


def _view(row: Alert) -> AlertView:
    now, facts = now_ms(), stored_object(row.facts)
    over = when(facts.get("over_ms")) if row.closed_ms is None else None
    ended = row.closed_ms or (millis(over) if over else None)
    shown = texts.worst(facts) if ended else facts
    if "why" in shown and privacy.hidden():  # an error of a service
        shown = shown | {"why": "…", "why_json": None}
    text, link = texts.notification(row.kind, shown), str(shown.get("link") or row.link or "")
    if over:
        text = _("Over since %(time)s, watched until %(until)s in case it comes back. It was: %(text)s", text=text,
                 time=clock(millis(over), now, True), until=clock(row.seen_ms + CALM_MS, now, True))
    until, by = (when(row.snoozed_ms), row.snoozed_by) if (row.snoozed_ms or 0) > now else (None, None)
    same = {name: getattr(row, name) for name in ("id", "kind", "severity", "rule_id", "acked_by")}
    return AlertView(
        **same, name=texts.name(row.kind), text=text, over_at=over,
        link=None if not re.match("/(?!/)", link) or privacy.hidden() and _TEXTS.search(link) else link,
        opened_at=when(row.opened_ms),
        closed_at=when(row.closed_ms), lasted_ms=(ended or now) - row.opened_ms,
        acked_at=when(row.acked_ms), snoozed_until=until, snoozed_by=by, quiet=bool(until or row.acked_ms),
        sent_to=_sent_to(row.id) if row.notified else [])


def _sent_to(alert: int) -> list[str]:
    query = select(AlertMessage.channel).where(AlertMessage.alert_id == alert, AlertMessage.state == "sent").distinct()
    return list(db.session.scalars(query.order_by(AlertMessage.channel)))


def last_check() -> tuple[dict[str, float | None], datetime | None]:
    """What each rule measured at the last check, by its id as text, and the time of the check; ({}, None) without one.
    """
    kept = counts.load(SessionExecutor(db.session), "alerts")
    values = kept[0].get("values") if kept and isinstance(kept[0], dict) else None
    return (values, when(now_ms() - kept[1])) if kept and isinstance(values, dict) else ({}, None)
