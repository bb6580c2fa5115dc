"""Return addresses: only GET pages of ours, never the Referer."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from flask import current_app, request
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect


def safe_next(text: str | None, default: str) -> str:
    """`text` if it is a path (with query) that a GET rule of ours answers, else `default`."""
    if not text or not text.startswith("/") or text.startswith("//") or len(text) > 2000 or "\\" in text or re.search(r"[\x00-\x20\x7f]", text):
        return default
    try:
        path = urlsplit(text).path
        endpoint, _ = current_app.url_map.bind(request.host).match(path, method="GET")
    except (HTTPException, RequestRedirect, ValueError):
        return default
    return default if endpoint.startswith("auth.") or endpoint == "static" else text
