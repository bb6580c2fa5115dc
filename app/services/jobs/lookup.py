"""Reads jobs, live, finished or failed, as plain values for pages, JSON and the command line."""

from __future__ import annotations

import re
from datetime import datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import case, func, select

from app import registry
from app.config import QUEUES
from app.extensions import db
from app.models import FINAL, LIVE_STATES, FailedJob, Job, JobHistory, JobLog, JobMetric, WorkerHeartbeat
from app.services.jobs import crew, limits, payloads, waiting, why
from app.services.jobs.views import AttemptView, FailedJobView, JobSummary, JobView, LogLine, Progress, QueuedJob
from app.support import privacy
from app.support.clock import iso, millis, when
from app.support.messages import cleaned, from_row, translate as _
from app.support.redaction import printable, redact, redact_json
from app.support.validation import ValidationError, parse_uuid, stored_json, stored_object

SHOWN = 50
BEGINNING, MOST_NAMED = re.compile(r"[0-9a-f]{8,31}"), 5
MOST_ERROR, MOST_BRIEF = 8_192, 2_000  # characters of an error: on the page of a job, in a list
MOST_TRACE, MOST_END = 65_536, 1_000  # characters of a traceback, counted from its end: the same
ATTEMPT_KEYS = ("attempt", "status", "worker", "started_at", "processing_time", "memory_used", "error_message",
                "code_version")


def state_of(uuid: str) -> str | None:
    """Live state or final status of a job; None when the job is unknown."""
    key = parse_uuid(uuid) or ""
    queries = (select(Job.state).where(Job.uuid == key), select(JobHistory.status).where(JobHistory.uuid == key),
               select(FailedJob.status).where(FailedJob.uuid == key, FailedJob.deleted_at.is_(None)))
    return next(filter(None, map(db.session.scalar, (*queries, queries[0]))), None)  # it may be retried meanwhile


def called(text: str, columns: tuple[Any, ...] = (Job.uuid, JobHistory.uuid, FailedJob.uuid)) -> str:
    """The full uuid in one of the columns for a uuid or its first eight or more digits; the text itself when no uuid
    begins with it.

    Raises ValidationError, which names them, when several uuids begin with it.
    """
    digits = text.strip().lower().replace("-", "")
    if parse_uuid(text) or not BEGINNING.fullmatch(digits):
        return parse_uuid(text) or text
    start = "-".join(part for part in (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]) if part)
    found: set[str] = set()
    for uuid in (*columns, columns[0]):  # a job that is retried meanwhile goes from the last back to the first
        query = select(uuid).where(uuid >= start, uuid < start + "g").order_by(uuid)
        found.update(db.session.scalars(query.limit(MOST_NAMED)))
    if len(found) > 1:
        number, names = f"{len(found)}{' or more' if len(found) >= MOST_NAMED else ''}", ", ".join(sorted(found))
        raise ValidationError(_("%(n)s ids begin with %(text)s: %(names)s. Type more of it.",
                                n=number, text=text, names=names))
    return found.pop() if found else text


def in_bin(uuid: str) -> bool:
    """Whether the job failed and was put into the bin."""
    query = select(FailedJob.id).where(FailedJob.uuid == uuid, FailedJob.deleted_at.is_not(None))
    return db.session.scalar(query) is not None


def summaries(state: str | None = None, limit: int | None = None) -> list[JobSummary]:
    """All live jobs, oldest first, or the jobs with a state, or the newest with a final status.

    Raises ValidationError for an unknown state.
    """
    known = (*LIVE_STATES, *FINAL)
    if state is not None and state not in known:
        names = {"name": repr(state[:40]), "known": ", ".join(known)}
        raise ValidationError(_("Unknown state %(name)s. Use %(known)s.", **names))
    ended = state in FINAL
    table, column = (JobHistory, JobHistory.status) if ended else (Job, Job.state)
    query = select(table.uuid, table.job_type, table.queue, column, table.tenant_id, table.attempts)
    if state:
        query = query.where(column == state)
    rows = db.session.execute(query.order_by(table.id.desc() if ended else table.id).limit(limit))
    return [JobSummary(*row) for row in rows]


def attempts_of(uuid: str) -> list[AttemptView]:
    """The outcomes of a job's attempts, oldest first."""
    copied = ("status", "worker", "retry_round", "claim_no", "wait_ms", "processing_time", "memory_used")
    query = select(JobMetric).where(JobMetric.uuid == uuid).order_by(JobMetric.claim_no, JobMetric.id)
    return [
        AttemptView(
            attempt=m.attempts, **{name: getattr(m, name) for name in copied},
            started_at=iso(millis(m.started_at)) if m.started_at else None, started=_when(m.started_at),
            finished=_when(m.completed_at), error_message=_shown(m.error_message, MOST_ERROR, m.error_json),
            details=redact_json(stored_object(m.details)), code_version=m.code_version and m.code_version[:64],
            traceback=_shown(m.traceback, -MOST_TRACE))
        for m in db.session.scalars(query)]


