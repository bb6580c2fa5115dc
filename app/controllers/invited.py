"""/invitation: whoever has the link of an invitation chooses a password and is signed in.

GET: a form for the link, which static/js/invitation.js fills from the fragment and sends (browsers send no fragment, so
      no log has it) -> POST: whom it invites, and the form for the password -> /invitation/accept -> session
A person who is signed in already is asked first. A link that does not hold is answered by a sentence, 409.
"""

from __future__ import annotations

from typing import Any

from flask import jsonify, render_template, request
from flask_login import current_user

from app.controllers.access import wants_json
from app.controllers.account_forms import AcceptForm, blank, fault
from app.controllers.auth import bp, enter, visitor
from app.extensions import only_read
from app.services.audit import ActionRefused
from app.services.people import invitations
from app.support.validation import ValidationError


@bp.get("/invitation", endpoint="invitation")
def link_page():
    """The form for the link."""
    return _page("")


def _page(link: str, code: int = 200, **given: Any):
    error = given.get("error")
    if wants_json():
        told = given.get("view")
        return jsonify({"error": error} if error else {"email": told.email, "role": told.role} if told else {}), code
    only_read()
    return render_template("auth/invitation.html", link=link, **given), code


@bp.post("/invitation", endpoint="invitation-open")
def open_link():
    """Whom the link invites, with the form for the password; a question first for who is signed in."""
    link = request.form.get("invitation", "")
    try:
        view = invitations.opened(link, visitor())
    except (ActionRefused, ValidationError) as error:
        return _page("", 409, error=str(error))
    return _page(link, view=view, form=AcceptForm(), asks=_asks())


def _asks() -> bool:
    return current_user.is_authenticated and request.form.get("sure") != "1"


@bp.post("/invitation/accept", endpoint="invitation-accept")
def accept():
    """Make the account and sign in: as `login_post`, or 400 with the form again."""
    form, link = AcceptForm(), request.form.get("invitation", "")
    try:
        if form.validate() and not _asks():
            return enter(invitations.accept(link, form.values["password"], visitor()), "")
    except ValidationError as error:
        fault(form, error, "password")
    except ActionRefused as error:
        return _page("", 409, error=str(error))
    try:
        view = invitations.opened(link, visitor())
    except (ActionRefused, ValidationError) as error:
        return _page("", 409, error=str(error))
    if wants_json():
        return jsonify({"error": " ".join(form.faults.values()), "fields": form.faults}), 400
    return _page(link, 200 if _asks() else 400, view=view, form=blank(form), asks=_asks())
