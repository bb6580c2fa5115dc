"""Access control: the right that an address needs, CSRF, and whether a request wants JSON."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from flask import abort, current_app, has_request_context, request
from flask_login import LoginManager, current_user
from flask_wtf.csrf import CSRFError, CSRFProtect
from werkzeug.exceptions import HTTPException

from app.controllers.rights import CHANGES, DATA, right_of
from app.support import privacy
from app.support.settings import settings
from app.support.validation import MAX_BYTES

login = LoginManager()
csrf = CSRFProtect()
JSON_ENDPOINTS = frozenset({"admin.jobs.notices.feed", "admin.jobs.realtime-stats", "admin.jobs.metrics",
                            "admin.jobs.live", "probes.readyz"})
OF_API, PROBES = "/api/", ("probes.", "static")  # below this path all is JSON but the page that explains it
READING = ("GET", "HEAD", "OPTIONS", "TRACE")


def bearer_token() -> str | None:
    """What stands behind `Authorization: Bearer`, "" when nothing does; None for other requests, and for those whose
    address has no use for a personal token."""
    scheme, _space, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or (request.endpoint or "").startswith(PROBES):
        return None
    return token.strip()


def wants_json() -> bool:
    """Whether the answer is JSON: to a token, below /api/, at the JSON endpoints, also with a wrong method, and when
    `Accept` prefers it.

    JSON must be named, and its quality must not be below that of HTML.
    """
    endpoint = request.endpoint
    if bearer_token() is not None or request.path.startswith(OF_API) and endpoint != "api.docs":
        return True
    if endpoint is None and (adapter := current_app.url_map.bind("localhost")).test(request.path, "GET"):
        endpoint = adapter.match(request.path, "GET")[0]
    if endpoint in JSON_ENDPOINTS:
        return True
    accepted = request.accept_mimetypes
    asked = any(kind.endswith(("/json", "+json")) for kind in accepted.values())
    return asked and accepted["application/json"] >= accepted["text/html"]


def right_required():
    """before_request of the admin area: the answer of `auth.unauthorized` without a session; 403 without the right
    that the address needs (rights.RIGHTS)."""
    if not current_user.is_authenticated:
        return login.unauthorized()
    if request.endpoint is not None and right_of(request.endpoint) not in current_user.rights:
        abort(403)
    return None


def sees_data() -> bool:
    """Whether whoever asks may see arguments, logs and results."""
    return DATA in getattr(current_user, "rights", ())


def hides_data(search: bool) -> bool:
    """For privacy.hidden: whether this request must show no data. A token that may change jobs and not read them writes
    what it reads in a POST, so nothing is blank there; its answers have no data, and it may not `search` in them."""
    if not has_request_context() or not current_user.is_authenticated:  # nobody gets to data without a session
        return False
    rights = current_user.rights
    return DATA not in rights and (search or request.method in READING or not rights & CHANGES)


privacy.ask(hides_data)


def may_open(url: str, method: str = "GET") -> bool:
    """Whether whoever asks has the right for an address of ours, with its path prefix, query and fragment; False for
    one that there is not."""
    path = unquote(urlsplit(url).path.removeprefix(request.script_root))
    try:
        endpoint = current_app.url_map.bind("localhost").match(path, method)[0]
    except HTTPException:
        return False
    needed = right_of(endpoint)
    return needed is None or needed in getattr(current_user, "rights", ())


def check_csrf() -> None:
    """before_request: raises CSRFError for a change without a valid token, or from a page of another origin.

    It runs after the check of the session, so a person without one is asked to sign in and does not read that the form
    is old. The token alone is not enough, because a browser sends the cookies of a host to all its ports.
    """
    if request.method in READING:
        return
    take_body()
    if bearer_token() is not None:  # the token is who asks: right_required has seen it
        return
    if current_app.config["WTF_CSRF_ENABLED"]:  # off in benchmarks that go through a test client
        if foreign_page():
            raise CSRFError("The request comes from another site.")
        csrf.protect()


def take_body() -> None:
    """Read the body, while no transaction is open: a client may send it as slowly as it likes. Raises 413."""
    if not request.is_json:
        request.form  # noqa: B018  (files go to the disk)
        return
    request.max_content_length = 2 * MAX_BYTES  # parse_json refuses what is over MAX_BYTES with a sentence of its own
    request.get_data()


def foreign_page() -> bool:
    """Whether headers of the browser name a page of another origin as sender; scripts send no such headers."""
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
    """Answer 405 unless the method is DELETE, or POST with `_method=DELETE` in the body."""
    if request.method != "DELETE" and request.form.get("_method") != "DELETE":
        abort(405)
