"""`run_time_models` and `predictions`: what is known of the run times of each type, and what was predicted of jobs."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import db


class RunTimeModel(db.Model):
    """What the outcomes of a job type say of its run times. `model` is the JSON of `forecast/run_times.py`, `learned`
    the
    JSON of its extra `ml` (None without it)."""

    __tablename__ = "run_time_models"

    job_type: Mapped[str] = mapped_column(String(255), primary_key=True)
    model: Mapped[str] = mapped_column(Text)
    learned: Mapped[str | None] = mapped_column(Text)
    at_ms: Mapped[int] = mapped_column(BigInteger)


class Prediction(db.Model):
    """What was predicted of one job at `made_ms`, in ms (times), and what happened: `ended_ms` and `inside` are None
    until the job has ended. `runs` is 1 when it ran already; `learn` the first intervals as JSON when something is to
    be learned from it. `low` and `high` bound the interval that 80 % of the ends should fall into. `average_ms` is the
    end by the mean run time of its type."""

    __tablename__ = "predictions"
    __table_args__ = (Index("predictions_made_idx", "made_ms"), Index("predictions_ended_idx", "ended_ms"))

    uuid: Mapped[str] = mapped_column(String(36), primary_key=True)
    job_type: Mapped[str] = mapped_column(String(255))
    queue: Mapped[str] = mapped_column(String(255))
    made_ms: Mapped[int] = mapped_column(BigInteger)
    begin_low_ms: Mapped[int] = mapped_column(BigInteger)
    begin_ms: Mapped[int] = mapped_column(BigInteger)
    begin_high_ms: Mapped[int] = mapped_column(BigInteger)
    end_low_ms: Mapped[int] = mapped_column(BigInteger)
    end_ms: Mapped[int] = mapped_column(BigInteger)
    end_high_ms: Mapped[int] = mapped_column(BigInteger)
    average_ms: Mapped[int | None] = mapped_column(BigInteger)
    runs: Mapped[int] = mapped_column(server_default="0")
    learn: Mapped[str | None] = mapped_column(Text)
    began_ms: Mapped[int | None] = mapped_column(BigInteger)
    ended_ms: Mapped[int | None] = mapped_column(BigInteger)
    inside: Mapped[int | None]
