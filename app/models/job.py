"""`jobs`, the ledger: one row a live job. The row goes at the final outcome; ids never come again."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Integer, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import db
from app.models.types import Id

LIVE_STATES = ("scheduled", "pending", "held", "blocked", "waiting", "processing")


class Job(db.Model):
    """A live job. Integer seconds as specified; a `*_ms` column beside each. Written by app/ledger only."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index("jobs_queue_index", "queue"),
        Index(
            "jobs_ready_idx", "queue", text("rank DESC"), "id",
            sqlite_where=text("state = 'pending'"), postgresql_where=text("state = 'pending'"),
        ),
        Index(
            "jobs_due_idx", "available_ms",
            sqlite_where=text("state = 'scheduled'"), postgresql_where=text("state = 'scheduled'"),
        ),
        Index(
            "jobs_claimed_idx", "worker_id",
            sqlite_where=text("state = 'processing'"), postgresql_where=text("state = 'processing'"),
        ),
        Index(
            "jobs_aside_idx", "state", "job_type",
            sqlite_where=text("state IN ('held', 'blocked', 'waiting')"),
            postgresql_where=text("state IN ('held', 'blocked', 'waiting')"),
        ),
        Index("jobs_again_idx", "queue", sqlite_where=text("round > 1"), postgresql_where=text("round > 1")),
        Index("jobs_turns_idx", "queue", "tenant_id", "rank", sqlite_where=text("rank < 0"), postgresql_where=text("rank < 0")),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    queue: Mapped[str] = mapped_column(String(255))
    payload: Mapped[str] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(Integer)
    reserved_at: Mapped[int | None] = mapped_column(Integer)
    available_at: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[int] = mapped_column(Integer)
    uuid: Mapped[str] = mapped_column(String(36), unique=True)
    state: Mapped[str] = mapped_column(String(20), server_default="pending")
    job_type: Mapped[str] = mapped_column(String(255))
    tenant_id: Mapped[str | None] = mapped_column(String(255))
    rank: Mapped[int] = mapped_column(BigInteger, server_default="0")
    worker_id: Mapped[str | None] = mapped_column(String(255))
    claim_no: Mapped[int] = mapped_column(Integer, server_default="0")
    round: Mapped[int] = mapped_column(Integer, server_default="1")
    failures: Mapped[int] = mapped_column(Integer, server_default="0")
    crashes: Mapped[int] = mapped_column(Integer, server_default="0")
    tries: Mapped[int] = mapped_column(Integer, server_default="3")
    backoff: Mapped[str] = mapped_column(String(255), server_default="60,300,1800")
    timeout: Mapped[int] = mapped_column(Integer, server_default="300")
    durable: Mapped[int] = mapped_column(Integer, server_default="0")
    cancel_requested: Mapped[int] = mapped_column(Integer, server_default="0")
    stop_ms: Mapped[int | None] = mapped_column(BigInteger)
    created_ms: Mapped[int] = mapped_column(BigInteger)
    available_ms: Mapped[int] = mapped_column(BigInteger)
    reserved_ms: Mapped[int | None] = mapped_column(BigInteger)
    retry_until_ms: Mapped[int] = mapped_column(BigInteger)
    reason: Mapped[str | None] = mapped_column(Text)
    reason_json: Mapped[str | None] = mapped_column(Text)
    progress_done: Mapped[int | None] = mapped_column(BigInteger)
    progress_total: Mapped[int | None] = mapped_column(BigInteger)
    progress_note: Mapped[str | None] = mapped_column(String(500))
    progress_json: Mapped[str | None] = mapped_column(Text)
    created_by: Mapped[str | None] = mapped_column(String(255))
