"""Sign-in, sign-out and language; Flask-Login over sessions that are rows."""

from __future__ import annotations

from flask import (
    Blueprint,
    Flask,
    abort,
    g,
    jsonify,
    make_response,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from flask_babel import gettext as _
from flask_login import AnonymousUserMixin, current_user, login_user, logout_user

from app.controllers.access import JSON_ENDPOINTS, check_csrf, foreign_page, wants_json
from app.controllers.forms import LoginForm
from app.controllers.redirects import here, safe_next
from app.controllers.template_globals import LANGUAGES
from app.extensions import login
from app.models import User
from app.services.people import sign_in as sessions
from app.support.settings import settings
from app.support.validation import check_text

bp = Blueprint("auth", __name__)
MOST_BYTES = 64 * 1024


def check_size() -> None:
    """Before anybody is known, no request is read that is large or does not say how long it is."""
    request.max_content_length = MOST_BYTES
    if "chunked" in request.headers.get("Transfer-Encoding", "").lower():
        abort(411)


bp.before_request(check_size)
bp.before_request(check_csrf)


class Person:
    """A signed-in person as Flask-Login wants one: `get_id` is the session's id, not the user's."""

    is_authenticated = is_active = True
    is_anonymous = False

    def __init__(self, user: User, token: str) -> None:
        self.id, self.email, self.role, self._token = user.id, user.email, user.role, token

    def get_id(self) -> str:
        return self._token


def install(app: Flask) -> None:
    """Connect Flask-Login."""
    login.session_protection = None  # the row decides; the address of a phone changes
    login.anonymous_user = AnonymousUserMixin
    login.user_loader(load)
    login.unauthorized_handler(unauthorized)


def load(token: str) -> Person | None:
    """What a page's script asks for by itself keeps nobody signed in."""
    polling = request.endpoint in JSON_ENDPOINTS or "X-Poll" in request.headers or "X-Partials" in request.headers
    user = sessions.load_session(token, polling)
    return Person(user, token) if user else None


def unauthorized():
    """401 JSON for scripts and polling, else the sign-in page and back."""
    if wants_json():
        return jsonify({"error": _("Sign in first.")}), 401
    back = safe_next(here(), "") if request.method == "GET" else ""
    return redirect(url_for("auth.login", next=back or None), 302)


def login_page():
    if current_user.is_authenticated:
        return redirect(safe_next(request.args.get("next"), url_for("home.index")), 303)
    return render_template("auth/login.html", form=LoginForm(), next=safe_next(request.args.get("next"), ""))


@bp.post("/login", endpoint="login_post")
def login_post():
    form = LoginForm()
    email, password = check_text(form.email.data or ""), check_text(form.password.data or "")
    back = safe_next(request.form.get("next"), "")
    cookie = settings().cookie("device")
    device = request.cookies.get(str(cookie["key"]))
    agent = request.headers.get("User-Agent")
    filled = form.validate()
    token = sessions.sign_in(email[:255], password, request.remote_addr, session.get("_user_id"), agent, device) if filled else None
    if token is None:
        error = _("E-mail or password are not right, or there were too many attempts. Wait 15 minutes before trying again if you are sure.")
        if wants_json():
            return jsonify({"error": error}), 401
        return render_template("auth/login.html", error=error if filled else None, form=form, next=back), 401
    user = sessions.load_session(token)
    chosen = {k: session[k] for k in ("_flashes",) if k in session}
    session.clear()
    session.update(chosen)
    session.permanent = True
    login_user(Person(user, token))
    said = jsonify({"ok": True, "count": 1}) if wants_json() else redirect(back or url_for("home.index"), 303)
    answer = make_response(said)
    answer.set_cookie(value=sessions.device_cookie(device, email[:255]), max_age=sessions.DEVICE_S, **cookie)
    return answer


bp.add_url_rule("/login", "login", login_page, methods=["GET"])


@bp.route("/logout", methods=["GET", "POST"])
def logout():
    if request.method == "GET" and current_user.is_authenticated:
        return render_template(
            "admin/confirm.html", title=_("Sign out?"), text=_("You can sign in again at any time."), action=_("Sign out"),
            action_url=url_for("auth.logout"), fields={}, danger=False, back_url=url_for("admin.jobs.index"),
        )
    if current_user.is_authenticated:
        sessions.sign_out(current_user.get_id())
        logout_user()
        session.clear()
        g.pop("_login_user", None)
    if wants_json():
        return jsonify({"ok": True, "count": 1})
    return redirect(url_for("auth.login"), 303)


@bp.get("/language/<lang>")
def language(lang: str):
    """A preference of this browser, kept in a cookie and nowhere else; pages of other sites do not change it."""
    answer = make_response(redirect(safe_next(request.args.get("next"), url_for("home.index")), 303))
    if lang in LANGUAGES and not foreign_page():
        cookie = settings().cookie("lang") | {"key": "lang"}
        answer.set_cookie(value=lang, max_age=365 * 86_400, **cookie)
    return answer
