"""On the page of people: who is invited, and whose second factor is reset. Its routes are those of people.bp."""

from __future__ import annotations

import json
from typing import Any

from flask import redirect, session, url_for
from flask_babel import gettext as _

from app.controllers import people
from app.controllers.access import wants_json
from app.controllers.account_forms import InviteForm, fault
from app.controllers.responses import actor, ask, done, wrong
from app.services.audit import ActionRefused
from app.services.people import accounts, invitations, second_factor
from app.support.sealing import box_for
from app.support.validation import ValidationError

bp = people.bp


@bp.post("/invitations", endpoint="invite")
def invite():
    """Invite an address; the page of people then has the link, once."""
    form = InviteForm()
    if form.validate():
        try:
            return _link(*invitations.invite(form.values["email"], form.values["role"], form.sees_data.data, actor()))
        except ValidationError as error:
            fault(form, error, "email")
    return wrong(form.faults, lambda: people.page(form))


@bp.post("/invitations/<int(max=9223372036854775807):id>/<any(again, withdraw):action>", endpoint="invitation")
def change(id: int, action: str):
    """Make a new link for an invitation, or end it."""
    if action == "again":
        return _link(*invitations.again(id, actor()))
    if page := ask(_("Withdraw the invitation?"), _("Its link opens nothing any more."), _("Withdraw")):
        return page
    return done(_("The invitation of %(email)s is withdrawn", email=invitations.withdraw(id, actor())))


def _link(view: invitations.InvitationView, link: str) -> Any:
    if wants_json():
        return done("", id=view.id, link=link, expires_at=view.expires_at)
    # Sealed in the cookie until the next page takes it, so that a reload sends no form again.
    session[people.INVITED] = box_for(people.INVITED).encrypt(json.dumps([view.id, link]).encode()).decode()
    return redirect(url_for("admin.jobs.people.index"), 303)


@bp.post("/<int(max=9223372036854775807):id>/second-factor/reset", endpoint="reset-factor")
def reset(id: int):
    """Take the second factor from another account; its sessions end."""
    email = accounts.email_of(id)
    if email == actor():
        raise ActionRefused(_("This is your own account. Turn the second factor off on the page Account."))
    if page := ask(_("Reset the second factor of %(email)s?", email=email),
                   _("Its sessions end, and the password alone signs in until it is set up again."), _("Reset")):
        return page
    second_factor.reset(email, actor())
    return done(_("%(email)s has no second factor now", email=email))
