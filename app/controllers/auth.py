"""Sign-in, sign-out and language. Flask-Login reads sessions that are rows of the database."""

from __future__ import annotations

from flask import (
    Blueprint,
    Flask,
    Response,
    abort,
    flash,
    g,
    jsonify,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from flask_babel import gettext as _, lazy_gettext
from flask_login import UserMixin, current_user, login_user, logout_user

from app.controllers import form_again, rights
from app.controllers.access import JSON_ENDPOINTS, bearer_token, check_csrf, foreign_page, login, wants_json
from app.controllers.forms import LoginForm
from app.controllers.redirects import here, safe_next
from app.controllers.template_globals import LANGUAGES
from app.extensions import db, reading
from app.models import User
from app.services.people import attempts, sign_in as sessions
from app.support.settings import settings
from app.support.validation import check_text

bp = Blueprint("auth", __name__)
MOST_BYTES = 64 * 1024  # of a request before sign-in
STATE = "code"  # the cookie of a browser that has given the right password and owes a code
WRONG_CODE = lazy_gettext("This code is not right, or it was used before. Wait for the next one.")
MANY = lazy_gettext("There were too many attempts. Wait 15 minutes and try again.")


@bp.before_request
def check_size() -> None:
    """Before sign-in, refuse a body over 64 KB (413) and a body without Content-Length (411)."""
    request.max_content_length = MOST_BYTES
    if "chunked" in request.headers.get("Transfer-Encoding", "").lower():
        abort(411)


bp.before_request(check_csrf)


class Person(UserMixin):
    """Who asks, for Flask-Login: `id`, `email`, `role` and `language` are those of the user, `rights` those of the
    role, `actor` is the name in the log."""

    def __init__(self, user: User, token: str) -> None:
        self.id, self.email, self.role, self._token = user.id, user.email, user.role, token
        self.language, self.browser_alerts = user.language, bool(user.browser_alerts)
        self.actor = user.email
        self.rights = rights.of_role(user.role, bool(user.sees_data))

    def get_id(self) -> str:
        """The token of the session; Flask-Login keeps it in the cookie."""
        return self._token


def install(app: Flask) -> None:
    """Connect Flask-Login."""
    login.session_protection = None  # the session's row decides; the address of a phone changes
    login.user_loader(load)
    login.unauthorized_handler(unauthorized)


def load(token: str) -> Person | None:
    """The person of a session, or None; None beside a token, which decides (bearer.py). Polls of a page's script do not
    prolong the session."""
    if bearer_token() is not None:
        return None
    polling = request.endpoint in JSON_ENDPOINTS or "X-Poll" in request.headers or "X-Partials" in request.headers
    if db.session().in_transaction():  # of a change that is not committed yet
        return _person(token, polling)
    with reading():  # its transaction ends here: none is open while the body of a request comes
        return _person(token, polling)


def _person(token: str, polling: bool = False) -> Person | None:
    user = sessions.load_session(token, polling)
    return Person(user, token) if user else None


def unauthorized():
    """401 as JSON for scripts and polls; else a redirect to the sign-in page, which leads back to a GET page, or to the
    form that was sent."""
    if wants_json():
        return jsonify({"error": _("Sign in first.")}), 401
    if request.method == "POST":
        return form_again.keep()
    back = safe_next(here(), "") if request.method == "GET" else ""
    return redirect(url_for("auth.login", next=back or None), 302)


@bp.get("/login", endpoint="login")
def login_page():
    """The sign-in form; who is signed in already is led on to `next`."""
    if current_user.is_authenticated:
        return redirect(safe_next(request.args.get("next"), url_for("home.index")), 303)
    return render_template("auth/login.html", form=LoginForm(), next=safe_next(request.args.get("next"), ""))


@bp.post("/login", endpoint="login_post")
def login_post():
    """Sign in: a redirect to `next` with new session and device cookies, or 401 with the form again."""
    form = LoginForm()
    email, password = check_text(form.email.data or "")[:255], check_text(form.password.data or "")
    back = safe_next(request.form.get("next"), "")
    token, filled = None, form.validate()
    if filled:
        try:
            token = sessions.sign_in(email, password, **vars(visitor()), code=request.form.get("code"))
        except sessions.CodeNeeded as needed:
            return ask_code(needed, back)
    return _not_in(form, back, filled) if token is None else enter(token, back)


def _not_in(form: LoginForm, back: str, filled: bool = True):
    """401, as JSON or as the form again."""
    error = _("E-mail or password are not right, or there were too many attempts. "
              "Wait 15 minutes before trying again if you are sure.")
    if wants_json():
        return jsonify({"error": error}), 401
    return render_template("auth/login.html", error=error if filled else None, form=form, next=back), 401


def visitor() -> sessions.Visitor:
    """Who asks, for sign-in and what counts like it."""
    return sessions.Visitor(request.remote_addr, session.get("_user_id"), request.headers.get("User-Agent"),
                            cookie_of("device"), str(session.get("csrf_token", "")))


def cookie_of(name: str) -> str | None:
    """The value of a cookie of ours."""
    return request.cookies.get(str(settings().cookie(name)["key"]))


def ask_code(needed: sessions.CodeNeeded, back: str):
    """The answer to a right password that needs a code: the page that asks for it, which `state` leads to."""
    if wants_json():
        error = WRONG_CODE if needed.wrong else _("Send the code of your authenticator app, or a recovery code, too.")
        answer, code = jsonify({"error": str(error), "second_factor": True}), 401
    else:
        answer, code = redirect(url_for("auth.code", next=back or None), 303), 303
    answer.set_cookie(value=needed.state, max_age=sessions.STATE_MS // 1000, **settings().cookie(STATE))
    return answer, code


def enter(token: str, back: str):
    """Let the browser in with a new session: a redirect to `back`, or to a form that it had sent before. 401 when the
    session has ended already, because the account was disabled just now."""
    with reading():
        user = _person(token)
    if user is None:
        return _not_in(LoginForm(), back)
    kept = {k: session[k] for k in ("_flashes",) if k in session}
    session.clear()
    session.update(kept)
    session.permanent = True
    session[form_again.WHO] = user.email
    login_user(user)
    kept_form = url_for("auth.form-again")
    if not form_again.waits(user.email):
        back = "" if back == kept_form else back
    elif back not in ("", kept_form) and not wants_json():
        flash(kept_form, "again")
    else:
        back = kept_form
    answer = jsonify({"ok": True, "count": 1}) if wants_json() else redirect(back or url_for("home.index"), 303)
    device = attempts.device_cookie(cookie_of("device"), user.email)
    answer.set_cookie(value=device, max_age=attempts.DEVICE_S, **settings().cookie("device"))
    answer.delete_cookie(**settings().cookie(STATE))
    if user.language in LANGUAGES and "lang" not in request.cookies:
        keep_language(answer, user.language)
    return answer


def keep_language(answer: Response, lang: str) -> None:
    """Keep the language in a cookie of this browser for a year."""
    answer.set_cookie(value=lang, max_age=365 * 86_400, **settings().cookie("lang") | {"key": "lang"})


@bp.get("/form-again", endpoint="form-again")
def show_kept_form():
    """The form that this browser sent when its session had ended."""
    if not current_user.is_authenticated:
        return unauthorized()
    if rights.OWN not in current_user.rights:
        abort(403)
    return form_again.show()


@bp.route("/logout", methods=["GET", "POST"])
def logout():
    """End the session; a GET of a signed-in person is answered by a question first."""
    if request.method == "GET" and current_user.is_authenticated:
        text = _("You can sign in again at any time.")
        return render_template("admin/confirm.html", title=_("Sign out?"), text=text, action=_("Sign out"),
                               action_url=url_for("auth.logout"))
    if current_user.is_authenticated:
        sessions.sign_out(current_user.get_id())
        leave()
    if wants_json():
        return jsonify({"ok": True, "count": 1})
    return redirect(url_for("auth.login"), 303)


def leave() -> None:
    """Forget in this browser who was signed in."""
    logout_user()
    session.clear()
    g.pop("_login_user", None)


@bp.get("/language/<lang>")
def language(lang: str):
    """Keep the language in this browser; a request from another site does not change it."""
    answer = redirect(safe_next(request.args.get("next"), url_for("home.index")), 303)
    if lang in LANGUAGES and not foreign_page():
        keep_language(answer, lang)
    return answer
