"""`failed_jobs`: finally failed jobs that wait for a decision; `deleted_at` puts one into the bin."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import TIMESTAMP, BigInteger, Index, Integer, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import db
from app.models.types import Id


class FailedJob(db.Model):
    """Everything a retry needs to write the row in `jobs` again, and the exception for people."""

    __tablename__ = "failed_jobs"
    __table_args__ = (
        Index("failed_jobs_open_idx", "id", sqlite_where=text("deleted_at IS NULL"), postgresql_where=text("deleted_at IS NULL")),
        Index("failed_jobs_bin_idx", "deleted_at", sqlite_where=text("deleted_at IS NOT NULL"), postgresql_where=text("deleted_at IS NOT NULL")),
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
    round: Mapped[int] = mapped_column(Integer, server_default="1")
    tries: Mapped[int] = mapped_column(Integer, server_default="3")
    backoff: Mapped[str] = mapped_column(String(255), server_default="60,300,1800")
    timeout: Mapped[int] = mapped_column(Integer, server_default="300")
    durable: Mapped[int] = mapped_column(Integer, server_default="0")
    created_ms: Mapped[int | None] = mapped_column(BigInteger)
    created_by: Mapped[str | None] = mapped_column(String(255))
    deleted_at: Mapped[int | None] = mapped_column(BigInteger)
