"""`worker_heartbeats`: the workers, with their own reports and the monitor's judgement."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import TIMESTAMP, BigInteger, Index, Integer, String, Text, select, text
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import db
from app.models.types import Id


class WorkerHeartbeat(db.Model):
    """A worker process; the row of a stopped one is kept for a day. `memory` and `memory_start` are in bytes.

    `status` is active (running a job), idle or stopped. `stale` is the monitor's conclusion, never computed from stored
    times. `stop_code` is set when a person has stopped the worker and names its place (ledger/worker_slots.py).
    `reason` is a sentence for people: no code reads it.
    """

    __tablename__ = "worker_heartbeats"
    __table_args__ = (Index("worker_heartbeats_status_idx", "status"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    worker_name: Mapped[str] = mapped_column(String(255), unique=True)
    process_id: Mapped[int] = mapped_column(Integer)
    queue: Mapped[str] = mapped_column(String(255))
    status: Mapped[str] = mapped_column(String(50))
    current_job_id: Mapped[int | None] = mapped_column(Integer)
    current_job_type: Mapped[str | None] = mapped_column(String(255))
    started_at: Mapped[datetime] = mapped_column(TIMESTAMP)
    last_heartbeat: Mapped[datetime] = mapped_column(TIMESTAMP)
    created_at: Mapped[datetime | None] = mapped_column(TIMESTAMP, server_default=text("CURRENT_TIMESTAMP"))
    worker_id: Mapped[str] = mapped_column(String(255), unique=True)
    consumer_id: Mapped[str] = mapped_column(String(255))
    host: Mapped[str] = mapped_column(String(255))
    beat: Mapped[int] = mapped_column(BigInteger, server_default="0")
    stale: Mapped[int] = mapped_column(Integer, server_default="0")
    reason: Mapped[str | None] = mapped_column(Text)
    reason_json: Mapped[str | None] = mapped_column(Text)
    stop_code: Mapped[str | None] = mapped_column(String(20))
    job_uuid: Mapped[str | None] = mapped_column(String(36))
    job_claim: Mapped[int | None] = mapped_column(Integer)
    job_since: Mapped[int | None] = mapped_column(BigInteger)
    held_uuid: Mapped[str | None] = mapped_column(String(36))
    held_claim: Mapped[int | None] = mapped_column(Integer)
    held: Mapped[str | None] = mapped_column(Text)
    memory: Mapped[int | None] = mapped_column(BigInteger)
    memory_start: Mapped[int | None] = mapped_column(BigInteger)
    jobs_done: Mapped[int] = mapped_column(Integer, server_default="0")
    code_version: Mapped[str | None] = mapped_column(String(64))
    revision: Mapped[str | None] = mapped_column(String(40))
    command: Mapped[str | None] = mapped_column(String(20))
    stopped_ms: Mapped[int | None] = mapped_column(BigInteger)

    @property
    def is_stale(self) -> bool:
        """Whether the monitor has written that the worker was silent for 2 minutes."""
        return bool(self.stale) and self.status != "stopped"

    @staticmethod
    def alive():
        """SELECT of the workers that are neither stopped nor stale."""
        return select(WorkerHeartbeat).where(WorkerHeartbeat.status != "stopped", WorkerHeartbeat.stale == 0)

    @staticmethod
    def get_active_workers() -> list[WorkerHeartbeat]:
        """The workers that are neither stopped nor stale, sorted by name."""
        return list(db.session.scalars(WorkerHeartbeat.alive().order_by(WorkerHeartbeat.worker_name)))
