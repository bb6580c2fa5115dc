"""`saved_views`: filters of the list under a name; `kept_forms`: forms that were sent without a session."""

from __future__ import annotations

from sqlalchemy import BigInteger, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import db
from app.models.types import Id


class SavedView(db.Model):
    """A filter of the list of jobs; `query` is JSON of its parts. `owner` is an e-mail address, '' for all people."""

    __tablename__ = "saved_views"
    __table_args__ = (UniqueConstraint("owner", "name"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    owner: Mapped[str] = mapped_column(String(255), server_default="")
    name: Mapped[str] = mapped_column(String(80))
    query: Mapped[str] = mapped_column(Text)
    made_by: Mapped[str] = mapped_column(String(255))
    created_ms: Mapped[int] = mapped_column(BigInteger)


class KeptForm(db.Model):
    """A form that was sent when its session had ended: sealed, kept for an hour, shown again after signing in. `token`
    is the hash of what the browser's cookie holds."""

    __tablename__ = "kept_forms"

    token: Mapped[str] = mapped_column(String(64), primary_key=True)
    path: Mapped[str] = mapped_column(Text)
    body: Mapped[bytes] = mapped_column(LargeBinary)
    created_ms: Mapped[int] = mapped_column(BigInteger)
