"""/login/code: the second page of signing in, for accounts with a second factor.

right password -> cookie STATE (signed, 5 minutes, of this browser) -> this page -> right code -> session
Before the code there is no session, so no right on any address. `next`, kept forms and the cookie of the device go the
same way as without a code (`auth.enter`). A state that is over leads back to the password.
"""

from __future__ import annotations

from flask import flash, jsonify, redirect, render_template, request, url_for
from flask_babel import gettext as _
from flask_login import current_user

from app.controllers.access import wants_json
from app.controllers.account_forms import CodeForm, blank
from app.controllers.auth import MANY, STATE, WRONG_CODE, bp, cookie_of, enter, visitor
from app.controllers.redirects import safe_next
from app.services.people import sign_in as sessions
from app.support.validation import check_text


@bp.get("/login/code", endpoint="code")
def code_page():
    """The question for the code; without a state of this browser, the sign-in form."""
    back = safe_next(request.args.get("next"), "")
    if current_user.is_authenticated and not cookie_of(STATE):
        return redirect(back or url_for("home.index"), 303)
    if (user := sessions.awaited(cookie_of(STATE), visitor().browser)) is None:
        return redirect(url_for("auth.login", next=back or None), 303)
    return _page(CodeForm(), back, user.email)


def _page(form: CodeForm, back: str, email: str, error: str | None = None) -> str:
    return render_template("auth/code.html", form=blank(form), next=back, email=email, error=error)


@bp.post("/login/code", endpoint="code_post")
def code_post():
    """Sign in with the code: as `login_post`, or 401 with the form again."""
    form, back = CodeForm(), safe_next(request.form.get("next"), "")
    who = visitor()
    user = sessions.awaited(cookie_of(STATE), who.browser)
    email, error = user.email if user else "", None
    try:
        if user is None:
            raise sessions.StateOver
        if form.validate():
            token = sessions.with_code(cookie_of(STATE), check_text(form.code.data or ""), who)
            if token:
                return enter(token, back)
            error = str(MANY)
    except sessions.CodeNeeded:
        form.code.errors = [str(WRONG_CODE)]
    except sessions.StateOver:
        sentence = _("The time to enter the code is over. Sign in again.")
        if wants_json():
            return jsonify({"error": sentence}), 401
        flash(sentence)
        return redirect(url_for("auth.login", next=back or None), 303)
    if wants_json():
        return jsonify({"error": error or " ".join(form.faults.values()), "second_factor": True}), 401
    return _page(form, back, email, error), 401
