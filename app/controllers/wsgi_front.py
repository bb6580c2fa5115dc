"""What is settled before Flask sees a request: its method, its host, and the path the site lies below.

HEAD is answered as the GET of the same address, its body left out: a view that asks `if request.method == "GET"` and
acts otherwise can so never act on one. A host that is not ours is noted and replaced by our own: Flask could not even
make its error page for `a..b` or a label of 64 characters (the IDNA codec raises).
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
REFUSED = "ainstein.host_refused"


class Front:
    """WSGI middleware; innermost, so that it sees what a trusted proxy has said."""

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
        head = environ["REQUEST_METHOD"] == "HEAD"
        if not head:
            return self.app(environ, start_response)
        environ["REQUEST_METHOD"] = "GET"
        body = self.app(environ, start_response)
        if hasattr(body, "close"):
            body.close()
        return []

    def _without_host(self, environ: dict[str, Any]) -> str | None:
        """HTTP/1.0 may leave the host out: then the address that was called must be ours."""
        name, port = environ.get("SERVER_NAME", ""), environ.get("SERVER_PORT", "")
        return allowed_host(f"[{name}]:{port}" if ":" in name else f"{name}:{port}", self.settings)

    def _place(self, environ: dict[str, Any]) -> None:
        """SCRIPT_NAME is the path of PUBLIC_URL, whether the proxy in front keeps it in the address or strips it;
        without one it is what a trusted proxy says (X-Forwarded-Prefix, which ProxyFix has put there)."""
        said = environ.get("SCRIPT_NAME", "").rstrip("/") if self.settings.trusted_proxies else ""
        prefix = self.settings.prefix or (said if PATH.fullmatch(said) and len(said) < 200 else "")
        environ["SCRIPT_NAME"] = prefix
        path = environ.get("PATH_INFO", "")
        if prefix and (path + "/").startswith(prefix + "/") and not self.ours(path):
            environ["PATH_INFO"] = path[len(prefix):] or "/"


def allowed_host(host: str, settings: Settings) -> str | None:
    """`name` or `name:port` when that is the host of PUBLIC_URL (any port), or any loopback name when that is one."""
    found = HOST.fullmatch(host)
    if found is None or not 0 < int(found[2] or 80) < 65536:
        return None
    name, wanted = found[1].lower().removesuffix("."), (urlsplit(settings.public_url).hostname or "").removesuffix(".")
    if name.strip("[]") != wanted and not (is_loopback(name.strip("[]")) and is_loopback(wanted)):
        return None
    return f"{name}:{found[2]}" if found[2] else name
