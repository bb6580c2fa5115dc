"""Looking jobs up: live, finished or failed, as plain values for pages, JSON and the CLI."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import case, func, select

from app import registry
from app.config import QUEUES
from app.extensions import db
from app.models import FailedJob, Job, JobHistory, JobLog, JobMetric, WorkerHeartbeat
from app.models.job import LIVE_STATES
from app.models.job_metric import FINAL
from app.services.jobs import payloads
from app.services.jobs.views import (
    AttemptView,
    FailedJobView,
    JobSummary,
    JobView,
    LogLine,
    Progress,
    QueuedJob,
)
from app.support.clock import iso, millis, when
from app.support.messages import cleaned, from_row
from app.support.messages import translate as _
from app.support.redaction import printable, redact, redact_json
from app.support.validation import ValidationError, parse_uuid, stored_json, stored_object

SHOWN = 50
BEGINNING, MOST_NAMED = re.compile(r"[0-9a-f]{8,31}"), 5
MOST_ERROR, MOST_BRIEF = 8_192, 2_000  # characters of an error that a job's page and a list read
MOST_TRACE, MOST_END = 65_536, 1_000  # and of a traceback, from its end


def state_of(uuid: str) -> str | None:
    """Live state or final status of a job; None when it is unknown."""
    uuid = parse_uuid(uuid) or ""
    live = db.session.scalar(select(Job.state).where(Job.uuid == uuid))
    return live or db.session.scalar(select(JobHistory.status).where(JobHistory.uuid == uuid)) or db.session.scalar(
        select(FailedJob.status).where(FailedJob.uuid == uuid, FailedJob.deleted_at.is_(None))
    )


def called(text: str) -> str:
    """The uuid that a person means by it or by its first eight digits or more; the text itself when no job begins so.

    Raises ValidationError, which names them, when several do.
    """
    digits = text.strip().lower().replace("-", "")
    if parse_uuid(text) or not BEGINNING.fullmatch(digits):
        return parse_uuid(text) or text
    start = "-".join(part for part in (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]) if part)
    found: set[str] = set()
    for table in (Job, JobHistory, FailedJob):
        query = select(table.uuid).where(table.uuid >= start, table.uuid < start + "g").order_by(table.uuid)
        found.update(db.session.scalars(query.limit(MOST_NAMED)))
    if len(found) > 1:
        more = "" if len(found) < MOST_NAMED else " or more"
        raise ValidationError(_("%(n)s jobs begin with %(text)s: %(names)s. Type more of it.",
                                n=f"{len(found)}{more}", text=text, names=", ".join(sorted(found))))
    return found.pop() if found else text


def in_bin(uuid: str) -> bool:
    return db.session.scalar(select(FailedJob.id).where(FailedJob.uuid == uuid, FailedJob.deleted_at.is_not(None))) is not None


def summaries(state: str | None = None, limit: int | None = None) -> list[JobSummary]:
    """The live jobs, or those in a state or status; raises ValidationError for an unknown one."""
    if state is not None and state not in (*LIVE_STATES, *FINAL):
        raise ValidationError(_("Unknown state %(name)s. Use %(known)s.", name=repr(state[:40]), known=", ".join((*LIVE_STATES, *FINAL))))
    if state in FINAL:
        columns = (JobHistory.uuid, JobHistory.job_type, JobHistory.queue, JobHistory.status, JobHistory.tenant_id, JobHistory.attempts)
        query = select(*columns).where(JobHistory.status == state).order_by(JobHistory.id.desc())
    else:
        columns = (Job.uuid, Job.job_type, Job.queue, Job.state, Job.tenant_id, Job.attempts)
        query = select(*columns).order_by(Job.id)
        if state:
            query = query.where(Job.state == state)
    return [JobSummary(*row) for row in db.session.execute(query.limit(limit))]


def attempts_of(uuid: str) -> list[AttemptView]:
    """Outcomes of a job's attempts, oldest first."""
    rows = db.session.scalars(select(JobMetric).where(JobMetric.uuid == uuid).order_by(JobMetric.claim_no, JobMetric.id))
    return [
        AttemptView(
            attempt=m.attempts, status=m.status, worker=m.worker, retry_round=m.retry_round, claim_no=m.claim_no,
            started_at=iso(millis(m.started_at)) if m.started_at else None,
            started=when(millis(m.started_at)) if m.started_at else None, finished=when(millis(m.completed_at)),
            wait_ms=m.wait_ms, processing_time=m.processing_time, memory_used=m.memory_used,
            error_message=_shown(m.error_message, MOST_ERROR, m.error_json), details=redact_json(stored_object(m.details)))
        for m in rows
    ]


