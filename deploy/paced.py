"""A connection that must keep a pace: never 20 s behind 16 KB a second. An upload over 1 Mbit/s is 8 times as fast."""

import contextlib
import errno
import socket
import threading
import time

PACE_S, PACE_BYTES, PIECE = 20.0, 16 * 1024, 64 * 1024
KEPT_BYTES, KEPT_IN_ALL = 2**20, 32 * 2**20  # of answers, until their readers take them; past that a thread waits


class Paced(socket.socket):
    """A socket whose reads and writes must each keep a pace while somebody waits for them. One that does not is treated
    as one that has gone away: gunicorn and Werkzeug know what to do then, without a traceback in the log."""

    read_until = write_until = 0.0
    limit: float | None = None
    left: bytes | bytearray = b""  # of the answer, not taken by the client yet
    kept, lock = 0, threading.Lock()

    def start(self) -> None:
        """A request begins."""
        self.read_until = self.write_until = time.monotonic() + PACE_S

    def setblocking(self, flag: bool) -> None:
        self.limit = None if flag else 0.0
        super().setblocking(flag)

    def settimeout(self, value: float | None) -> None:
        self.limit = value
        super().settimeout(value)

    def recv(self, size: int, *flags: int) -> bytes:
        if self.limit == 0:
            return super().recv(size, *flags)
        data = self._within(self.read_until, super().recv, size, *flags)
        self.read_until = later(self.read_until, len(data))
        return data

    def sendall(self, data: bytes, *flags: int) -> None:
        """Send what the client takes at once and keep the rest for the poller; wait only when that is too much."""
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
        """Send what the client takes without waiting."""
        super().settimeout(0)
        with contextlib.suppress(BlockingIOError):
            while self.left:
                self.sent(super().send(bytes(self.left[:PIECE])))

    def sent(self, size: int) -> None:
        del self.left[:size]
        self.count(-size)
        self.write_until = later(self.write_until, size)

    def forget(self) -> None:
        """Nobody will take the rest."""
        self.count(-len(self.left))
        self.left = b""

    @staticmethod
    def count(size: int) -> None:
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
    """The end of patience after so many bytes: a burst gains no more than the usual."""
    return min(until + moved / PACE_BYTES, time.monotonic() + PACE_S)
