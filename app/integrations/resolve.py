"""Which addresses of the network an outgoing connection may use: public ones, and private ones only when allowed.

host name -> resolved once, within a time of its own -> all its addresses checked -> `Pinned` connects to one of those
that were checked, with TLS for the name, so that DNS cannot change its mind in between (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable
from typing import Any

RESOLVE_S, MOST_ADDRESSES = 10.0, 3  # of each address 10 s are waited for a connection
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_GLOBAL6 = ipaddress.ip_network("2000::/3")
# Carriers' networks; IETF protocols (192.0.0.192: metadata of a cloud); relays of 6to4; services of a cloud's machines
_REFUSED = [ipaddress.ip_network(net)
            for net in ("100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32")]
Resolver = Callable[..., list[tuple[Any, ...]]]


class UnknownHost(Exception):
    """The name has no address, or the name server does not answer."""


class PrivateHost(Exception):
    """An address of the host is not public."""


def is_public(text: str) -> bool:
    """Whether an IP address is one of the internet: neither private, local, reserved nor multicast, also when it is
    wrapped in an IPv6 address (mapped, 6to4, Teredo, NAT64)."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not address.is_multicast and not any(address in net for net in _REFUSED)
    inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        inner.append(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    if inner := [part for part in inner if part is not None]:
        return all(is_public(str(part)) for part in inner)
    return address in _GLOBAL6 and address.is_global


def ascii_host(host: str) -> str:
    """A host name in the form that DNS and HTTP use (IDNA 2008), in lower case. Raises ValueError."""
    import idna

    host = host.lower().removesuffix(".")
    if host.isascii():
        if not host or len(host) > 253 or any(c <= " " or c in "\x7f%/\\@" for c in host):
            raise ValueError("no host name")
        return host
    return idna.encode(host, uts46=True).decode()  # its IDNAError is a ValueError


def addresses(host: str, port: int, private: bool, resolve: Resolver = socket.getaddrinfo,
              seconds: float = RESOLVE_S) -> list[str]:
    """The first three IP addresses of a host, to connect to in this order. Raises UnknownHost, also when the name
    server does not answer within `seconds`, and PrivateHost when any of all its addresses is not public, unless
    `private` ones are allowed."""
    found: list[tuple[Any, ...]] = []

    def ask() -> None:
        try:
            found.extend(resolve(host, port, type=socket.SOCK_STREAM))
        except (OSError, ValueError):
            found.clear()

    asking = threading.Thread(target=ask, daemon=True)  # the C library takes no timeout
    asking.start()
    asking.join(seconds)
    unique = [] if asking.is_alive() else list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not unique:
        raise UnknownHost(host)
    if not private and not all(map(is_public, unique)):
        raise PrivateHost(host)
    return unique[:MOST_ADDRESSES]


def limit_lookups() -> None:
    """Give each look-up of a name in this process at most RESOLVE_S; then it raises socket.gaierror. For processes that
    must say in time that nothing was sent: the C library may wait for name servers for minutes, deaf to signals."""
    def limited(look_up: Callable[..., Any]) -> Callable[..., Any]:
        def asked(*given: Any, **more: Any) -> Any:
            found: list[Any] = []

            def ask() -> None:
                try:
                    found.append((look_up(*given, **more), None))
                except Exception as error:
                    found.append((None, error))

            asking = threading.Thread(target=ask, daemon=True)
            asking.start()
            asking.join(RESOLVE_S)
            if not found:
                raise socket.gaierror(socket.EAI_AGAIN, "the name server does not answer")
            result, error = found[0]
            if error is not None:
                raise error
            return result
        return asked

    socket.getaddrinfo, socket.gethostbyaddr = limited(socket.getaddrinfo), limited(socket.gethostbyaddr)


class Pinned:
    """A transport of httpx2 that connects to the checked addresses of one host, whatever DNS says by then.

    The host stays in the header Host and in TLS (SNI and certificate). The next address is tried only when no
    connection to the one before came about; the one that answered is used from then on.
    """

    def __init__(self, host: str, found: list[str], transport: Any) -> None:
        self.host, self.addresses, self._transport = host, found, transport

    def handle_request(self, request: Any) -> Any:
        """Send a request to the host. Raises the errors of httpx2, UnsupportedProtocol for another host."""
        import httpx2

        url = request.url
        if url.raw_host.decode("ascii").strip("[]").lower() != self.host:
            raise httpx2.UnsupportedProtocol(f"{url.host} is another host")
        request.extensions = {**request.extensions, "sni_hostname": self.host}
        try:
            for address in list(self.addresses):
                request.url = url.copy_with(host=address)
                try:
                    response = self._transport.handle_request(request)
                except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                    if address == self.addresses[-1] or "certificate" in str(error).lower():
                        raise
                else:
                    self.addresses = [address]
                    return response
        finally:
            request.url = url

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def __enter__(self) -> Pinned:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
