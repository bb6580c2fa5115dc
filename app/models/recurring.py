"""`recurring`: the state of each declared schedule; `recurring_runs`: one row a run."""

from __future__ import annotations

from sqlalchemy import BigInteger, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import db


class Recurring(db.Model):
    """A schedule. The monitor has checked it up to `looked_ms`. `missed_ms` is the last minute that no monitor checked
    in time and that was not caught up; `missed_at_ms` is when this was found."""

    __tablename__ = "recurring"

    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    enabled: Mapped[int] = mapped_column(Integer, server_default="1")
    since_ms: Mapped[int] = mapped_column(BigInteger)
    looked_ms: Mapped[int] = mapped_column(BigInteger)
    missed_ms: Mapped[int | None] = mapped_column(BigInteger)
    missed_at_ms: Mapped[int | None] = mapped_column(BigInteger)
    changed_by: Mapped[str | None] = mapped_column(String(255))


class Schedule(db.Model):
    """A schedule made on the page, or, with `job_type` NULL, another `cron` for the one of this name in the code.
    `args` is JSON; `overlap` is skip, wait or allow."""

    __tablename__ = "schedules"

    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    cron: Mapped[str] = mapped_column(String(255))
    job_type: Mapped[str | None] = mapped_column(String(255))
    args: Mapped[str] = mapped_column(Text, server_default="{}")
    queue: Mapped[str | None] = mapped_column(String(255))
    tenant_id: Mapped[str | None] = mapped_column(String(255))
    overlap: Mapped[str] = mapped_column(String(10), server_default="skip")
    catch_up: Mapped[int] = mapped_column(Integer, server_default="0")
    changed_by: Mapped[str] = mapped_column(String(255))
    changed_ms: Mapped[int] = mapped_column(BigInteger)


class RecurringRun(db.Model):
    """A due minute. The primary key guarantees one run a minute, even with several monitors. "Run now" writes one at
    the time (ms) of the click, with `why` "hand".

    Without a uuid no job ran; `why` is "missed" (no monitor looked in time), "merged" (a later run stands for it),
    "broken" (no job could be written), or None: it was left out, as an earlier one had not ended.
    """

    __tablename__ = "recurring_runs"

    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    minute_utc: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    uuid: Mapped[str | None] = mapped_column(String(36))
    created_ms: Mapped[int] = mapped_column(BigInteger)
    why: Mapped[str | None] = mapped_column(String(10))
