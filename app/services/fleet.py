"""The workers as people see them: worst first, state in words with the reason."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from app.clock import iso, millis, when
from app.extensions import db
from app.models import WorkerHeartbeat

ORDER = {"unresponsive": 0, "watch": 1, "healthy": 2, "stopped": 3}


def workers(memory_limit_mb: int) -> list[dict[str, Any]]:
    """All workers kept, worst first; memory in bytes, times as aware datetimes."""
    rows = db.session.scalars(select(WorkerHeartbeat).order_by(WorkerHeartbeat.id.desc()).limit(200))
    result = []
    for w in rows:
        limit = (w.memory_start or 0) + memory_limit_mb * 2**20
        result.append({
            "id": w.id, "name": w.worker_name, "process_id": w.process_id, "queue": w.queue, "status": w.status,
            "health": health(w, limit), "reason": w.reason, "stale": bool(w.stale), "command": w.command,
            "current_job_id": w.current_job_id, "current_job_uuid": w.job_uuid, "current_job_type": w.current_job_type,
            "current_since": when(w.job_since), "memory": w.memory, "memory_limit": limit, "jobs_done": w.jobs_done,
            "last_heartbeat": when(millis(w.last_heartbeat)), "started_at": when(millis(w.started_at)),
            "heartbeat_iso": iso(millis(w.last_heartbeat)),
        })
    return sorted(result, key=lambda r: ORDER[r["health"]])


def codes() -> set[str | None]:
    """Hashes of types and signatures that the living workers run."""
    return set(db.session.scalars(select(WorkerHeartbeat.code_version).where(WorkerHeartbeat.status != "stopped").distinct()))


def health(worker: WorkerHeartbeat, memory_limit: int) -> str:
    """healthy, watch (over 80 % of its memory limit or asked to restart), unresponsive or stopped."""
    if worker.status == "stopped":
        return "stopped"
    if worker.stale:
        return "unresponsive"
    return "watch" if worker.command or (worker.memory or 0) > 0.8 * memory_limit else "healthy"
