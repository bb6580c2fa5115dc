"""Calls that may stand still, in a thread of their own: whoever asks waits at most so long.

A timeout of a driver is no bound for a call: names are looked up without one, PostgreSQL's driver waits at least 2 s
for a connection and for ever for an answer, and a server that sends a byte now and then is never late. While a call
hangs, others fail at once; when it comes back, its result is dropped and the next call goes through.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Any


class Bounded:
    """One thread, begun with the first call of a process; calls one after the other."""

    def __init__(self, name: str) -> None:
        self._name, self._pid, self._hangs = name, 0, False
        self._lock = threading.Lock()

    def __call__(self, seconds: float, function: Callable[[], Any]) -> Any:
        """What `function` returns or raises; TimeoutError when it took longer, or one before it still hangs."""
        end = time.monotonic() + seconds
        with self._lock:
            if self._pid != os.getpid():  # a thread does not come along through a fork
                self._begin()
        if self._hangs or not self._turn.acquire(timeout=seconds):
            raise TimeoutError("the one before hangs")
        call = _Call(function)
        self._asked.put(call)
        if not call.done.wait(max(end - time.monotonic(), 0)):
            with self._lock:
                self._hangs = not call.done.is_set()
            if self._hangs:
                raise TimeoutError(f"no answer within {seconds} s")
        if call.error is not None:
            raise call.error
        return call.result

    def _begin(self) -> None:
        self._pid, self._hangs, self._turn = os.getpid(), False, threading.Lock()
        self._asked: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        threading.Thread(target=self._serve, args=(self._asked, self._turn), name=self._name, daemon=True).start()

    def _serve(self, asked: queue.SimpleQueue[_Call], turn: threading.Lock) -> None:
        while True:
            call = asked.get()
            try:
                call.result = call.function()
            except BaseException as error:
                call.error = error
            with self._lock:
                call.done.set()
                self._hangs = False
            turn.release()


class _Call:
    def __init__(self, function: Callable[[], Any]) -> None:
        self.function, self.done = function, threading.Event()
        self.result: Any = None
        self.error: BaseException | None = None
