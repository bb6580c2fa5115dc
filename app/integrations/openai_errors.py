"""Decides what an error of the API means: try again, wait, give up, or send the request with fewer fields.

An error comes as an HTTP status or as an event of a stream; the same rules judge both. Each OpenAI-compatible server
(vLLM, Ollama, LM Studio, llama.cpp, Azure, OpenRouter, Gemini, Mistral ...) has its own form of error.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from app.integrations.openai_stream import clean, error_in, parsed
from app.integrations.service_errors import until_date
from app.support.messages import Message
from app.support.redaction import one_line, redact

MOST_WAIT_S, USUAL_WAIT_S = 3600.0, 20.0
WITH_USAGE, STREAMED, WHOLE = 0, 1, 2  # ways to ask, each with fewer fields: a stream with usage, a stream, neither
_NUMBERS = ("status", "status_code", "statusCode", "http_status", "code")
_SENTENCES = ("message", "msg", "detail", "error", "description", "error_message", "errors")
_QUOTA = re.compile(r"insufficient.?(quota|balance|credit|fund)|billing|payment|quota.?exceeded$")
_MEANS = (  # patterns in an error without a status, and the status that fits
    (_QUOTA, 402),
    (re.compile(r"rate.?limit|too.?many.?req|resource.?exhausted|throttl|slow.?down|^(tokens|requests)$"), 429),
    (re.compile(r"authenticat|api.?key|unauthori[sz]ed"), 401),
    (re.compile(r"permission|forbidden|access.?denied"), 403),
    (re.compile(r"not.?found|does not exist"), 404),
    (re.compile(r"overload|server.?error|internal|unavailable|timed?.?out|capacity|busy|try again|temporar"), 503),
    (re.compile(r"invalid|bad.?request|policy|filter|context.?(len|size|win)|unsupported|validat|moderat|safe"), 400),
)
_OPTIONS = re.compile(r"stream(ing)?[\s_.\-\"'\]]*options|include[\s_]?usage")
_STREAM = re.compile(r"\bstream(ed|ing)?\b")
_FIELD = re.compile(
    r"extra|unrecogni[sz]ed|unknown|unexpected|support|not (permitted|allowed|implemented)|additional.?propert"
    r"|validation|schema|invalid (param|field|arg|key|option|request|json|body)|deseriali[sz]|unmarshal|pars(e|ing)"
)
_OTHER = re.compile(
    r"model|context|token|content|policy|prompt|message|safety|moderat|billing|quota|api.?key|temperature|length"
    r"|too (long|large|big)|blocked|flagged"
)
_AGAIN = re.compile(
    r"(?:again|retry|wait)\D{0,30}?"
    r"((?:\d{1,12}(?:\.\d{1,12})?\s*(?:ms|milliseconds?|hours?|h|minutes?|min|m|seconds?|sec|s)(?![a-z])\s*)+)"
)
_PART = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)\s*(ms|milli|h|m|s)")
# What to correct, by whose account it is: (after a refused key, after a redirect, when nothing can be sent)
OF_ENVIRONMENT = (Message("Set OPENAI_API_KEY for the workers and restart them."), "OPENAI_BASE_URL",
                  Message("OPENAI_BASE_URL and OPENAI_API_KEY"))
OF_CONNECTION = (Message("Enter it again in the connection of the tenant."), Message("the address of the connection"),
                 Message("the connection of the tenant"))
_REJECTED = {
    402: Message("The account's quota is used up (insufficient_quota). Raise it, then retry."),
    403: Message("The API refused this account (403)."),
    404: Message("The API does not know this model or address (404)."),
}


class ApiError(Exception):
    """No answer began; the text is a sentence. `sent`: the request may have reached the model, so it may be paid."""

    def __init__(self, sentence: str, sent: bool = False) -> None:
        super().__init__(sentence)
        self.sent = sent


class RequestRejected(ApiError):
    """The request can never succeed as it is."""


class ApiUnavailable(ApiError):
    """The request can be tried again."""


class Throttled(ApiError):
    """Status 429: wait `delay` seconds; this attempt is not counted."""

    def __init__(self, delay: float) -> None:
        super().__init__(Message("The API asks to wait %(n)s s (429).", n=f"{delay:.0f}"))
        self.delay = delay


class Humbler(ApiError):
    """The server refused a field beside model and messages, and nothing was paid: ask again in this `way`."""

    def __init__(self, way: int) -> None:
        super().__init__(Message("The server does not take every part of the request; it is asked again without."))
        self.way = way


def judged(status: int | None, error: Any, headers: Mapping[str, str], way: int, proven: bool,
           where: tuple[str, str, str] = OF_ENVIRONMENT) -> ApiError:
    """The exception for an error. `status` is None when the error came in a stream; `proven` means that this server has
    answered a request of this `way` before, `where` says what a person can correct."""
    names = _names(error)
    status = status or _status(error, names)
    humbler = None if status in (401, 402, 403, 404, 429) else _humbler(status, error, way, proven)
    if humbler is not None:
        return Humbler(humbler)
    if status == 429 and not any(_QUOTA.search(name) for name in names):
        return Throttled(wait_of(headers, error))
    if 300 <= status < 400:
        return RequestRejected(Message(
            "The API answered with a redirect (%(n)s), which is not followed: correct %(where)s.", n=status,
            where=where[1]))
    kind, sentence = RequestRejected, _REJECTED.get(402 if status == 429 else status)
    if status == 401:
        sentence = Message("The API refused the key (401). %(what)s", what=where[0])
    if status >= 500 or status in (408, 409, 425):
        kind, sentence = ApiUnavailable, Message("The API answered %(n)s.", n=status)
    sentence = sentence or Message("The API refused the request (%(n)s).", n=status)
    said = one_line(redact(clean(_sentence(error))), 1200)[:300]
    return kind(Message("%(sentence)s %(said)s", sentence=sentence, said=said) if said else sentence)


def without_status(error: Exception, waited: float, late: bool,
                   where: tuple[str, str, str] = OF_ENVIRONMENT) -> ApiError:
    """The exception for a request that got no status: `waited` seconds, `late` when its deadline has passed."""
    import httpx2
    import openai

    cause = error.__cause__ if isinstance(error, openai.APIConnectionError) and error.__cause__ else error
    why = type(cause).__name__
    if late or isinstance(cause, httpx2.TimeoutException):
        sent = not isinstance(cause, (httpx2.ConnectTimeout, httpx2.PoolTimeout))
        return ApiUnavailable(Message("The API did not answer within %(n)s s.", n=f"{waited:.0f}"), sent)
    if isinstance(cause, (ValueError, httpx2.InvalidURL, httpx2.UnsupportedProtocol, httpx2.LocalProtocolError)):
        return RequestRejected(Message(
            "The request cannot be sent (%(why)s): correct %(where)s.", why=why, where=where[2]))
    sent = not isinstance(cause, (httpx2.ConnectError, httpx2.ProxyError))
    return ApiUnavailable(Message("The connection to the API failed (%(why)s).", why=why), sent)


def body_of(raw: bytes) -> Any:
    """The error in the body of a response: its JSON, else its text; "" for a page of HTML."""
    value = parsed(raw)
    if value is not None:
        return error_in(value, named=True)
    text = raw.decode("utf-8", "replace").strip()
    return "" if text.startswith("<") else text


def _names(error: Any) -> list[str]:
    """Codes and types of an error, in lower case."""
    values = [error.get(key) for key in ("code", "type", "status")] if isinstance(error, dict) else []
    return [value.lower() for value in values if isinstance(value, str)]


def _status(error: Any, names: list[str]) -> int:
    """The status of an error event: its own number, else the one that its words mean, else 500 (try again)."""
    for key in _NUMBERS if isinstance(error, dict) else ():
        number = str(error.get(key))
        if re.fullmatch(r"[45]\d\d(\.0)?", number):
            return int(float(number))
    for words in (names, [_sentence(error).lower()]):
        for pattern, status in _MEANS:
            if any(pattern.search(word) for word in words):
                return status
    return 500


def _humbler(status: int, error: Any, way: int, proven: bool) -> int | None:
    """The way with fewer fields, when the error may mean a field beside model and messages; else None. Servers use
    different words, so an error that names no field counts too, unless the server has answered this way before."""
    words = " ".join(_words(error)).lower()
    if way == WITH_USAGE and _OPTIONS.search(words):
        return STREAMED
    if way < WHOLE and _STREAM.search(words) and status in (400, 405, 422, 501):
        return WHOLE
    if way != WITH_USAGE or proven or status not in (400, 422):
        return None
    other = isinstance(error, dict) and error.get("param") or (_OTHER.search(words) and not _FIELD.search(words))
    return None if other else STREAMED


def _words(value: Any, depth: int = 0) -> Iterator[str]:
    """All texts in an error, without the request that some servers repeat in it."""
    if isinstance(value, dict) and depth < 8:
        for key, inner in value.items():
            if key not in ("input", "request", "body"):
                yield from _words(inner, depth + 1)
    elif isinstance(value, list) and depth < 8:
        for inner in value[:50]:
            yield from _words(inner, depth + 1)
    elif isinstance(value, str):
        yield value


def _sentence(value: Any, depth: int = 0) -> str:
    """The server's sentence in an error; at most 2,000 characters of each text."""
    if isinstance(value, dict) and depth < 4:
        return next((text for key in _SENTENCES if (text := _sentence(value.get(key), depth + 1))), "")
    if isinstance(value, list) and depth < 4:
        return "; ".join(filter(None, (_sentence(v, depth + 1) for v in value[:5])))
    return value[:2000] if isinstance(value, str) else ""


def wait_of(headers: Mapping[str, str], error: Any = None) -> float:
    """Seconds to wait, 1 to 3,600, from retry-after-ms or Retry-After (number or date), or from the error, else 20."""
    header = headers.get("retry-after")
    given = _seconds(headers.get("retry-after-ms"), 1000) or _seconds(header) or until_date(header or "")
    if given is None and isinstance(error, dict):
        given = _seconds(error.get("retry_after_ms"), 1000)
        given = given or _seconds(error.get("retry_after")) or _seconds(error.get("retryAfter"))
    if given is None:
        text = json.dumps(error, default=str)[:20_000].replace('"retryDelay":', "retry in").lower()
        found = _AGAIN.search(text)
        units = {"ms": 0.001, "milli": 0.001, "h": 3600, "m": 60, "s": 1}
        given = sum(float(n[:12]) * units[unit] for n, unit in _PART.findall(found[1])) if found else USUAL_WAIT_S
    return min(max(given, 1.0), MOST_WAIT_S)


def _seconds(value: Any, of: float = 1) -> float | None:
    try:
        seconds = float(str(value).strip().rstrip("s")) / of
    except ValueError:
        return None
    return None if math.isnan(seconds) else min(max(seconds, 0.001), MOST_WAIT_S)
