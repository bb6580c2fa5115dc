"""Asks an OpenAI-compatible API for one text through the official SDK, as a stream.

The SDK does not retry, because the ledger does, and it does not follow redirects. A failure before the first output of
the model can be tried again (openai_errors.py decides how). A failure after it may have been paid. One deadline limits
the whole request.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

from app.integrations.deadline import Deadline
from app.integrations.openai_errors import WHOLE, WITH_USAGE, RequestRejected, body_of, judged, without_status
from app.integrations.openai_stream import Answer, Reported, clean, read
from app.support.messages import Message, cleaned
from app.support.redaction import one_line, redact

CONNECT_S, SILENT_S = 10.0, 60.0
MOST_REFUSAL = 64 * 1024  # bytes read of the body of an error
# The fields that each way adds to the request: WITH_USAGE, STREAMED, WHOLE.
_FIELDS: Any = ({"stream": True, "stream_options": {"include_usage": True}}, {"stream": True}, {})


class _Status(Exception):
    """The API answered with a status other than success; `error` is the body as `body_of` reads it."""

    def __init__(self, status: int, error: Any, headers: Any) -> None:
        super().__init__(str(status))
        self.status, self.error, self.headers = status, error, headers


def server() -> str:
    """OPENAI_BASE_URL without user and password; "" when the SDK's own address is used."""
    return os.environ.get("OPENAI_BASE_URL", "").strip().rpartition("@")[2]


def is_local() -> bool:
    """Whether OPENAI_BASE_URL is on this machine: a development server, which costs nothing."""
    with contextlib.suppress(ValueError):
        return urlsplit(os.environ.get("OPENAI_BASE_URL", "")).hostname in ("127.0.0.1", "localhost", "::1")
    return False


def load() -> None:
    """Import the SDK, which the first request of a process would do."""
    import httpx2  # noqa: F401
    import openai  # noqa: F401


def generate(prompt: str, model: str, seconds: float, began: Callable[[], None], grows: Callable[[str], bool],
             way: int = WITH_USAGE, proven: bool = False, sending: Callable[[], None] = lambda: None) -> Answer:
    """Send the request and return the answer, within `seconds`.

    `sending` is called when the connection stands and the request goes out, `began` when the headers of the answer
    arrive. `grows` is called with the text so far at most every 0.1 s; when it returns False, reading stops and
    `broken` is "stopped". `way` is WITH_USAGE, STREAMED or WHOLE; `proven`
    means that this server has answered a request of this way before. Raises RequestRejected, Throttled, ApiUnavailable,
    or Humbler when the request should be sent again with fewer fields.
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
        deadline = stack.enter_context(Deadline(seconds, sending))
        try:
            hooks = {"request": [deadline.follow], "response": [_judge_before_reading]}
            http = stack.enter_context(httpx2.Client(timeout=timeout, follow_redirects=False, event_hooks=hooks))
            base = os.environ.get("OPENAI_BASE_URL", "").strip() or None
            client = openai.OpenAI(api_key=key, base_url=base, max_retries=0, timeout=timeout, http_client=http)
            asked = client.chat.completions.with_streaming_response.create(
                model=model, messages=[{"role": "user", "content": prompt}], **_FIELDS[way])
            response = stack.enter_context(asked).http_response
        except _Status as refusal:
            raise judged(refusal.status, refusal.error, refusal.headers, way, proven) from None
        except Exception as error:
            raise without_status(error, seconds if deadline.late else silent, deadline.late) from None
        try:
            began()
            kind = response.headers.get("content-type", "")
            read(response.iter_bytes(), "json" in kind and "ndjson" not in kind, answer, grows)
        except Reported as report:
            raise judged(None, report.error, response.headers, way, proven) from None
        except Exception as error:  # the text so far may be paid, so it is kept (a timeout of the job is no Exception)
            answer.broken = f"{type(error).__name__}: {error}"
    if deadline.late and (answer.broken or answer.finish is None):
        answer.broken = Message("no end within %(n)s s", n=f"{seconds:.0f}")
    broken = cleaned(answer.broken, lambda part: one_line(redact(clean(part)), 800))
    answer.broken = broken if len(broken) <= 200 else broken[:200]
    return answer


def _judge_before_reading(response: Any) -> None:
    """Raise _Status for an error, with at most 64 KB of its body. The SDK would read a body that never ends."""
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
