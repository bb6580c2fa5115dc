"""`job_histograms`: cumulative counts of wait and run times by type and queue, filled by the monitor from `job_metrics`."""

from __future__ import annotations

from sqlalchemy import BigInteger, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import db


class JobHistogram(db.Model):
    """`what` is run or wait; `le` the bucket's upper bound in ms, -1 without one; `sum_ms` of the values that fell into it."""

    __tablename__ = "job_histograms"

    job_type: Mapped[str] = mapped_column(String(255), primary_key=True)
    queue: Mapped[str] = mapped_column(String(255), primary_key=True)
    what: Mapped[str] = mapped_column(String(10), primary_key=True)
    le: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    count: Mapped[int] = mapped_column(BigInteger)
    sum_ms: Mapped[int] = mapped_column(BigInteger)
