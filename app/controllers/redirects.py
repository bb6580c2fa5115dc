"""Return addresses: only GET pages of ours, never the Referer."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from flask import current_app, request
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect


def here() -> str:
    """The address asked for, as a browser knows it: below the site's path, with its query."""
    return request.script_root + request.full_path.rstrip("?")


def safe_next(text: str | None, default: str) -> str:
    """`text` if it is a path (with query) that a GET rule of ours answers, else `default`."""
    if not text or not text.startswith("/") or text.startswith("//") or len(text) > 2000 or "\\" in text or re.search(r"[\x00-\x20\x7f]", text):
        return default
    root = request.script_root
    try:
        path = urlsplit(text).path
        if not (path + "/").startswith(root + "/"):
            return default
        path = path[len(root):] or "/"
        endpoint, _ = current_app.url_map.bind("localhost").match(path, method="GET")
    except (HTTPException, RequestRedirect, ValueError):
        return default
    return default if endpoint.startswith("auth.") or endpoint.startswith("static") else text
