"""The outgoing sign of life: a box cannot report its own death, so something outside waits for this."""

from __future__ import annotations

import logging
import threading

log = logging.getLogger(__name__)
TIMEOUT_S = 10.0


class Ping:
    """GET an address in a thread of its own, so that one that hangs stops nobody; one at a time. The address is never logged."""

    def __init__(self, url: str) -> None:
        self.url, self.trouble = url, ""
        self._thread: threading.Thread | None = None

    def send(self) -> None:
        if self.url and not (self._thread and self._thread.is_alive()):
            self._thread = threading.Thread(target=self._send, name="ping", daemon=True)
            self._thread.start()

    def wait(self) -> str:
        """What went wrong with the last one, or nothing."""
        if self._thread:
            self._thread.join(TIMEOUT_S + 2)
        return self.trouble

    def _send(self) -> None:
        import httpx2

        try:
            answer = httpx2.get(self.url, timeout=TIMEOUT_S, follow_redirects=False)
            trouble = "" if answer.is_success else f"answer {answer.status_code}"
        except Exception as error:
            trouble = type(error).__name__
        if trouble and trouble != self.trouble:
            log.warning("HEARTBEAT_URL was not reached (%s); tried again each minute", trouble)
        self.trouble = trouble
