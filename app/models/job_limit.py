"""`job_limits`: how many jobs of a type run at once and start in a time; `rate_starts`: the last starts of a key."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import db
from app.models.types import Id


class JobLimit(db.Model):
    """The limits of a type: as the code declares them (written by each worker that starts), and as a person has set
    them (`set_*`, which come first; 0 is "no limit"). A rate is `rate_count` starts in `rate_ms`. `per` is "type",
    "tenant" or "args.NAME": jobs with the same value share a key; `per_default` is the value of a job without this
    argument. With `rate_per` "type" the starts are those of the whole type. `is_keyed` is 0 until the rows that stood
    there before have their keys."""

    __tablename__ = "job_limits"

    job_type: Mapped[str] = mapped_column(String(255), primary_key=True)
    per: Mapped[str] = mapped_column(String(100), server_default="type")
    per_default: Mapped[str | None] = mapped_column(Text)
    rate_per: Mapped[str] = mapped_column(String(100), server_default="")
    is_keyed: Mapped[int] = mapped_column(Integer, server_default="0")
    concurrency: Mapped[int | None] = mapped_column(BigInteger)
    rate_count: Mapped[int | None] = mapped_column(BigInteger)
    rate_ms: Mapped[int | None] = mapped_column(BigInteger)
    set_concurrency: Mapped[int | None] = mapped_column(BigInteger)
    set_rate_count: Mapped[int | None] = mapped_column(BigInteger)
    set_rate_ms: Mapped[int | None] = mapped_column(BigInteger)
    set_at_ms: Mapped[int | None] = mapped_column(BigInteger)
    set_by: Mapped[str | None] = mapped_column(String(255))


class RateStart(db.Model):
    """One of the last starts of a key, at most as many as its rate allows."""

    __tablename__ = "rate_starts"
    __table_args__ = (Index("rate_starts_idx", "limit_key", "at_ms"),)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    limit_key: Mapped[str] = mapped_column(String(255))
    at_ms: Mapped[int] = mapped_column(BigInteger)
