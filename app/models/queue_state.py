"""`queues`: one row a queue, with its pause; `meta`: single facts of the ledger."""

from __future__ import annotations

from sqlalchemy import BigInteger, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import db


class Queue(db.Model):
    """A queue. A pause (`paused_at` and `paused_until` in ms) stops every claim that begins after it."""

    __tablename__ = "queues"

    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    paused_at: Mapped[int | None] = mapped_column(BigInteger)
    paused_until: Mapped[int | None] = mapped_column(BigInteger)
    paused_by: Mapped[str | None] = mapped_column(String(255))
    reason: Mapped[str | None] = mapped_column(Text)


class Meta(db.Model):
    """A fact by its key, written at `at_ms`. The value is JSON; a watermark is a plain number."""

    __tablename__ = "meta"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str] = mapped_column(Text)
    at_ms: Mapped[int] = mapped_column(BigInteger)
