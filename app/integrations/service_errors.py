"""How a call to a service of a tenant can fail; each text is a sentence."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

MOST_WAIT_S = 3600.0


GATEWAY = (502, 504, 522, 524)  # a server in front gave up; the service behind it may still be working


class ServiceError(Exception):
    """A call to a service failed; the text is a sentence. `sent`: the request may have arrived there. `unanswered`: it
    may have, and no answer came, so the service may still be working on it."""

    unanswered = False

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


def until_date(text: str, now: Callable[[], float] = time.time) -> float | None:
    """Seconds until an HTTP date, negative when it has passed; None when it is none."""
    try:
        at = parsedate_to_datetime(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def retry_after(headers: Mapping[str, str], otherwise: float, now: Callable[[], float] = time.time) -> float:
    """Seconds that a Retry-After header asks to wait (RFC 9110, 10.2.3), at least 1 and at most 3600."""
    given = headers.get("retry-after", "").strip()
    try:
        seconds = float(given)
    except ValueError:
        seconds = until_date(given, now)
        if seconds is None:
            return otherwise
    return min(max(seconds, 1.0), MOST_WAIT_S) if math.isfinite(seconds) else otherwise
