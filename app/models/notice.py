"""`follows`: jobs and batches of which a person wants to know the end; `notices`: what people are told in the browser.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import db
from app.models.types import Id


class Follow(db.Model):
    """`kind` is job or batch, `subject` its id. `via` is browser, mail or `channel:NAME`. The row is deleted when the
    end was told."""

    __tablename__ = "follows"
    __table_args__ = (UniqueConstraint("user_id", "kind", "subject"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(10))
    subject: Mapped[str] = mapped_column(String(255))
    via: Mapped[str] = mapped_column(String(60))
    language: Mapped[str] = mapped_column(String(5))
    created_ms: Mapped[int] = mapped_column(BigInteger)


class Notice(db.Model):
    """`kind` is job or batch; `title` and `body` are JSON of sentences (support/messages); `link` is a path of the
    site. Of kind alert: `subject` is its id, and the sentences are those of its row."""

    __tablename__ = "notices"
    __table_args__ = (Index("notices_user_idx", "user_id", "id"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(10))
    subject: Mapped[str] = mapped_column(String(255))
    title: Mapped[str] = mapped_column(Text)
    body: Mapped[str] = mapped_column(Text)
    link: Mapped[str] = mapped_column(Text)
    created_ms: Mapped[int] = mapped_column(BigInteger)
