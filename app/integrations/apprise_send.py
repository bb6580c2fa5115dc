"""One message through Apprise, in a process of its own: `python -m app.integrations.apprise_send` < JSON.

stdin  {"url", "title", "body"}    stdout {"ok": bool, "why": str}
The address comes through stdin, so it is in no argument list; a sending that hangs is killed by whoever waits for it.
Redirects are never followed: a POST answered 301 becomes a GET and "succeeds". `why` still needs the redactor.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def send(url: str, title: str, body: str) -> tuple[bool, str]:
    """Whether the service took it, and if not why, in Apprise's words."""
    import apprise

    lines = _Lines()
    logger = logging.getLogger("apprise")
    logger.addHandler(lines)
    logger.propagate = False
    target = apprise.Apprise(asset=apprise.AppriseAsset(app_id="Ainstein Jobs", http_redirects=False, async_mode=False))
    if not target.add(url):
        return False, "Apprise does not know such an address"
    for service in target:
        service.redirects = False  # whatever the address says
    ok = bool(target.notify(title=title, body=body, body_format=apprise.NotifyFormat.TEXT))
    return ok, "" if ok else "; ".join(lines.lines[-2:]) or "not accepted"


def known(url: str) -> bool:
    """Whether Apprise can use this address."""
    import apprise

    logging.getLogger("apprise").setLevel(logging.CRITICAL)
    return bool(apprise.Apprise().add(url))


def main() -> None:
    given = json.load(sys.stdin)
    with contextlib.redirect_stdout(io.StringIO()):
        ok, why = send(given["url"], given["title"], given["body"])
    print(json.dumps({"ok": ok, "why": why}))


if __name__ == "__main__":
    main()
