"""Sockets with a minimum rate: a client must never fall 20 s behind 16 KB/s, an eighth of a 1 Mbit/s upload."""

import contextlib
import errno
import socket
import threading
import time

PACE_S, PACE_BYTES, PIECE = 20.0, 16 * 1024, 64 * 1024
KEPT_BYTES, KEPT_IN_ALL = 2**20, 32 * 2**20  # of unsent answers, one and all; past that a thread waits


class Paced(socket.socket):
    """A socket whose blocking reads and writes must each keep the minimum rate. A client that is too slow is treated as
    disconnected (ConnectionResetError): gunicorn and Werkzeug handle this without a traceback in the log."""

    read_until = write_until = 0.0
    limit: float | None = None
    left: bytes | bytearray = b""  # the part of the answer that the client has not taken yet
    kept, lock = 0, threading.Lock()
    hub = None  # where WebSockets go (sockets.py), set by the worker
    live: tuple[int, int] | None = None  # set by a handshake that was answered: session and person

    def start(self) -> None:
        """Start the time limits of a new request."""
        self.read_until = self.write_until = time.monotonic() + PACE_S

    def setblocking(self, flag: bool) -> None:
        """As socket.setblocking; a non-blocking socket has no minimum rate."""
        self.limit = None if flag else 0.0
        super().setblocking(flag)

    def settimeout(self, value: float | None) -> None:
        """As socket.settimeout (s); the minimum rate still applies."""
        self.limit = value
        super().settimeout(value)

    def recv(self, size: int, *flags: int) -> bytes:
        """As socket.recv; raises ConnectionResetError when the client sends too slowly."""
        if self.limit == 0:
            return super().recv(size, *flags)
        data = self._within(self.read_until, super().recv, size, *flags)
        self.read_until = later(self.read_until, len(data))
        return data

    def sendall(self, data: bytes, *flags: int) -> None:
        """Send what the client takes at once and keep the rest for the poller; block only when the rest is too large.
        Raises ConnectionResetError when the client reads too slowly."""
        if self.limit == 0:
            return super().sendall(data, *flags)
        if not self.left:
            self.left, self.write_until = bytearray(), time.monotonic() + PACE_S
        self.left += data
        self.count(len(data))
        self.flush()
        while len(self.left) > KEPT_BYTES or (self.left and Paced.kept > KEPT_IN_ALL):
            self.sent(self._within(self.write_until, super().send, bytes(self.left[:PIECE]), *flags))
        return None

    def flush(self) -> None:
        """Send what the client takes without blocking. Raises OSError when the connection is broken."""
        super().settimeout(0)
        with contextlib.suppress(BlockingIOError):
            while self.left:
                self.sent(super().send(bytes(self.left[:PIECE])))

    def sent(self, size: int) -> None:
        """Note that the client has taken `size` bytes of the answer."""
        del self.left[:size]
        self.count(-size)
        self.write_until = later(self.write_until, size)

    def forget(self) -> None:
        """Drop the unsent rest of the answer."""
        self.count(-len(self.left))
        self.left = b""

    @staticmethod
    def count(size: int) -> None:
        """Add `size` bytes (negative: subtract) to the unsent bytes of all connections."""
        with Paced.lock:
            Paced.kept += size

    def _within(self, until: float, call, *arguments):
        left = until - time.monotonic()
        try:
            super().settimeout(max(left if self.limit is None else min(left, self.limit), 0.001))
            return call(*arguments)
        except TimeoutError:
            if self.limit is None or left < self.limit:
                raise ConnectionResetError(errno.ECONNRESET, "the connection is too slow") from None
            raise


def later(until: float, moved: int) -> float:
    """The new deadline after `moved` bytes: later by their time at the minimum rate, but at most 20 s from now."""
    return min(until + moved / PACE_BYTES, time.monotonic() + PACE_S)
