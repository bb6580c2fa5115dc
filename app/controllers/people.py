"""/admin/jobs/people: accounts, their roles and their sessions."""

from __future__ import annotations

import json

from flask import Blueprint, jsonify, render_template, request, session
from flask_babel import gettext as _, ngettext
from flask_login import current_user

from app.controllers.access import wants_json
from app.controllers.account_forms import InviteForm
from app.controllers.responses import actor, ask, done
from app.controllers.wsgi_front import HEAD
from app.extensions import only_read
from app.models.user import ROLES
from app.services.audit import ActionRefused
from app.services.people import accounts, invitations
from app.support.formatting import number
from app.support.sealing import box_for, broken
from app.support.validation import check_text

bp = Blueprint("people", __name__, url_prefix="/people")
INVITED = "invited"  # the link of a new invitation, in the session


@bp.get("/", endpoint="index")
def index():
    """All accounts with their sessions, and who is invited; for scripts `{"people": [...], "invitations": [...]}`. The
    first time after an invitation was made: its link, which the next load does not show again."""
    if wants_json():
        return jsonify({"people": accounts.people(current_user.get_id()), "invitations": invitations.pending()})
    id, link = (0, "") if HEAD in request.environ else _made()
    if link and (view := next((one for one in invitations.pending() if one.id == id), None)):
        only_read()
        return render_template("admin/invited.html", view=view, link=link)
    return page(InviteForm(role="viewer"))


def _made() -> tuple[int, str]:
    """(id, link) of the invitation that this session has just made, once; (0, "") without one."""
    sealed = session.pop(INVITED, None)
    try:
        id, link = json.loads(box_for(INVITED).decrypt(sealed)) if sealed else (0, "")
    except broken():
        return 0, ""
    return id, link


def page(invite: InviteForm) -> str:
    """The page, with the form of an invitation."""
    words = {"super-admin": _("everything"), "operator": _("acts and dispatches; no accounts, no settings"),
             "viewer": _("reads; no arguments, logs and results unless allowed"), "user": _("nothing")}
    roles = [(role, words[role]) for role in ROLES]
    return render_template("admin/people.html", people=accounts.people(current_user.get_id()), roles=roles,
                           invitations=invitations.pending(), invite=invite,
                           role_choices=[(role, f"{role}: {text}") for role, text in roles])


@bp.post("/<int(max=9223372036854775807):id>/<any(role, disable, enable, unlock, sign_out):action>", endpoint="change")
def change(id: int, action: str):
    """Change an account; the person's own only with `sure=1`. Some actions ask first. Raises ActionRefused."""
    email = accounts.email_of(id)
    questions = {
        "role": (_("Change the role of %(email)s?", email=email), _("Its sessions end."), _("Change the role")),
        "disable": (_("Disable %(email)s?", email=email),
                    _("Its sessions end and it cannot sign in until it is enabled again."), _("Disable")),
        "sign_out": (_("Sign %(email)s out everywhere?", email=email),
                     _("All its sessions end, on every device."), _("Sign out everywhere")),
    }
    if action in questions and (page := ask(*questions[action])):
        return page
    if action in ("role", "disable") and email == actor() and request.form.get("sure") != "1":
        raise ActionRefused(_("This is your own account. To change it all the same, send sure=1."))
    return done(_change(action, email))


def _change(action: str, email: str) -> str:
    if action == "role":
        role = check_text(request.form.get("role", ""))
        accounts.set_role(email, role, actor(), request.form.get("sees_data") == "1")
        return _("%(email)s is now %(role)s", email=email, role=role)
    if action == "sign_out":
        ended = accounts.end_sessions(email, actor())
        return ngettext("%(n)s session ended", "%(n)s sessions ended", ended, n=number(ended))
    change_account, sentence = {
        "disable": (accounts.disable, _("%(email)s is disabled", email=email)),
        "enable": (accounts.enable, _("%(email)s is enabled", email=email)),
        "unlock": (accounts.unlock, _("%(email)s may try to sign in again", email=email)),
    }[action]
    change_account(email, actor())
    return sentence


@bp.post("/sessions/<int(max=9223372036854775807):id>/end", endpoint="end")
def end(id: int):
    """End one session of anybody."""
    accounts.end_session(id, actor())
    return done(_("Session ended"))
