"""The workers for pages: the worst first, each with its health and the reason for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from app.extensions import db
from app.ledger import worker_slots, workforce
from app.ledger.dialect import SessionExecutor
from app.models import WorkerHeartbeat
from app.support.clock import iso, millis, now_ms, when
from app.support.messages import _, from_row, translate_stored

ORDER = {"unresponsive": 0, "stuck": 1, "watch": 2, "healthy": 3, "stopped": 4}


@dataclass(frozen=True)
class WorkerView:
    """A worker. `health` is one of ORDER, `reason` a sentence that says why; `memory` and `memory_limit` in bytes.
    `grown` is how much of `memory` (bytes) came after its start, `growth_limit` how much may.

    Its job, and `status` (active, idle, stopped), are what the ledger says: a worker may be too busy to report. `queue`
    names its queues with commas; `heartbeat_iso` is `last_heartbeat` as text in UTC.
    """

    id: int
    name: str
    process_id: int
    queue: str
    status: str
    health: str
    reason: str | None
    stale: bool
    command: str | None
    can_start: bool
    current_job_id: int | None
    current_job_uuid: str | None
    current_job_type: str | None
    current_since: datetime | None
    memory: int | None
    memory_limit: int
    grown: int
    growth_limit: int
    jobs_done: int
    last_heartbeat: datetime
    started_at: datetime
    heartbeat_iso: str


_SAME = ("id", "process_id", "queue", "command", "memory", "jobs_done")


def workers(memory_limit_mb: int, seen: workforce.Workforce | None = None) -> list[WorkerView]:
    """At most 200 workers, the worst first; `memory_limit_mb` is how much each may grow after its start. `seen` saves
    another look."""
    now, result = now_ms(), []
    held = (seen or workforce.look(SessionExecutor(db.session))).held
    for w in db.session.scalars(select(WorkerHeartbeat).order_by(WorkerHeartbeat.id.desc()).limit(200)):
        job = held.get(w.worker_id) if w.status != "stopped" else None
        over, limit = workforce.is_over(job, now), memory_limit_mb * 2**20
        result.append(WorkerView(
            **{name: getattr(w, name) for name in _SAME}, name=w.worker_name, grown=grown(w),
            growth_limit=limit, memory_limit=(w.memory_start or 0) + limit,
            status="stopped" if w.status == "stopped" else "active" if job else "idle",
            health="stuck" if over else health(w, limit), reason=reason(w, limit, job, over),
            stale=bool(w.stale), can_start=worker_slots.can_start(w.status, w.stop_code, w.consumer_id, w.host),
            current_job_id=job and job.id, current_job_uuid=job and job.uuid, current_job_type=job and job.job_type,
            current_since=when(job and job.since), last_heartbeat=when(millis(w.last_heartbeat)),
            started_at=when(millis(w.started_at)), heartbeat_iso=iso(millis(w.last_heartbeat))))
    return sorted(result, key=lambda w: ORDER[w.health])


def grown(worker: WorkerHeartbeat) -> int:
    """How much (bytes) a worker has grown since its start."""
    return max((worker.memory or 0) - (worker.memory_start or 0), 0)


def reason(worker: WorkerHeartbeat, growth_limit: int, job: workforce.Held | None, over: bool) -> str | None:
    """A sentence that says why the worker is in its state; None when a stopped one has no reason. It may grow by
    `growth_limit` bytes; `over`: its job has passed its time limit."""
    if worker.status == "stopped" and worker.command == "start":
        return _("Is being started again.")
    if over:
        return translate_stored(workforce.STUCK)
    if worker.reason or worker.status == "stopped":
        return translate_stored(from_row(worker.reason, worker.reason_json))
    if worker.command:
        words = {"quiet": _("Takes no more jobs until resumed."), "stop": _("Stops after its current job."),
                 "retire": _("Ends: autoscaling needs fewer workers."),
                 "kill": _("Is being killed.")}
        return words.get(worker.command, _("Restarts after its current job."))
    if grown(worker) > 0.8 * growth_limit:
        return _("Close to its memory limit, at which it starts anew between jobs.")
    return _("At work.") if job else _("Free, waiting for work.")


def running_code_versions() -> set[str | None]:
    """The code versions (hashes of types and signatures) of the workers that have not stopped."""
    query = select(WorkerHeartbeat.code_version).where(WorkerHeartbeat.status != "stopped")
    return set(db.session.scalars(query.distinct()))


def health(worker: WorkerHeartbeat, growth_limit: int) -> str:
    """healthy, watch (it grew by over 80 % of `growth_limit` bytes, or it has a command to follow, or has not reported
    for 30 s), unresponsive or stopped."""
    if worker.status == "stopped":
        return "stopped"
    if worker.stale:
        return "unresponsive"
    return "watch" if worker.command or worker.reason or grown(worker) > 0.8 * growth_limit else "healthy"
