"""The static forms: their fields, what was typed, and an error beside each field.

The rules are the services': `rule` asks the same functions that scripts and the command line go through. The token is
checked by access.check_csrf before any form is read, so the forms have none of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import wtforms
from flask import request
from flask_wtf.i18n import translations
from wtforms.validators import InputRequired

from app.models import AlertRule
from app.services.alerts import rules
from app.services.alerts.checks import KINDS
from app.services.content import costs, generation_pages
from app.services.jobs import queues
from app.support.validation import ValidationError, check_text, parse_queue, parse_tenant


def asked(parse: Callable[..., Any], *given: Any) -> Any:
    """What a service's function makes of it; its sentence goes beside the field."""
    try:
        return parse(*given)
    except ValidationError as error:
        raise wtforms.ValidationError(str(error)) from None


def rule(parse: Callable[[str], Any]) -> Callable[[Form, wtforms.Field], None]:
    """A validator that puts what `parse` makes of the text sent, blank without any, into `form.values`."""
    def check(form: Form, field: wtforms.Field) -> None:
        form.values[field.name] = asked(lambda sent: parse(check_text(sent)), field.raw_data[0] if field.raw_data else "")
    return check


def text(parse: Callable[[str], Any] = str.strip, required: bool = False) -> wtforms.StringField:
    return wtforms.StringField(validators=[*([InputRequired()] if required else []), rule(parse)])


class Form(wtforms.Form):
    """A form of what was sent, before that of `data`; `values` are those that services take, once it is valid."""

    class Meta:
        def get_translations(self, form: Form) -> Any:
            """WTForms' own sentences in the reader's language."""
            return translations

    def __init__(self, **data: Any) -> None:
        self.values: dict[str, Any] = {}
        super().__init__(request.form if request.method == "POST" else None, data=data)

    @property
    def faults(self) -> dict[str, str]:
        """The first error of each field that has one."""
        return {name: str(errors[0]) for name, errors in self.errors.items()}


class LoginForm(Form):
    email = text(required=True)
    password = text(str, required=True)


class PauseForm(Form):
    minutes = text(queues.parse_minutes)
    reason = text()


class BudgetForm(Form):
    tenant = text(parse_tenant, required=True)
    amount = text(costs.parse_amount)
    currency = text(costs.parse_currency)
    hold = wtforms.BooleanField(false_values=("", "0", "false"))


class TemplateForm(Form):
    name = text(generation_pages.parse_name, required=True)
    tenant = text(parse_tenant)
    body = text(generation_pages.parse_body, required=True)


class RuleForm(Form):
    """Of an alert rule; without the fields that its kind has no use for."""

    threshold = text(partial(rules.parse_limit, "threshold"), required=True)
    minimum = text(partial(rules.parse_limit, "minimum"), required=True)
    window_min = text(partial(rules.parse_limit, "window_min"), required=True)
    cooldown_min = text(partial(rules.parse_limit, "cooldown_min"), required=True)
    job_type = text(rules.parse_type)
    queue = text(parse_queue)
    tenant_id = text(parse_tenant)
    severity = wtforms.StringField()
    quiet_from = wtforms.StringField()
    quiet_until = wtforms.StringField()
    channels = wtforms.SelectMultipleField(validate_choice=False)

    def __init__(self, row: AlertRule) -> None:
        data = {name: getattr(row, name) for name in (*rules.LIMITS, *rules.OF_SOME, "severity", "quiet_from", "quiet_until")}
        data["threshold"] = str(row.threshold).removesuffix(".0")
        super().__init__(**data, channels=row.channels.split(",") if row.channels else [])
        for name in {"minimum", "window_min", *rules.OF_SOME}.difference(KINDS[row.kind].uses if row.kind in KINDS else ()):
            del self[name]

    def validate_quiet_from(self, field: wtforms.Field) -> None:
        self.values["quiet_from"], self.values["quiet_until"] = asked(rules.parse_quiet, field.data or "", self.quiet_until.data or "")

    def validate_severity(self, field: wtforms.Field) -> None:
        self.values["severity"] = asked(rules.parse_severity, field.data)

    def validate_channels(self, field: wtforms.Field) -> None:
        self.values["channels"] = asked(rules.parse_channels, field.data)
