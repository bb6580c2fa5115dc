"""`job_logs`: the log lines of jobs, at most 1,000 a job (the first 200 and the last 800)."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import db
from app.models.types import Id


class JobLog(db.Model):
    """A log line. `source` is None for lines from `ctx.log`, else stdout, stderr, worker or the name of a logger."""

    __tablename__ = "job_logs"
    __table_args__ = (
        Index("job_logs_uuid_idx", "uuid", "id"), Index("job_logs_at_idx", "at_ms"), {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    uuid: Mapped[str] = mapped_column(String(36))
    claim_no: Mapped[int] = mapped_column(Integer)
    attempt: Mapped[int] = mapped_column(Integer)
    at_ms: Mapped[int] = mapped_column(BigInteger)
    level: Mapped[str] = mapped_column(String(10))
    message: Mapped[str] = mapped_column(Text)
    message_json: Mapped[str | None] = mapped_column(Text)
    source: Mapped[str | None] = mapped_column(String(100))
