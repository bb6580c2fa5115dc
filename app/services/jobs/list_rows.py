"""Makes the rows of the list: what it reads of `jobs` and `job_history`, with facts of other tables.

columns of a row (of any type and size: other programs write these tables too) -> JobRow, texts cut and redacted
"""

from __future__ import annotations

from collections import namedtuple
from dataclasses import replace

from sqlalchemy import select

from app import registry
from app.extensions import db
from app.models import FailedJob, Job, JobMetric, WorkerHeartbeat
from app.models.types import as_integer, as_text
from app.services.jobs import crew, payloads, waiting, why
from app.services.jobs.views import JobRow
from app.support import privacy
from app.support.clock import now_ms, when
from app.support.messages import cleaned, from_row, translate_stored
from app.support.redaction import printable, redact

MOST_ERROR = 2_000  # characters of an error that a list reads
_ROW = "r.id, r.uuid, r.job_type, r.tenant_id, r.queue, {payload}, r.attempts, r.tries, r.created_ms"
COLUMNS = {
    "l": f"{_ROW}, r.state, substr(r.reason, 1, {MOST_ERROR}), r.reason_json, NULL, r.available_ms, r.reserved_ms, "
         "r.progress_done, r.progress_total",
    "h": f"{_ROW}, r.status, substr(r.error, 1, {MOST_ERROR}), r.error_json, r.finished_ms, NULL, NULL, NULL, NULL"}
# An export shows all arguments, so it reads the whole payload.
PAYLOAD = {False: f"substr(r.payload, 1, {payloads.HEAD})", True: "r.payload"}
# A row as `COLUMNS` reads it. SQLite may hold a value of any type in any column but the id.
Read = namedtuple("Read", "id uuid job_type tenant_id queue payload attempts tries created_ms state error error_json "
                            "finished_ms available_ms reserved_ms progress_done progress_total")


def rows_from(read: list[tuple[str, Read]], whole: bool) -> list[JobRow]:
    """The rows with facts of other tables: wait and run time of the last attempt, whether the job is in the bin."""
    uuids, now = [as_text(row.uuid) for _kind, row in read], now_ms()
    query = select(JobMetric.uuid, JobMetric.wait_ms, JobMetric.processing_time, JobMetric.memory_used)
    query = query.where(JobMetric.uuid.in_(uuids), JobMetric.status != "late")
    last = {uuid: rest for uuid, *rest in db.session.execute(query.order_by(JobMetric.id))}
    deleted = FailedJob.uuid.in_(uuids), FailedJob.deleted_at.is_not(None)
    binned = set(db.session.scalars(select(FailedJob.uuid).where(*deleted)))
    waits = waiting.sentences(uuid for (_kind, row), uuid in zip(read, uuids, strict=True) if row.state == "waiting")
    told = {} if whole else why.of((uuid for (_kind, row), uuid in zip(read, uuids, strict=True)
                                    if row.state in ("pending", "processing")), brief=True)
    running = [uuid for (_kind, row), uuid in zip(read, uuids, strict=True) if row.state == "processing"]
    w = WorkerHeartbeat
    query = select(Job.uuid, w.memory).where(Job.uuid.in_(running), w.worker_id == Job.worker_id)
    used = dict(db.session.execute(query).all()) if running else {}
    rows = [_row(kind, row, whole, now, uuid in binned, waits.get(uuid), used.get(uuid),
                 *last.get(uuid, (None,) * 3))
            for (kind, row), uuid in zip(read, uuids, strict=True)]
    lost = {} if whole else crew.lost(row.uuid for row in rows if row.attempts)
    return [replace(row, why=told[row.uuid].brief if row.uuid in told else None, lost=lost.get(row.uuid, 0))
            for row in rows]


def _row(kind: str, r: Read, whole: bool, now: int, in_bin: bool, waits: str | None, used: int | None,
         waited: int | None, ran: int | None, memory: int | None) -> JobRow:
    job_type, tenant, payload, state, error = map(as_text, (r.job_type, r.tenant_id, r.payload, r.state, r.error))
    payload, error = privacy.shown((payload, error), ("", None))
    error = waits or from_row(error, as_text(r.error_json))
    ready, reserved, done, total = map(as_integer, (r.available_ms, r.reserved_ms, r.progress_done, r.progress_total))
    if state == "pending":
        waited, ran, memory = max(now - (ready or now), 0), None, None
    elif state == "processing" and when(reserved):
        waited, ran, memory = max(reserved - (ready or reserved), 0), max(now - reserved, 0), used
    return JobRow(
        key=f"{kind}{r.id}", uuid=as_text(r.uuid), job_type=job_type[:255], label=registry.label_of(job_type[:255]),
        queue=as_text(r.queue)[:255], tenant_id=tenant and tenant[:255],
        args=payloads.arguments(payload) if whole else None, summary=payloads.headline_argument(payload),
        attempts=as_integer(r.attempts, 0), tries=as_integer(r.tries, 0), state=state,
        error=translate_stored(error and cleaned(error, lambda part: redact(printable(part)))),
        created_at=when(as_integer(r.created_ms)), finished_at=when(as_integer(r.finished_ms)),
        next_at=when(ready) if state == "scheduled" else None, reserved_at=when(reserved),
        percent=min(100 * done // total, 100) if done is not None and total else None,
        live=kind == "l", waited_ms=waited, ran_ms=ran, in_bin=in_bin, why=None, memory=memory)
