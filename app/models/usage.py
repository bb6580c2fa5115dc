"""`usage_hours`: outcomes, times, memory by hour; `machine_minutes`: the machine; `deploys`: when the code changed."""

from __future__ import annotations

from sqlalchemy import BigInteger, Integer, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import db
from app.models.types import Id

# The names of a scope by one look-up each: a scan would read all hours of all of them, with their histograms.
NAMES = """WITH RECURSIVE names(name) AS (SELECT MIN(name) FROM usage_hours WHERE scope = :scope UNION ALL
 SELECT (SELECT MIN(u.name) FROM usage_hours u WHERE u.scope = :scope AND u.name > n.name) FROM names n
 WHERE n.name IS NOT NULL) """


class UsageHour(db.Model):
    """Outcomes of one hour (its start in ms, UTC) of a `name`: of a type, tenant or worker, as `scope` says.

    `busy_ms` is the run time of all attempts. `waits`, `runs` (ms) and `memory` (bytes) are histograms
    (support/sketch.py); `heaviest` is JSON: [[bytes, uuid], ...].
    """

    __tablename__ = "usage_hours"
    __table_args__ = {"sqlite_with_rowid": False}

    scope: Mapped[str] = mapped_column(String(10), primary_key=True)
    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    hour: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    completed: Mapped[int] = mapped_column(BigInteger, server_default="0")
    failed: Mapped[int] = mapped_column(BigInteger, server_default="0")
    attempts: Mapped[int] = mapped_column(BigInteger, server_default="0")
    busy_ms: Mapped[int] = mapped_column(BigInteger, server_default="0")
    waits: Mapped[bytes | None] = mapped_column(LargeBinary)
    runs: Mapped[bytes | None] = mapped_column(LargeBinary)
    memory: Mapped[bytes | None] = mapped_column(LargeBinary)
    heaviest: Mapped[str | None] = mapped_column(Text)


class MachineMinute(db.Model):
    """The machine in one minute. `cpu` is in tenths of a percent of all cores, the rest in bytes; `oldest_ms` is how
    long the oldest ready job of all queues had waited. Kept for 32 days."""

    __tablename__ = "machine_minutes"

    minute_ms: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    cpu: Mapped[int | None] = mapped_column(Integer)
    memory: Mapped[int | None] = mapped_column(BigInteger)
    memory_total: Mapped[int | None] = mapped_column(BigInteger)
    disk_free: Mapped[int | None] = mapped_column(BigInteger)
    disk_total: Mapped[int | None] = mapped_column(BigInteger)
    database: Mapped[int | None] = mapped_column(BigInteger)
    wal: Mapped[int | None] = mapped_column(BigInteger)
    ready: Mapped[int] = mapped_column(BigInteger, server_default="0")
    oldest_ms: Mapped[int | None] = mapped_column(BigInteger)


class Deploy(db.Model):
    """A moment from which other code runs. `actor` is who marked it, None when the monitor saw another `version` of the
    workers (of the form of job_metrics.code_version)."""

    __tablename__ = "deploys"
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    at_ms: Mapped[int] = mapped_column(BigInteger)
    text: Mapped[str] = mapped_column(String(255))
    actor: Mapped[str | None] = mapped_column(String(255))
    version: Mapped[str | None] = mapped_column(String(64))
