"""`job_facts`: what lists of finished jobs are filtered and sorted by; `job_texts`: what is searched in them;
`error_groups`: the kinds of errors."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Integer, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import db
from app.models.types import Id

_GROUPED, _LOST = text("error_group IS NOT NULL"), text("lost > 0")
_STALE = text("text IS NULL")


class JobFact(db.Model):
    """Facts of a row of `job_history` (its id), which the monitor copies within a second (services/jobs/facts.py), so
    that no settle pays for these indexes. Times are in ms, `memory` in bytes; they are of the last attempt that began.

    `lost` is the number of attempts that were lost with their worker. `error_group` is the key of `error_groups`.
    """

    __tablename__ = "job_facts"
    __table_args__ = (
        Index("job_facts_group_idx", "error_group", "finished_ms", sqlite_where=_GROUPED, postgresql_where=_GROUPED),
        Index("job_facts_lost_idx", "id", sqlite_where=_LOST, postgresql_where=_LOST),
        Index("job_facts_worker_idx", "worker", "id"),
        Index("job_facts_code_idx", "code_version", "id"),
        Index("job_facts_run_idx", "run_ms", "id"),
        Index("job_facts_wait_idx", "wait_ms", "id"),
        Index("job_facts_memory_idx", "memory", "id"),
        Index("job_facts_uuid_idx", "uuid"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    uuid: Mapped[str] = mapped_column(String(36))
    job_type: Mapped[str] = mapped_column(String(255))
    tenant_id: Mapped[str | None] = mapped_column(String(255))
    status: Mapped[str] = mapped_column(String(50))
    finished_ms: Mapped[int] = mapped_column(BigInteger)
    attempts: Mapped[int] = mapped_column(Integer)
    lost: Mapped[int] = mapped_column(Integer, server_default="0")
    worker: Mapped[str | None] = mapped_column(String(255))
    code_version: Mapped[str | None] = mapped_column(String(64))
    wait_ms: Mapped[int | None] = mapped_column(BigInteger)
    run_ms: Mapped[int | None] = mapped_column(BigInteger)
    memory: Mapped[int | None] = mapped_column(BigInteger)
    error_group: Mapped[str | None] = mapped_column(String(16))


class JobText(db.Model):
    """The folded text of a row of `job_history` (its id) for the search (services/jobs/search_index.py); None when the
    row was changed since."""

    __tablename__ = "job_texts"
    __table_args__ = (Index("job_texts_stale_idx", "id", sqlite_where=_STALE, postgresql_where=_STALE),)

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    text: Mapped[str | None] = mapped_column(Text)


class ErrorGroup(db.Model):
    """A kind of error of a job type: its message without numbers, ids, paths and quoted parts. `first_ms` and `last_ms`
    are of its jobs that failed, also of those whose rows are deleted; `error` is the message of the newest one."""

    __tablename__ = "error_groups"

    error_group: Mapped[str] = mapped_column(String(16), primary_key=True)
    job_type: Mapped[str] = mapped_column(String(255))
    title: Mapped[str] = mapped_column(Text)
    error: Mapped[str] = mapped_column(Text)
    error_json: Mapped[str | None] = mapped_column(Text)
    first_ms: Mapped[int] = mapped_column(BigInteger)
    last_ms: Mapped[int] = mapped_column(BigInteger)
