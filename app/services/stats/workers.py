"""The workers as people see them: worst first, state in words with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from app.extensions import db
from app.ledger import worker_slots
from app.models import Job, WorkerHeartbeat
from app.support.clock import iso, millis, now_ms, when
from app.support.messages import from_row, translate_stored
from app.support.messages import translate as _

ORDER = {"unresponsive": 0, "stuck": 1, "watch": 2, "healthy": 3, "stopped": 4}


@dataclass(frozen=True)
class WorkerView:
    """A worker: `memory` and `memory_limit` in bytes, `reason` a sentence that says why it is in its state of `health`.

    `health` is one of ORDER; `queue` names its queues with commas; `heartbeat_iso` is `last_heartbeat` as text in UTC.
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
    jobs_done: int
    last_heartbeat: datetime
    started_at: datetime
    heartbeat_iso: str


def workers(memory_limit_mb: int) -> list[WorkerView]:
    """All workers kept, worst first."""
    job = (Job.uuid == WorkerHeartbeat.job_uuid) & (Job.worker_id == WorkerHeartbeat.worker_id)
    query = select(WorkerHeartbeat, Job.timeout).outerjoin(Job, job)
    result = []
    for w, timeout in db.session.execute(query.order_by(WorkerHeartbeat.id.desc()).limit(200)):
        over = timeout is not None and w.job_since is not None and now_ms() - w.job_since > timeout * 1000
        limit = (w.memory_start or 0) + memory_limit_mb * 2**20
        result.append(WorkerView(
            id=w.id, name=w.worker_name, process_id=w.process_id, queue=w.queue, status=w.status,
            health="stuck" if over and w.status != "stopped" else health(w, limit),
            reason=reason(w, limit, over), stale=bool(w.stale), command=w.command,
            can_start=worker_slots.can_start(w.status, w.stop_code, w.consumer_id, w.host),
            current_job_id=w.current_job_id, current_job_uuid=w.job_uuid, current_job_type=w.current_job_type,
            current_since=when(w.job_since), memory=w.memory, memory_limit=limit, jobs_done=w.jobs_done,
            last_heartbeat=when(millis(w.last_heartbeat)), started_at=when(millis(w.started_at)),
            heartbeat_iso=iso(millis(w.last_heartbeat))))
    return sorted(result, key=lambda w: ORDER[w.health])


def reason(worker: WorkerHeartbeat, memory_limit: int, over: bool) -> str | None:
    """One sentence that says why it is in this state."""
    if worker.status == "stopped" and worker.command == "start":
        return _("Is being started again.")
    if worker.reason or worker.status == "stopped":
        return translate_stored(from_row(worker.reason, worker.reason_json))
    if over:
        return _("Its job is past its time limit; 30 s after that the worker is killed and the job gets its timeout.")
    if worker.command:
        words = {"quiet": _("Takes no more jobs until resumed."), "stop": _("Stops after its current job."), "kill": _("Is being killed.")}
        return words.get(worker.command, _("Restarts after its current job."))
    if (worker.memory or 0) > 0.8 * memory_limit:
        return _("Close to its memory limit, at which it starts anew between jobs.")
    return _("At work.") if worker.job_uuid else _("Free, waiting for work.")


def running_code_versions() -> set[str | None]:
    """Hashes of types and signatures that the living workers run."""
    return set(db.session.scalars(select(WorkerHeartbeat.code_version).where(WorkerHeartbeat.status != "stopped").distinct()))


def health(worker: WorkerHeartbeat, memory_limit: int) -> str:
    """healthy, watch (over 80 % of its memory limit or asked to restart), unresponsive or stopped."""
    if worker.status == "stopped":
        return "stopped"
    if worker.stale:
        return "unresponsive"
    return "watch" if worker.command or (worker.memory or 0) > 0.8 * memory_limit else "healthy"
