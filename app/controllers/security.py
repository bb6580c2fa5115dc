"""Headers, host check and error pages: the same for every answer. No 500 for anything that can be sent."""

from __future__ import annotations

import contextlib
import logging
from urllib.parse import unquote_to_bytes

from flask import Flask, g, request
from flask_babel import gettext as _
from flask_login import AnonymousUserMixin
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import ClientDisconnected, HTTPException, InternalServerError
from werkzeug.middleware.proxy_fix import ProxyFix

from app.config import Settings
from app.controllers.responses import refused, render_error
from app.controllers.wsgi_front import REFUSED, Front
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
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'; "
    "object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
)
HEADERS = {
    "Content-Security-Policy": CSP, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin", "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
}


def protect(app: Flask) -> None:
    settings: Settings = app.extensions["settings"]
    app.wsgi_app = Front(app, settings)  # type: ignore[method-assign]
    if n := settings.trusted_proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=n, x_proto=n, x_host=n, x_prefix=n)  # type: ignore[method-assign]
    app.before_request(check_request)
    app.after_request(add_headers)
    app.register_error_handler(HTTPException, http_error)
    app.register_error_handler(CSRFError, csrf_error)
    app.register_error_handler(ActionRefused, refused)
    app.register_error_handler(ValidationError, lambda error: render_error(507 if isinstance(error, DiskLow) else 400, tell(error)))
    for kind in (*error_texts.errors, *database_errors()):
        app.register_error_handler(kind, database_error)
    app.register_error_handler(UnicodeError, lambda error: render_error(400, _("The request has characters that cannot be read.")))

    app.register_error_handler(OSError, disk_error)

    def check_host():
        if request.environ[REFUSED] and request.path != "/healthz":
            return render_error(400, _("This address is not the one in PUBLIC_URL."))
        return None

    app.before_request(check_host)


def check_request():
    """NUL characters and bytes that are no UTF-8 in path or query are refused before anything reads them."""
    raw = unquote_to_bytes(request.environ.get("QUERY_STRING", "").encode("latin-1")) + request.path.encode("utf-8", "surrogateescape")
    try:
        bad = "\x00" in raw.decode("utf-8")
    except UnicodeDecodeError:
        bad = True
    if bad:
        return render_error(400, _("The request has characters that cannot be read."))
    return None


def add_headers(response):
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
    if error.code is None or error.code < 400:
        return error
    titles = {
        400: (_("Not understood"), _("The request could not be read.")),
        401: (_("Sign in"), _("Sign in first.")),
        403: (_("No access"), _("Only super-admins may see this.")),
        404: (_("Not found"), _("There is no such page.")),
        405: (_("Not this way"), _("This address does not take such a request.")),
        408: (_("Too slow"), _("The request did not arrive in time. Send it again.")),
        411: (_("Not understood"), _("Say how long the request is: send it with a Content-Length.")),
        413: (_("Too large"), _("What was sent is too large. Files may have at most %(n)s MB.", n=settings().upload_max_mb)),
        500: (_("An error"), _("Something went wrong here. It is in the log; nothing was half done.")),
    }
    code = 408 if isinstance(error, ClientDisconnected) else error.code  # gone, or too slow to be waited for
    other = _("Not understood"), _("This request cannot be answered (%(code)s).", code=code)
    title, sentence = titles.get(code, other)
    body, code = render_error(code, sentence, title)
    methods = getattr(error, "valid_methods", None)
    return (body, code, {"Allow": ", ".join(methods)}) if code == 405 and methods else (body, code)


def csrf_error(error: CSRFError):
    return render_error(400, _("The form is no longer valid. Load the page again and send it once more."), _("Not understood"))


def disk_error(error: OSError):
    """A full disk under an upload, also where the form is taken apart; any other is a bug of ours."""
    if error_texts.kind_of(error) == error_texts.FULL:
        return render_error(507, _("Disk full: nothing was written. Free some space and send it again."), _("Disk full"))
    log.error("error handling %s", request.path, exc_info=error)
    return http_error(InternalServerError())


def database_error(error: Exception):
    """A locked or unreachable database is no bug: say so and when to come back. What is one stands in the log by the
    name of its statement."""
    from app.extensions import db

    with contextlib.suppress(Exception):
        db.session.rollback()
    g._login_user = AnonymousUserMixin()  # the page that says so must ask the database for nothing
    where, kind = f"{request.method} {request.endpoint}", error_texts.kind_of(error)
    if kind is None and schema.check(settings()) == "current":
        log.error("%s: %s", where, error_texts.named(error))
        return render_error(500, _("Something went wrong here. It is in the log; nothing was half done."), _("An error"))
    if kind == error_texts.FULL:
        return render_error(507, _("Disk full: nothing was written. Free some space and send it again."), _("Disk full"))
    if said.now(kind or "not migrated"):
        log.warning("%s answered 503: %s", where, error_texts.sentence(error) if kind else schema.OLDER)
    body, code = render_error(503, _("The database does not answer just now. Nothing was changed; try again in a few seconds."), _("Busy"))
    return body, code, {"Retry-After": "5"}
