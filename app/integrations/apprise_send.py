"""Sends one message through Apprise in a process of its own: `python -m app.integrations.apprise_send` < JSON.

stdin  {"url", "title", "body", "level", "html", "files"}    stdout {"ok": bool, "why": str, "doubtful": bool}
The URL comes through stdin, so no argument list shows it. The caller kills a process that takes too long. Redirects are
never followed, because after a 301 a POST becomes a GET and "succeeds". `why` contains no part of the URL but its host;
it must still be redacted.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import logging
import re
import sys
from typing import Any
from urllib.parse import unquote

from app.integrations.resolve import limit_lookups

HIDDEN = "[hidden]"
HOST = re.compile(r"(?<![A-Za-z0-9.-])(?:localhost|[A-Za-z0-9-]++(?:\.[A-Za-z0-9-]++)++)(?::[0-9]{1,5})?(?=[/?]|$)")
BROKE_OFF = re.compile(r"^(?!.*(?:NewConnectionError|ConnectTimeout))"
                       r".*(?:timed out|abort|reset|closed|disconnect|broken pipe)", re.IGNORECASE)


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self.doubtful = False

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the text of a warning, and note a connection that broke after the message was sent."""
        text = record.getMessage()
        if record.levelno >= logging.WARNING:
            self.lines.append(text)
        elif text.startswith("Socket Exception") and BROKE_OFF.search(text):
            self.doubtful = True  # the message was sent, but no answer came


def send(url: str, title: str, body: str, level: str = "info", html: str = "",
         files: tuple[tuple[str, str, str], ...] = ()) -> tuple[bool, str, bool]:
    """Send a message; `level` is info, success, warning or failure. A mail (mailto) gets `html` in place of the body,
    and the `files`: (name, type, base64). Returns (ok, why, doubtful): `ok` when the service accepted it; else `why` is
    Apprise's own text, and `doubtful` says that the service may have accepted it anyway."""
    import apprise

    lines = _Lines()
    logger = logging.getLogger("apprise")
    logger.addHandler(lines)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    target = apprise.Apprise(asset=apprise.AppriseAsset(app_id="Ainstein Jobs", http_redirects=False, async_mode=False))
    if not target.add(url):
        return False, "Apprise does not know such an address", False
    for service in target:
        service.redirects = False  # even if the URL asks for them
    kind = apprise.NotifyType(level)
    more: dict[str, Any] = {"body": body, "body_format": apprise.NotifyFormat.TEXT}
    if html and url.lower().startswith(("mailto:", "mailtos:")):
        from apprise.attachment.memory import AttachMemory

        attached = apprise.AppriseAttachment()
        for name, mime, content in files:
            plain = mime.partition(";")[0]
            attached.add(AttachMemory(content=base64.b64decode(content), name=name, mimetype=plain))
        more = {"body": html, "body_format": apprise.NotifyFormat.HTML, "attach": attached}
    ok = bool(target.notify(title=title, notify_type=kind, **more))
    why = "" if ok else without_parts("; ".join(lines.lines[-2:]) or "not accepted", url)
    return ok, why, lines.doubtful and not ok


def without_parts(text: str, url: str) -> str:
    """A service's text about a URL, with the words of the URL's user, password, path and query hidden.

    All words of the URL are hidden when it may parse in another way than it was meant: `@`, `/`, `?` or `#` in its
    password, or keys in place of a host.
    """
    address = url.partition("://")[2]
    user, _, rest = address.rpartition("@")
    host = HOST.match(rest)
    if host and not any(sign in user for sign in "@/?#"):
        address = f"{user} {rest[host.end():]}"
    words = {word.casefold() for word in re.findall(r"\w+", f"{address} {unquote(address)}")}
    return re.sub(r"\w+", lambda m: HIDDEN if m[0].casefold() in words else m[0], text)


def known(url: str) -> bool:
    """Whether Apprise can use this URL."""
    import apprise

    logging.getLogger("apprise").setLevel(logging.CRITICAL)
    return bool(apprise.Apprise().add(url))


def main() -> None:
    """Read the message from stdin, send it and print the answer, both as JSON."""
    given = json.load(sys.stdin)
    limit_lookups()
    with contextlib.redirect_stdout(io.StringIO()):
        ok, why, doubtful = send(**given)
    print(json.dumps({"ok": ok, "why": why, "doubtful": doubtful}))


if __name__ == "__main__":
    main()
