"""A plain client of the page's WebSocket: a socket and wsproto."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import time

from wsproto.connection import CLIENT, Connection
from wsproto.events import CloseConnection, Ping, TextMessage

PATH = "/admin/jobs/live"


def shake(port: int, cookie: str | None = None, path: str = PATH, extra: bytes = b"", **headers: str | None) -> tuple[socket.socket, int, bytes]:
    """(connection, status, what came with it) of a handshake; a header of None is left out."""
    sent = {"Host": f"127.0.0.1:{port}", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(), "Cookie": cookie}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items() if value is not None)]
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + extra)
    head = b""
    while b"\r\n\r\n" not in head or (head[9:12] != b"101" and not head.rstrip().endswith(b"}")):
        piece = connection.recv(4096)
        if not piece:
            break
        head += piece
    return connection, int(head.split()[1]), head


class Client:
    """A socket that was opened; reads messages, answers pings."""

    def __init__(self, port: int, cookie: str, **headers: str | None) -> None:
        self.connection, status, head = shake(port, cookie, **headers)
        assert status == 101, head
        self.protocol, self.code, self.told = Connection(CLIENT), None, []
        if rest := head.partition(b"\r\n\r\n")[2]:
            self.take(rest)

    def take(self, data: bytes) -> None:
        self.protocol.receive_data(data)
        for event in self.protocol.events():
            if isinstance(event, TextMessage):
                self.told.append(json.loads(event.data))
            elif isinstance(event, Ping):
                self.connection.sendall(self.protocol.send(event.response()))
            elif isinstance(event, CloseConnection):
                self.code = event.code
                with contextlib.suppress(OSError):
                    self.connection.sendall(self.protocol.send(event.response()))

    def until(self, condition, seconds: float = 20) -> float:
        """Read until `condition(self)`; the seconds that it took."""
        began = time.monotonic()
        while not condition(self):
            left = began + seconds - time.monotonic()
            assert left > 0 and self.code is None, (self.code, self.told[-3:])
            self.connection.settimeout(left)
            data = self.connection.recv(4096)
            if not data:
                raise AssertionError(f"closed: {self.code}")
            self.take(data)
        return time.monotonic() - began

    def next(self, part: str, seconds: float = 20) -> float:
        """Wait for a message that names `part`, from now on."""
        self.told.clear()
        return self.until(lambda one: any(part in message["changed"] for message in one.told), seconds)

    def end(self, seconds: float = 20) -> int | None:
        """Read to the end; the code of the close frame, or None without one."""
        self.connection.settimeout(seconds)
        with contextlib.suppress(ConnectionResetError):
            while data := self.connection.recv(4096):
                self.take(data)
        return self.code
