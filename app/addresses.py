"""Checks the public URL of the site (PUBLIC_URL)."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

PATH = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)*", re.ASCII)  # the path prefix of the site
NAME = re.compile(r"[a-z0-9_]([a-z0-9._-]*[a-z0-9_.])?|[0-9a-f:.]+")


def public_url(text: str) -> str | None:
    """The URL as browsers send it, scheme://host[:port][/path] with the host in IDNA; None when it is not valid."""
    try:
        parts = urlsplit(text)
        host = (parts.hostname or "").encode("idna").decode()  # empty labels and those over 63 raise
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return None
    path = parts.path.rstrip("/")
    if parts.scheme not in ("http", "https") or not NAME.fullmatch(host) or not PATH.fullmatch(path):
        return None
    if re.search(r"[\s\x00-\x1f<>\"'\\^`{|}?#@]", text):
        return None
    return f"{parts.scheme}://{bracketed(host)}{port}{path}"


def is_loopback(host: str) -> bool:
    """Whether a host name or IP address is this machine's loopback."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def bracketed(host: str) -> str:
    """The host for a URL: an IPv6 address in square brackets (RFC 3986), any other as it is."""
    return f"[{host}]" if ":" in host else host
