"""Sections of /account: a person's sessions, password and language."""

from __future__ import annotations

from typing import Any

from flask import flash, redirect, request, url_for
from flask_babel import gettext as _, ngettext
from flask_login import current_user

from app.controllers import account
from app.controllers.access import wants_json
from app.controllers.account_forms import PasswordForm, blank, fault
from app.controllers.auth import keep_language, leave, visitor
from app.controllers.responses import ask, done, wrong
from app.services.people import accounts, own
from app.support.formatting import number
from app.support.validation import ValidationError, check_text

bp = account.bp


@account.section("sessions")
def sessions() -> dict[str, Any]:
    """Where the person is signed in."""
    return {"rows": accounts.sessions_of(current_user.id, current_user.get_id())}


@account.section("password")
def password_form() -> dict[str, Any]:
    """The empty form."""
    return {"form": blank(PasswordForm()), "revokes": True}


@account.section("language")
def language_form() -> dict[str, Any]:
    """The language that the person chose, None without a choice."""
    return {"chosen": current_user.language, "error": None}


@bp.post("/sessions/<int(max=9223372036854775807):id>/end", endpoint="end-session")
def end_session(id: int):
    """End one of one's own sessions; this one too."""
    own.end_session(current_user.id, id)
    return done(_("Session ended"))


@bp.post("/sessions/<any(others, all):action>", endpoint="sign-out")
def sign_out(action: str):
    """Sign out everywhere, or everywhere else."""
    others = action == "others"
    question = (_("Sign out everywhere else?"), _("All your sessions end, apart from this one.")) if others else (
        _("Sign out everywhere?"), _("All your sessions end, on every device, this one too."))
    if page := ask(*question, _("Sign out")):
        return page
    ended = own.end_sessions(current_user.id, current_user.get_id(), others)
    sentence = ngettext("%(n)s session ended", "%(n)s sessions ended", ended, n=number(ended))
    if others or wants_json():
        return done(sentence, ended)
    leave()
    flash(sentence)
    return redirect(url_for("auth.login"), 303)


@bp.post("/password", endpoint="password")
def change_password():
    """Another password for oneself; the other sessions end."""
    form = PasswordForm()
    if form.validate():
        old, new = form.values["password"], form.values["new_password"]
        try:
            ended, revoked = own.change_password(current_user.id, old, new, visitor(), current_user.get_id(),
                                                 form.revokes)
            sentence = ngettext("Password changed; %(n)s other session ended",
                                "Password changed; %(n)s other sessions ended", ended, n=number(ended))
            if revoked:
                sentence += "; " + ngettext("%(n)s API token revoked", "%(n)s API tokens revoked", revoked,
                                            n=number(revoked))
            return done(sentence)
        except ValidationError as error:
            fault(form, error, "new_password")
    revokes = form.revokes
    return wrong(form.faults, lambda: account.page("password", {"form": blank(form), "revokes": revokes}))


@bp.post("/language", endpoint="language")
def choose_language():
    """The language of the pages in this browser, and of what is sent to the person."""
    chosen = check_text(request.form.get("language", ""))
    try:
        own.choose_language(current_user.id, chosen)
    except ValidationError as error:
        sentence = str(error)
        return wrong({"language": sentence}, lambda: account.page("language", {"error": sentence}))
    answer = done(_("Language chosen"))
    keep_language(answer, chosen)
    return answer
