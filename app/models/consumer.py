"""`consumers`: what each consumer should run; `worker_minutes`: how busy the workers were."""

from __future__ import annotations

from sqlalchemy import BigInteger, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import db


class Consumer(db.Model):
    """A consumer that has not ended. `wanted` is the number of workers that should run now, between `least` and `most`;
    a place that a person has emptied does not count. `beat_ms` is the last time at which its scheduler wrote.

    `stale` is the monitor's conclusion, with the sentence `reason`. `note` is the last decision of autoscaling as JSON
    of a message, `note_ms` its time.
    """

    __tablename__ = "consumers"

    consumer_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    host: Mapped[str] = mapped_column(String(255))
    process_id: Mapped[int] = mapped_column(Integer)
    queue: Mapped[str] = mapped_column(String(255))
    wanted: Mapped[int] = mapped_column(Integer)
    least: Mapped[int] = mapped_column(Integer)
    most: Mapped[int] = mapped_column(Integer)
    started_ms: Mapped[int] = mapped_column(BigInteger)
    beat_ms: Mapped[int] = mapped_column(BigInteger)
    stale: Mapped[int] = mapped_column(Integer, server_default="0")
    reason: Mapped[str | None] = mapped_column(Text)
    reason_json: Mapped[str | None] = mapped_column(Text)
    note: Mapped[str | None] = mapped_column(Text)
    note_json: Mapped[str | None] = mapped_column(Text)
    note_ms: Mapped[int | None] = mapped_column(BigInteger)


class WorkerMinute(db.Model):
    """The workers in one minute, as sums over `samples` samples of the monitor: those that should run, those that ran,
    those that had a job. Kept for 32 days."""

    __tablename__ = "worker_minutes"

    minute_ms: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    samples: Mapped[int] = mapped_column(Integer)
    wanted: Mapped[int] = mapped_column(BigInteger)
    alive: Mapped[int] = mapped_column(BigInteger)
    busy: Mapped[int] = mapped_column(BigInteger)
