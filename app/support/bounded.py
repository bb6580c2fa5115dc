"""A time limit for calls that can block: they run in a thread, and the caller stops waiting after the limit.

The timeout of a driver does not limit the whole call. DNS look-ups have no timeout. PostgreSQL's driver waits at least
2 s for a connection and has no limit for an answer. A server that sends one byte now and then never times out.
While a call is blocked, other calls fail at once. When it returns, its result is dropped and calls work again.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Any


class Bounded:
    """Runs one call at a time in one thread. The first call of a process starts the thread."""

    def __init__(self, name: str) -> None:
        self._name, self._pid, self._hangs = name, 0, False
        self._lock = threading.Lock()

    def __call__(self, seconds: float, function: Callable[[], Any]) -> Any:
        """The result of `function`, or its exception. Raises TimeoutError when it takes longer than `seconds`, or when
        an earlier call is still blocked."""
        end = time.monotonic() + seconds
        with self._lock:
            if self._pid != os.getpid():  # threads do not survive a fork
                self._begin()
        if self._hangs or not self._call_lock.acquire(timeout=seconds):
            raise TimeoutError("an earlier call is still blocked")
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
        self._pid, self._hangs, self._call_lock = os.getpid(), False, threading.Lock()
        self._asked: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        threading.Thread(target=self._serve, args=(self._asked, self._call_lock), name=self._name, daemon=True).start()

    def _serve(self, asked: queue.SimpleQueue[_Call], call_lock: threading.Lock) -> None:
        while True:
            call = asked.get()
            try:
                call.result = call.function()
            except BaseException as error:
                call.error = error
            with self._lock:
                call.done.set()
                self._hangs = False
            call_lock.release()


class _Call:
    def __init__(self, function: Callable[[], Any]) -> None:
        self.function, self.done = function, threading.Event()
        self.result: Any = None
        self.error: BaseException | None = None
