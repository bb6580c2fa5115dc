"""The rules as people change them: checked, written with an audit row."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from app import registry
from app.extensions import db
from app.models import AlertRule
from app.services.alerts import texts
from app.services.alerts.checks import KINDS
from app.services.alerts.incidents import channels, last_check
from app.services.audit import ActionRefused, audit
from app.support.messages import Message
from app.support.messages import translate as _
from app.support.validation import ValidationError

LIMITS = {"threshold": (0, 1_000_000), "minimum": (0, 1_000_000), "window_min": (1, 24 * 60), "cooldown_min": (0, 24 * 60)}
OF_SOME = ("job_type", "queue", "tenant_id")  # the rules of some kinds can be narrowed to these
SEVERITIES = ("warning", "critical")
CLOCK = re.compile(r"([01]\d|2[0-3]):[0-5]\d")


@dataclass(frozen=True)
class RuleView:
    """A rule: its row in `alert_rules` (whose model says the units), then what pages say of it.

    `unit` of `threshold` and `value` is one of jobs, min, percent, times, none; `uses` names the other columns that
    count for its kind; `quiet`: it has quiet hours; `label` of its job type; `value`: measured at the last check.
    """

    id: int | None
    kind: str
    enabled: int
    threshold: float
    minimum: int
    window_min: int
    job_type: str | None
    queue: str | None
    tenant_id: str | None
    severity: str
    quiet_from: str | None
    quiet_until: str | None
    channels: str
    cooldown_min: int
    name: str
    unit: str
    uses: tuple[str, ...]
    quiet: bool
    label: str | None
    value: float | None = None


def listing() -> list[RuleView]:
    """Every rule, with what it measured at the last check."""
    values, _at = last_check()
    rows = db.session.scalars(select(AlertRule).order_by(AlertRule.id))
    return [shown(row, values.get(str(row.id)) if row.enabled else None) for row in rows]


def shown(row: AlertRule, value: float | None = None) -> RuleView:
    kind = KINDS.get(row.kind)
    return RuleView(
        **{column.name: getattr(row, column.name) for column in AlertRule.__table__.columns},
        name=texts.name(row.kind), unit=kind.unit if kind else "none", uses=kind.uses if kind else (),
        quiet=bool(row.quiet_from and row.quiet_until),
        label=registry.label_of(row.job_type) if row.job_type else None, value=value)


def find(rule: int) -> AlertRule:
    """Raises ActionRefused when there is none of that number."""
    row = db.session.get(AlertRule, rule) if 0 < rule < 2**62 else None
    if row is None:
        db.session.rollback()
        raise ActionRefused(_("There is no such rule."), unknown=True)
    return row


def blank(kind: str) -> AlertRule:
    """A new rule of a kind, like the first of that kind; not yet written. Raises ActionRefused for an unknown kind."""
    if kind not in KINDS:
        raise ActionRefused(_("There is no such kind of rule."), unknown=True)
    like = db.session.scalar(select(AlertRule).where(AlertRule.kind == kind).order_by(AlertRule.id).limit(1))
    values = {n: getattr(like, n) for n in ("threshold", "minimum", "window_min", "severity", "channels", "cooldown_min")} if like else {
        "threshold": 1, "minimum": 0, "window_min": 60, "severity": "warning", "channels": "*", "cooldown_min": 15}
    return AlertRule(kind=kind, enabled=1, **values)


def parse_limit(field: str, text: str) -> float:
    """The number of one of LIMITS, whole for all but the threshold. Raises ValidationError."""
    low, high = LIMITS[field]
    text = text.strip().replace(",", ".")
    if not re.fullmatch(r"\d{1,7}(\.\d{1,3})?" if field == "threshold" else r"\d{1,7}", text) or not low <= float(text) <= high:
        raise ValidationError(_("A number from %(low)s to %(high)s.", low=low, high=high))
    return float(text) if field == "threshold" else int(text)


def parse_type(text: str) -> str | None:
    """The name of a job type, also of one that no code declares now; None for blank. Raises ValidationError."""
    text = text.strip()
    if text and not registry.NAME.fullmatch(text):
        raise ValidationError(_("There is no such job type."))
    return text or None


def parse_severity(text: str) -> str:
    if text not in SEVERITIES:
        raise ValidationError(_("Choose one of the list."))
    return text


def parse_quiet(start: str, end: str) -> tuple[str | None, str | None]:
    """Begin and end of the quiet hours, both or neither. Raises ValidationError."""
    clocks = start.strip() or None, end.strip() or None
    if any(clock and not CLOCK.fullmatch(clock) for clock in clocks) or bool(clocks[0]) != bool(clocks[1]):
        raise ValidationError(_("Two times like 22:00 and 07:00, or neither."))
    return clocks


def parse_channels(chosen: Sequence[str]) -> str:
    """Names of channels as a rule keeps them, `*` for all. Raises ValidationError for an unknown one."""
    known = channels()
    if any(name not in known and name != "*" for name in chosen):
        raise ValidationError(_("There is no such channel; ALERT_URLS of the monitor names them."))
    return "*" if "*" in chosen else ",".join(name for name in known if name in chosen)


def save(row: AlertRule, values: Mapping[str, Any], actor: str) -> None:
    """Write what the functions above have made of a person's words, by column."""
    for field, value in values.items():
        setattr(row, field, value)
    new = row.id is None
    db.session.add(row)
    db.session.flush()
    audit(actor, Message("new rule") if new else Message("change rule"), f"{row.kind} {row.id}",
          Message("threshold %(n)s", n=f"{row.threshold:g}"))
    db.session.commit()


def switch(rule: int, on: bool, actor: str) -> None:
    """Raises ActionRefused when there is no such rule."""
    row = find(rule)
    row.enabled = int(on)
    audit(actor, Message("switch on rule") if on else Message("switch off rule"), f"{row.kind} {row.id}", Message("done"))
    db.session.commit()


def delete(rule: int, actor: str) -> None:
    """Its open incidents end without a message at the next check. Raises ActionRefused when there is no such rule."""
    row = find(rule)
    audit(actor, Message("delete rule"), f"{row.kind} {row.id}", Message("done"))
    db.session.delete(row)
    db.session.commit()
