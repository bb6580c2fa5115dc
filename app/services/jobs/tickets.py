"""Ticket generation in the ledger, and publishing after a commit.

dispatch -> session.info["tickets"] -> after_commit (outermost only) -> publish, waiting at
most 250 ms and never raising; a rollback drops them.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from flask import Flask, current_app
from sqlalchemy import event
from sqlalchemy.orm import Session

from app.extensions import db
from app.ledger.dialect import Connection, Executor, SessionExecutor
from app.queue import Tickets, build

log = logging.getLogger(__name__)
CHECK_S = 5.0


def generation(tx: Executor) -> int:
    """The ticket store's generation; 1 until it was ever replaced."""
    rows = tx.fetch_all("SELECT value FROM meta WHERE key = 'ticket_generation'")
    return int(rows[0][0]) if rows else 1


def raise_generation(connection: Connection) -> int:
    """Give up the ticket store of this generation; everyone reopens at the next look."""
    with connection.transaction() as tx:
        now = tx.now()
        tx.execute(
            "INSERT INTO meta (key, value, at_ms) VALUES ('ticket_generation', '2', :now) ON CONFLICT (key) DO UPDATE "
            "SET value = CAST(CAST(meta.value AS INTEGER) + 1 AS TEXT), at_ms = :now WHERE meta.at_ms < :now - 2000",
            now=now,
        )
        return generation(tx)


def replace_if_damaged(connection: Connection, error: Exception) -> None:
    """A ticket store that is damaged (not merely locked or out of reach) is replaced by a new one."""
    if "locked" in str(error) or "connect" in str(error).lower() or not type(error).__module__.startswith("sqlite3"):
        return  # the caller says so, once
    try:
        log.warning("ticket store damaged (%s): generation %s begins", error, raise_generation(connection))
    except Exception:
        log.warning("ticket store damaged (%s) and the ledger does not answer", error)


class Publisher:
    """Publishes for web, CLI and monitor; looks at the generation at most every 5 s."""

    def __init__(self, app: Flask) -> None:
        settings = app.extensions["settings"]
        self.app, self._looked = app, 0.0
        self.tickets = Tickets(settings, build(settings, lambda task: None), self._generation)

    def _generation(self) -> int:
        with self.app.app_context(), Session(db.engine.execution_options(begin="BEGIN")) as session:
            return generation(SessionExecutor(session))

    def publish(self, uuids: list[str]) -> int:
        if self.tickets.is_file and time.monotonic() >= self._looked + CHECK_S:
            self._looked, self.tickets.opened = time.monotonic(), None
        return self.tickets.publish(uuids)


@event.listens_for(db.session, "after_commit")
def _send(session: Session) -> None:
    if session.in_nested_transaction():
        return  # fires for savepoints too
    uuids: list[str] = session.info.pop("tickets", [])
    if uuids:
        current_app.extensions["publisher"].publish(uuids)


@event.listens_for(db.session, "after_rollback")
def _drop(session: Session) -> None:
    session.info.pop("tickets", None)


def want_tickets(session: Any, uuids: list[str]) -> None:
    """Ask for wake-ups once the caller's transaction is committed."""
    session.info.setdefault("tickets", []).extend(uuids)
