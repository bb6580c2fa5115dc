"""`jobs`, the ledger: one row a live job. The final outcome deletes the row; ids are never reused."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Double, Index, Integer, String, Text, func, text
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import db
from app.models.types import Id

LIVE_STATES = ("scheduled", "pending", "held", "blocked", "waiting", "processing")
HOLD_CODES = ("type", "budget", "person", "limit", "rate", "batch", "overlap")
BY_TYPE, BY_BUDGET, BY_PERSON, BY_LIMIT, BY_RATE, BY_BATCH, BY_OVERLAP = HOLD_CODES


# The order of a line: by rank, then by `seat`, which a person gave by moving the row, or else by id.
LINE = "COALESCE(seat, id)"
ORDER = f"rank DESC, {LINE}, id"
ORDER_J = "j.rank DESC, COALESCE(j.seat, j.id), j.id"
PLACE = text("rank DESC"), text(LINE), "id"


def _partial_index(name: str, *columns: object, where: str) -> Index:
    return Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where))


class Job(db.Model):
    """A live job. The columns `*_at` are in whole seconds, as specified; each has a `*_ms` column beside it. Only
    app/ledger writes this table.

    `hold_code` (of HOLD_CODES) says why a row is held; rows are found and freed by it. `over_time` is 1 when the
    time limit of the present claim has passed. `reason` is a sentence for people: no code reads it. `waits` is the
    number of its open edges (job_edge.py); `has_children` is 1 when other jobs may wait for it. `limit_key` names what
    is counted for its limit (job_limit.py). `alone` is 1 after it was lost in a group: it is claimed by itself.
    `seat` is the place among rows of its rank that a person gave it; without one its id counts.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        Index("jobs_queue_index", "queue"),
        _partial_index("jobs_ready_idx", "queue", *PLACE, "available_ms", where="state = 'pending'"),
        _partial_index("jobs_due_idx", "available_ms", where="state = 'scheduled'"),
        _partial_index("jobs_claimed_idx", "worker_id", where="state = 'processing'"),
        _partial_index("jobs_aside_idx", "state", "job_type", where="state IN ('held', 'blocked', 'waiting')"),
        _partial_index("jobs_held_idx", "hold_code", "job_type", where="state = 'held'"),
        _partial_index("jobs_again_idx", "queue", where="round > 1"),
        _partial_index("jobs_turns_idx", "queue", "tenant_id", "rank", where="rank < 0"),
        _partial_index("jobs_batch_idx", "batch_id", "state", where="batch_id IS NOT NULL"),
        _partial_index("jobs_limit_idx", "limit_key", "state", "queue", *PLACE,
                       where="limit_key IS NOT NULL"),
        _partial_index("jobs_limited_idx", "job_type", "limit_key", "queue", *PLACE,
                       where="COALESCE(hold_code, '') IN ('limit', 'rate')"),
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
    seat: Mapped[float | None] = mapped_column(Double)
    worker_id: Mapped[str | None] = mapped_column(String(255))
    claim_no: Mapped[int] = mapped_column(Integer, server_default="0")
    retry_round: Mapped[int] = mapped_column("round", Integer, server_default="1")
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
    hold_code: Mapped[str | None] = mapped_column(String(20))
    over_time: Mapped[int] = mapped_column(Integer, server_default="0")
    progress_done: Mapped[int | None] = mapped_column(BigInteger)
    progress_total: Mapped[int | None] = mapped_column(BigInteger)
    progress_note: Mapped[str | None] = mapped_column(String(500))
    progress_json: Mapped[str | None] = mapped_column(Text)
    created_by: Mapped[str | None] = mapped_column(String(255))
    waits: Mapped[int] = mapped_column(Integer, server_default="0")
    has_children: Mapped[int] = mapped_column(Integer, server_default="0")
    alone: Mapped[int] = mapped_column(Integer, server_default="0")
    batch_id: Mapped[str | None] = mapped_column(String(36))
    limit_key: Mapped[str | None] = mapped_column(String(255))

    @hybrid_property
    def line(self) -> float:
        """Where the row stands among those of its rank."""
        return self.id if self.seat is None else self.seat

    @line.inplace.expression
    @classmethod
    def _line_in_sql(cls) -> Any:
        return func.coalesce(cls.seat, cls.id)

    @classmethod
    def order(cls) -> tuple[Any, ...]:
        """The order in which workers take ready rows of a queue."""
        return cls.rank.desc(), func.coalesce(cls.seat, cls.id), cls.id
