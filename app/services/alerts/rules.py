"""The rules as people change them: checked, written with an audit row."""

from __future__ import annotations

import re
from collections.abc import Mapping
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
from app.support.validation import ValidationError, check_text, parse_queue, parse_tenant

LIMITS = {"threshold": (0, 1_000_000), "minimum": (0, 1_000_000), "window_min": (1, 24 * 60), "cooldown_min": (0, 24 * 60)}
SEVERITIES = ("warning", "critical")
CLOCK = re.compile(r"([01]\d|2[0-3]):[0-5]\d")


def listing() -> list[dict[str, Any]]:
    """Every rule in words, with what it measured at the last check."""
    values, _at = last_check()
    rows = db.session.scalars(select(AlertRule).order_by(AlertRule.id))
    return [shown(row) | {"value": values.get(str(row.id)) if row.enabled else None} for row in rows]


def shown(row: AlertRule) -> dict[str, Any]:
    kind = KINDS.get(row.kind)
    return {column.name: getattr(row, column.name) for column in AlertRule.__table__.columns} | {
        "name": texts.name(row.kind), "unit": kind.unit if kind else "none", "uses": kind.uses if kind else (),
        "quiet": bool(row.quiet_from and row.quiet_until), "label": registry.label_of(row.job_type) if row.job_type else None,
    }


def find(rule: int) -> AlertRule:
    row = db.session.get(AlertRule, rule) if 0 < rule < 2**62 else None
    if row is None:
        db.session.rollback()
        raise ActionRefused(_("There is no such rule."), unknown=True)
    return row


def blank(kind: str) -> AlertRule:
    """A new rule of a kind, like the first of that kind; not yet written."""
    if kind not in KINDS:
        raise ActionRefused(_("There is no such kind of rule."), unknown=True)
    like = db.session.scalar(select(AlertRule).where(AlertRule.kind == kind).order_by(AlertRule.id).limit(1))
    values = {n: getattr(like, n) for n in ("threshold", "minimum", "window_min", "severity", "channels", "cooldown_min")} if like else {
        "threshold": 1, "minimum": 0, "window_min": 60, "severity": "warning", "channels": "*", "cooldown_min": 15}
    return AlertRule(kind=kind, enabled=1, **values)


def save(row: AlertRule, form: Mapping[str, str], chosen: list[str], actor: str) -> dict[str, str]:
    """Write what the form says; returns errors by field (and then nothing is written). `chosen`: names of channels, or `*`."""
    errors: dict[str, str] = {}
    values: dict[str, Any] = {}
    uses = KINDS[row.kind].uses
    for field, (low, high) in LIMITS.items():
        if field in uses or field in ("threshold", "cooldown_min"):
            text = form.get(field, "").strip().replace(",", ".")
            whole = field != "threshold"
            if not re.fullmatch(r"\d{1,7}" if whole else r"\d{1,7}(\.\d{1,3})?", text) or not low <= float(text) <= high:
                errors[field] = _("A number from %(low)s to %(high)s.", low=low, high=high)
            else:
                values[field] = int(text) if whole else float(text)
    for field, parse in (("tenant_id", parse_tenant), ("queue", parse_queue), ("job_type", _type)):
        if field in uses:
            try:
                values[field] = parse(check_text(form.get(field, "")))
            except ValidationError as error:
                errors[field] = str(error)
    clocks = {field: form.get(field, "").strip() or None for field in ("quiet_from", "quiet_until")}
    if any(clock and not CLOCK.fullmatch(clock) for clock in clocks.values()) or bool(clocks["quiet_from"]) != bool(clocks["quiet_until"]):
        errors["quiet_from"] = _("Two times like 22:00 and 07:00, or neither.")
    values |= clocks
    values["severity"] = form.get("severity", row.severity)
    if values["severity"] not in SEVERITIES:
        errors["severity"] = _("Choose one of the list.")
    known = channels()
    if any(name not in known and name != "*" for name in chosen):
        errors["channels"] = _("There is no such channel; ALERT_URLS of the monitor names them.")
    values["channels"] = "*" if "*" in chosen else ",".join(n for n in known if n in chosen)
    if errors:
        db.session.rollback()
        return errors
    for field, value in values.items():
        setattr(row, field, value)
    new = row.id is None
    db.session.add(row)
    db.session.flush()
    audit(actor, Message("new rule") if new else Message("change rule"), f"{row.kind} {row.id}",
          Message("threshold %(n)s", n=f"{row.threshold:g}"))
    db.session.commit()
    return {}


def _type(text: str) -> str | None:
    text = text.strip()
    if text and not registry.NAME.fullmatch(text):
        raise ValidationError(_("There is no such job type."))
    return text or None


def switch(rule: int, on: bool, actor: str) -> None:
    row = find(rule)
    row.enabled = int(on)
    audit(actor, Message("switch on rule") if on else Message("switch off rule"), f"{row.kind} {row.id}", Message("done"))
    db.session.commit()


def delete(rule: int, actor: str) -> None:
    """Its open incidents end without a word at the next check."""
    row = find(rule)
    audit(actor, Message("delete rule"), f"{row.kind} {row.id}", Message("done"))
    db.session.delete(row)
    db.session.commit()
