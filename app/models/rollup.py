"""Rollups: outcomes counted by the hour, by the monitor (ledger/rollups.py)."""

from __future__ import annotations

from sqlalchemy import BigInteger, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import db


class RollupType(db.Model):
    """Outcomes by hour (UTC, milliseconds of its start), type and status; times are sums in ms."""

    __tablename__ = "rollup_types"
    __table_args__ = {"sqlite_with_rowid": False}

    hour: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    job_type: Mapped[str] = mapped_column(String(255), primary_key=True)
    status: Mapped[str] = mapped_column(String(50), primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)
    time_ms: Mapped[int] = mapped_column(BigInteger)
    wait_ms: Mapped[int] = mapped_column(BigInteger)


class RollupTenant(db.Model):
    """The same by tenant too; '' stands for jobs without a tenant."""

    __tablename__ = "rollup_tenants"
    __table_args__ = {"sqlite_with_rowid": False}

    hour: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    job_type: Mapped[str] = mapped_column(String(255), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    status: Mapped[str] = mapped_column(String(50), primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)
    time_ms: Mapped[int] = mapped_column(BigInteger)
    wait_ms: Mapped[int] = mapped_column(BigInteger)


class JobMinute(db.Model):
    """Outcomes by the minute, kept 26 hours: what rules and queues are judged by; `time_ms` is the sum of run times."""

    __tablename__ = "job_minutes"

    minute_ms: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    job_type: Mapped[str] = mapped_column(String(255), primary_key=True)
    queue: Mapped[str] = mapped_column(String(255), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    status: Mapped[str] = mapped_column(String(50), primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)
    time_ms: Mapped[int] = mapped_column(BigInteger)


class QueueMinute(db.Model):
    """Depth of each queue at each minute, kept 26 hours."""

    __tablename__ = "queue_minutes"

    minute_ms: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    queue: Mapped[str] = mapped_column(String(255), primary_key=True)
    depth: Mapped[int] = mapped_column(Integer)


class QueueSecond(db.Model):
    """Jobs sent to and ended in each queue in each second, of those that have ended; kept 15 minutes (ledger/pace.py)."""

    __tablename__ = "queue_seconds"

    second_ms: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    queue: Mapped[str] = mapped_column(String(255), primary_key=True)
    sent: Mapped[int] = mapped_column(BigInteger)
    ended: Mapped[int] = mapped_column(BigInteger)
