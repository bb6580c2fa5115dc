"""The one HTTP client for the services of tenants (WordPress, PrestaShop, OpenAI's test): what it sends goes to the
connection's host.

    URL of the connection -> host resolved once, addresses checked (resolve.py) -> connection to one of them, TLS for
    the host's name -> request within one deadline -> answer of at most `most_bytes`

* https, unless private hosts are allowed (ALLOW_PRIVATE_HOSTS=1), where development servers live.
* No proxy, netrc or cookie of this machine is used, and no cookie of the service is kept.
* Redirects: only of a GET, and only to the same host; any other is an error that names the address.
* A kept connection that the service has closed meanwhile: a GET is sent again, anything else is Unavailable.
* Each failure raises a ServiceError, whose text is a sentence: Unavailable, Limited, Refused or ItemRefused. `sent`
  says whether the request may have arrived: then what it asked for may exist there.
"""

from __future__ import annotations

import math
import socket
import time
import zlib
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin, urlsplit, urlunsplit

from app.addresses import bracketed
from app.integrations.deadline import Deadline
from app.integrations.resolve import Pinned, PrivateHost, Resolver, UnknownHost, addresses, ascii_host
from app.support.messages import Message
from app.support.redaction import one_line, redact

CONNECT_S, READ_S, TOTAL_S = 10.0, 30.0, 60.0
IDLE_S = 2.0  # a connection that was idle for longer is not used again: Apache closes them after 5 s
MOST_BYTES, MOST_HOPS, MOST_WAIT_S = 8 << 20, 5, 3600.0
SAFE = ("GET", "HEAD")
PORTS = {"http": 80, "https": 443}
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


class _Stale(Exception):
    """A kept connection broke before the answer began; the argument is the error to raise when nothing can be done."""


