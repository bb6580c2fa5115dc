"""Who may pass: super-admins only; and what kind of answer a request wants."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import abort, current_app, request
from flask_login import current_user
from flask_wtf.csrf import CSRFError

from app.extensions import csrf, login
from app.support.settings import settings

JSON_ENDPOINTS = frozenset({"admin.jobs.realtime-stats", "admin.jobs.metrics", "probes.readyz"})
READING = ("GET", "HEAD", "OPTIONS", "TRACE")


def wants_json() -> bool:
    """Always for the JSON endpoints, also with a wrong method, else when the request accepts JSON rather than HTML."""
    endpoint = request.endpoint
    if endpoint is None and (adapter := current_app.url_map.bind("localhost")).test(request.path, "GET"):
        endpoint = adapter.match(request.path, "GET")[0]
    if endpoint in JSON_ENDPOINTS:
        return True
    accepted = request.accept_mimetypes
    asked = any(kind.endswith(("/json", "+json")) for kind in accepted.values())
    return asked and accepted["application/json"] >= accepted["text/html"]


def super_admin_required():
    """before_request of the admin area: sign-in for nobody, 403 for other roles."""
    if not current_user.is_authenticated:
        return login.unauthorized()
    if current_user.role != "super-admin":
        abort(403)
    return None


def check_csrf() -> None:
    """before_request, once it is known who asks: nobody is told to sign in, not that a form is old.

    Besides the token, what the browser says of the page that sends: cookies are the same for all ports of a host.
    """
    if request.method in READING:
        return
    if current_app.config["WTF_CSRF_ENABLED"]:  # off in benchmarks that go through a test client
        if foreign_page():
            raise CSRFError("The request comes from another site.")
        csrf.protect()


def foreign_page() -> bool:
    """Whether the browser says that a page of another origin made this request; scripts say nothing."""
    if request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
        return True
    origin = request.headers.get("Origin")
    if origin is None:
        return False
    try:
        parts, own = urlsplit(origin), urlsplit(settings().public_url)
    except ValueError:
        return True
    return parts.scheme not in ("http", "https") or parts.netloc not in (request.host, own.netloc)


def require_delete() -> None:
    """A route that deletes takes DELETE, and POST only with `_method=DELETE` in the body."""
    if request.method != "DELETE" and request.form.get("_method") != "DELETE":
        abort(405)
