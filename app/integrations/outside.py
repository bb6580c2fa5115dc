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
from functools import cache
from typing import Any

from app.integrations.answer import Answer, bounded
from app.integrations.deadline import Deadline
from app.integrations.request_errors import broke_off, judged
from app.integrations.resolve import Pinned, PrivateHost, Resolver, UnknownHost, addresses
from app.integrations.service_errors import Refused, Unavailable
from app.integrations.site_urls import SAFE, checked, origin, redirected
from app.support.messages import Message

CONNECT_S, READ_S, TOTAL_S = 10.0, 30.0, 60.0
IDLE_S = 2.0  # a connection that was idle for longer is not used again: Apache closes them after 5 s
MOST_BYTES, MOST_HOPS = 8 << 20, 5
AGENT = "Ainstein-Jobs/1"


@cache
def _once(make: Callable[[], Any]) -> Any:
    """What `make` returned the first time in this process. To read the authorities that TLS trusts takes 27 ms."""
    return make()


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
            address, params = redirected(method, address, target), None
        raise Refused(Message("%(host)s redirects in a circle. Correct the address of the connection.",
                              host=checked(self.base, self.base, self.private)[0]))

    def _answer(self, method: str, address: str, ends: float, most: int, auth: bool, what: dict[str, Any]) -> Answer:
        host, url = checked(address, self.base, self.private)
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
            found = addresses(host, origin(url)[2], self.private, self._resolve, min(CONNECT_S, left))
        except UnknownHost:
            raise Unavailable(Message("The name %(host)s is not known to the name server.", host=host)) from None
        except PrivateHost:
            raise Refused(Message("%(host)s is an address of an internal network, which connections may not use. "
                                  "ALLOW_PRIVATE_HOSTS=1 allows it.", host=host)) from None
        pool = httpx2.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=IDLE_S)
        transport: Any = Pinned(host, found, httpx2.HTTPTransport(verify=_once(httpx2.create_ssl_context), limits=pool))
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
                body = bounded(response, most)
                if deadline.late:  # the cut looks like the end of a body without a length
                    raise TimeoutError
                return Answer(response.status_code, {k.lower(): v for k, v in response.headers.items()}, body, url)
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError, TypeError, zlib.error) as error:
            why = judged(error, host, sent[0], self._read_s)
            if why is not None:
                why.unanswered = sent[0] and isinstance(error, httpx2.TimeoutException)
            elif deadline.late:
                why = self._too_late(host, sent[0])
                why.unanswered = sent[0]
            else:
                why = broke_off(error, host, sent[0])
                why.unanswered = sent[0]
                if response is None and not deadline.connected:
                    raise _Stale(why) from None
            raise why from None
        finally:
            self._stream = deadline.stream

    def _too_late(self, host: str, sent: bool) -> Unavailable:
        return Unavailable(Message("%(host)s did not end its answer within %(n)s s.", host=host,
                                   n=f"{self._total_s:g}"), sent)
