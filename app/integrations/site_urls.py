"""Addresses of a service: which are of the site of a connection, and how people see them."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit, urlunsplit

from app.addresses import bracketed
from app.integrations.resolve import ascii_host
from app.integrations.service_errors import Refused
from app.support.messages import Message
from app.support.redaction import one_line

PORTS = {"http": 80, "https": 443}
SAFE = ("GET", "HEAD")


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host in ASCII, port. Raises ValueError."""
    parts = urlsplit(url)
    return parts.scheme, ascii_host(parts.hostname or ""), parts.port or PORTS.get(parts.scheme, 0)


def checked(address: str, base: str, private: bool) -> tuple[str, str]:
    """(host, address with it in ASCII). Raises Refused for an address that is no good or of another host than `base`,
    and for http unless hosts may be `private`."""
    try:
        parts, (scheme, host, port) = urlsplit(address), origin(address)
        own = host == origin(base)[1]
    except ValueError:
        raise Refused(Message("%(url)s is no address of a site.", url=shown(address))) from None
    if scheme != "https" and not (scheme == "http" and private):
        raise Refused(Message("The address must begin with https://: else others on the way read the password."))
    if not own or "@" in parts.netloc:
        raise Refused(Message("%(url)s is not an address of this connection.", url=shown(address)))
    netloc = bracketed(host) + (f":{port}" if port != PORTS[scheme] else "")
    return host, urlunsplit((scheme, netloc, parts.path, parts.query, ""))


def redirected(method: str, address: str, target: str) -> str:
    """The address that a redirect leads to. Raises Refused unless it is that of a GET, to the same host."""
    try:
        new = urljoin(address, target)
        old, to = origin(address), origin(new)
    except ValueError:
        new, old, to = target, origin(address), ("", "", 0)
    if method in SAFE and to[1] == old[1] and (to == old or (to[0], to[2]) == ("https", 443)):
        return new
    raise Refused(Message("%(host)s redirects to %(target)s. Enter that address in the connection if it is right.",
                          host=old[1], target=shown(new)))


def shown(url: str) -> str:
    """An address for people: without user, password, query and control characters."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return one_line(url.partition("?")[0].rpartition("@")[2], 200)
    return one_line(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}", 200)