class Outside:
    """Sends requests to one site. `user` and `secret`, if any, go as basic auth (RFC 7617) to its host alone.

    A request takes at most `total_s` with its redirects, and 30 s (`read_s`) between two reads; `within_s` limits all
    requests of this object together.
    """

    def __init__(self, base: str, user: str = "", secret: str = "", *, private: bool = False,
                 resolve: Resolver = socket.getaddrinfo, read_s: float = READ_S, total_s: float = TOTAL_S,
                 within_s: float = math.inf) -> None:
        self.base, self.private = base.rstrip("/"), private
        self._auth, self._resolve, self._read_s, self._total_s = (user, secret), resolve, read_s, total_s
        self._ends = time.monotonic() + within_s
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

        Raises Unavailable and Refused as the module says, and ItemRefused for what HTTP cannot carry. Another address
        of the host is tried only when no connection to the one before came about.
        """
        address = url if "://" in url else f"{self.base}/{url.lstrip('/')}"
        ends = min(time.monotonic() + self._total_s, self._ends)
        body = {"json": json, "content": content, "files": files}
        for _hop in range(MOST_HOPS):
            answer = self._answer(method, address, ends, most_bytes, auth, {
                "params": params, "headers": dict(headers or {}),
                **{name: value for name, value in body.items() if value is not None}})
            target = answer.headers.get("location") if answer.status in (301, 302, 303, 307, 308) else None
            if target is None or not follow:
                return answer
            address, params = self._redirected(method, address, target), None
        raise Refused(Message("%(host)s redirects in a circle. Correct the address of the connection.",
                              host=self._checked(self.base)[0]))

    def _redirected(self, method: str, address: str, target: str) -> str:
        try:
            new = urljoin(address, target)
            old, to = _origin(address), _origin(new)
        except ValueError:
            new, old, to = target, _origin(address), ("", "", 0)
        if method in SAFE and to[1] == old[1] and (to == old or (to[0], to[2]) == ("https", 443)):
            return new
        raise Refused(Message("%(host)s redirects to %(target)s. Enter that address in the connection if it is right.",
                              host=old[1], target=shown(new)))

    def _answer(self, method: str, address: str, ends: float, most: int, auth: bool, what: dict[str, Any]) -> Answer:
        host, url = self._checked(address)
        self._connect(host, url, ends)
        try:
            return self._send(method, host, url, ends, most, auth, what)
        except _Stale as stale:
            if method not in SAFE:
                raise stale.args[0] from None
        try:
            return self._send(method, host, url, ends, most, auth, what)
        except _Stale as stale:
            raise stale.args[0] from None

    def _checked(self, address: str) -> tuple[str, str]:
        """(host, address with it in ASCII). Raises Refused for an address that is no good or of another host."""
        try:
            parts, (scheme, host, port) = urlsplit(address), _origin(address)
            own = host == _origin(self.base)[1]
        except ValueError:
            raise Refused(Message("%(url)s is no address of a site.", url=shown(address))) from None
        if scheme != "https" and not (scheme == "http" and self.private):
            raise Refused(Message("The address must begin with https://: else others on the way read the password."))
        if not own or "@" in parts.netloc:
            raise Refused(Message("%(url)s is not an address of this connection.", url=shown(address)))
        netloc = bracketed(host) + (f":{port}" if port != PORTS[scheme] else "")
        return host, urlunsplit((scheme, netloc, parts.path, parts.query, ""))

    def _connect(self, host: str, url: str, ends: float) -> None:
        """Resolve the host and check its addresses, once. Raises Unavailable and Refused."""
        from http.cookiejar import DefaultCookiePolicy

        import httpx2

        left = ends - time.monotonic()
        if left <= 0:
            raise self._too_late(host, False)
        if self._client is not None:
            return
        try:
            found = addresses(host, _origin(url)[2], self.private, self._resolve, min(CONNECT_S, left))
        except UnknownHost:
            raise Unavailable(Message("The name %(host)s is not known to the name server.", host=host)) from None
        except PrivateHost:
            raise Refused(Message("%(host)s is an address of an internal network, which connections may not use. "
                                  "ALLOW_PRIVATE_HOSTS=1 allows it.", host=host)) from None
        limits = httpx2.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=IDLE_S)
        transport: Any = Pinned(host, found, httpx2.HTTPTransport(verify=httpx2.create_ssl_context(), limits=limits))
        self._client = httpx2.Client(trust_env=False, follow_redirects=False, transport=transport)
        self._client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))

    def _send(self, method: str, host: str, url: str, ends: float, most: int, auth: bool, what: dict[str, Any]
              ) -> Answer:
        import httpx2

        sent = [False]
        left = max(ends - time.monotonic(), 0.01)
        deadline = Deadline(left, lambda: sent.__setitem__(0, True), self._stream)
        what["headers"] |= {"User-Agent": AGENT, "Accept-Encoding": "identity"}
        response = None
        try:
            with ExitStack() as stack:
                stack.enter_context(deadline)
                request = self._client.build_request(
                    method, url, extensions={"trace": deadline.trace},
                    timeout=httpx2.Timeout(self._read_s, connect=min(CONNECT_S, left)), **what)
                basic = httpx2.BasicAuth(*self._auth) if auth and any(self._auth) else None
                response = self._client.send(request, stream=True, auth=basic)
                stack.callback(response.close)
                body = _bounded(response, most)
                if deadline.late:  # the cut looks like the end of a body without a length
                    raise TimeoutError
                return Answer(response.status_code, {k.lower(): v for k, v in response.headers.items()}, body, url)
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            why = one_line(redact(str(error)), 200)
            if "certificate" in why.lower():
                raise Refused(Message("The certificate of %(host)s is not valid (%(why)s).", host=host, why=why)
                              ) from None
            raise Unavailable(Message("%(host)s cannot be reached (%(why)s).", host=host, why=why)) from None
        except httpx2.TimeoutException:
            raise Unavailable(Message("%(host)s did not answer within %(n)s s.", host=host, n=f"{self._read_s:g}"),
                              sent[0]) from None
        except (httpx2.LocalProtocolError, httpx2.InvalidURL, httpx2.UnsupportedProtocol, ValueError, TypeError) as e:
            raise ItemRefused(Message("The request cannot be sent (%(why)s).", why=type(e).__name__)) from None
        except (httpx2.HTTPError, OSError, zlib.error) as error:
            if deadline.late:
                raise self._too_late(host, sent[0]) from None
            broke = Unavailable(Message("The connection to %(host)s broke off (%(why)s).", host=host,
                                        why=type(error).__name__), sent[0])
            if response is None and not deadline.connected:
                raise _Stale(broke) from None
            raise broke from None
        finally:
            self._stream = deadline.stream

    def _too_late(self, host: str, sent: bool) -> Unavailable:
        return Unavailable(Message("%(host)s did not end its answer within %(n)s s.", host=host,
                                   n=f"{self._total_s:g}"), sent)


def _origin(url: str) -> tuple[str, str, int]:
    """Scheme, host in ASCII, port. Raises ValueError."""
    parts = urlsplit(url)
    return parts.scheme, ascii_host(parts.hostname or ""), parts.port or PORTS.get(parts.scheme, 0)


def _bounded(response: Any, most: int) -> bytes:
    """The decoded body. Raises Unavailable when it is larger than `most` bytes, without unpacking more than that, and
    zlib.error."""
    coding = response.headers.get("content-encoding", "").strip().lower() or "identity"
    if coding not in ("identity", "gzip", "x-gzip", "deflate"):
        raise Unavailable(Message("The answer is packed as %(name)s, which was not asked for.",
                                  name=one_line(redact(coding), 40)), sent=True)
    unpack = None if coding == "identity" else zlib.decompressobj(47)  # gzip or zlib, by the first bytes
    parts, size = [], 0
    for chunk in response.iter_raw(64 * 1024):
        parts.append(unpack.decompress(chunk, most - size + 1) if unpack else chunk)
        size += len(parts[-1])
        if size > most:
            raise Unavailable(Message("The answer is larger than %(n)s MB.", n=f"{most / 2**20:g}"), sent=True)
    if parts and unpack and not unpack.eof:
        raise zlib.error("cut")
    return b"".join(parts)


def shown(url: str) -> str:
    """An address for people: without user, password, query and control characters."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return one_line(url.partition("?")[0].rpartition("@")[2], 200)
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
