"""Validates addresses: of the site, of its database and queue, of services and alert channels outside."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from urllib.parse import urlsplit

PATH = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)*", re.ASCII)  # the path prefix of the site
NAME = re.compile(r"[a-z0-9_]([a-z0-9._-]*[a-z0-9_.])?|[0-9a-f:.]+")


class SettingError(Exception):
    """An invalid setting; the text is one line that names the variable."""


def public_url(text: str) -> str | None:
    """The URL as browsers send it: scheme://host[:port][/path], with the host in IDNA. None when it is not valid."""
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


def site_address(given: str, host: str, port: int, allow_http: bool) -> str:
    """The address of the site: `given` (PUBLIC_URL) or made from `host` and `port`. Raises SettingError, also for
    http that others reach without `allow_http`."""
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else bracketed(host)  # noqa: S104
    address = public_url(given := given or f"http://{shown}:{port}")
    if address is None:
        shown = "PUBLIC_URL" if "@" in given else f"PUBLIC_URL={given!r}"  # a password can stand before the @
        raise SettingError(f"{shown} must be like https://jobs.example.org or https://example.org/jobs")
    if address.startswith("http://") and not is_loopback(host) and not allow_http:
        raise SettingError(f"HOST={host} is reachable from outside but PUBLIC_URL is not https: "
                           "set PUBLIC_URL=https://..., or ALLOW_INSECURE_HTTP=1 to accept the risk")
    return address


def is_loopback(host: str) -> bool:
    """Whether a host name or IP address is this machine's loopback."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def bracketed(host: str) -> str:
    """The host for a URL: an IPv6 address in square brackets (RFC 3986), any other as it is."""
    return f"[{host}]" if ":" in host else host


def database_url(url: str, data_dir: Path) -> str:
    """The URL of the database for SQLAlchemy; "" means SQLite in `data_dir`. Raises SettingError."""
    if not url:
        return f"sqlite:///{data_dir / 'ainstein.sqlite3'}"
    if url.startswith(("postgresql://", "postgres://", "postgresql+psycopg://")):
        return "postgresql+psycopg://" + url.split("://", 1)[1]
    if url.startswith("sqlite:///") and url.removeprefix("sqlite:///").strip() not in ("", ":memory:"):
        path = Path(url.removeprefix("sqlite:///")).expanduser().absolute()
        if not path.parent.is_dir() and path.parent != data_dir:
            raise SettingError(f"DATABASE_URL: there is no folder {str(path.parent)!r}")
        return f"sqlite:///{path}"
    raise SettingError("DATABASE_URL must be sqlite:///path or postgresql://user:password@host/name")


def queue_url(name: str, url: str) -> str:
    """The URL of the ticket store; "" means "sqlite:", the file in DATA_DIR. Raises SettingError."""
    if url and not url.startswith(("sqlite:", "redis://", "rediss://", "postgresql://", "postgres://")):
        raise SettingError(f"{name} must be sqlite:, redis://host/0 or postgresql://user:password@host/name")
    path = url.removeprefix("sqlite:").removeprefix("///")
    if url.startswith("sqlite:") and path.strip("/") and not Path(path).parent.is_dir():
        raise SettingError(f"{name}: there is no folder {str(Path(path).parent)!r}")
    if url.startswith(("redis", "postgres")) and not _host(url):
        raise SettingError(f"{name} must name a host, like redis://127.0.0.1:6379/0")
    return url or "sqlite:"


def http_url(name: str, url: str) -> str:
    """An http or https URL, or "". Raises SettingError."""
    if url and not (url.lower().startswith(("http://", "https://")) and _host(url) and not re.search(r"\s", url)):
        raise SettingError(f"{name} must be an http or https address")
    return url


def channels(name: str, text: str) -> dict[str, str]:
    """URLs by name, from parts `name=url` that are separated by blanks or line breaks."""
    found: dict[str, str] = {}
    for part in text.split():
        label, equals, url = part.partition("=")
        if not (equals and re.fullmatch(r"[A-Za-z0-9_.-]{1,40}", label) and re.match(r"[A-Za-z0-9+.-]+://[^/?#]", url)):
            raise SettingError(f"{name}: part {len(found) + 1} is not like name=scheme://...; "
                               "separate channels by blanks or line breaks")
        if label in found:
            raise SettingError(f"{name} names the channel {label} twice")
        found[label] = url
    return found


def _host(url: str) -> str | None:
    """The host of an address whose port is one: the system would take a larger one modulo 65,536."""
    try:
        return urlsplit(url).hostname if urlsplit(url).port != 0 else None
    except ValueError:
        return None
