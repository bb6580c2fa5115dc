"""The limits of job types: what the code declares, and what a person has set."""

from __future__ import annotations

from app import registry
from app.config import Settings
from app.ledger import limits
from app.ledger.dialect import Connection
from app.ledger.limits import Limit
from app.support.clock import MINUTE_MS


def declared(options: registry.Options, settings: Settings) -> Limit:
    """The limit of a type by its code; a rate may be a setting."""
    if options.rate == "OPENAI_RPM":
        return Limit(options.concurrency, settings.openai_rpm, MINUTE_MS if settings.openai_rpm else 0)
    return Limit(options.concurrency, *(registry.parse_rate(options.rate) if options.rate else ()))


def declare(connection: Connection, settings: Settings) -> None:
    """Store the limits of this code; each worker that starts does so before its first claim."""
    types = registry.known_types()
    found = [(d.name, d.options.per, declared(d.options, settings)) for d in types if d.options.limited]
    with connection.transaction() as tx:
        limits.declare(tx, found, [d.name for d in types])
