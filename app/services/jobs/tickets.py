"""Publishes tickets after a commit, and keeps the generation of the ticket store in the ledger.

dispatch -> session.info["tickets"] -> after_commit (of the outermost transaction) -> publish, which waits at most 250
ms and never raises. A rollback drops the tickets.
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
    """The generation of the ticket store: 1, and one more each time the store was replaced."""
    rows = tx.fetch_all("SELECT value FROM meta WHERE key = 'ticket_generation'")
    return int(rows[0][0]) if rows else 1


def raise_generation(connection: Connection) -> int:
    """Begin a new generation, at most once in 2 s; returns it. Each process opens the new store at its next check."""
    with connection.transaction() as tx:
        tx.execute(
            "INSERT INTO meta (key, value, at_ms) VALUES ('ticket_generation', '2', :now) ON CONFLICT (key) DO UPDATE "
            "SET value = CAST(CAST(meta.value AS INTEGER) + 1 AS TEXT), at_ms = :now WHERE meta.at_ms < :now - 2000",
            now=tx.now())
        return generation(tx)


def replace_if_damaged(connection: Connection, error: Exception) -> None:
    """Replace the ticket store when `error` says that it is damaged, not when it is only locked or unreachable."""
    if "locked" in str(error) or "connect" in str(error).lower() or not type(error).__module__.startswith("sqlite3"):
        return  # the caller logs it once
    try:
        log.warning("ticket store damaged (%s): generation %s begins", error, raise_generation(connection))
    except Exception:
        log.warning("ticket store damaged (%s) and the ledger does not answer", error)


class Publisher:
    """Publishes tickets for web, command line and monitor. It checks the generation at most every 5 s."""

    def __init__(self, app: Flask) -> None:
        settings = app.extensions["settings"]
        self.app, self._checked = app, 0.0
        self.tickets = Tickets(settings, build(settings, lambda task: None), self._generation)

    def _generation(self) -> int:
        with self.app.app_context(), Session(db.engine.execution_options(begin="BEGIN")) as session:
            return generation(SessionExecutor(session))

    def publish(self, uuids: list[str]) -> int:
        """Publish a ticket for each uuid; returns how many were published. In a file none is while enough wait: the
        rows are committed, so whoever takes one of those claims after them, and a worker that finds no ticket at a
        poll finds the row at the same poll. In a burst this saves a sixth of a dispatch."""
        if self.tickets.is_file and time.monotonic() >= self._checked + CHECK_S:
            self._checked, self.tickets.opened = time.monotonic(), None
        room = self.tickets.room()
        return self.tickets.publish(uuids[:room]) if room else 0


@event.listens_for(db.session, "after_commit")
def _send(session: Session) -> None:
    if session.in_nested_transaction():
        return  # the event comes for savepoints too
    if uuids := session.info.pop("tickets", []):
        current_app.extensions["publisher"].publish(uuids)


@event.listens_for(db.session, "after_rollback")
def _drop(session: Session) -> None:
    session.info.pop("tickets", None)


def want_tickets(session: Any, uuids: list[str]) -> None:
    """Have a ticket for each uuid published once the transaction of `session` is committed."""
    session.info.setdefault("tickets", []).extend(uuids)