def as_json(uuid: str) -> dict[str, Any] | None:
    """One job as `jobs show --json` prints it; None when it is unknown. `hidden`: the reader sees no data of it."""
    found = find(uuid)
    if found is None:
        return None
    planned = why.NOTHING if found.status or not (now := why.one(found.uuid)) else now.plain()
    copied = ("queue", "state", "tenant_id", "args", "result", "error", "in_bin")
    hidden = {"hidden": True} if privacy.hidden() else {}
    attempts = [{key: getattr(attempt, key) for key in ATTEMPT_KEYS} for attempt in attempts_of(found.uuid)]
    return {"uuid": found.uuid, "type": found.job_type, **{key: getattr(found, key) for key in copied},
            "attempts": attempts, **waiting.kin(found.uuid), **planned, **hidden}


def find(uuid: str) -> JobView | None:
    """All that is known of one job, live or finished; None when the job is unknown."""
    keys = parse_uuid(uuid) or uuid, uuid  # another program may have written it as given
    live = db.session.scalar(select(Job).where(Job.uuid.in_(keys)))
    ended = None if live else db.session.scalar(select(JobHistory).where(JobHistory.uuid.in_(keys)))
    failed = None if live else db.session.scalar(select(FailedJob).where(FailedJob.uuid.in_(keys)))
    if not (live or ended or failed):  # it may have been retried between these
        live = db.session.scalar(select(Job).where(Job.uuid.in_(keys)))
    row = live or ended or failed
    if row is None:
        return None
    job_type = payloads.name_of(row.payload, row.job_type)
    return JobView(
        uuid=row.uuid, job_type=job_type, label=registry.label_of(job_type), known=registry.find(job_type) is not None,
        queue=row.queue[:255], tenant_id=row.tenant_id and row.tenant_id[:255], args=payloads.arguments(row.payload),
        tries=row.tries, retry_round=row.retry_round, created_by=row.created_by, created_at=when(row.created_ms),
        batch_id=row.batch_id, live=live is not None, failed_open=failed is not None and failed.deleted_at is None,
        in_bin=failed is not None and failed.deleted_at is not None, claim_no=row.claim_no,
        lost=crew.lost([row.uuid]).get(row.uuid, 0),
        **(_living(live) if live else _ended(ended, failed)))


def _living(job: Job) -> dict[str, Any]:
    """The fields of a JobView that come from a live row."""
    w, note = WorkerHeartbeat, from_row(job.progress_note, job.progress_json)
    worker = db.session.execute(select(w.worker_name, w.memory).where(w.worker_id == job.worker_id)).first()
    return {
        "state": job.state, "status": None, "attempts": job.attempts, "cancel_requested": bool(job.cancel_requested),
        "error": waiting.sentence_of(job.uuid) if job.state == "waiting" else waiting.also(
            _shown(job.reason, MOST_ERROR, job.reason_json), job.uuid if job.state == "held" and job.waits else None),
        "timeout": job.timeout,
        "next_at": when(job.available_ms) if job.state == "scheduled" else None, "reserved_at": when(job.reserved_ms),
        "progress": None if job.progress_done is None else Progress(job.progress_done, job.progress_total, note),
        "worker": worker and worker.worker_name, "memory": worker and worker.memory,
        "hold_code": job.hold_code if job.state == "held" else None, "limit": limits.sentences(job.job_type)}


def _ended(ended: JobHistory | None, failed: FailedJob | None) -> dict[str, Any]:
    """The fields of a JobView of a job that has ended. A row of another program is in `failed_jobs` only."""
    status = ended.status if ended else failed.status
    source = failed if failed and failed.error else ended
    traceback = (ended.traceback if ended else None) or (failed.exception if failed else None)
    return {
        "state": status, "status": status, "attempts": ended.attempts if ended else 0,
        "error": source and _shown(source.error, MOST_ERROR, source.error_json),
        "result": _result(ended.result if ended else None), "traceback": _shown(traceback, -MOST_TRACE),
        "finished_at": when(ended.finished_ms) if ended else _when(failed.failed_at)}


def _when(moment: datetime | None) -> datetime | None:
    """A TIMESTAMP as an aware datetime; None stays None."""
    return when(millis(moment)) if moment else None


def log_of(uuid: str) -> list[LogLine]:
    """The lines that a job logged, oldest first."""
    query = select(JobLog).where(JobLog.uuid == uuid).order_by(JobLog.id)
    return [LogLine(when(r.at_ms), r.level[:10], r.attempt, _shown(r.message, MOST_ERROR, r.message_json), r.source,
                    r.id, r.claim_no) for r in db.session.scalars(query)]


