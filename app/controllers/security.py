"""Headers, host check and error pages of every answer. No request of a client may cause a 500."""

from __future__ import annotations

import contextlib
import logging
from urllib.parse import unquote_to_bytes

from flask import Flask, g, request
from flask_babel import gettext as _
from flask_login import AnonymousUserMixin, current_user
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import ClientDisconnected, HTTPException, InternalServerError
from werkzeug.middleware.proxy_fix import ProxyFix

from app.config import Settings
from app.controllers.access import wants_json
from app.controllers.form_again import form_again
from app.controllers.responses import refused, render_error
from app.controllers.rights import DATA, right_of, roles_with
from app.controllers.wsgi_front import REFUSED, Front
from app.extensions import db
from app.ledger.dialect import database_errors
from app.services.audit import ActionRefused
from app.services.instance import schema
from app.support import error_texts
from app.support.disk import DiskLow
from app.support.messages import tell
from app.support.settings import settings
from app.support.validation import ValidationError

log = logging.getLogger(__name__)
said = error_texts.Once()
CSP = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
)
HEADERS = {
    "Content-Security-Policy": CSP, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY", "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
}


def protect(app: Flask) -> None:
    """Connect the WSGI front, the checks of each request, the headers and the error pages to the application."""
    settings: Settings = app.extensions["settings"]
    app.wsgi_app = Front(app, settings)  # type: ignore[method-assign]
    if n := settings.trusted_proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=n, x_proto=n, x_host=n, x_prefix=n)  # type: ignore[method-assign]
    app.before_request(check_request)
    app.after_request(add_headers)
    for kind, handler in {HTTPException: http_error, CSRFError: csrf_error, ActionRefused: refusal,
                          ValidationError: invalid, UnicodeError: unreadable, OSError: disk_error}.items():
        app.register_error_handler(kind, handler)
    for kind in (*error_texts.errors, *database_errors()):
        app.register_error_handler(kind, database_error)


def check_request():
    """400 for NUL characters and bytes that are not UTF-8 in path or query, and for a foreign host; else None."""
    g.scripted = wants_json()
    query = unquote_to_bytes(request.environ.get("QUERY_STRING", "").encode("latin-1"))
    address = query + request.path.encode("utf-8", "surrogateescape")
    if "\x00" in address.decode("utf-8"):  # its UnicodeDecodeError is answered by `unreadable` too
        return unreadable()
    if request.environ[REFUSED] and request.path != "/healthz":
        return render_error(400, _("This address is not the one in PUBLIC_URL."))
    return None


def add_headers(response):
    """Add HEADERS and Cache-Control: a year for static files, whose addresses have a version; else `no-store`."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if request.is_secure:
        response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
    if request.endpoint == "static":
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    else:
        response.headers.setdefault("Cache-Control", "no-store")
    return response


def http_error(error: HTTPException):
    """The error page, or JSON, of an HTTP error; a 405 names the methods in `Allow`."""
    if error.code is None or error.code < 400:
        return error
    titles = {
        400: (_("Not understood"), _("The request could not be read.")),
        401: (_("Sign in"), _("Sign in first.")),
        403: (_("No access"), forbidden() if error.code == 403 else ""),
        404: (_("Not found"), _("There is no such page.")),
        405: (_("Not this way"), _("This address does not take such a request.")),
        408: (_("Too slow"), _("The request did not arrive in time. Send it again.")),
        411: (_("Not understood"), _("Say how long the request is: send it with a Content-Length.")),
        413: (_("Too large"),
              _("What was sent is too large. Files may have at most %(n)s MB.", n=settings().upload_max_mb)),
        415: (_("Not understood"), _("Send JSON, with the header Content-Type: application/json.")),
        500: (_("An error"), _("Something went wrong here. It is in the log; nothing was half done.")),
    }
    code = 408 if isinstance(error, ClientDisconnected) else error.code  # the client is gone or too slow
    other = _("Not understood"), _("This request cannot be answered (%(code)s).", code=code)
    title, sentence = titles.get(code, other)
    methods = getattr(error, "valid_methods", None)
    return *render_error(code, sentence, title), {"Allow": ", ".join(methods)} if code == 405 and methods else {}


def forbidden() -> str:
    """Why a 403: the role of who asks, and the roles that may."""
    right, role = right_of(request.endpoint or ""), getattr(current_user, "role", "")
    if not role or not right:
        return _("Your role does not allow this.")
    if right == DATA:
        return _("Your role, %(role)s, does not see this: it shows the data of jobs. A super-admin can allow it.",
                 role=role)
    return _("Your role, %(role)s, does not allow this. These roles do: %(roles)s.", role=role,
             roles=", ".join(roles_with(right)))


def csrf_error(error: CSRFError):
    """400 for a form without a valid token, or from a page of another site."""
    sentence = _("The form is no longer valid. Load the page again and send it once more.")
    return render_error(400, sentence, _("Not understood"))


def refusal(error: ActionRefused):
    """As `refused`; when what a form changes was deleted meanwhile, with what was typed."""
    return error.unknown and form_again(str(error), gone=True) or refused(error)


def invalid(error: ValidationError):
    """400 for input that cannot be taken, with the form that was sent; 507 when the disk has no space for it."""
    if isinstance(error, DiskLow):
        return render_error(507, tell(error))
    return form_again(tell(error), getattr(error, "name", "")) or render_error(400, tell(error))


def unreadable(error: UnicodeError | None = None):
    """400 for characters that are not text."""
    return render_error(400, _("The request has characters that cannot be read."))


def disk_error(error: OSError):
    """507 for a full disk under an upload, also while the form is parsed; 500 for any other OSError, with a log."""
    if error_texts.kind_of(error) == error_texts.FULL:
        return _disk_full()
    log.error("error handling %s", request.path, exc_info=error)
    return http_error(InternalServerError())


def _disk_full():
    sentence = _("Disk full: nothing was written. Free some space and send it again.")
    return render_error(507, sentence, _("Disk full"))


def database_error(error: Exception):
    """503 with Retry-After for an outage or an old schema, 507 for a full disk; else 500.

    An outage is logged once a minute. Any other error is a bug and is logged with the name of its statement.
    """
    with contextlib.suppress(Exception):
        db.session.rollback()
    g._login_user = AnonymousUserMixin()  # the error page must not query the database
    kind, where = error_texts.kind_of(error), f"{request.method} {request.endpoint}"
    if kind is None and schema.check(settings()) == "current":
        log.error("%s: %s", where, error_texts.named(error))
        return http_error(InternalServerError())
    if kind == error_texts.FULL:
        return _disk_full()
    if said.now(kind or "not migrated"):
        log.warning("%s answered 503: %s", where, error_texts.sentence(error) if kind else schema.OLDER)
    sentence = _("The database does not answer just now. Nothing was changed; try again in a few seconds.")
    return *render_error(503, sentence, _("Busy")), {"Retry-After": "5"}
