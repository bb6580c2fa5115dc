"""`audit`: the log of people's actions."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import db
from app.models.types import Id


class Audit(db.Model):
    """An action of a person (`actor`) on a `subject`, with its result; written in the transaction of the change.

    `times` is how often it happened, when one row stands for several times.
    """

    __tablename__ = "audit"
    __table_args__ = (Index("audit_action_idx", "action", "at_ms"), Index("audit_actor_idx", "actor", "id"),
                      {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    at_ms: Mapped[int] = mapped_column(BigInteger)
    actor: Mapped[str] = mapped_column(String(255))
    action: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(String(255))
    result: Mapped[str] = mapped_column(Text)
    action_json: Mapped[str | None] = mapped_column(Text)
    subject_json: Mapped[str | None] = mapped_column(Text)
    result_json: Mapped[str | None] = mapped_column(Text)
    times: Mapped[int] = mapped_column(Integer, server_default="1")


class AuditJob(db.Model):
    """A job that an action has changed. `was` is JSON of what an undo needs (its queue, its rank), or None."""

    __tablename__ = "audit_jobs"
    __table_args__ = (Index("audit_jobs_uuid_idx", "uuid"), {"sqlite_with_rowid": False})

    audit_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    uuid: Mapped[str] = mapped_column(String(36), primary_key=True)
    was: Mapped[str | None] = mapped_column(Text)
