"""GET /admin/jobs/live: the handshake of a WebSocket that tells a page which of its parts have changed.

rights (before the route) -> headers of the handshake -> 101, and the connection is marked with the session
-> the thread is done; the server's poller keeps the connection (deploy/sockets.py) and asks `ended` each minute

Refusals are JSON: 400 for a bad key, 401 without a session, 403 without the right and for a foreign page, 426 without
"Upgrade: websocket", for another version, and on a server that keeps no sockets; 503 when all places are taken. The
page then asks every 5 s.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection

from flask import Flask, Response, jsonify, request
from flask_babel import gettext as _
from flask_login import current_user
from sqlalchemy import select
from wsproto.utilities import generate_accept_token

from app.controllers.access import foreign_page
from app.controllers.jobs import bp
from app.controllers.rights import READ, of_role
from app.extensions import db, reading
from app.models import User, UserSession
from app.services.people.sign_in import find_session, living
from app.support.clock import now_ms

UPGRADE = {"Upgrade": "websocket", "Connection": "Upgrade"}


@bp.get("/live", endpoint="live", websocket=True)  # Werkzeug keeps requests with "Upgrade: websocket" from other rules
@bp.get("/live", endpoint="live")
def live():
    """Switch the connection to a WebSocket. It sends `{"changed": [part], "at", "spread_ms", "monitor"}`; what the page
    sends is ignored."""
    given = request.headers
    tokens = {word.strip().lower() for word in given.get("Connection", "").split(",")}
    if given.get("Upgrade", "").lower() != "websocket" or "upgrade" not in tokens:
        return _refused(426, _("This address is for WebSockets."), UPGRADE)
    if given.get("Sec-WebSocket-Version") != "13":
        return _refused(426, _("The version of the WebSocket must be 13."), UPGRADE | {"Sec-WebSocket-Version": "13"})
    key = given.get("Sec-WebSocket-Key", "").strip()
    if not _is_key(key):
        return _refused(400, _("The key of the WebSocket must be 16 bytes in Base64."))
    if foreign_page():
        return _refused(403, _("The request comes from another site."))
    connection = request.environ.get("gunicorn.socket")
    hub = getattr(connection, "hub", None)  # deploy/gunicorn_worker.py gives it one
    session = find_session(current_user.get_id())
    if session is None:  # a personal token, or a session that has just ended
        return _refused(401, _("Sign in first."))
    if hub is None:
        return _refused(426, _("This server keeps no WebSockets: ask again every few seconds."), UPGRADE)
    if not hub.has_room(current_user.id):
        return _refused(503, _("Too many pages are open. This one asks every few seconds instead."),
                        {"Retry-After": "60"})
    mark = session.id, current_user.id
    answer = Response(status=101, headers=UPGRADE | {
        "Sec-WebSocket-Accept": generate_accept_token(key.encode()).decode()})
    del answer.headers["Content-Type"]
    answer.call_on_close(lambda: setattr(connection, "live", mark))  # only when this answer has gone out
    return answer


def ended(app: Flask, sessions: Collection[int]) -> set[int]:
    """Those of the sessions (ids) that are over, or whose person may read no longer; one query."""
    rows = select(UserSession.id, User.role, User.sees_data).join(User, User.id == UserSession.user_id).where(
        UserSession.id.in_(sessions), User.disabled_ms.is_(None), living(now_ms()))
    with app.app_context(), reading():
        good = {id_ for id_, role, sees in db.session.execute(rows) if READ in of_role(role, bool(sees))}
    return set(sessions) - good


def _refused(code: int, sentence: str, headers: dict[str, str] | None = None):
    return jsonify({"error": sentence}), code, headers or {}


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text.encode("ascii"), validate=True)) == 16
    except (binascii.Error, UnicodeEncodeError, ValueError):
        return False
