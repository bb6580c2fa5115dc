"""Return addresses (`next`): only paths of this site that answer GET. The Referer header is never used."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from flask import current_app, request
from werkzeug.exceptions import HTTPException


def here() -> str:
    """Path and query of this request as the browser has them, with the path that the site lies below."""
    return request.script_root + request.full_path.rstrip("?")


def safe_next(text: str | None, default: str) -> str:
    """`text` if it is a path (with query) that a GET route of this site answers, else `default`."""
    if not text or len(text) > 2000 or not re.fullmatch(r"/(?!/)[^\x00-\x20\x7f\\]*", text):
        return default
    root = request.script_root
    try:
        path = urlsplit(text).path
        if not (path + "/").startswith(root + "/"):
            return default
        path = path[len(root):] or "/"
        endpoint, _ = current_app.url_map.bind("localhost").match(path, method="GET")
    except (HTTPException, ValueError):
        return default
    return default if endpoint.startswith(("auth.", "static")) else text
