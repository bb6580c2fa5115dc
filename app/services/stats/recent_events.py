"""What went wrong lately and mended itself or waits: for the quiet line of the dashboard."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select

from app.extensions import db
from app.models import Job, JobMetric, outcome_stats
from app.support.clock import millis, now_ms, when


def recent_events() -> list[dict[str, Any]]:
    """Rows lost and rescued in the last 24 h, and rows blocked now; newest example each."""
    events = []
    lost = outcome_stats.lost(now_ms())
    if lost:
        last = db.session.execute(
            select(JobMetric.uuid, JobMetric.completed_at).where(JobMetric.status == "lost").order_by(JobMetric.id.desc()).limit(1)
        ).first()
        uuid, at = (last.uuid, when(millis(last.completed_at))) if last else (None, None)
        events.append({"kind": "lost", "count": lost, "uuid": uuid, "at": at})
    blocked = db.session.scalar(select(func.count()).select_from(Job).where(Job.state == "blocked"))
    if blocked:
        uuid = db.session.scalar(select(Job.uuid).where(Job.state == "blocked").limit(1))
        events.append({"kind": "blocked", "count": blocked, "uuid": uuid, "at": None})
    return events
