"""The form of a plan of reports, and what its page offers to choose."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import wtforms
from babel.dates import get_day_names
from flask import url_for
from flask_babel import get_locale, gettext as _

from app import registry
from app.config import QUEUES
from app.controllers.forms import Form, asked, text
from app.services.alerts import channels
from app.services.reports import plan_values, plans
from app.services.reports.periods import Window, title
from app.services.reports.plan_values import CHANNEL, MAIL, Plan
from app.services.reports.plans import PlanView
from app.support.clock import day_of, millis, now_ms
from app.support.settings import settings

OTHER = "other"


def weekdays() -> list[tuple[str, str]]:
    """(number, name) from Monday to Sunday, in the reader's language."""
    names = get_day_names("wide", locale=get_locale())
    return [(str(day + 1), names[day]) for day in range(7)]


def told(plan: Plan) -> str:
    """When a plan is sent, in words."""
    hour = f"{plan.hour:02d}:00"
    if plan.period == "week":
        return _("each week, %(day)s at %(hour)s", day=dict(weekdays())[str(plan.day)], hour=hour)
    if plan.period == "month":
        return _("each month, on day %(day)s at %(hour)s", day=plan.day, hour=hour)
    return _("each day at %(hour)s", hour=hour)


def limits(plan: Plan) -> str:
    """What a plan is limited to, in words; "" for everything."""
    wanted = plan.limits
    return " · ".join([
        *([registry.label_of(wanted.job_type)] if wanted.job_type else []),
        *([_("tenant %(name)s", name=wanted.tenant_id)] if wanted.tenant_id else []),
        *([_("queue %(name)s", name=wanted.queue)] if wanted.queue else [])])


def to_whom(plan: Plan) -> str:
    """The target of a plan in words."""
    kind, _colon, name = plan.target.partition(":")
    return name if kind == "mail" else _("channel %(name)s", name=name)


def period_words(since: datetime, until: datetime) -> str:
    """A period that was reported, in words."""
    return title(Window("", millis(since), millis(until)), settings().timezone, str(get_locale()))


def running(view: PlanView) -> bool:
    """Whether the period of the next report is not over yet, so a preview has a part of it."""
    return view.next is not None and view.next.until > now_ms()


def preview_url(view: PlanView) -> str:
    """The address of the PDF of what the next report of a plan would say now."""
    plan, zone = view.plan, settings().timezone
    if plan is None or view.next is None:
        return ""
    first, last = (day_of(ms, zone).isoformat() for ms in (view.next.since, view.next.until - 1))
    wanted = {"type": plan.limits.job_type, "tenant": plan.limits.tenant_id, "queue": plan.limits.queue}
    return url_for("admin.jobs.reports.report", **{"from": first, "until": last}, lang=plan.language, **wanted)


def choices(reader: str, manage: bool) -> dict[str, list[tuple[str, str]]]:
    """What the selects of the form offer, by its name."""
    names = channels.listing() if manage else {}
    targets = [(MAIL + reader, _("me, %(email)s", email=reader)),
               *((CHANNEL + name, _("channel %(name)s", name=name)) for name in names)]
    return {
        "period": [("day", _("each day")), ("week", _("each week")), ("month", _("each month"))],
        "weekday": weekdays(), "hour": [(str(hour), f"{hour:02d}:00") for hour in range(24)],
        "language": [("it", "Italiano"), ("en", "English")],
        "to": [*targets, *([(OTHER, _("another address"))] if manage else ())],
        "type": [("", _("all")), *((d.name, d.label) for d in registry.known_types())],
        "queue": [("", _("all")), *((queue, queue) for queue in QUEUES)]}


class PlanForm(Form):
    """A plan; `weekday` counts for weeks, `monthday` for months, `address` for a target that is `other`."""

    name = text(plan_values.parse_name, required=True)
    period = text(plan_values.parse_period)
    weekday = wtforms.StringField()
    monthday = wtforms.StringField()
    hour = text(plan_values.parse_hour)
    language = text(plan_values.parse_language)
    to = wtforms.StringField()
    address = wtforms.StringField()
    type = text(plan_values.parse_known_type)
    tenant = text(plan_values.parse_tenant)
    queue = text(plan_values.parse_queue)
    past = wtforms.BooleanField(false_values=("", "0", "false"))

    def __init__(self, reader: str, manage: bool, name: str = "", plan: Plan | None = None) -> None:
        self.reader, self.manage, self.target_now = reader, manage, plan.target if plan else ""
        known = dict(choices(reader, manage)["to"])
        to = self.target_now or MAIL + reader
        data: dict[str, Any] = {"name": name, "period": "week", "hour": "7", "language": str(get_locale() or "it")[:2]}
        if plan:
            data |= {"period": plan.period, "hour": str(plan.hour), "language": plan.language,
                     "type": plan.limits.job_type, "tenant": plan.limits.tenant_id, "queue": plan.limits.queue}
        days = {"week": "1", "month": "1"} | ({plan.period: str(plan.day)} if plan else {})
        other = {} if to in known or not to.startswith(MAIL) else {"address": to.removeprefix(MAIL)}
        super().__init__(**data, weekday=days["week"], monthday=days["month"], to=OTHER if other else to, **other)

    def validate_weekday(self, field: wtforms.Field) -> None:
        """The day of a week or month; `day` among the values."""
        period = self.period.data or ""
        if period == "week":
            self.values["day"] = asked(plan_values.parse_day, "week", field.data or "")

    def validate_monthday(self, field: wtforms.Field) -> None:
        """The day of a month; `day` among the values."""
        if self.period.data in ("day", "month"):
            self.values["day"] = asked(plan_values.parse_day, self.period.data, field.data or "")

    def validate_to(self, field: wtforms.Field) -> None:
        """The target; that of another address is checked beside it."""
        given = (field.data or "").strip()
        if given == OTHER:
            return
        target = plan_values.target_of(given)
        if target is None:
            raise wtforms.ValidationError(_("Choose to whom it is sent."))
        self.values["target"] = asked(plans.check_target, target, self.reader, self.manage, self.target_now)

    def validate_address(self, field: wtforms.Field) -> None:
        """The target when it is another address."""
        if (self.to.data or "").strip() == OTHER:
            target = MAIL + asked(plan_values.parse_address, field.data or "")
            self.values["target"] = asked(plans.check_target, target, self.reader, self.manage, self.target_now)
