"""WSGI middleware for method, host and path prefix of a request, before Flask sees it.

HEAD is answered like GET, without the body, and marked. So a view that shows a page on GET and changes something
otherwise never changes anything on HEAD. A foreign host is marked in the environment and replaced by the host of
PUBLIC_URL: Flask could not render an error page for `a..b` or a label of 64 characters, because the IDNA codec raises.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from flask import Flask

from app.addresses import PATH, is_loopback
from app.config import Settings

HOST = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,253})(?::([0-9]{1,5}))?", re.ASCII | re.IGNORECASE)
REFUSED, HEAD = "ainstein.host_refused", "ainstein.head"  # keys of the environment


class Front:
    """WSGI middleware; the innermost, so that it sees the host and path from the headers of a trusted proxy."""

    def __init__(self, flask: Flask, settings: Settings) -> None:
        self.app, self.settings = flask.wsgi_app, settings
        self.ours = flask.url_map.bind("localhost").test
        self.own = urlsplit(settings.public_url)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("wsgi.url_scheme") not in ("http", "https"):
            environ["wsgi.url_scheme"] = self.own.scheme
        given = environ.get("HTTP_HOST")
        name = allowed_host(given, self.settings) if given is not None else self._without_host(environ)
        environ[REFUSED] = name is None
        environ["HTTP_HOST"] = name or self.own.netloc
        self._place(environ)
        if environ["REQUEST_METHOD"] != "HEAD":
            return self.app(environ, start_response)
        environ["REQUEST_METHOD"], environ[HEAD] = "GET", True
        body = self.app(environ, start_response)
        if hasattr(body, "close"):
            body.close()
        return []

    def _without_host(self, environ: dict[str, Any]) -> str | None:
        """HTTP/1.0 needs no Host header: then the server's own address must be an allowed host."""
        name, port = environ.get("SERVER_NAME", ""), environ.get("SERVER_PORT", "")
        return allowed_host(f"[{name}]:{port}" if ":" in name else f"{name}:{port}", self.settings)

    def _place(self, environ: dict[str, Any]) -> None:
        """Set SCRIPT_NAME to the path of PUBLIC_URL, whether the proxy in front keeps it in the address or strips it.

        PUBLIC_URL without a path: SCRIPT_NAME is X-Forwarded-Prefix of a trusted proxy, which ProxyFix has put there.
        """
        prefix_sent = environ.get("SCRIPT_NAME", "").rstrip("/") if self.settings.trusted_proxies else ""
        prefix = self.settings.prefix or (prefix_sent if PATH.fullmatch(prefix_sent) and len(prefix_sent) < 200 else "")
        environ["SCRIPT_NAME"] = prefix
        path = environ.get("PATH_INFO", "")
        if prefix and (path + "/").startswith(prefix + "/") and not self.ours(path):
            environ["PATH_INFO"] = path[len(prefix):] or "/"


def allowed_host(host: str, settings: Settings) -> str | None:
    """`name` or `name:port` if it is the host of PUBLIC_URL with any port; else None.

    When the host of PUBLIC_URL is a loopback name, every loopback name is allowed.
    """
    found = HOST.fullmatch(host)
    if found is None or not 0 < int(found[2] or 80) < 65536:
        return None
    name, wanted = found[1].lower().removesuffix("."), (urlsplit(settings.public_url).hostname or "").removesuffix(".")
    if name.strip("[]") != wanted and not (is_loopback(name.strip("[]")) and is_loopback(wanted)):
        return None
    return f"{name}:{found[2]}" if found[2] else name
