"""The forms of one's own account, of the second factor and of invitations.

Passwords and codes stand under names that form_again keeps and shows nowhere (support/secret_names.py).
"""

from __future__ import annotations

from typing import Any

import wtforms
from flask_babel import gettext as _

from app.controllers.forms import Form, text
from app.services.people.accounts import check_role, clean_email
from app.support.validation import ValidationError


def same(first: str) -> Any:
    """A validator: what was sent is that of the field `first`; scripts may leave it out."""
    def check(form: Form, field: wtforms.Field) -> None:
        if field.raw_data and field.data != form[first].data:
            raise wtforms.ValidationError(_("The two passwords are not the same."))
    check.field_flags = {"required": True}  # type: ignore[attr-defined]
    return check


class CodeForm(Form):
    """The second page of signing in."""

    code = text(str, required=True)


class PasswordForm(Form):
    """Another password for oneself."""

    password = text(str, required=True)
    new_password = text(str, required=True)
    new_password_again = wtforms.StringField(validators=[same("new_password")])
    revoke_tokens = wtforms.SelectMultipleField(choices=("0", "1"), validate_choice=False)  # 0 alone: it was unticked

    @property
    def revokes(self) -> bool:
        """Whether the API tokens go too: when it is ticked, and when a script does not say."""
        return not self.revoke_tokens.raw_data or "1" in self.revoke_tokens.raw_data


class FactorForm(Form):
    """What turns the second factor on or off."""

    own_password = text(str, required=True)
    passcode = text(str, required=True)


class AcceptForm(Form):
    """The password of a new account."""

    invitation = text(str)
    password = text(str, required=True)
    password_again = wtforms.StringField(validators=[same("password")])


class InviteForm(Form):
    """Who is invited."""

    email = text(clean_email, required=True)
    role = text(check_role, required=True)
    sees_data = wtforms.BooleanField(false_values=("", "0", "false"))


def fault(form: Form, error: ValidationError, name: str) -> None:
    """Show the sentence of a refusal beside its field, else beside the field `name`."""
    own = getattr(error, "name", "")
    own = next((field for field in (own, f"own_{own}") if field in form), name)
    form[own].errors = [str(error)]


def blank(form: Form) -> Form:
    """The form with its errors, without what was typed: for passwords and codes."""
    for field in form:
        field.raw_data, field.data = None, ""
    return form