def as_json(uuid: str) -> dict[str, Any] | None:
    """One job as `jobs show --json` prints it, or None."""
    found = find(uuid)
    if found is None:
        return None
    keys = ("attempt", "status", "worker", "started_at", "processing_time", "memory_used", "error_message")
    return {
        "uuid": found.uuid, "type": found.job_type, "queue": found.queue, "state": found.state,
        "tenant_id": found.tenant_id, "args": found.args, "result": found.result, "error": found.error,
        "in_bin": found.in_bin,
        "attempts": [{key: getattr(attempt, key) for key in keys} for attempt in attempts_of(found.uuid)],
    }


def find(uuid: str) -> JobView | None:
    """Everything known of one job, live or finished; None when unknown."""
    keys = keys_of(uuid)
    live = db.session.scalar(select(Job).where(Job.uuid.in_(keys)))
    ended = None if live else db.session.scalar(select(JobHistory).where(JobHistory.uuid.in_(keys)))
    failed = None if live else db.session.scalar(select(FailedJob).where(FailedJob.uuid.in_(keys)))
    row = live or ended or failed
    if row is None:
        return None
    job_type = payloads.name_of(row.payload, row.job_type)
    return JobView(
        uuid=row.uuid, job_type=job_type, label=registry.label_of(job_type), known=registry.find(job_type) is not None,
        queue=row.queue[:255], tenant_id=row.tenant_id and row.tenant_id[:255], args=payloads.arguments(row.payload),
        tries=row.tries, retry_round=row.retry_round, created_by=row.created_by, created_at=when(row.created_ms),
        live=live is not None, failed_open=failed is not None and failed.deleted_at is None,
        in_bin=failed is not None and failed.deleted_at is not None, claim_no=row.claim_no,
        **(_living(live) if live else _ended(ended, failed)))


def _living(job: Job) -> dict[str, Any]:
    """What a JobView says of a live job."""
    w = WorkerHeartbeat
    worker = db.session.execute(select(w.worker_name, w.memory).where(w.worker_id == job.worker_id)).first()
    return {
        "state": job.state, "status": None, "attempts": job.attempts, "error": _shown(job.reason, MOST_ERROR, job.reason_json),
        "cancel_requested": bool(job.cancel_requested), "timeout": job.timeout,
        "next_at": when(job.available_ms) if job.state == "scheduled" else None, "reserved_at": when(job.reserved_ms),
        "progress": None if job.progress_done is None
        else Progress(job.progress_done, job.progress_total, from_row(job.progress_note, job.progress_json)),
        "worker": worker and worker.worker_name, "memory": worker and worker.memory,
    }


def _ended(ended: JobHistory | None, failed: FailedJob | None) -> dict[str, Any]:
    """What a JobView says of a job that has ended: as its history has it, of a foreign row as `failed_jobs` has it."""
    status = ended.status if ended else failed.status
    finished = when(ended.finished_ms) if ended else when(millis(failed.failed_at)) if failed.failed_at else None
    told = failed if failed and failed.error else ended
    traceback = (ended.traceback if ended else None) or (failed.exception if failed else None)
    return {
        "state": status, "status": status, "attempts": ended.attempts if ended else 0,
        "error": told and _shown(told.error, MOST_ERROR, told.error_json), "result": _result(ended.result if ended else None),
        "traceback": _shown(traceback, -MOST_TRACE), "finished_at": finished,
    }


