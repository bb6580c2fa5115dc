"""With what a page of use compares its window, and whether the window is what the address asks for.

`compare` of an address -> `compared`: the same window with `back`; an unknown word means the time just before it
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo

from app.services.stats.usage_window import Window, parse_time
from app.support.clock import millis

COMPARED = {"before": 0, "day": 1, "week": 7}  # days back; 0: the time just before


def compared(window: Window, compare: str, zone: tzinfo) -> Window:
    """The window compared with one of COMPARED: the same hours on the clocks of the zone."""
    days = COMPARED.get(compare, 0)
    local = datetime.fromtimestamp(window.since / 1000, zone).replace(tzinfo=None) - timedelta(days=days)
    back = window.since - millis(local.replace(tzinfo=zone).astimezone(UTC)) if days else 0
    return replace(window, back=back)


def asked(since: str, until: str, window: Window, zone: tzinfo) -> bool:
    """Whether the window is the range that these texts, which can be read, ask for."""
    return all(not text.strip() or parse_time(text.strip(), zone, end) == at for text, end, at in (
        (since, False, window.since), (until, True, window.until)))
