"""`job_metrics`: one row an outcome of an attempt. The scopes are as specified; the aggregates read the rollups."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import TIMESTAMP, BigInteger, Index, Integer, String, Text, select, text
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import db
from app.models import outcome_stats
from app.models.types import Id
from app.support.clock import DAY_MS, naive, now_ms

FINAL = ("completed", "failed", "timeout", "cancelled")
_FINAL_SQL = text("status IN ('completed', 'failed', 'timeout', 'cancelled')")


class JobMetric(db.Model):
    """An outcome. Final ones are completed, failed, timeout, cancelled; those of an attempt are retried, lost, late and
    released (handed back uncounted, as its worker ended). `code_version` is that of its worker.

    (uuid, claim_no, status) is unique. A unique partial index on (uuid, round) over the final statuses guarantees one
    final outcome a round. `processing_time` and `wait_ms` are in ms, `memory_used` in bytes.
    """

    __tablename__ = "job_metrics"
    __table_args__ = (
        Index("job_metrics_type_status_idx", "job_type", "status"),
        Index("job_metrics_tenant_idx", "tenant_id"),
        Index("job_metrics_completed_idx", "completed_at"),
        Index("job_metrics_claim_key", "uuid", "claim_no", "status", unique=True),
        Index("job_metrics_final_key", "uuid", "round", unique=True,
              sqlite_where=_FINAL_SQL, postgresql_where=_FINAL_SQL),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    job_type: Mapped[str] = mapped_column(String(255))
    tenant_id: Mapped[str | None] = mapped_column(String(255))
    status: Mapped[str] = mapped_column(String(50))
    processing_time: Mapped[int] = mapped_column(Integer)
    memory_used: Mapped[int | None] = mapped_column(BigInteger().with_variant(Integer, "sqlite"))
    attempts: Mapped[int] = mapped_column(Integer)
    error_message: Mapped[str | None] = mapped_column(Text)
    error_json: Mapped[str | None] = mapped_column(Text)
    details: Mapped[str | None] = mapped_column("metadata", Text)
    completed_at: Mapped[datetime] = mapped_column(TIMESTAMP)
    created_at: Mapped[datetime | None] = mapped_column(TIMESTAMP, server_default=text("CURRENT_TIMESTAMP"))
    uuid: Mapped[str] = mapped_column(String(36))
    retry_round: Mapped[int] = mapped_column("round", Integer)
    claim_no: Mapped[int] = mapped_column(Integer)
    queue: Mapped[str] = mapped_column(String(255))
    worker: Mapped[str | None] = mapped_column(String(255))
    started_at: Mapped[datetime | None] = mapped_column(TIMESTAMP)
    wait_ms: Mapped[int | None] = mapped_column(BigInteger)
    code_version: Mapped[str | None] = mapped_column(String(64))
    traceback: Mapped[str | None] = mapped_column(Text)

    @classmethod
    def completed(cls):
        """SELECT of the outcomes of completed jobs."""
        return select(cls).where(cls.status == "completed")

    @classmethod
    def failed(cls):
        """SELECT of the final failures: failed or timeout."""
        return select(cls).where(cls.status.in_(outcome_stats.FAILURES))

    @classmethod
    def by_type(cls, job_type: str):
        """SELECT of the outcomes of one job type."""
        return select(cls).where(cls.job_type == job_type)

    @classmethod
    def by_tenant(cls, tenant_id: str):
        """SELECT of the outcomes of one tenant."""
        return select(cls).where(cls.tenant_id == tenant_id)

    @classmethod
    def last_24_hours(cls):
        """SELECT of the outcomes completed, failed and timeout of the last 24 hours."""
        return select(cls).where(cls.completed_at >= naive(now_ms() - DAY_MS), cls.status.in_(outcome_stats.COUNTED))

    @staticmethod
    def get_success_rate(job_type: str | None = None) -> float | None:
        """Percentage (0 to 100) of completed among the final outcomes of the last 24 h; None without any."""
        return outcome_stats.day_totals(now_ms(), job_type).success_rate

    @staticmethod
    def get_average_processing_time(job_type: str | None = None) -> float | None:
        """Mean run time in ms of the jobs completed in the last 24 h; None without any."""
        return outcome_stats.day_totals(now_ms(), job_type).average_ms

    @staticmethod
    def get_failures_by_type() -> dict[str, int]:
        """{job type: final failures of the last 24 h}, only types with failures."""
        now = now_ms()
        return {t: sums.failed for t, sums in outcome_stats.by_type(now - DAY_MS, now + 1).items() if sums.failed}
