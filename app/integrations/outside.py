"""The one HTTP client for the services of tenants (WordPress, PrestaShop): what it sends goes to the connection's host.

    URL of the connection -> host resolved once, addresses checked (resolve.py) -> connection to one of them, TLS for
    the host's name -> request within one deadline -> answer of at most `most_bytes`

* https, unless private hosts are allowed (ALLOW_PRIVATE_HOSTS=1), where development servers live.
* No proxy, netrc or cookie of this machine is used.
* Redirects: only of a GET, and only to the same host; any other is an error that names the address.
* Each failure raises a ServiceError, whose text is a sentence: Unavailable, Limited, Refused or ItemRefused. `sent`
  says whether the request may have arrived: then what it asked for may exist there.
"""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

from app.integrations.deadline import Deadline
from app.integrations.resolve import PrivateHost, Resolver, UnknownHost, addresses
from app.support.messages import Message
from app.support.redaction import one_line, redact

CONNECT_S, READ_S, TOTAL_S = 10.0, 30.0, 60.0
MOST_BYTES, MOST_HOPS, MOST_WAIT_S = 8 << 20, 5, 3600.0
AGENT = "Ainstein-Jobs/1"


class ServiceError(Exception):
    """A call to a service failed; the text is a sentence. `sent`: the request may have arrived there."""

    def __init__(self, text: str, sent: bool = False) -> None:
        super().__init__(text)
        self.sent = sent


class Unavailable(ServiceError):
    """The service does not answer, or only with errors of its own: a later attempt may succeed. Counts for the breaker
    of the connection."""


class Limited(ServiceError):
    """The service asks to wait `delay` seconds (429, or 503 with Retry-After)."""

    def __init__(self, text: str, delay: float, sent: bool = False) -> None:
        super().__init__(text, sent)
        self.delay = delay


class Refused(ServiceError):
    """The service refuses this connection (wrong address, password or rights): no item can be sent until a person
    corrects it."""


class ItemRefused(ServiceError):
    """The service refuses this item; others may be accepted."""


