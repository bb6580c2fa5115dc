"""`queues`: one guard row a queue (pause acts on every claim begun after it); `meta`: the ledger's few facts."""

from __future__ import annotations

from sqlalchemy import BigInteger, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import db


class Queue(db.Model):
    __tablename__ = "queues"

    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    paused_at: Mapped[int | None] = mapped_column(BigInteger)
    paused_until: Mapped[int | None] = mapped_column(BigInteger)
    paused_by: Mapped[str | None] = mapped_column(String(255))
    reason: Mapped[str | None] = mapped_column(Text)


class Meta(db.Model):
    """Keys: ticket_generation, live_counts, monitor, types. Values are JSON; `at_ms` says how old."""

    __tablename__ = "meta"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str] = mapped_column(Text)
    at_ms: Mapped[int] = mapped_column(BigInteger)