def lines_of(uuid: str) -> dict[int, int]:
    """How many lines each claim of a job logged."""
    query = select(JobLog.claim_no, func.count()).where(JobLog.uuid == uuid).group_by(JobLog.claim_no)
    return dict(db.session.execute(query).all())


def queued(limit: int = SHOWN) -> list[QueuedJob]:
    """The first live jobs in the order in which they will run: running, ready by queue and rank, then the rest."""
    rows: list[Any] = []
    columns = (Job.id, Job.uuid, Job.job_type, Job.tenant_id, payloads.head(Job.payload).label("head"), Job.queue,
               Job.state, Job.attempts, Job.created_ms, Job.reason, Job.reason_json)
    ready = [((Job.state == "pending", Job.queue == queue), Job.order()) for queue in QUEUES]
    groups = [((Job.state == "processing",), (Job.id,)), *ready, ((Job.state == "scheduled",), (Job.available_ms,)),
              ((Job.state.in_(("held", "blocked", "waiting")),), (Job.id,))]
    for conditions, order in groups:
        if len(rows) < limit:
            rows += db.session.execute(select(*columns).where(*conditions).order_by(*order).limit(limit - len(rows)))
    waits = waiting.sentences(r.uuid for r in rows if r.state == "waiting")
    lost = crew.lost(r.uuid for r in rows if r.attempts)
    return [
        QueuedJob(
            id=r.id, uuid=r.uuid, job_type=r.job_type, label=registry.label_of(r.job_type), tenant_id=r.tenant_id,
            summary=payloads.headline_argument(r.head), queue=r.queue, state=r.state, attempts=r.attempts,
            created_at=when(r.created_ms), reason=waits.get(r.uuid) or from_row(r.reason, r.reason_json),
            lost=lost.get(r.uuid, 0))
        for r in rows]


def failed(limit: int = SHOWN, batch_id: str | None = None) -> list[FailedJobView]:
    """The newest failed jobs, of all or of a batch, that wait for a decision, each with the end of its traceback, which
    names the error."""
    f, length = FailedJob, func.length(FailedJob.exception)
    short = (func.substr(column, 1, 255).label(column.key) for column in (f.queue, f.job_type, f.tenant_id))
    columns = (f.id, f.uuid, f.status, f.failed_at, f.error_json, *short, payloads.head(f.payload).label("head"),
               func.substr(f.error, 1, MOST_BRIEF).label("error"),
               func.substr(f.exception, case((length > MOST_END, length - MOST_END + 1), else_=1)).label("end"))
    query = select(*columns).where(f.deleted_at.is_(None), *([f.batch_id == batch_id] if batch_id else []))
    query = query.order_by(f.id.desc()).limit(limit)
    result = []
    for r in db.session.execute(query):
        job_type, end = payloads.name_of(r.head, r.job_type), (_shown(r.end, MOST_END) or "").strip()
        result.append(FailedJobView(
            id=r.id, uuid=r.uuid, job_type=job_type, label=registry.label_of(job_type), tenant_id=r.tenant_id,
            queue=r.queue, error=_shown(r.error, MOST_BRIEF, r.error_json) or end.rsplit("\n", 1)[-1], exception=end,
            status=r.status, failed_at=_when(r.failed_at)))
    return result


def raw_arguments(uuid: str) -> dict[str, Any]:
    """The arguments as the job gets them, with secrets, for a form that sends them again; {} for an unknown job."""
    for model in (Job, FailedJob, JobHistory):
        if (text := db.session.scalar(select(model.payload).where(model.uuid == uuid))) is not None:
            return payloads.raw(text)
    return {}


def version(uuid: str) -> str:
    """What an edit form keeps of a job, to notice that a retry or another edit overtook it; '' without such a job."""
    row = db.session.scalar(select(FailedJob).where(FailedJob.uuid == uuid, FailedJob.deleted_at.is_(None)))
    return version_of(row or db.session.scalar(select(Job).where(Job.uuid == uuid)))


def version_of(row: Job | FailedJob | None) -> str:
    """The version of a row: its table, round, claims and arguments."""
    seen = row and f"{isinstance(row, Job)} {row.retry_round} {row.claim_no} {row.payload}"
    return sha256(seen.encode("utf-8", "replace")).hexdigest()[:20] if seen else ""


def _shown(text: str | None, most: int, stored: str | None = None) -> str | None:
    """A stored text for a page, without secrets: its first `most` characters, or its last ones when `most` is
    negative. `stored` is the JSON of a Message, which is translated."""
    text = from_row(privacy.shown(text, None), stored)
    return text and cleaned(text, lambda part: redact(printable(part[:most] if most > 0 else part[most:])))


def _result(text: str | None) -> Any:
    if text is None or text == "null" or privacy.hidden():
        return None
    value = stored_json(text)
    return _shown(text, MOST_TRACE) if value is None else redact_json(value)  # no JSON: it was cut at 64 KB
