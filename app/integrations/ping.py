"""The outgoing heartbeat (HEARTBEAT_URL): a service outside expects it and alerts when it does not come."""

from __future__ import annotations

import logging
import threading

log = logging.getLogger(__name__)
TIMEOUT_S = 10.0


class Ping:
    """Sends GET requests to a URL in a thread of its own, one at a time, so that a slow server blocks nobody. The URL
    may contain a key and is never logged."""

    def __init__(self, url: str) -> None:
        self.url, self.trouble = url, ""
        self._thread: threading.Thread | None = None

    def send(self) -> None:
        """Start a request, unless there is no URL or the last one is still running."""
        if self.url and not (self._thread and self._thread.is_alive()):
            self._thread = threading.Thread(target=self._send, name="ping", daemon=True)
            self._thread.start()

    def wait(self) -> str:
        """Wait at most 12 s for the last request; returns its error as text, '' when it succeeded."""
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
