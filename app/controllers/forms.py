"""The static forms: fields, typed values, and an error beside each field.

Services have the rules: `rule` calls the same functions as scripts and the command line. The forms have no CSRF token
of their own, because access.check_csrf checks it before a form is read.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import wtforms
from flask import request
from flask_babel import gettext as _
from flask_wtf.i18n import translations
from wtforms.validators import InputRequired

from app.controllers.form_again import kept_fields
from app.models import AlertRule
from app.services.alerts import rules
from app.services.alerts.checks import KINDS
from app.services.content import connection_values, costs, generation_pages
from app.services.jobs import limits, ordering, queues
from app.support.number_text import typed_number
from app.support.validation import ValidationError, check_text, parse_queue, parse_tenant, parse_uuid


def asked(parse: Callable[..., Any], *given: Any) -> Any:
    """`parse(*given)`; its ValidationError becomes that of WTForms, whose text appears beside the field."""
    try:
        return parse(*given)
    except ValidationError as error:
        raise wtforms.ValidationError(str(error)) from None


def rule(parse: Callable[[str], Any]) -> Callable[[Form, wtforms.Field], None]:
    """A validator that puts `parse(text)` into `form.values`; the text is "" when the field was not sent."""
    def check(form: Form, field: wtforms.Field) -> None:
        sent = field.raw_data[0] if field.raw_data else ""
        form.values[field.name] = asked(lambda: parse(check_text(sent)))
    return check


def text(parse: Callable[[str], Any] = str.strip, required: bool = False) -> wtforms.StringField:
    """A text field whose value goes through `parse`."""
    return wtforms.StringField(validators=[*([InputRequired()] if required else []), rule(parse)])


class Form(wtforms.Form):
    """A form of the fields that were sent; `data` has the values of the others.

    `values` has the parsed values for the service, once `validate()` has returned True.
    """

    class Meta:
        """Options of WTForms."""

        def get_translations(self, form: Form) -> Any:
            """The messages of WTForms in the reader's language."""
            return translations

    def __init__(self, **data: Any) -> None:
        self.values: dict[str, Any] = {}
        super().__init__(request.form if request.method == "POST" else kept_fields(), data=data)

    @property
    def faults(self) -> dict[str, str]:
        """The first error of each field that has one."""
        return {name: str(errors[0]) for name, errors in self.errors.items()}


class LoginForm(Form):
    """Sign-in."""

    email = text(required=True)
    password = text(str, required=True)


class PauseForm(Form):
    """Pause of a queue or job type; `minutes` takes all that support/moments.py reads."""

    minutes = text(queues.parse_pause)
    reason = text(queues.parse_reason)


class PlaceForm(Form):
    """Where a waiting job goes: one chosen in a list (`uuid`) or named by its first digits (`job`)."""

    uuid = text(ordering.parse_job)
    job = text(ordering.parse_job)
    place = text(ordering.parse_place)
    queue = text(parse_queue)
    before = text(parse_uuid)
    after = text(parse_uuid)

    def validate(self, extra_validators: Any = None) -> bool:
        """Also: which job is meant, and where it goes unless a button says so."""
        fine = super().validate(extra_validators)
        if fine and not (self.values["job"] or self.values["uuid"]):
            self.job.errors = [_("Choose a job of the lists, or give its first digits.")]
        elif fine and self.step is None and not any(
                self.values[name] for name in ("place", "queue", "before", "after")):
            self.place.errors = [_("Give a place or a queue.")]
        return not self.errors

    @property
    def step(self) -> str | None:
        """The button that says where to: up, down or top."""
        return next((name for name in ("up", "down", "top") if request.form.get("to") == name), None)


class LimitForm(Form):
    """Limits of a job type."""

    type = text(limits.parse_name, required=True)
    concurrency = text(limits.parse_concurrency)
    rate = text(limits.parse_rate)


class BudgetForm(Form):
    """Monthly budget of a tenant, in units of the currency."""

    tenant = text(parse_tenant, required=True)
    amount = text(costs.parse_amount)
    currency = text(costs.parse_currency)
    hold = wtforms.BooleanField(false_values=("", "0", "false"))


class TemplateForm(Form):
    """Prompt template."""

    name = text(generation_pages.parse_name, required=True)
    tenant = text(parse_tenant)
    body = text(generation_pages.parse_body, required=True)


class BulkForm(Form):
    """Many texts at once: one of prompts, a CSV (read by the route) and `missing`."""

    prompts = wtforms.TextAreaField(validators=[rule(str)])
    missing = wtforms.BooleanField(false_values=("", "0", "false"))
    tenant = text(parse_tenant)
    model = text(required=True)
    template = text()
    approve = wtforms.BooleanField(false_values=("", "0", "false"))


def connection_form(service: str, **data: Any) -> Form:
    """The form of a connection to a service, with a field `option_NAME` for each of its options. What is typed is
    checked as a whole by the service."""
    names = ("tenant", "url", "user", "secret", *(f"option_{name}" for name in connection_values.OPTIONS[service]))
    fields = {name: text(str) for name in names} | {"forget": wtforms.BooleanField(false_values=("", "0", "false"))}
    return type("ConnectionForm", (Form,), fields)(**data)


class RuleForm(Form):
    """Alert rule, without the fields that its kind does not use."""

    threshold = wtforms.StringField(validators=[InputRequired()])
    minimum = text(partial(rules.parse_limit, "minimum"), required=True)
    window_min = text(partial(rules.parse_limit, "window_min"), required=True)
    cooldown_min = text(partial(rules.parse_limit, "cooldown_min"), required=True)
    job_type = text(rules.parse_type)
    queue = text(parse_queue)
    tenant_id = text(parse_tenant)
    view_id = text(rules.parse_view, required=True)
    severity = wtforms.StringField()
    quiet_from = wtforms.StringField()
    quiet_until = wtforms.StringField()
    channels = wtforms.SelectMultipleField(validate_choice=False)

    def __init__(self, row: AlertRule) -> None:
        names = (*rules.LIMITS, *rules.OF_SOME, "view_id", "severity", "quiet_from", "quiet_until")
        data = {name: getattr(row, name) for name in names}
        data["threshold"] = typed_number(row.threshold)
        super().__init__(**data, channels=row.channels.split(",") if row.channels else [])
        uses = KINDS[row.kind].uses if row.kind in KINDS else ()
        self.unit = KINDS[row.kind].unit if row.kind in KINDS else ""
        for name in {"minimum", "window_min", "view_id", *rules.OF_SOME}.difference(uses):
            del self[name]

    def validate_threshold(self, field: wtforms.Field) -> None:
        """The threshold, a whole number where it counts something."""
        self.values["threshold"] = asked(rules.parse_limit, "threshold", field.data or "", self.unit)

    def validate_quiet_from(self, field: wtforms.Field) -> None:
        """Both ends of the quiet hours together, as one depends on the other."""
        clocks = asked(rules.parse_quiet, field.data or "", self.quiet_until.data or "")
        self.values["quiet_from"], self.values["quiet_until"] = clocks

    def validate_severity(self, field: wtforms.Field) -> None:
        """The severity, unchanged when it was not sent."""
        self.values["severity"] = asked(rules.parse_severity, field.data)

    def validate_channels(self, field: wtforms.Field) -> None:
        """The names of the channels."""
        self.values["channels"] = asked(rules.parse_channels, field.data)
