"""The values of a connection as people enter them, checked for the page and the command line alike.

Each parser takes the text of a field and raises ValidationError with a sentence; `checked` takes all of them and raises
Faults with a sentence for each field that is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

from app.addresses import bracketed
from app.integrations.resolve import ascii_host
from app.integrations.site_urls import PORTS
from app.services.content.connections import SERVICES
from app.support.messages import Message, _
from app.support.redaction import MIN_CHARS
from app.support.validation import TENANT, ValidationError, check_text

MOST_SECRET, MOST_URL, MOST_USER = 4096, 2000, 255
USES_USER, NEEDS_URL = ("wordpress",), ("wordpress", "prestashop")
_NAME = re.compile(r"[A-Za-z0-9._~/?=-]{1,100}")
_BLANK = re.compile(r"[\s\x00-\x1f\x7f]")


class Given(NamedTuple):
    """The parsed values of a connection; `secret` is None when the present one is to stay."""

    tenant: str
    service: str
    url: str
    user: str | None
    secret: str | None
    options: dict[str, str]


@dataclass(frozen=True)
class Option:
    """A further value of a connection: what it is, its known values with their meaning ({} for a name), and which of
    them is the default."""

    words: str
    known: dict[str, str] = field(default_factory=dict)
    default: str = ""


OPTIONS: dict[str, dict[str, Option]] = {
    "openai": {"organization": Option(Message("Organization, when the key is of several")),
               "project": Option(Message("Project, when the key is of several"))},
    "wordpress": {"rest": Option(Message("Root of the REST API, when it is neither wp-json/ nor ?rest_route=/"))},
    "prestashop": {"stock": Option(Message("Stock that was changed there"), {
        "ask": Message("is left; a conflict when ours changed too"),
        "ours": Message("is overwritten when ours changes")}, "ask"),
        "language": Option(Message("Language of plain columns (ISO code)")),
        "shop": Option(Message("Shop id, in a multishop")),
        "tax_rules_group": Option(Message("Tax rules group id of new products")),
        "admin": Option(Message("Folder of the back office"))}}


class Faults(ValidationError):
    """Invalid values; `faults` has a sentence for each field: tenant, service, url, user, secret, options."""

    def __init__(self, faults: dict[str, str]) -> None:
        super().__init__(" ".join(faults.values()))
        self.faults = faults


def parse_tenant(text: str) -> str:
    """The id of a tenant. Raises ValidationError."""
    if not TENANT.fullmatch(text := text.strip()):
        raise ValidationError(
            _("The tenant may have ASCII letters (a to z), digits, dot, underscore and hyphen, at most 64 characters."))
    return text


def parse_service(text: str) -> str:
    """One of SERVICES. Raises ValidationError."""
    if text not in SERVICES:
        raise ValidationError(_("Unknown service %(name)s. Use %(known)s.", name=repr(text[:40]),
                                known=", ".join(SERVICES)))
    return text


def parse_url(text: str, service: str, private: bool) -> str:
    """The address as it is stored: host in ASCII, no slash at the end; "" for a service's own. Raises
    ValidationError."""
    text = check_text(text).strip()
    if not text and service not in NEEDS_URL:
        return ""
    try:
        parts = urlsplit(text)
        host, port = ascii_host(parts.hostname or ""), parts.port
    except ValueError:
        host, port = "", None
    if not host or parts.scheme not in PORTS or len(text) > MOST_URL or _BLANK.search(text):
        raise ValidationError(_("The address is like https://blog.example.org or https://example.org/shop."))
    if parts.scheme != "https" and not private:
        raise ValidationError(_("The address must begin with https://: else others on the way read the password."))
    if "@" in parts.netloc:
        raise ValidationError(_("No user and password in the address: they have fields of their own."))
    if "?" in text or "#" in text:
        raise ValidationError(_("The address ends before ? and #."))
    netloc = bracketed(host) + (f":{port}" if port not in (None, PORTS[parts.scheme]) else "")
    return urlunsplit((parts.scheme, netloc, parts.path.rstrip("/"), "", ""))


def parse_user(text: str, service: str) -> str | None:
    """The name of the user at the service. Raises ValidationError."""
    text = check_text(text).strip()
    if service not in USES_USER:
        if text:
            raise ValidationError(_("%(service)s has no user: its secret is the key alone.", service=SERVICES[service]))
        return None
    if not text or len(text) > MOST_USER or ":" in text or not text.isprintable():
        raise ValidationError(_("The user of WordPress whose application password this is, without a colon."))
    return text


def parse_secret(text: str) -> str:
    """A secret, without the line end that it may have. Raises ValidationError."""
    text = text.removesuffix("\n").removesuffix("\r")
    if len(text) > MOST_SECRET:
        raise ValidationError(_("The secret has more than %(n)s characters.", n=MOST_SECRET))
    if not (text.isascii() and text.isprintable()) or text != text.strip():
        raise ValidationError(_("The secret has characters that no key has: check that it was copied whole and alone."))
    if len(text) < MIN_CHARS:
        raise ValidationError(_("The secret has fewer than %(n)s characters.", n=MIN_CHARS))
    return text


def parse_options(given: Mapping[str, str], service: str) -> dict[str, str]:
    """The options that differ from their defaults; a blank one is the default. Raises ValidationError."""
    table, found = OPTIONS[service], {}
    for name, value in given.items():
        option, value = table.get(name), value.strip()
        if option is None:
            raise ValidationError(_("%(service)s has no option %(name)s. Use %(known)s.", service=SERVICES[service],
                                    name=repr(name[:40]), known=", ".join(table)))
        if value and option.known and value not in option.known:
            raise ValidationError(_("The option %(name)s is one of: %(known)s.", name=name,
                                    known=", ".join(option.known)))
        if value and not _NAME.fullmatch(value):
            raise ValidationError(_("The option %(name)s is a name without blanks.", name=name))
        if value not in ("", option.default):
            found[name] = value
    return found


def checked(tenant: str, service: str, url: str, user: str, secret: str, options: Mapping[str, str], private: bool
            ) -> Given:
    """The parsed values. Raises Faults."""
    faults: dict[str, str] = {}

    def asked(name: str, parse: Callable[..., Any], *given: Any) -> Any:
        try:
            return parse(*given)
        except ValidationError as error:
            faults[name] = str(error)

    found = asked("tenant", parse_tenant, tenant), asked("service", parse_service, service)
    if "service" in faults:
        raise Faults(faults)
    given = Given(
        *found, asked("url", parse_url, url, service, private), asked("user", parse_user, user, service),
        asked("secret", parse_secret, secret) if secret.strip("\r\n") else None,
        asked("options", parse_options, options, service))
    if faults:
        raise Faults(faults)
    return given
