"""One text from an OpenAI-compatible API through the official SDK: streamed, with every way it can go wrong told apart.

The SDK's own retries are off (the ledger has the only ones) and redirects are not followed. Until something of the
model has come a failure may be tried again (openai_errors.py says how); after that it may have been paid. The request
as a whole has one deadline: `seconds`.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

from app.integrations.openai_errors import (
    STREAMED,
    WHOLE,
    WITH_USAGE,
    ApiError,
    ApiUnavailable,
    Humbler,
    RequestRejected,
    Throttled,
    body_of,
    judged,
)
from app.integrations.openai_stream import Answer, Reported, clean, read
from app.support.messages import Message, cleaned
from app.support.redaction import one_line, redact

__all__ = [
    "WITH_USAGE",
    "Answer",
    "Humbler",
    "ApiError",
    "RequestRejected",
    "Throttled",
    "ApiUnavailable",
    "generate",
    "is_local",
    "server",
]
CONNECT_S, SILENT_S = 10.0, 60.0
MOST_REFUSAL = 64 * 1024  # bytes of a refusal that are read
_EXTRAS: dict[int, dict[str, Any]] = {
    WITH_USAGE: {"stream": True, "stream_options": {"include_usage": True}},
    STREAMED: {"stream": True},
    WHOLE: {},
}


class _Status(Exception):
    """A status other than success."""

    def __init__(self, status: int, error: Any, headers: Any) -> None:
        super().__init__(str(status))
        self.status, self.error, self.headers = status, error, headers


def server() -> str:
    """The address that is asked, without a password; empty for the SDK's own."""
    return os.environ.get("OPENAI_BASE_URL", "").strip().rpartition("@")[2]


def is_local() -> bool:
    """Whether OPENAI_BASE_URL is on this machine: a development server, that costs nothing."""
    with contextlib.suppress(ValueError):
        return urlsplit(os.environ.get("OPENAI_BASE_URL", "")).hostname in ("127.0.0.1", "localhost", "::1")
    return False


def generate(
    prompt: str,
    model: str,
    seconds: float,
    began: Callable[[], None],
    grows: Callable[[str], bool],
    way: int = WITH_USAGE,
    proven: bool = False,
) -> Answer:
    """Ask and read the answer. `began` is called with its headers, `grows` with the text so far each 0.1 s; when it
    returns False the reading stops (`broken` is "stopped"). `way` is how to ask, `proven` that this server has answered
    when asked so. Raises Refused, Throttled, Unanswered, or Humbler: ask again in its way, the request was refused for
    what was added to it.
    """
    import httpx2
    import openai

    key = os.environ.get("OPENAI_API_KEY", "").strip()
    if not key:
        raise RequestRejected(Message("OPENAI_API_KEY is not set for the workers."))
    silent = seconds if way == WHOLE else min(SILENT_S, seconds)
    timeout = httpx2.Timeout(silent, connect=min(CONNECT_S, seconds))
    answer = Answer()
    with ExitStack() as stack:
        deadline = stack.enter_context(_Deadline(seconds))
        try:
            hooks = {"request": [deadline.follow], "response": [_judge_before_reading]}
            http = stack.enter_context(httpx2.Client(timeout=timeout, follow_redirects=False, event_hooks=hooks))
            base = os.environ.get("OPENAI_BASE_URL", "").strip() or None
            client = openai.OpenAI(api_key=key, base_url=base, max_retries=0, timeout=timeout, http_client=http)
            asked = client.chat.completions.with_streaming_response.create(
                model=model, messages=[{"role": "user", "content": prompt}], **_EXTRAS[way]
            )
            response = stack.enter_context(asked).http_response
        except _Status as refusal:
            raise judged(refusal.status, refusal.error, refusal.headers, way, proven) from None
        except Exception as error:
            raise _unsent(error, seconds if deadline.late else silent, deadline.late) from None
        try:
            began()
            kind = response.headers.get("content-type", "")
            read(response.iter_bytes(), "json" in kind and "ndjson" not in kind, answer, grows)
        except Reported as report:
            raise judged(None, report.error, response.headers, way, proven) from None
        except Exception as error:  # paid: whatever broke it, what came is kept (a timeout of the job is no Exception)
            answer.broken = f"{type(error).__name__}: {error}"
    if deadline.late and (answer.broken or answer.finish is None):
        answer.broken = Message("no end within %(n)s s", n=f"{seconds:.0f}")
    broken = cleaned(answer.broken, lambda part: one_line(redact(clean(part)), 800))
    answer.broken = broken if len(broken) <= 200 else broken[:200]
    return answer


def _unsent(error: Exception, waited: float, late: bool) -> ApiError:
    """What it means that the request got no status at all."""
    import httpx2
    import openai

    cause = error.__cause__ if isinstance(error, openai.APIConnectionError) and error.__cause__ else error
    if late or isinstance(cause, httpx2.TimeoutException):
        return ApiUnavailable(
            Message("The API did not answer within %(n)s s.", n=f"{waited:.0f}"),
            sent=not isinstance(cause, (httpx2.ConnectTimeout, httpx2.PoolTimeout)),
        )
    if isinstance(cause, (ValueError, httpx2.InvalidURL, httpx2.UnsupportedProtocol, httpx2.LocalProtocolError)):
        return RequestRejected(
            Message(
                "The request cannot be sent (%(why)s): correct OPENAI_BASE_URL and OPENAI_API_KEY.",
                why=type(cause).__name__,
            )
        )
    sent = not isinstance(cause, (httpx2.ConnectError, httpx2.ProxyError))
    return ApiUnavailable(Message("The connection to the API failed (%(why)s).", why=type(cause).__name__), sent=sent)


def _judge_before_reading(response: Any) -> None:
    """Of a refusal at most 64 KB are read: the SDK would read all that comes, which may never end."""
    if response.status_code < 300:
        return
    import httpx2

    body = b""
    with contextlib.suppress(httpx2.HTTPError):
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > MOST_REFUSAL:
                break
    raise _Status(response.status_code, body_of(body[:MOST_REFUSAL]), response.headers)


class _Deadline:
    """Shuts the request's socket after so many seconds, in whatever phase it is: closing it would not wake a read."""

    def __init__(self, seconds: float) -> None:
        self.late, self._ends, self._stream = False, time.monotonic() + seconds, None
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> _Deadline:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def follow(self, request: Any) -> None:
        request.extensions["trace"] = self._trace

    def _trace(self, event: str, info: dict[str, Any]) -> None:
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._stream = info["return_value"]
            if time.monotonic() > self._ends:
                self._cut()

    def _cut(self) -> None:
        self.late = True
        with contextlib.suppress(OSError, AttributeError):
            self._stream.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
