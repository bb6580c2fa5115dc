"""Requests with `Authorization: Bearer TOKEN`: the token alone says who asks, whatever cookie comes with it.

header -> `load` (Flask-Login) finds the token -> Script, with the rights of role and scopes, or why it is refused
before each request: 401 for a token that is not accepted, 429 for too many requests, 403 for an address that is not in
the table of openapi.py. The right of the address is checked by access.right_required, as for people.
A browser never sends the header by itself, so such a request needs no CSRF token. Probes and static files, and
/metrics with its own token, do not look at it.
"""

from __future__ import annotations

import logging

from flask import Flask, Response, g, jsonify, request
from flask_babel import gettext as _
from flask_login import current_user

from app.controllers import openapi, rate_limits, rights
from app.controllers.access import OF_API, READING, bearer_token, login
from app.controllers.auth import Person
from app.controllers.responses import render_error
from app.extensions import reading
from app.models import ApiToken
from app.services.people import tokens
from app.services.people.attempts import network_of
from app.support.clock import now_ms

log = logging.getLogger(__name__)


class Script(Person):
    """A person who asks by a token: `rights` are those of the role that the scopes contain, `actor` names the token."""

    def __init__(self, row: ApiToken) -> None:
        super().__init__(row.user, "")
        self.rights = rights.of_token(self.rights, (row.scopes or "").split())
        self.token_id, self.actor = row.id, f"{self.email} (token {row.name})"[:255]


def install(app: Flask) -> None:
    """Connect the tokens to Flask-Login and the checks to the application."""
    rate_limits.install(app)
    login.request_loader(load)
    app.before_request(check)
    app.after_request(add_headers)


def load(_request) -> Script | None:
    """The person of the token in the header. None without a token, and, with the sentence in `g.refused`, for one that
    is not accepted."""
    token, now = bearer_token(), now_ms()
    if token is None:
        return None
    with reading():  # a wrong token takes no write lock
        row = tokens.find(token)
        g.refused = _("This token is not known.") if row is None else tokens.why_over(row, now)
        if row is None or g.refused:
            return None
        found, used = Script(row), row.used_ms
    tokens.note_use(found.token_id, used, request.remote_addr, now)
    return found


def check():
    """401, 429 or 403 as JSON for a request with a token that must not go on; None for others."""
    if bearer_token() is None:
        return None
    if not current_user.is_authenticated:
        return refusal()
    if rate_limits.take(rate_limits.REQUESTS, "token", current_user.token_id).over or over_dispatches():
        return too_many()
    if request.endpoint is not None and request.endpoint not in openapi.ENDPOINTS:
        return render_error(403, _("A token opens only the addresses of /api/openapi.json."))
    return lacking()


def lacking():
    """403 when whoever asks lacks the right that the address needs, else None."""
    needed = rights.right_of(request.endpoint or "")
    if needed and needed not in current_user.rights:
        return render_error(403, _("This needs the scope %(name)s: the token does not have it, or the role of its "
                                   "person does not allow it.", name=rights.scope_of(needed)))
    return None


def again():
    """After a wait: 401 or 403 when the token, the session or the right was taken away meanwhile, else None."""
    g.pop("_login_user", None)  # Flask-Login looks anew
    if not current_user.is_authenticated:
        return login.unauthorized() if bearer_token() is None else refusal()
    return lacking()


def refusal():
    """The answer to a token that is not accepted; after 20 of a network in 15 minutes it is 429."""
    network = network_of(request.remote_addr)
    rate = rate_limits.take(rate_limits.GUESSES, network)
    if rate.over:
        return too_many()
    if not rate.remaining:
        log.warning("many wrong API tokens from %s", network)
    sentence = g.get("refused") or _("This token is not known.")
    told = 'Bearer realm="api", error="invalid_token"'
    return jsonify({"error": sentence}), 401, {"WWW-Authenticate": told}


def over_dispatches() -> bool:
    """Whether this request makes something and is one too many of a minute."""
    if rights.right_of(request.endpoint or "") != rights.DISPATCH or request.method in READING:
        return False
    return rate_limits.take(rate_limits.DISPATCHES, "dispatch", current_user.id).over


def who() -> tuple[str, int]:
    """Whose requests are counted together."""
    token_id = getattr(current_user, "token_id", None)
    return ("token", token_id) if token_id else ("person", current_user.id)


def too_many():
    """429 with a sentence; the header Retry-After comes from `add_headers`."""
    sentence = _("Too many requests: wait %(n)s seconds.", n=g.rate.reset_s)
    return render_error(429, sentence)


def add_headers(response: Response) -> Response:
    """Add what is left of the limits. An answer to a token is for that token only."""
    response.headers.update(rate_limits.headers())
    if response.status_code == 401 and request.path.startswith(OF_API):
        response.headers.setdefault("WWW-Authenticate", 'Bearer realm="api"')
    if bearer_token() is not None:
        response.vary.add("Authorization")
    return response
