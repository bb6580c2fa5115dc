"""Validates SMTP_URL, REPORT_FROM and the addresses to which mails go.

SMTP_URL -> `server` -> Server; REPORT_FROM -> `sender` -> (name, address); what a person types -> `address`
No error shows the URL: a sign that should be percent-encoded can put a piece of the password anywhere in it.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

from app.addresses import NAME, SettingError, is_loopback

PORTS = {"smtp": 587, "smtp+starttls": 587, "smtps": 465}
LIKE = ("must be like smtp://user:password@mail.example.org:587 or smtps://...; "
        "signs in the user and the password are percent-encoded (%40 is @, %2F is /, %23 is #, %3F is ?)")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_LOCAL = re.compile(r"[^\s@<>\"(),:;\\\[\]\x00-\x1f\x7f-\x9f]{1,64}")


@dataclass(frozen=True, repr=False)
class Server:
    """A mail server. `tls`: from the first byte ("tls"), by STARTTLS that it must offer ("starttls") or may offer
    ("offered"), or "off"."""

    host: str
    port: int
    user: str
    password: str
    tls: str


def server(name: str, url: str) -> Server:
    """The server of an SMTP URL. Mails and password go through TLS, unless the host is loopback or the URL ends with
    `?tls=off`. Raises SettingError."""
    try:
        parts = urlsplit(url)
        scheme, port, bracketed = parts.scheme.lower(), parts.port, "[" in parts.netloc.rpartition("@")[2]
        host = (parts.hostname or "").encode("idna").decode()
        user, password = (unquote(part or "", errors="strict") for part in (parts.username, parts.password))
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        if bracketed:
            ipaddress.IPv6Address(host)
    except ValueError:
        raise SettingError(f"{name} {LIKE}") from None
    if scheme not in PORTS or not NAME.fullmatch(host) or port == 0 or parts.path.strip("/") or parts.fragment or (
            _CONTROL.search(user + password)):
        raise SettingError(f"{name} {LIKE}")
    if bool(user) != bool(password):
        raise SettingError(f"{name} has a {'user' if user else 'password'} without a {'password' if user else 'user'}")
    if options not in ({}, {"tls": "off"}) or options and scheme != "smtp":
        raise SettingError(f"{name}: the only option is ?tls=off, behind smtp://host; "
                           "a ? in the password is written %3F")
    starttls = "offered" if is_loopback(host) else "starttls"
    tls = {"smtps": "tls", "smtp+starttls": "starttls"}.get(scheme, "off" if options else starttls)
    return Server(host, port or PORTS[scheme], user, password, tls)


def smtp_url(name: str, url: str) -> str:
    """The URL of a mail server, checked; "" for none. Raises SettingError."""
    if url:
        server(name, url)
    return url


def address(text: str) -> str | None:
    """A mail address with its domain in lower case; None when it is none. Letters of any language are allowed."""
    local, _, domain = text.strip().rpartition("@")
    domain = domain.lower()
    try:
        known = NAME.fullmatch(domain.encode("idna").decode()) and ":" not in domain
    except ValueError:
        return None
    dots = local.startswith(".") or local.endswith(".") or ".." in local
    fits = _LOCAL.fullmatch(local) and local.isprintable() and domain.isprintable() and len(domain) <= 190
    return f"{local}@{domain}" if known and fits and not dots else None


def sender(name: str, text: str, url: str = "") -> tuple[str, str]:
    """(name or "", address) of "Name <address>" or of an address; without a text the user of the SMTP URL, ("", "")
    without that too. Raises SettingError."""
    if not text:
        if not url:
            return "", ""
        user = address(server("SMTP_URL", url).user)
        if user is None:
            raise SettingError(f'{name} must be set: the user of SMTP_URL is no mail address; like '
                               '"Reports <reports@example.org>"')
        return "", user
    shown, opened, rest = text.rpartition("<")
    shown = shown.rstrip().removeprefix('"').removesuffix('"')
    mailbox = address(rest.removesuffix(">") if opened and rest.endswith(">") else text)
    if mailbox is None or _CONTROL.search(text) or re.search('[<>"]', shown):
        raise SettingError(f'{name} must be an address like reports@example.org or "Reports <reports@example.org>"')
    return " ".join(shown.split()), mailbox
