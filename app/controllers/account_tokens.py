"""The section of personal tokens on /account: make one, which is shown once, and revoke.

POST /account/tokens -> `read` (sentences by field) -> password, and a code when the second factor is on -> the page
with the token, which no redirect, cookie or log carries
The form says which token was the newest: sent once more (a reload, a double click), it makes no other one.
"""

from __future__ import annotations

from typing import Any

from flask import request
from flask_babel import gettext as _
from flask_login import current_user

from app.controllers.access import wants_json
from app.controllers.account import bp, page, section
from app.controllers.auth import visitor
from app.controllers.new_job import collect_error
from app.controllers.responses import actor, ask, done, wrong
from app.controllers.rights import scopes_of
from app.services.people import own, second_factor, tokens
from app.support.clock import now_ms
from app.support.validation import check_text


@section("tokens")
def values() -> dict[str, Any]:
    """The tokens of the person, and what a new one may be."""
    return {"tokens": tokens.listing(current_user.id), "allowed": scopes_of(current_user.rights), "days": tokens.DAYS,
            "newest": tokens.newest(current_user.id), "made": None, "errors": {}, "typed": {},
            "second_factor": second_factor.is_on(current_user.id)}


@bp.post("/tokens", endpoint="make-token")
def make():
    """Make a token from `name`, `scope` (several), and `days` or the day `until`, with `own_password` and, when the
    second factor is on, `passcode`; 400 with the form when one is wrong."""
    errors: dict[str, str] = {}
    typed: dict[str, Any] = {name: request.form.get(name, "") for name in ("name", "days", "until")}
    typed["scope"] = request.form.getlist("scope")
    found: dict[str, Any] = {}
    for name, parse in (
            ("name", lambda: tokens.parse_name(typed["name"])),
            ("scope", lambda: tokens.parse_scopes(typed["scope"], scopes_of(current_user.rights))),
            ("until", lambda: tokens.parse_expiry(check_text(typed["until"].strip() or typed["days"]), now_ms()))):
        with collect_error(errors, name):
            found[name] = parse()
    known = tokens.newest(current_user.id)
    if not errors and request.form.get("newest", known) != known:
        errors["name"] = _("A token was made since this form was shown; this one was not made. Send the form again to "
                           "make another one.")
    proof = [check_text(request.form.get(name, "")) for name in ("own_password", "passcode")]
    if not proof[0]:
        errors["own_password"] = _("Enter your password.")
    token = ""
    if not errors:
        try:
            token = own.make_token(current_user.id, *proof, visitor(), found["name"], found["scope"], found["until"],
                                   actor())
        except own.FieldError as error:
            errors["own_password" if error.name == "password" else error.name] = str(error)
    if errors:
        return wrong(errors, lambda: page("tokens", {"errors": errors, "typed": typed}))
    if wants_json():
        return done("", token=token)
    return page("tokens", {"made": token})


@bp.post("/tokens/<int(max=9223372036854775807):id>/revoke", endpoint="revoke-token")
def revoke(id: int):
    """End one of the person's own tokens, after a question."""
    text = _("Scripts that use it are refused from now on.")
    if question := ask(_("Revoke this token?"), text, _("Revoke")):
        return question
    name = tokens.revoke(id, actor(), current_user.id)
    return done(_("Token %(name)s revoked", name=name))
