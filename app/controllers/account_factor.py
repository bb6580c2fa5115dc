"""The section of /account about the second factor, and the page that sets it up.

"Set up" -> a new secret in the row (POST) -> /account/second-factor shows it as QR code (inline SVG, never stored by
the browser) and as text -> password and a right code turn it on -> the recovery codes, once, in the answer itself
"""

from __future__ import annotations

from typing import Any

from flask import jsonify, redirect, render_template, url_for
from flask_babel import gettext as _
from flask_login import current_user

from app.controllers import account
from app.controllers.access import wants_json
from app.controllers.account_forms import FactorForm, blank, fault
from app.controllers.auth import visitor
from app.controllers.responses import done, wrong
from app.extensions import only_read
from app.services.audit import ActionRefused
from app.services.people import own, second_factor
from app.support.validation import ValidationError

bp = account.bp


@account.section("second_factor")
def state() -> dict[str, Any]:
    """Whether it is on, and how many recovery codes are left."""
    on = second_factor.is_on(current_user.id)
    return {"on": on, "left": second_factor.codes_left(current_user.id) if on else 0, "form": blank(FactorForm())}


@bp.post("/second-factor", endpoint="factor-begin")
def begin():
    """A new secret, which counts once its first code was right."""
    if not second_factor.begin(current_user.id):
        raise ActionRefused(_("The second factor is on already. Turn it off first to use another app."))
    return done(_("Now scan the code, and enter what the app shows."), back=url_for("account.factor"))


@bp.get("/second-factor", endpoint="factor")
def set_up():
    """The secret that waits for its first code; back to the account when there is none."""
    return _page(FactorForm()) or redirect(url_for("account.index"), 303)


def _page(form: FactorForm):
    waiting = second_factor.pending(current_user.id)
    if waiting is None:
        return None
    if wants_json():
        return jsonify({"second_factor": False, "secret": waiting.secret.replace(" ", "")})
    return render_template("account/set_up.html", waiting=waiting, form=form)


@bp.post("/second-factor/on", endpoint="factor-on")
def turn_on():
    """Turn it on with the password and a right code; the answer has the recovery codes."""
    form = FactorForm()
    if form.validate():
        try:
            codes = own.turn_on(current_user.id, form.values["own_password"], form.values["passcode"], visitor(),
                                current_user.get_id())
            return _codes(codes, _("The second factor is on"))
        except ValidationError as error:
            fault(form, error, "passcode")
    return wrong(form.faults, lambda: _page(blank(form)) or account.page())


@bp.post("/second-factor/<any(off, codes):action>", endpoint="factor-change")
def change(action: str):
    """Turn it off, or make new recovery codes, with the password and a code."""
    form = FactorForm()
    if form.validate():
        try:
            codes = own.change_factor(current_user.id, form.values["own_password"], form.values["passcode"], visitor(),
                                      action == "off")
            return _codes(codes, _("New recovery codes")) if codes else done(_("The second factor is off"))
        except ValidationError as error:
            fault(form, error, "passcode")
    return wrong(form.faults, lambda: account.page("second_factor", {"form": blank(form), "action": action}))


def _codes(codes: list[str], title: str):
    if wants_json():
        return jsonify({"ok": True, "count": 1, "recovery_codes": codes})
    only_read()
    return render_template("account/codes.html", codes=codes, title=title)
