"""The alert rules as people change them: values are checked, each change adds a row to the log of actions."""

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
from app.services.alerts.channels import listing as channels
from app.services.alerts.checks import KINDS
from app.services.alerts.incident_views import last_check
from app.services.alerts.snapshot import SCOPES, Rule
from app.services.audit import commit_audited, refuse_unless, row_of
from app.services.jobs import saved_views
from app.support.messages import Message, _
from app.support.number_text import plain_number
from app.support.validation import ValidationError, parse_id

MOST, DAY_MIN = 1_000_000, 24 * 60
LIMITS = {"threshold": (0, MOST), "minimum": (0, MOST), "window_min": (1, DAY_MIN), "cooldown_min": (0, DAY_MIN)}
OF_SOME = tuple(SCOPES)  # the rules of some kinds can be narrowed to these
COUNTS = ("jobs", "workers")  # units whose thresholds are whole numbers
SEVERITIES = ("warning", "critical")
NEW = {"threshold": 1, "minimum": 0, "window_min": 60, "severity": "warning", "channels": "*", "cooldown_min": 15}
CLOCK = re.compile(r"([01]\d|2[0-3]):[0-5]\d")


@dataclass(frozen=True)
class RuleView(Rule):
    """A rule for pages; `id` is None before it is written.

    `unit` of `threshold` and `value` is jobs, workers, min, percent, times or none. `uses` names the other columns that
    its kind reads. `quiet`: it has quiet hours. `label` is that of its job type, `view` the name of its view, `value`
    was measured at the last check.
    """

    name: str
    unit: str
    uses: tuple[str, ...]
    quiet: bool
    label: str | None
    view: str | None = None
    value: float | None = None


def listing() -> list[RuleView]:
    """All rules by id, each with what it measured at the last check."""
    values, _at = last_check()
    rows = db.session.scalars(select(AlertRule).order_by(AlertRule.id))
    return [shown(row, values.get(str(row.id)) if row.enabled else None) for row in rows]


def shown(row: AlertRule, value: float | None = None) -> RuleView:
    """A row as its view, with what it measured at the last check."""
    kind = KINDS.get(row.kind)
    return RuleView(
        **{column.name: getattr(row, column.name) for column in AlertRule.__table__.columns},
        name=texts.name(row.kind), unit=kind.unit if kind else "none", uses=kind.uses if kind else (),
        quiet=bool(row.quiet_from and row.quiet_until),
        label=registry.label_of(row.job_type) if row.job_type else None, value=value,
        view=dict(saved_views.shared_views()).get(row.view_id) if row.view_id else None)


def find(rule: int) -> AlertRule:
    """The row of a rule by its id. Raises ActionRefused when there is none."""
    return row_of(AlertRule, rule, _("There is no such rule."))


def blank(kind: str) -> AlertRule:
    """A new rule with the values of the first rule of its kind, not yet written. Raises ActionRefused for an unknown
    kind."""
    refuse_unless(kind in KINDS, _("There is no such kind of rule."))
    like = db.session.scalar(select(AlertRule).where(AlertRule.kind == kind).order_by(AlertRule.id).limit(1))
    return AlertRule(kind=kind, enabled=1, **{name: getattr(like, name, usual) for name, usual in NEW.items()})


def parse_limit(field: str, text: str, unit: str = "") -> float:
    """The value of a column in LIMITS; a threshold of a `unit` that is no count may have decimals. Raises
    ValidationError."""
    low, high = LIMITS[field]
    text = plain_number(text)
    whole = field != "threshold" or unit in COUNTS
    form, kind = (r"\d{1,7}", int) if whole else (r"\d{1,7}(\.\d{1,3})?", float)
    if not re.fullmatch(form, text, re.ASCII) or not low <= kind(text) <= high:
        raise ValidationError(_("A whole number from %(low)s to %(high)s.", low=low, high=high) if whole else
                              _("A number from %(low)s to %(high)s.", low=low, high=high))
    return kind(text)


def parse_type(text: str) -> str | None:
    """The name of a declared job type; None for blank. Raises ValidationError."""
    text = text.strip()
    if text and registry.find(text) is None:
        raise ValidationError(_("There is no such job type."))
    return text or None


def parse_view(text: str) -> int:
    """The id of a view for all people. Raises ValidationError."""
    if (view := parse_id(text.strip())) is None or view not in dict(saved_views.shared_views()):
        raise ValidationError(_("Choose a view that is for all people."))
    return view


def parse_severity(text: str) -> str:
    """One of SEVERITIES. Raises ValidationError."""
    if text not in SEVERITIES:
        raise ValidationError(_("Choose one of the list."))
    return text


def parse_quiet(start: str, end: str) -> tuple[str | None, str | None]:
    """Start and end of the quiet hours like '22:00', or two None. Raises ValidationError."""
    clocks = start.strip() or None, end.strip() or None
    if any(clock and not CLOCK.fullmatch(clock) for clock in clocks) or bool(clocks[0]) != bool(clocks[1]):
        raise ValidationError(_("Two times like 22:00 and 07:00, or neither."))
    return clocks


def parse_channels(chosen: Sequence[str]) -> str:
    """The column `channels`: names with commas, `*` for all. Raises ValidationError for an unknown name."""
    known = channels()
    if any(name not in known and name != "*" for name in chosen):
        raise ValidationError(_("There is no such channel; ALERT_URLS of the monitor names them."))
    return "*" if "*" in chosen else ",".join(name for name in known if name in chosen)


def save(row: AlertRule, values: Mapping[str, Any], actor: str) -> None:
    """Write parsed values, by column, into a new or an old rule."""
    for field, value in values.items():
        setattr(row, field, value)
    new = row.id is None
    db.session.add(row)
    db.session.flush()
    action = Message("new rule") if new else Message("change rule")
    commit_audited(actor, action, f"{row.kind} {row.id}", Message("threshold %(n)s", n=f"{row.threshold:g}"))


def switch(rule: int, on: bool, actor: str) -> None:
    """Enable or disable a rule. Raises ActionRefused when there is no such rule."""
    row = find(rule)
    row.enabled = int(on)
    action = Message("switch on rule") if on else Message("switch off rule")
    commit_audited(actor, action, f"{row.kind} {row.id}", Message("done"))


def delete(rule: int, actor: str) -> None:
    """Delete a rule; its open incidents end without a message at the next check. Raises ActionRefused when there is no
    such rule."""
    row = find(rule)
    db.session.delete(row)
    commit_audited(actor, Message("delete rule"), f"{row.kind} {row.id}", Message("done"))
