"""One message through Apprise, in a process of its own: `python -m app.integrations.apprise_send` < JSON.

stdin  {"url", "title", "body", "level"}    stdout {"ok": bool, "why": str, "doubtful": bool}
The address comes through stdin, so it is in no argument list; a sending that hangs is killed by whoever waits for it.
Redirects are never followed: a POST answered 301 becomes a GET and "succeeds". `why` has no word of the address but its host,
and still needs the redactor.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import sys
from urllib.parse import unquote

HIDDEN = "[hidden]"
HOST = re.compile(r"(?<![A-Za-z0-9.-])(?:localhost|[A-Za-z0-9-]++(?:\.[A-Za-z0-9-]++)++)(?::[0-9]{1,5})?(?=[/?]|$)")
BROKE_OFF = re.compile(r"^(?!.*(?:NewConnectionError|ConnectTimeout)).*(?:timed out|abort|reset|closed|disconnect|broken pipe)", re.IGNORECASE)


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self.doubtful = False

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.levelno >= logging.WARNING:
            self.lines.append(text)
        elif text.startswith("Socket Exception") and BROKE_OFF.search(text):
            self.doubtful = True  # the message had gone out, its answer did not come


def send(url: str, title: str, body: str, level: str = "info") -> tuple[bool, str, bool]:
    """Say it with a level of info, success, warning or failure. Whether the service took it; if not, why in Apprise's
    words, and whether it may have taken it nevertheless."""
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
        service.redirects = False  # whatever the address says
    kind = apprise.NotifyType(level)
    ok = bool(target.notify(title=title, body=body, notify_type=kind, body_format=apprise.NotifyFormat.TEXT))
    return ok, "" if ok else without_parts("; ".join(lines.lines[-2:]) or "not accepted", url), lines.doubtful and not ok


def without_parts(text: str, url: str) -> str:
    """What a service says of an address, without any word of its user, password, path and query.

    Of an address that reads otherwise than it was meant (a `@`, `/` or `#` in its password; or no host, only keys) no word is left.
    """
    address = url.partition("://")[2]
    user, _, rest = address.rpartition("@")
    host = HOST.match(rest)
    if host and not any(sign in user for sign in "@/?#"):
        address = f"{user} {rest[host.end():]}"
    words = {word.casefold() for word in re.findall(r"\w+", f"{address} {unquote(address)}")}
    return re.sub(r"\w+", lambda m: HIDDEN if m[0].casefold() in words else m[0], text)


def known(url: str) -> bool:
    """Whether Apprise can use this address."""
    import apprise

    logging.getLogger("apprise").setLevel(logging.CRITICAL)
    return bool(apprise.Apprise().add(url))


def main() -> None:
    given = json.load(sys.stdin)
    with contextlib.redirect_stdout(io.StringIO()):
        ok, why, doubtful = send(given["url"], given["title"], given["body"], given.get("level", "info"))
    print(json.dumps({"ok": ok, "why": why, "doubtful": doubtful}))


if __name__ == "__main__":
    main()
