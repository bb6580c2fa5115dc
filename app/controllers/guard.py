"""Who may pass: super-admins only; and what kind of answer a request wants."""

from __future__ import annotations

from flask import abort, current_app, request
from flask_login import current_user

from app.extensions import csrf, login

JSON_ENDPOINTS = frozenset({"admin.jobs.realtime-stats", "admin.jobs.metrics", "admin.jobs.partials", "probes.readyz"})
POLLING = JSON_ENDPOINTS


def wants_json() -> bool:
    """Always for the JSON endpoints, else when the request says that it accepts JSON rather than HTML."""
    if request.endpoint in JSON_ENDPOINTS:
        return True
    accepted = request.accept_mimetypes
    return "application/json" in accepted.values() and accepted["application/json"] >= accepted["text/html"]


def super_admin_required():
    """before_request of the admin area: sign-in for nobody, 403 for other roles."""
    if not current_user.is_authenticated:
        return login.unauthorized()
    if current_user.role != "super-admin":
        abort(403)
    return None


def check_csrf() -> None:
    """before_request, once it is known who asks: nobody is told to sign in, not that a form is old."""
    if current_app.config["WTF_CSRF_ENABLED"]:  # off in benchmarks that go through a test client
        csrf.protect()


def require_delete() -> None:
    """A route that deletes takes DELETE, and POST only with `_method=DELETE` in the body."""
    if request.method != "DELETE" and request.form.get("_method") != "DELETE":
        abort(405)
