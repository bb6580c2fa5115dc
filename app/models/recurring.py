"""`recurring`: what people and the monitor know of each declared schedule; `recurring_runs`: one row a minute that ran."""

from __future__ import annotations

from sqlalchemy import BigInteger, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import db


class Recurring(db.Model):
    """`looked_ms` is up to when the monitor has looked; `missed_ms` the last minute that passed unseen and was not caught up,
    `missed_at_ms` when that was noticed."""

    __tablename__ = "recurring"

    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    enabled: Mapped[int] = mapped_column(Integer, server_default="1")
    since_ms: Mapped[int] = mapped_column(BigInteger)
    looked_ms: Mapped[int] = mapped_column(BigInteger)
    missed_ms: Mapped[int | None] = mapped_column(BigInteger)
    missed_at_ms: Mapped[int | None] = mapped_column(BigInteger)
    changed_by: Mapped[str | None] = mapped_column(String(255))


class RecurringRun(db.Model):
    """The primary key makes it a fact of the database that a minute runs once, however many monitors there are."""

    __tablename__ = "recurring_runs"

    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    minute_utc: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    uuid: Mapped[str | None] = mapped_column(String(36))
    created_ms: Mapped[int] = mapped_column(BigInteger)
