"""A deadline for a whole HTTP request, in any phase; the timeouts of a client limit each read by itself."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from typing import Any


class Deadline:
    """Shuts down the socket of a request after `seconds`; `late` is True then. (To close it would not wake a read.)

    `sending` is called when the request goes out; `stream` is the connection of the request before, which may be used
    again. `connected` tells whether a new connection was made."""

    def __init__(self, seconds: float, sending: Callable[[], None] = lambda: None, stream: Any = None) -> None:
        self._sending, self.stream = sending, stream
        self.late, self.connected, self._ends = False, False, time.monotonic() + seconds
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> Deadline:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._timer.join(1.0)  # its thread has ended when the job ends: what a job leaves running is told

    def follow(self, request: Any) -> None:
        """A hook of the HTTP client: learn the socket of this request."""
        request.extensions["trace"] = self.trace

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """The `trace` extension of a request: learns its socket, and when it is sent. Raises TimeoutError instead of a
        further attempt to connect when the time is over."""
        if event.endswith("connect_tcp.started") and time.monotonic() > self._ends:
            self.late = True
            raise TimeoutError
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            self.stream, self.connected = info["return_value"], True
            if time.monotonic() > self._ends:
                self._cut()
        elif event.endswith("send_request_headers.started"):
            self._sending()

    def _cut(self) -> None:
        self.late = True
        with contextlib.suppress(OSError, AttributeError):
            self.stream.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
