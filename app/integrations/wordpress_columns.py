"""Columns of a content with a form of their own: date and image. Each raises ItemRefused with the column's name."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from urllib.parse import urlsplit

from app.integrations.service_errors import ItemRefused
from app.support.messages import Message


def date_of(value: str, zone: Callable[[], tzinfo]) -> str:
    """A date in UTC, as 2030-12-24T17:00:00Z; one without a zone is in that of the site."""
    try:
        found = datetime.fromisoformat(value)
        found = found if found.tzinfo else found.replace(tzinfo=zone())
        found = found.astimezone(UTC)
        if not 1000 <= found.year <= 9998:
            raise ValueError
    except (ValueError, OverflowError):
        raise ItemRefused(Message("Column date: %(value)s is no date such as 2030-12-24 or 2030-12-24T18:00+01:00.",
                                  value=value[:80])) from None
    return found.strftime("%Y-%m-%dT%H:%M:%SZ")


def image_url(value: str) -> str:
    """The first address of an image, or `#12`."""
    first = re.split(r"[\s|]+", value.strip("| "))[0]
    if re.fullmatch(r"#[1-9]\d{0,17}", first, re.A):
        return first
    try:
        parts = urlsplit(first)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good or len(first) > 2000:
        raise ItemRefused(Message("Column image: %(value)s is no address that begins with https:// or http://.",
                                  value=first[:80]))
    return first
