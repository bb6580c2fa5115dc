"""Return addresses: of the field `next`, else the page whose form was sent (Referer, which this site's policy gives to
itself only). Both only if they are paths of this site that answer GET, with their query: filter and place in a list."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from flask import current_app, request
from werkzeug.exceptions import HTTPException


def here() -> str:
    """Path and query of this request as the browser has them, with the path that the site lies below."""
    path = quote(request.script_root + request.path, safe="/!$&'()*+,;=:@")  # a name may have a space, % or #
    query = request.query_string.decode("latin-1")
    return f"{path}?{query}" if query else path


def came_from() -> str | None:
    """The page of this host whose form this is; None when the browser does not say so, when it was no page, and for a
    form that is sent to its own page: it is done, and leads on."""
    try:
        scheme, host, path, query, _fragment = urlsplit(request.headers.get("Referer", "")[:4000])
    except ValueError:
        return None
    if not scheme or host != request.host or path == request.script_root + request.path:
        return None
    return safe_next(urlunsplit(("", "", path, query, "")), "") or None


def safe_next(text: str | None, default: str) -> str:
    """`text` if it is a path (with query) that a GET route of this site answers, else `default`."""
    if not text or len(text) > 2000 or not re.fullmatch(r"/(?!/)[^\x00-\x20\x7f\\]*", text):
        return default
    root = request.script_root
    try:
        path = unquote(urlsplit(text).path)
        if not (path + "/").startswith(root + "/"):
            return default
        path = path[len(root):] or "/"
        endpoint, _ = current_app.url_map.bind("localhost").match(path, method="GET")
    except (HTTPException, ValueError):
        return default
    return default if endpoint.startswith(("auth.", "static")) else text
