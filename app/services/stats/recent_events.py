"""What went wrong lately and mended itself or waits: for the quiet line of the dashboard."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select

from app.extensions import db
from app.models import Job, JobMetric, outcome_stats
from app.support.clock import millis, now_ms, when


@dataclass(frozen=True)
class RecentEvent:
    """`kind` is lost (and rescued, in the last 24 h) or blocked (now); `uuid` of one of the jobs, `at` when it was
    lost."""

    kind: str
    count: int
    uuid: str | None
    at: datetime | None


def recent_events() -> list[RecentEvent]:
    events = []
    lost = outcome_stats.lost(now_ms())
    if lost:
        last = db.session.execute(
            select(JobMetric.uuid, JobMetric.completed_at).where(JobMetric.status == "lost").order_by(JobMetric.id.desc()).limit(1)
        ).first()
        uuid, at = (last.uuid, when(millis(last.completed_at))) if last else (None, None)
        events.append(RecentEvent("lost", lost, uuid, at))
    blocked = db.session.scalar(select(func.count()).select_from(Job).where(Job.state == "blocked"))
    if blocked:
        uuid = db.session.scalar(select(Job.uuid).where(Job.state == "blocked").limit(1))
        events.append(RecentEvent("blocked", blocked, uuid, None))
    return events
