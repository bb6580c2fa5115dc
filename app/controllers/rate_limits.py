"""How often a token, or a person on the addresses of /api, may ask. Counted in moving windows in memory: the web is one
process, and a restart begins anew.

`take` counts a request -> g.rate, from which `headers` come -> Retry-After when it was one too many
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from flask import Flask, current_app, g
from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

REQUESTS = RateLimitItemPerMinute(600)  # of a token
DISPATCHES = RateLimitItemPerMinute(120)  # requests of a person that make something: jobs, uploads
GUESSES = RateLimitItemPerMinute(20, 15)  # wrong tokens of a network in 15 minutes; right ones are taken
MOST_KEYS = 20_000  # the storage keeps each key for ever; 4 MB


@dataclass(frozen=True)
class Rate:
    """A limit after a request: `reset_s` until a request is free again; `over`: this one was too many."""

    limit: int
    remaining: int
    reset_s: int
    over: bool


def install(app: Flask) -> None:
    """Give the application its counters."""
    app.extensions["rate_limits"] = MovingWindowRateLimiter(MemoryStorage())


def take(item: RateLimitItem, *who: object) -> Rate:
    """Count a request of `who`; the narrowest limit of a request stays in `g.rate`."""
    counters: MovingWindowRateLimiter = current_app.extensions["rate_limits"]
    if len(counters.storage.events) >= MOST_KEYS:  # only wrong tokens of many networks get there: all begin anew
        counters.storage.reset()
    over = not counters.hit(item, *map(str, who))
    reset, remaining = counters.get_window_stats(item, *map(str, who))
    rate = Rate(item.amount, remaining, max(math.ceil(reset - time.time()), 1), over)
    if "rate" not in g or over or rate.remaining < g.rate.remaining:
        g.rate = rate
    return rate


def headers() -> dict[str, str]:
    """RateLimit-Limit, -Remaining and -Reset (seconds) of this request, and Retry-After when it was too many."""
    if "rate" not in g:
        return {}
    rate: Rate = g.rate
    found = {"RateLimit-Limit": rate.limit, "RateLimit-Remaining": rate.remaining, "RateLimit-Reset": rate.reset_s}
    return {name: str(value) for name, value in (found | ({"Retry-After": rate.reset_s} if rate.over else {})).items()}
