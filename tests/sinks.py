"""Servers on 127.0.0.1 that take webhooks, well and badly."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time


class Sink:
    """`mode` (changeable while it runs): ok, 500, redirect, cut, hang (takes the request and never answers)."""

    def __init__(self, mode: str = "ok") -> None:
        self.mode, self.got, self.over = mode, [], threading.Event()
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen(20)
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self.port}/hook-4711-secret"

    @property
    def titles(self) -> list[str]:
        return [m["title"].removeprefix("[Ainstein Jobs] ") for m in self.got]

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.socket.accept()
                threading.Thread(target=self._answer, args=(client, self.mode), daemon=True).start()

    def _answer(self, client: socket.socket, mode: str) -> None:
        with client, contextlib.suppress(OSError):
            data = b""
            while b"\r\n\r\n" not in data:
                data += client.recv(65536)
            head, body = data.split(b"\r\n\r\n", 1)
            length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0)
            while len(body) < length:
                body += client.recv(65536)
            self.got.append(json.loads(body or b"{}") | {"path": head.split()[1].decode()})
            if mode == "hang":
                self.over.wait(60)
            elif mode == "redirect":
                client.sendall(b"HTTP/1.1 301 Moved\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n")
            elif mode != "cut":
                client.sendall(b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\nok" % (200 if mode == "ok" else int(mode)))

    def close(self) -> None:
        self.over.set()
        self.socket.close()


def until(condition, seconds: float = 15.0, what: str = "") -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.02)
