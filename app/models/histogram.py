"""`job_histograms`: counts of wait and run times by type and queue; the monitor fills it from `job_metrics`."""

from __future__ import annotations

from sqlalchemy import BigInteger, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import db


class JobHistogram(db.Model):
    """One bucket. `what` is run or wait; `le` is its upper bound in ms, -1 without one; counts are not cumulative."""

    __tablename__ = "job_histograms"

    job_type: Mapped[str] = mapped_column(String(255), primary_key=True)
    queue: Mapped[str] = mapped_column(String(255), primary_key=True)
    what: Mapped[str] = mapped_column(String(10), primary_key=True)
    le: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    count: Mapped[int] = mapped_column(BigInteger)
    sum_ms: Mapped[int] = mapped_column(BigInteger)
