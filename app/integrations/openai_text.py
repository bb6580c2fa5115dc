"""One text from an OpenAI-compatible API through the official SDK: streamed, with every way it can go wrong told apart.

The SDK's own retries are off (the ledger has the only ones) and redirects are not followed. Before the answer's headers a
failure may be tried again; after them it may have been paid. The request as a whole has one deadline: `seconds`.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from app.redact import redact

CONNECT_S, SILENT_S = 10.0, 60.0
MOST_BYTES = 2 * 2**20  # of text; an article has some ten thousand
MOST_WAIT_S = 3600.0


@dataclass
class Answer:
    """`finish` is stop, length, content_filter ... or None when the stream ended early; tokens are None when not told."""

    text: str = ""
    finish: str | None = None
    refusal: str = ""
    model: str = ""
    id: str = ""
    tokens_in: int | None = None
    tokens_cached: int | None = None
    tokens_out: int | None = None
    broken: str = ""  # what broke the answer off


class NoAnswer(Exception):
    """No answer began; the text is a sentence. `sent`: the request may have reached the model, and be paid, all the same."""

    def __init__(self, sentence: str, sent: bool = False) -> None:
        super().__init__(sentence)
        self.sent = sent


class Refused(NoAnswer):
    """The request can never succeed as it is."""


class Unanswered(NoAnswer):
    """It may be tried again."""


class Throttled(NoAnswer):
    """429: wait `delay` seconds; not counted as a try."""

    def __init__(self, delay: float) -> None:
        super().__init__(f"The API asks to wait {delay:.0f} s (429).")
        self.delay = delay


def is_local() -> bool:
    """Whether OPENAI_BASE_URL is on this machine: a development server, that costs nothing."""
    return urlsplit(os.environ.get("OPENAI_BASE_URL", "")).hostname in ("127.0.0.1", "localhost", "::1")


def generate(prompt: str, model: str, seconds: float, began: Callable[[], None], grows: Callable[[str], bool]) -> Answer:
    """Ask and read the stream. `began` is called with the answer's headers, `grows` with the text so far after each piece;
    when it returns False the reading stops (`broken` is "stopped"). Raises Refused, Throttled or Unanswered.
    """
    import httpx2
    import openai

    key = os.environ.get("OPENAI_API_KEY", "")
    if not key:
        raise Refused("OPENAI_API_KEY is not set for the workers.")
    silent = min(SILENT_S, seconds)
    timeout = httpx2.Timeout(silent, connect=min(CONNECT_S, seconds))
    with httpx2.Client(timeout=timeout, follow_redirects=False) as http:
        client = openai.OpenAI(api_key=key, base_url=os.environ.get("OPENAI_BASE_URL") or None, max_retries=0, timeout=timeout, http_client=http)
        try:
            stream = client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": prompt}], stream=True, stream_options={"include_usage": True})
        except openai.APITimeoutError as error:
            sent = not isinstance(error.__cause__, httpx2.ConnectTimeout)
            raise Unanswered(f"The API did not answer within {silent:.0f} s.", sent=sent) from None
        except openai.APIConnectionError as error:
            sent = not isinstance(error.__cause__, httpx2.ConnectError)
            raise Unanswered(f"The connection to the API failed ({type(error.__cause__).__name__}).", sent=sent) from None
        except openai.APIStatusError as error:
            raise _refusal(error) from None
        late: list[bool] = []
        deadline = threading.Timer(seconds, lambda: (late.append(True), _cut(stream.response)))
        deadline.daemon = True
        deadline.start()
        answer = Answer()
        try:
            began()
            _read(stream, answer, grows)
        except (httpx2.HTTPError, openai.OpenAIError, ValueError, AttributeError, TypeError, KeyError) as error:
            answer.broken = f"no end within {seconds:.0f} s" if late else f"{type(error).__name__}: {redact(str(error))[:200]}"
        finally:
            deadline.cancel()
            stream.close()
        return answer


def _read(stream: Any, answer: Answer, grows: Callable[[str], bool]) -> None:
    if "json" in stream.response.headers.get("content-type", ""):  # a server that does not stream
        body = json.loads(stream.response.read())
        choice = body["choices"][0]
        answer.text, answer.finish = choice["message"].get("content") or "", choice.get("finish_reason")
        answer.refusal = choice["message"].get("refusal") or ""
        answer.model, answer.id = str(body.get("model", "")), str(body.get("id", ""))
        _count(answer, body.get("usage") or {})
        grows(answer.text)
        return
    for chunk in stream:
        answer.model, answer.id = chunk.model or answer.model, chunk.id or answer.id
        if chunk.usage is not None:
            _count(answer, chunk.usage.model_dump())
        for choice in chunk.choices or []:
            answer.text += choice.delta.content or "" if choice.delta else ""
            answer.refusal += getattr(choice.delta, "refusal", None) or "" if choice.delta else ""
            answer.finish = choice.finish_reason or answer.finish
        if len(answer.text) > MOST_BYTES:
            answer.broken = f"longer than {MOST_BYTES} characters"
            return
        if not grows(answer.text):
            answer.broken = "stopped"
            return


def _count(answer: Answer, usage: dict[str, Any]) -> None:
    counts = usage.get("prompt_tokens"), (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0, usage.get("completion_tokens")
    if all(isinstance(n, int) and 0 <= n < 10**12 for n in counts) and counts[1] <= counts[0]:
        answer.tokens_in, answer.tokens_cached, answer.tokens_out = counts


def _refusal(error: Any) -> Exception:
    """What a status of 400 and more means for the job."""
    status, code = error.status_code, str(getattr(error, "code", None) or "")
    said = redact(str((error.body or {}).get("message", "") if isinstance(error.body, dict) else ""))[:300]
    if status == 429 and code != "insufficient_quota":
        return Throttled(_wait(error.response.headers))
    sentences = {
        401: "The API refused the key (401). Set OPENAI_API_KEY for the workers and restart them.",
        403: "The API refused this account (403).", 404: "The API does not know this model or address (404).",
        429: "The account's quota is used up (insufficient_quota). Raise it, then retry.",
    }
    if 300 <= status < 400:
        return Refused(f"The API answered with a redirect ({status}), which is not followed: correct OPENAI_BASE_URL.")
    if status >= 500 or status in (408, 409):
        return Unanswered(f"The API answered {status}. {said}".strip(), sent=False)
    return Refused(f"{sentences.get(status, f'The API refused the request ({status}).')} {said}".strip())


def _wait(headers: Any) -> float:
    """Seconds of Retry-After (or retry-after-ms), a number or a date; 20 without one; at most an hour."""
    text = headers.get("retry-after", "")
    try:
        wait = float(headers["retry-after-ms"]) / 1000 if "retry-after-ms" in headers else float(text)
    except ValueError:
        try:
            wait = (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            wait = 20.0
    return min(max(wait, 1.0), MOST_WAIT_S) if wait == wait else 20.0


def _cut(response: Any) -> None:
    """End a reading from another thread: closing would not wake it."""
    try:
        response.extensions["network_stream"].get_extra_info("socket").shutdown(socket.SHUT_RDWR)
    except (OSError, KeyError, AttributeError):
        response.close()