def log_of(uuid: str) -> list[LogLine]:
    """Lines a job logged, oldest first."""
    rows = db.session.scalars(select(JobLog).where(JobLog.uuid == uuid).order_by(JobLog.id))
    return [LogLine(when(r.at_ms), r.level[:10], r.attempt, _shown(r.message, MOST_ERROR, r.message_json), r.source, r.id)
            for r in rows]


def queued(limit: int = SHOWN) -> list[QueuedJob]:
    """The first live jobs in the order in which they will run: running, ready by band and rank, then the rest."""
    rows: list[Any] = []
    columns = (Job.id, Job.uuid, Job.job_type, Job.tenant_id, payloads.head(Job.payload).label("head"), Job.queue, Job.state, Job.attempts,
               Job.created_ms, Job.reason, Job.reason_json)
    ready = ((Job.state == "pending", Job.queue == q) for q in QUEUES)
    groups = [(Job.state == "processing",), *ready, (Job.state == "scheduled",), (Job.state.in_(("held", "blocked", "waiting")),)]
    orders = [(Job.id,), *(((Job.rank.desc(), Job.id),) * 3), (Job.available_ms,), (Job.id,)]
    for conditions, order in zip(groups, orders, strict=True):
        if len(rows) < limit:
            rows += db.session.execute(select(*columns).where(*conditions).order_by(*order).limit(limit - len(rows)))
    return [
        QueuedJob(
            id=r.id, uuid=r.uuid, job_type=r.job_type, label=registry.label_of(r.job_type), tenant_id=r.tenant_id,
            summary=payloads.headline_argument(r.head), queue=r.queue, state=r.state, attempts=r.attempts,
            created_at=when(r.created_ms), reason=from_row(r.reason, r.reason_json))
        for r in rows
    ]


def failed(limit: int = SHOWN) -> list[FailedJobView]:
    """The newest failed jobs that wait for a decision; of each traceback the end, which says what happened."""
    length = func.length(FailedJob.exception)
    columns = (FailedJob.id, FailedJob.uuid, FailedJob.status, FailedJob.failed_at, *(func.substr(c, 1, 255).label(c.key) for c in (
        FailedJob.queue, FailedJob.job_type, FailedJob.tenant_id)), payloads.head(FailedJob.payload).label("head"),
        func.substr(FailedJob.error, 1, MOST_BRIEF).label("error"), FailedJob.error_json,
        func.substr(FailedJob.exception, case((length > MOST_END, length - MOST_END + 1), else_=1)).label("end"))
    rows = db.session.execute(select(*columns).where(FailedJob.deleted_at.is_(None)).order_by(FailedJob.id.desc()).limit(limit))
    result = []
    for r in rows:
        job_type, end = payloads.name_of(r.head, r.job_type), _shown(r.end, MOST_END) or ""
        result.append(FailedJobView(
            id=r.id, uuid=r.uuid, job_type=job_type, label=registry.label_of(job_type), tenant_id=r.tenant_id,
            queue=r.queue, error=_shown(r.error, MOST_BRIEF, r.error_json) or end.strip().rsplit("\n", 1)[-1], exception=end.strip(),
            status=r.status, failed_at=when(millis(r.failed_at)) if r.failed_at else None))
    return result


def raw_arguments(uuid: str) -> dict[str, Any]:
    """The arguments as the job gets them, nothing hidden: for a form that sends them again."""
    for model in (Job, FailedJob, JobHistory):
        if (text := db.session.scalar(select(model.payload).where(model.uuid == uuid))) is not None:
            return payloads.raw(text)
    return {}


def keys_of(uuid: str) -> list[str]:
    """What a job's row may have for this uuid: as we write it, or as another program has."""
    return list(dict.fromkeys((parse_uuid(uuid) or uuid, uuid)))


def _shown(text: str | None, most: int, stored: str | None = None) -> str | None:
    """A stored text for a page, without secrets: its first `most` characters, or its last. A Message when its JSON is
    given."""
    text = from_row(text, stored)
    return text and cleaned(text, lambda part: redact(printable(part[:most] if most > 0 else part[most:])))


def _result(text: str | None) -> Any:
    if text is None or text == "null":
        return None
    value = stored_json(text)
    return _shown(text, MOST_TRACE) if value is None else redact_json(value)  # text: was cut at 64 KB
