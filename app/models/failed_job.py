"""`failed_jobs`: jobs that have finally failed and wait for a decision."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import TIMESTAMP, BigInteger, Index, Integer, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import db
from app.models.types import Id

_OPEN, _IN_BIN = text("deleted_at IS NULL"), text("deleted_at IS NOT NULL")
_IN_BATCH = text("batch_id IS NOT NULL")


class FailedJob(db.Model):
    """All that a retry needs to write the job again, and the exception. With `deleted_at` (ms) it is in the bin."""

    __tablename__ = "failed_jobs"
    __table_args__ = (
        Index("failed_jobs_open_idx", "id", sqlite_where=_OPEN, postgresql_where=_OPEN),
        Index("failed_jobs_bin_idx", "deleted_at", sqlite_where=_IN_BIN, postgresql_where=_IN_BIN),
        Index("failed_jobs_batch_idx", "batch_id", "id", sqlite_where=_IN_BATCH, postgresql_where=_IN_BATCH),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    uuid: Mapped[str] = mapped_column(String(255), unique=True)
    connection: Mapped[str] = mapped_column(Text)
    queue: Mapped[str] = mapped_column(Text)
    payload: Mapped[str] = mapped_column(Text)
    exception: Mapped[str] = mapped_column(Text)
    failed_at: Mapped[datetime | None] = mapped_column(TIMESTAMP, server_default=text("CURRENT_TIMESTAMP"))
    job_type: Mapped[str | None] = mapped_column(String(255))
    tenant_id: Mapped[str | None] = mapped_column(String(255))
    status: Mapped[str] = mapped_column(String(50), server_default="failed")
    error: Mapped[str | None] = mapped_column(Text)
    error_json: Mapped[str | None] = mapped_column(Text)
    claim_no: Mapped[int] = mapped_column(Integer, server_default="0")
    retry_round: Mapped[int] = mapped_column("round", Integer, server_default="1")
    tries: Mapped[int] = mapped_column(Integer, server_default="3")
    backoff: Mapped[str] = mapped_column(String(255), server_default="60,300,1800")
    timeout: Mapped[int] = mapped_column(Integer, server_default="300")
    durable: Mapped[int] = mapped_column(Integer, server_default="0")
    created_ms: Mapped[int | None] = mapped_column(BigInteger)
    created_by: Mapped[str | None] = mapped_column(String(255))
    deleted_at: Mapped[int | None] = mapped_column(BigInteger)
    batch_id: Mapped[str | None] = mapped_column(String(36))
    limit_key: Mapped[str | None] = mapped_column(String(255))
