"""`job_history`: one row a finished job, kept as long as its raw outcomes in `job_metrics`.

Ids rise in the order of finishing. Lists are sorted by id, so that no settle has to pay for an index on the time.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Integer, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import db
from app.models.types import Id

_UNHAPPY, _IN_BATCH = text("status <> 'completed'"), text("batch_id IS NOT NULL")


class JobHistory(db.Model):
    """A finished job with its final `status`, arguments (in `payload`), result and error."""

    __tablename__ = "job_history"
    __table_args__ = (
        Index("job_history_unhappy_idx", "status", "id", sqlite_where=_UNHAPPY, postgresql_where=_UNHAPPY),
        Index("job_history_batch_idx", "batch_id", "status", sqlite_where=_IN_BATCH, postgresql_where=_IN_BATCH),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    uuid: Mapped[str] = mapped_column(String(36), unique=True)
    job_type: Mapped[str] = mapped_column(String(255))
    tenant_id: Mapped[str | None] = mapped_column(String(255))
    queue: Mapped[str] = mapped_column(String(255))
    status: Mapped[str] = mapped_column(String(50))
    payload: Mapped[str] = mapped_column(Text)
    result: Mapped[str | None] = mapped_column(Text)
    error: Mapped[str | None] = mapped_column(Text)
    error_json: Mapped[str | None] = mapped_column(Text)
    traceback: Mapped[str | None] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(Integer)
    tries: Mapped[int] = mapped_column(Integer)
    claim_no: Mapped[int] = mapped_column(Integer)
    retry_round: Mapped[int] = mapped_column("round", Integer)
    created_by: Mapped[str | None] = mapped_column(String(255))
    created_ms: Mapped[int] = mapped_column(BigInteger)
    finished_ms: Mapped[int] = mapped_column(BigInteger)
    batch_id: Mapped[str | None] = mapped_column(String(36))
