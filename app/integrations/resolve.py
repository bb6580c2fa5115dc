"""Which addresses of the network an outgoing connection may use: public ones, and private ones only when allowed.

A host name is resolved once; all its addresses are checked, and the connection goes to one of those that were checked,
so that DNS cannot change its mind in between (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from typing import Any

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_REFUSED = [ipaddress.ip_network(net) for net in ("100.64.0.0/10", "64:ff9b:1::/48", "fec0::/10", "192.88.99.0/24")]
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
    if isinstance(address, ipaddress.IPv6Address):
        teredo = address.teredo
        inner = [address.ipv4_mapped, address.sixtofour, *(teredo or ())]
        if address in _NAT64:
            inner.append(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
        if any(part is not None and not is_public(str(part)) for part in inner):
            return False
        if any(part is not None for part in inner):
            return True
    return address.is_global and not address.is_multicast and not any(
        address in net for net in _REFUSED if net.version == address.version)


def addresses(host: str, port: int, private: bool, resolve: Resolver = socket.getaddrinfo) -> list[str]:
    """The IP addresses of a host, to connect to in this order. Raises UnknownHost, and PrivateHost when one of them is
    not public, unless `private` ones are allowed."""
    try:
        found = resolve(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UnknownHost(host) from error
    unique = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not unique:
        raise UnknownHost(host)
    if not private and not all(map(is_public, unique)):
        raise PrivateHost(host)
    return unique
