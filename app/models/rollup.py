"""Rollups: outcomes and queue depths counted by hour, minute or second; the monitor fills them (rollups.py and
queue_rates.py of services/jobs, ledger/counts.py)."""

from __future__ import annotations

from sqlalchemy import BigInteger, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import db


class RollupType(db.Model):
    """Outcomes by hour (its start in ms, UTC), type and status. `time_ms` and `wait_ms` are sums in ms."""

    __tablename__ = "rollup_types"
    __table_args__ = {"sqlite_with_rowid": False}

    hour: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    job_type: Mapped[str] = mapped_column(String(255), primary_key=True)
    status: Mapped[str] = mapped_column(String(50), primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)
    time_ms: Mapped[int] = mapped_column(BigInteger)
    wait_ms: Mapped[int] = mapped_column(BigInteger)


class RollupTenant(db.Model):
    """As `RollupType`, by tenant too; '' means no tenant."""

    __tablename__ = "rollup_tenants"
    __table_args__ = {"sqlite_with_rowid": False}

    hour: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    job_type: Mapped[str] = mapped_column(String(255), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    status: Mapped[str] = mapped_column(String(50), primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)
    time_ms: Mapped[int] = mapped_column(BigInteger)
    wait_ms: Mapped[int] = mapped_column(BigInteger)


class RollupSent(db.Model):
    """Finished jobs by the hour (its start in ms, UTC) in which they were sent; '' means no tenant."""

    __tablename__ = "rollup_sent"
    __table_args__ = {"sqlite_with_rowid": False}

    hour: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    job_type: Mapped[str] = mapped_column(String(255), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    queue: Mapped[str] = mapped_column(String(255), primary_key=True)
    sent: Mapped[int] = mapped_column(BigInteger)


class JobMinute(db.Model):
    """Outcomes by minute, kept for 26 hours, for alert rules and queue figures. `time_ms` is the sum of run times."""

    __tablename__ = "job_minutes"

    minute_ms: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    job_type: Mapped[str] = mapped_column(String(255), primary_key=True)
    queue: Mapped[str] = mapped_column(String(255), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    status: Mapped[str] = mapped_column(String(50), primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)
    time_ms: Mapped[int] = mapped_column(BigInteger)


class QueueMinute(db.Model):
    """Depth of each queue at each minute, and how long its oldest ready job had waited; kept for 26 hours."""

    __tablename__ = "queue_minutes"

    minute_ms: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    queue: Mapped[str] = mapped_column(String(255), primary_key=True)
    depth: Mapped[int] = mapped_column(Integer)
    oldest_ms: Mapped[int | None] = mapped_column(BigInteger)


class QueueSecond(db.Model):
    """Finished jobs by the second in which they were sent and ended, by queue; kept for 15 minutes."""

    __tablename__ = "queue_seconds"

    second_ms: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    queue: Mapped[str] = mapped_column(String(255), primary_key=True)
    sent: Mapped[int] = mapped_column(BigInteger)
    ended: Mapped[int] = mapped_column(BigInteger)
