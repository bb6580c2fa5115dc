"""`job_batches`: groups of jobs, as specified."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Integer, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import db

KEEP_GOING, STOP = ON_FAILURE = ("keep going", "stop")
_OPEN = text("closed_ms IS NULL")


class JobBatch(db.Model):
    """A group of jobs; its members carry its id. The columns `*_at` are in seconds.

    `total_jobs`, `pending_jobs` (not ended), `failed_jobs` and `failed_job_ids` (JSON, at most 1,000) are kept by the
    monitor. `sealed_ms`: no caller adds members any more. `closed_ms`, like `finished_at`: no member is live. A retry
    opens a closed batch again. `then_json` is the job that is dispatched once, as `then_uuid`, when it closes.
    """

    __tablename__ = "job_batches"
    __table_args__ = (Index("job_batches_open_idx", "id", sqlite_where=_OPEN, postgresql_where=_OPEN),)

    id: Mapped[str] = mapped_column(String(255), primary_key=True)
    name: Mapped[str] = mapped_column(String(255))
    total_jobs: Mapped[int] = mapped_column(Integer)
    pending_jobs: Mapped[int] = mapped_column(Integer)
    failed_jobs: Mapped[int] = mapped_column(Integer)
    failed_job_ids: Mapped[str | None] = mapped_column(Text)
    options: Mapped[str | None] = mapped_column(Text)
    cancelled_at: Mapped[int | None] = mapped_column(Integer)
    created_at: Mapped[int] = mapped_column(Integer)
    finished_at: Mapped[int | None] = mapped_column(Integer)
    tenant_id: Mapped[str | None] = mapped_column(String(255))
    on_failure: Mapped[str] = mapped_column(String(20), server_default=KEEP_GOING)
    then_json: Mapped[str | None] = mapped_column(Text)
    then_uuid: Mapped[str | None] = mapped_column(String(36))
    created_by: Mapped[str | None] = mapped_column(String(255))
    created_ms: Mapped[int] = mapped_column(BigInteger, server_default="0")
    sealed_ms: Mapped[int | None] = mapped_column(BigInteger)
    paused_ms: Mapped[int | None] = mapped_column(BigInteger)
    closed_ms: Mapped[int | None] = mapped_column(BigInteger)
