"""Asks an OpenAI-compatible API for one text through the official SDK, as a stream.

The account is that of a tenant's connection, whose host is resolved once and pinned (resolve.py), else that of the
environment. The SDK does not retry, because the ledger does, and it does not follow redirects. A failure before the
first output of the model can be tried again (openai_errors.py decides how). A failure after it may have been paid. One
deadline limits the whole request.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from app.addresses import SettingError, http_url
from app.integrations.deadline import Deadline
from app.integrations.openai_errors import (
    OF_CONNECTION,
    OF_ENVIRONMENT,
    WHOLE,
    WITH_USAGE,
    ApiUnavailable,
    RequestRejected,
    body_of,
    judged,
    without_status,
)
from app.integrations.openai_stream import Answer, Reported, clean, parsed, read
from app.integrations.outside import Outside
from app.integrations.resolve import Pinned, PrivateHost, Resolver, UnknownHost, addresses, ascii_host
from app.integrations.service_errors import Limited, Refused, Unavailable, retry_after
from app.support.messages import Message, cleaned, text_of
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


@dataclass(frozen=True)
class Api:
    """An account of an API: `base` "" is the SDK's own address, `private`: it may be on an internal network. `repr`
    does not show the key."""

    base: str
    key: str = field(repr=False)
    options: Mapping[str, str] = field(default_factory=dict)
    private: bool = False
    tenant: bool = True  # of a tenant's connection, so that the rules for their addresses hold
    resolve: Resolver = socket.getaddrinfo

    @property
    def server(self) -> str:
        """`base` without user and password."""
        return self.base.rpartition("@")[2]

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine: a development server, which costs nothing."""
        with contextlib.suppress(ValueError):
            return urlsplit(self.base).hostname in ("127.0.0.1", "localhost", "::1")
        return False


def of_environment() -> Api:
    """The account that OPENAI_API_KEY and OPENAI_BASE_URL name."""
    key, base = (os.environ.get(f"OPENAI_{name}", "").strip() for name in ("API_KEY", "BASE_URL"))
    return Api(base, key, tenant=False)


def check(outside: Outside, key: str, options: Mapping[str, str]) -> str:
    """Ask for the list of models, which needs the key and costs nothing; returns a sentence. Raises ServiceError."""
    names = {"OpenAI-Organization": options.get("organization"), "OpenAI-Project": options.get("project")}
    headers = {"Authorization": f"Bearer {key}", **{name: value for name, value in names.items() if value}}
    answer = outside.request("GET", "models", headers=headers, auth=False)
    found = parsed(answer.body)
    if answer.status == 200 and isinstance(found, dict) and isinstance(found.get("data"), list):
        return Message("The key works. Models that the account may use: %(n)s.", n=len(found["data"]))
    if answer.status == 429:
        raise Limited(Message("The API asks to wait (429)."), retry_after(answer.headers, 20))
    if answer.status >= 500 or answer.status == 408:
        raise Unavailable(Message("The API answered %(n)s.", n=answer.status))
    if answer.status == 200:
        raise Refused(Message("This is no API like OpenAI's: %(url)s gives no list of models.", url=answer.url))
    error = judged(answer.status, body_of(answer.body[:MOST_REFUSAL]), answer.headers, WHOLE, True, OF_CONNECTION)
    raise Refused(text_of(error))


def load() -> None:
    """Import the SDK, which the first request of a process would do."""
    import httpx2  # noqa: F401
    import openai  # noqa: F401


