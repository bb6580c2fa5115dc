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


def summaries(state: str | None = None, limit: int | None = None) -> list[dict[str, Any]]:
    """`uuid, type, queue, state, tenant_id, attempts` of the live jobs, or of those in a state or status."""
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
    names = ("uuid", "type", "queue", "state", "tenant_id", "attempts")
    return [dict(zip(names, row, strict=True)) for row in db.session.execute(query.limit(limit))]


def attempts_of(uuid: str) -> list[dict[str, Any]]:
    """Outcomes of a job's attempts, oldest first; times in ms, memory in bytes."""
    rows = db.session.scalars(select(JobMetric).where(JobMetric.uuid == uuid).order_by(JobMetric.claim_no, JobMetric.id))
    return [
        {
            "attempt": m.attempts, "status": m.status, "worker": m.worker, "round": m.round, "claim_no": m.claim_no,
            "started_at": iso(millis(m.started_at)) if m.started_at else None, "started": when(millis(m.started_at)) if m.started_at else None,
            "finished": when(millis(m.completed_at)), "wait_ms": m.wait_ms, "processing_time": m.processing_time,
            "memory_used": m.memory_used, "error_message": _shown(m.error_message, MOST_ERROR, m.error_json),
            "details": redact_json(stored_object(m.details)),
        }
        for m in rows
    ]


def as_json(uuid: str) -> dict[str, Any] | None:
    """One job as `jobs show --json` prints it, or None."""
    found = find(uuid)
    if found is None:
        return None
    keys = ("attempt", "status", "worker", "started_at", "processing_time", "memory_used", "error_message")
    return {
        "uuid": found["uuid"], "type": found["job_type"], "queue": found["queue"], "state": found["state"],
        "tenant_id": found["tenant_id"], "args": found["args"], "result": found["result"], "error": found["error"], "in_bin": found["in_bin"],
        "attempts": [{key: attempt[key] for key in keys} for attempt in attempts_of(found["uuid"])],
    }


def find(uuid: str) -> dict[str, Any] | None:
    """Everything known of one job, live or finished; None when unknown. Secrets in arguments are hidden by name."""
    keys = keys_of(uuid)
    live = db.session.scalar(select(Job).where(Job.uuid.in_(keys)))
    ended = None if live else db.session.scalar(select(JobHistory).where(JobHistory.uuid.in_(keys)))
    failed = None if live else db.session.scalar(select(FailedJob).where(FailedJob.uuid.in_(keys)))
    row = live or ended or failed
    if row is None:
        return None
    common = {
        "uuid": row.uuid, "job_type": payloads.name_of(row.payload, row.job_type), "queue": row.queue[:255],
        "tenant_id": row.tenant_id and row.tenant_id[:255], "args": payloads.arguments(row.payload), "tries": row.tries,
        "round": row.round, "created_by": row.created_by,
        "created_at": when(row.created_ms), "failed_open": failed is not None and failed.deleted_at is None,
        "in_bin": failed is not None and failed.deleted_at is not None, "live": live is not None,
    }
    common["label"] = registry.label_of(common["job_type"])
    common["known"] = registry.find(common["job_type"]) is not None
    if live:
        return common | {
            "state": live.state, "status": None, "attempts": live.attempts, "result": None,
            "error": _shown(live.reason, MOST_ERROR, live.reason_json), "traceback": None, "finished_at": None,
            "claim_no": live.claim_no, "cancel_requested": bool(live.cancel_requested), "timeout": live.timeout,
            "next_at": when(live.available_ms) if live.state == "scheduled" else None, "reserved_at": when(live.reserved_ms),
            "progress": None if live.progress_done is None
            else {"done": live.progress_done, "total": live.progress_total, "note": from_row(live.progress_note, live.progress_json)},
            **_worker_of(live),
        }
    told = failed if failed and failed.error else ended
    error = _shown(told.error, MOST_ERROR, told.error_json) if told else None
    return common | {
        "state": row.status, "status": row.status, "attempts": ended.attempts if ended else 0, "error": error,
        "result": _result(ended.result if ended else None),
        "traceback": _shown((ended.traceback if ended else None) or (failed.exception if failed else None), -MOST_TRACE),
        "finished_at": when(ended.finished_ms) if ended else (when(millis(failed.failed_at)) if failed and failed.failed_at else None),
        "claim_no": row.claim_no, "cancel_requested": False, "timeout": None, "next_at": None, "reserved_at": None, "progress": None, "worker": None,
    }


def _worker_of(live: Job) -> dict[str, Any]:
    """Name of the worker that runs it, and its memory in bytes."""
    row = db.session.execute(
        select(WorkerHeartbeat.worker_name, WorkerHeartbeat.memory).where(WorkerHeartbeat.worker_id == live.worker_id)
    ).first()
    return {"worker": row and row[0], "memory": row and row[1]}


def log_of(uuid: str) -> list[dict[str, Any]]:
    """Lines a job logged, oldest first."""
    rows = db.session.scalars(select(JobLog).where(JobLog.uuid == uuid).order_by(JobLog.id))
    return [{"at": when(r.at_ms), "level": r.level[:10], "attempt": r.attempt, "source": r.source,
             "text": _shown(r.message, MOST_ERROR, r.message_json), "id": r.id} for r in rows]


def queued(limit: int = SHOWN) -> list[dict[str, Any]]:
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
        {
            "id": r.id, "uuid": r.uuid, "job_type": r.job_type, "label": registry.label_of(r.job_type), "tenant_id": r.tenant_id,
            "summary": payloads.headline_argument(r.head), "queue": r.queue, "state": r.state, "attempts": r.attempts,
            "created_at": when(r.created_ms), "reason": from_row(r.reason, r.reason_json),
        }
        for r in rows
    ]


def failed(limit: int = SHOWN) -> list[dict[str, Any]]:
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
        result.append({
            "id": r.id, "uuid": r.uuid, "job_type": job_type, "label": registry.label_of(job_type), "tenant_id": r.tenant_id, "queue": r.queue,
            "error": _shown(r.error, MOST_BRIEF, r.error_json) or end.strip().rsplit("\n", 1)[-1],
            "exception": end.strip(), "status": r.status,
            "failed_at": when(millis(r.failed_at)) if r.failed_at else None,
        })
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
    """A stored text for a page, without secrets: its first `most` characters, or its last. A Message when its JSON is given."""
    text = from_row(text, stored)
    return text and cleaned(text, lambda part: redact(printable(part[:most] if most > 0 else part[most:])))


def _result(text: str | None) -> Any:
    if text is None or text == "null":
        return None
    value = stored_json(text)
    return _shown(text, MOST_TRACE) if value is None else redact_json(value)  # text: was cut at 64 KB
