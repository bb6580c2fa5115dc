"""Autoscaling for pages: the consumers whose number of workers may change, and the last decisions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from app.extensions import db
from app.models import Consumer, WorkerHeartbeat
from app.services import audit
from app.services.forecast.autoscaler import ACTOR
from app.services.forecast.scaling import NOTED
from app.support.clock import when
from app.support.messages import translate_stored

SHOWN = 10


@dataclass(frozen=True)
class ScaledConsumer:
    """A consumer with `least` to `most` workers for `queue` (names with commas); `running` have not stopped, `wanted`
    should run. `beat_at` is when it was last heard."""

    host: str
    process_id: int
    queue: str
    running: int
    wanted: int
    least: int
    most: int
    beat_at: datetime


def autoscaling(clear_min: int) -> dict[str, Any] | None:
    """{"clear_min", "consumers": [ScaledConsumer], "decisions": [AuditRow], the latest first, at most 10}; None when
    no consumer scales. `clear_min` is WORKERS_CLEAR_MIN."""
    living = (WorkerHeartbeat.consumer_id == Consumer.consumer_id) & (WorkerHeartbeat.status != "stopped")
    running = select(func.count()).where(living).scalar_subquery()
    query = select(Consumer, running).where(Consumer.least < Consumer.most).order_by(Consumer.host, Consumer.process_id)
    found = [ScaledConsumer(c.host, c.process_id, c.queue, n, c.wanted, c.least, c.most, when(c.beat_ms))
             for c, n in db.session.execute(query)]
    rows, _ = audit.log(size=SHOWN, wanted=audit.LogFilter(ACTOR, list(NOTED.values()))) if found else ([], False)
    told = [replace(row, action=translate_stored(row.action), subject=translate_stored(row.subject),
                    result=translate_stored(row.result)) for row in rows]
    return {"clear_min": clear_min, "consumers": found, "decisions": told} if found else None