def generate(prompt: str, model: str, seconds: float, began: Callable[[], None], grows: Callable[[str], bool],
             way: int = WITH_USAGE, proven: bool = False, sending: Callable[[], None] = lambda: None,
             api: Api | None = None) -> Answer:
    """Send the request and return the answer, within `seconds`.

    `sending` is called when the connection stands and the request goes out, `began` when the headers of the answer
    arrive. `grows` is called with the text so far at most every 0.1 s; when it returns False, reading stops and
    `broken` is "stopped". `way` is WITH_USAGE, STREAMED or WHOLE; `proven`
    means that this server has answered a request of this way before. Without `api` the account is that of the
    environment. Raises RequestRejected, Throttled, ApiUnavailable,
    or Humbler when the request should be sent again with fewer fields.
    """
    import httpx2
    import openai

    api = api or of_environment()
    if not api.key:
        raise RequestRejected(Message("OPENAI_API_KEY is not set for the workers."))
    where = OF_CONNECTION if api.tenant else OF_ENVIRONMENT
    try:
        http_url("OPENAI_BASE_URL", api.base)
    except SettingError:
        raise RequestRejected(Message("Correct %(name)s: it is no http or https address.", name=where[1])) from None
    silent = seconds if way == WHOLE else min(SILENT_S, seconds)
    timeout = httpx2.Timeout(silent, connect=min(CONNECT_S, seconds))
    answer = Answer()
    with ExitStack() as stack:
        deadline = stack.enter_context(Deadline(seconds, sending))
        try:
            hooks = {"request": [deadline.follow], "response": [_judge_before_reading]}
            http = stack.enter_context(httpx2.Client(timeout=timeout, follow_redirects=False, event_hooks=hooks,
                                                     **_pinned(api, seconds) if api.tenant else {}))
            client = openai.OpenAI(api_key=api.key, base_url=api.base or None, max_retries=0, timeout=timeout,
                                   http_client=http)
            if api.tenant:  # in place of what the environment says
                client.organization, client.project = api.options.get("organization"), api.options.get("project")
            asked = client.chat.completions.with_streaming_response.create(
                model=model, messages=[{"role": "user", "content": prompt}], **_FIELDS[way])
            response = stack.enter_context(asked).http_response
        except _Status as refusal:
            raise judged(refusal.status, refusal.error, refusal.headers, way, proven, where) from None
        except (RequestRejected, ApiUnavailable):
            raise
        except Exception as error:
            raise without_status(error, seconds if deadline.late else silent, deadline.late, where) from None
        try:
            began()
            kind = response.headers.get("content-type", "")
            read(response.iter_bytes(), "json" in kind and "ndjson" not in kind, answer, grows)
        except Reported as report:
            raise judged(None, report.error, response.headers, way, proven, where) from None
        except Exception as error:  # the text so far may be paid, so it is kept (a timeout of the job is no Exception)
            answer.broken = f"{type(error).__name__}: {error}"
    if deadline.late and (answer.broken or answer.finish is None):
        answer.broken = Message("no end within %(n)s s", n=f"{seconds:.0f}")
    broken = cleaned(answer.broken, lambda part: one_line(redact(clean(part)), 800))
    answer.broken = broken if len(broken) <= 200 else broken[:200]
    return answer


def _pinned(api: Api, seconds: float) -> dict[str, Any]:
    """Arguments of the HTTP client for a tenant's address: the host resolved once and its addresses checked, no proxy.
    Raises RequestRejected and ApiUnavailable."""
    import httpx2

    try:
        parts = urlsplit(api.base)
        host, port = ascii_host(parts.hostname or ""), parts.port or (443 if parts.scheme == "https" else 80)
        if parts.scheme != "https" and not (parts.scheme == "http" and api.private):
            raise ValueError
        found = addresses(host, port, api.private, api.resolve, min(CONNECT_S, seconds))
    except PrivateHost:
        raise RequestRejected(Message("%(host)s is an address of an internal network, which connections may not use. "
                                      "ALLOW_PRIVATE_HOSTS=1 allows it.", host=host)) from None
    except UnknownHost:
        raise ApiUnavailable(Message("The name %(host)s is not known to the name server.", host=host)) from None
    except ValueError:
        raise RequestRejected(Message("The address must begin with https://: else others on the way read the password.")
                              ) from None
    return {"trust_env": False, "transport": Pinned(host, found, httpx2.HTTPTransport())}


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
