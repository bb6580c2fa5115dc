"""Which channels there are: the names that running monitors have in ALERT_URLS, each with the time it was last said.

Each monitor adds its own names and takes nobody's away, so monitors with different lists stand beside each other: a
message for a channel waits for a monitor that has it. A name that no monitor says any more is forgotten after an hour
by a monitor that has some, after a week by one that has none (it may have been started without its ALERT_URLS).
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select

from app.extensions import db
from app.ledger import counts
from app.ledger.dialect import Connection, Executor
from app.models import AlertMessage
from app.support.clock import DAY_MS, HOUR_MS, MINUTE_MS

FACT = "channels"  # of the `meta` table: time (ms) by name
SAID_MS, LIVE_MS = 30_000, 2 * MINUTE_MS
FORGET_MS, FORGET_WITHOUT_MS = HOUR_MS, 7 * DAY_MS


def known(tx: Executor) -> dict[str, int]:
    """Names, and how long ago (ms) a monitor last said that it has the channel; one that was said in the future, before
    the clock was set back, counts as never said."""
    kept = counts.load(tx, FACT)
    if kept is None:
        return {}
    said, age = kept
    if isinstance(said, list):  # as earlier versions wrote it: names
        return {name: age for name in said if isinstance(name, str)}
    now, times = tx.now(), said.items() if isinstance(said, dict) else ()
    return {name: now - at if at <= now + SAID_MS else FORGET_WITHOUT_MS for name, at in times if isinstance(at, int)}


def announce(connection: Connection, own: Iterable[str]) -> None:
    """Say which channels this monitor has (their names, never their addresses); written each 30 s at most."""
    own = list(own)
    forget = FORGET_MS if own else FORGET_WITHOUT_MS
    if not _due(known(connection), own, forget):
        return
    with connection.transaction() as tx:
        ages, now = known(tx), tx.now()
        if _due(ages, own, forget):
            others = {name: now - age for name, age in ages.items() if age < forget}
            counts.save(tx, FACT, others | dict.fromkeys(own, now))


def _due(ages: dict[str, int], own: list[str], forget: int) -> bool:
    return any(ages.get(name, SAID_MS) >= SAID_MS for name in own) or any(age >= forget for age in ages.values())


def message_state(message: int) -> tuple[str, str | None]:
    """State and error of a message: waiting, sending, sent or dropped. No transaction stays open."""
    query = select(AlertMessage.state, AlertMessage.error).where(AlertMessage.id == message)
    state, error = db.session.execute(query).one()
    db.session.rollback()  # a session of the command line holds the write lock
    return state, error