@dataclass(frozen=True)
class Answer:
    """An HTTP answer: `headers` with lower-case names, `url` the address that gave it."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str

    @property
    def text(self) -> str:
        """The body as text; bytes that are no UTF-8 are replaced."""
        return self.body.decode("utf-8", "replace")


class Outside:
    """Sends requests to one site. `user` and `secret` go as basic auth (RFC 7617) to its host alone."""

    def __init__(self, base: str, user: str = "", secret: str = "", *, private: bool = False,
                 resolve: Resolver = socket.getaddrinfo, read_s: float = READ_S, total_s: float = TOTAL_S) -> None:
        self.base, self.private = base.rstrip("/"), private
        self._auth, self._resolve, self._read_s, self._total_s = (user, secret), resolve, read_s, total_s
        self._addresses: list[str] = []
        self._client: Any = None
        self._stream: Any = None

    def __enter__(self) -> Outside:
        return self

    def __exit__(self, *_: object) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def request(self, method: str, url: str, *, params: Mapping[str, Any] | None = None, json: Any = None,
                content: bytes | None = None, files: Any = None, headers: Mapping[str, str] | None = None,
                most_bytes: int = MOST_BYTES, auth: bool = True, follow: bool = True) -> Answer:
        """The answer, whatever its status, to a request; `url` is an address of the site or a path below its base.
        Without `follow` a redirect is an answer like any other.

        Raises Unavailable and Refused as the module says. A second address of the host is tried only when no connection
        to the first one came about.
        """
        address = url if "://" in url else f"{self.base}/{url.lstrip('/')}"
        for _hop in range(MOST_HOPS):
            answer = self._send(method, address, params=params, json=json, content=content, files=files,
                                headers=dict(headers or {}), most_bytes=most_bytes, auth=auth)
            target = answer.headers.get("location") if answer.status in (301, 302, 303, 307, 308) else None
            if target is None or not follow:
                return answer
            address, params = self._redirected(method, address, target), None
        raise Refused(Message("%(host)s redirects in a circle. Correct the address of the connection.",
                              host=urlsplit(self.base).hostname or ""))

    def _redirected(self, method: str, address: str, target: str) -> str:
        new = urljoin(address, target)
        old, to = urlsplit(address), urlsplit(new)
        if method in ("GET", "HEAD") and to.hostname == old.hostname and (
                to.scheme, to.port) in ((old.scheme, old.port), ("https", None), ("https", 443)):
            return new
        raise Refused(Message("%(host)s redirects to %(target)s. Enter that address in the connection if it is right.",
                              host=old.hostname or "", target=shown(new)))

    def _send(self, method: str, address: str, *, headers: dict[str, str], most_bytes: int, auth: bool,
              **what: Any) -> Answer:
        import httpx2

        parts = urlsplit(address)
        host = (parts.hostname or "").encode("idna").decode() if not _is_ip(parts.hostname) else parts.hostname
        if parts.scheme != "https" and not (parts.scheme == "http" and self.private):
            raise Refused(Message("The address must begin with https://: else others on the way read the password."))
        if not self._addresses:
            self._addresses = self._checked(host or "", parts.port or (443 if parts.scheme == "https" else 80))
        if self._client is None:
            limits = httpx2.Limits(max_connections=1, max_keepalive_connections=1)
            timeout = httpx2.Timeout(self._read_s, connect=CONNECT_S)
            self._client = httpx2.Client(trust_env=False, follow_redirects=False, timeout=timeout, limits=limits)
        sent = [False]
        headers |= {"Host": parts.netloc.rpartition("@")[2], "User-Agent": AGENT, "Accept-Encoding": "identity"}
        basic = httpx2.BasicAuth(*self._auth) if auth and self._auth[1] else None
        for place, ip in enumerate(self._addresses):
            url = httpx2.URL(address).copy_with(host=ip)
            deadline = Deadline(self._total_s, lambda: sent.__setitem__(0, True), self._stream)
            extensions = {"sni_hostname": host, "trace": deadline.trace}
            try:
                with ExitStack() as stack:
                    stack.enter_context(deadline)
                    request = self._client.build_request(
                        method, url, headers=headers, extensions=extensions,
                        **{name: value for name, value in what.items() if value is not None})
                    response = self._client.send(request, stream=True, auth=basic)
                    stack.callback(response.close)
                    body = _bounded(response, most_bytes)
                    self._addresses = [ip]
                    return Answer(response.status_code, {k.lower(): v for k, v in response.headers.items()}, body,
                                  address)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                if "certificate" in str(error).lower():
                    raise Refused(Message("The certificate of %(host)s is not valid (%(why)s).", host=host or "",
                                          why=one_line(redact(str(error)), 200))) from None
                if place + 1 == len(self._addresses):
                    raise Unavailable(Message("%(host)s cannot be reached (%(why)s).", host=host or "",
                                              why=one_line(redact(str(error)), 200))) from None
            except httpx2.TimeoutException:
                raise Unavailable(Message("%(host)s did not answer within %(n)s s.", host=host or "",
                                          n=f"{self._read_s:g}"), sent[0]) from None
            except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
                if deadline.late:
                    raise Unavailable(Message("%(host)s did not end its answer within %(n)s s.", host=host or "",
                                              n=f"{self._total_s:g}"), sent[0]) from None
                raise Unavailable(Message("The connection to %(host)s broke off (%(why)s).", host=host or "",
                                          why=type(error).__name__), sent[0]) from None
            finally:
                self._stream = deadline.stream
        raise Unavailable(Message("%(host)s cannot be reached.", host=host or ""))

    def _checked(self, host: str, port: int) -> list[str]:
        try:
            return addresses(host, port, self.private, self._resolve)
        except UnknownHost:
            raise Unavailable(Message("The name %(host)s is not known to the name server.", host=host)) from None
        except PrivateHost:
            raise Refused(Message("%(host)s is an address of an internal network, which connections may not use. "
                                  "ALLOW_PRIVATE_HOSTS=1 allows it.", host=host)) from None


def _is_ip(host: str | None) -> bool:
    return bool(host) and (":" in host or host.replace(".", "").isdigit())


def _bounded(response: Any, most: int) -> bytes:
    """The decoded body. Raises Unavailable when it is larger than `most` bytes."""
    parts, size = [], 0
    for chunk in response.iter_bytes(64 * 1024):
        size += len(chunk)
        if size > most:
            raise Unavailable(Message("The answer is larger than %(n)s MB.", n=most >> 20), sent=True)
        parts.append(chunk)
    return b"".join(parts)


def shown(url: str) -> str:
    """An address for people: without user, password, query and control characters."""
    parts = urlsplit(url)
    return one_line(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}", 200)


def retry_after(headers: Mapping[str, str], otherwise: float, now: Callable[[], float] = time.time) -> float:
    """Seconds that a Retry-After header asks to wait (RFC 9110, 10.2.3), at least 1 and at most 3600."""
    given = headers.get("retry-after", "").strip()
    try:
        seconds = float(given)
    except ValueError:
        try:
            at = parsedate_to_datetime(given)
            seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now()
        except (ValueError, TypeError, IndexError, OverflowError):
            return otherwise
    return min(max(seconds, 1.0), MOST_WAIT_S) if math.isfinite(seconds) else otherwise
