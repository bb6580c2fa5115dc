"""Contents as plain values for pages, and the report of the rows that an import refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import has_request_context
from sqlalchemy import func, or_, select
from sqlalchemy.engine import Engine

from app.extensions import db
from app.integrations.csv_cells import write_rows
from app.models import Content, ImportReject, ImportRun
from app.support.clock import when
from app.support.formatting import number
from app.support.messages import from_row, translate_stored
from app.support.messages import translate as _
from app.support.redaction import redact_json
from app.support.validation import stored_object

SHOWN_BODY = 300
STEP = 500
REPORT_COLUMNS = ("line", "reason", "row")


def list_contents(
    q: str | None = None, tenant: str | None = None, after_id: int | None = None, limit: int = 50
) -> list[dict[str, Any]]:
    """The newest contents; the next page begins after the last `id` of this one.

    `q` is looked for in reference and title; `tenant` None means all, "" those without one.
    `body` is its first 300 characters.
    """
    shown = (Content.id, Content.tenant_id, Content.reference, Content.title, Content.attributes)
    query = select(
        *shown, func.substr(Content.body, 1, SHOWN_BODY).label("body"), Content.created_ms, Content.updated_ms
    ).order_by(Content.id.desc())
    if q:
        wanted = (column.icontains(q, autoescape=True) for column in (Content.reference, Content.title))
        query = query.where(or_(*wanted))
    if tenant is not None:
        query = query.where(Content.tenant_id == tenant)
    if after_id is not None:
        query = query.where(Content.id < after_id)
    return [
        {
            "id": row.id, "tenant_id": row.tenant_id, "reference": row.reference, "title": row.title, "body": row.body,
            "attributes": redact_json(stored_object(row.attributes)),
            "created_at": when(row.created_ms), "updated_at": when(row.updated_ms),
        }
        for row in db.session.execute(query.limit(limit))
    ]


def has_report(uuid: str) -> bool:
    """Whether the import refused at least one row, or had a reference twice."""
    return db.session.scalar(select(ImportReject.id).where(ImportReject.uuid == uuid).limit(1)) is not None


def report_counts(uuid: str) -> dict[str, int]:
    """`total` rows that the report is about (`rejected` and `repeated`), and how many of them it keeps (`kept`)."""
    kept = db.session.scalar(select(func.count()).select_from(ImportReject).where(ImportReject.uuid == uuid))
    run = db.session.execute(select(ImportRun.rejected, ImportRun.repeated).where(ImportRun.uuid == uuid)).one_or_none()
    rejected, repeated = run or (kept, 0)
    return {"total": max(rejected + repeated, kept), "rejected": rejected, "repeated": repeated, "kept": kept}


def reject_report(uuid: str, limit: int = 50) -> dict[str, Any]:
    """The counts, and `rows`: `[{"line", "reason", "row"}, ...]`, the first `limit`, in the reader's language."""
    mine = ImportReject.uuid == uuid
    query = select(ImportReject.line, ImportReject.reason, ImportReject.reason_json, ImportReject.row).where(mine).order_by(ImportReject.line)
    rows = [{"line": row.line, "reason": translate_stored(from_row(row.reason, row.reason_json)), "row": row.row}
            for row in db.session.execute(query.limit(limit))]
    return report_counts(uuid) | {"rows": rows}


def reject_csv(uuid: str) -> Iterator[str]:
    """The whole report as CSV text, a line at a time; needs the application only when it is called, not while read."""
    counts = report_counts(uuid)
    db.session.rollback()  # the session lives as long as the download
    return write_rows(_report_rows(db.engine, uuid, counts))


def _report_rows(engine: Engine, uuid: str, counts: dict[str, int]) -> Iterator[tuple]:
    """500 rows a transaction: a slow download must not hold one open (the WAL could not shrink)."""
    yield REPORT_COLUMNS
    columns, line = (ImportReject.line, ImportReject.reason, ImportReject.reason_json, ImportReject.row), 0
    while True:
        query = select(*columns).where(ImportReject.uuid == uuid, ImportReject.line > line)
        with engine.connect().execution_options(begin="BEGIN") as connection:
            rows = connection.execute(query.order_by(ImportReject.line).limit(STEP)).all()
        yield from ((row.line, translate_stored(from_row(row.reason, row.reason_json)), row.row) for row in rows)
        if len(rows) < STEP:
            break
        line = rows[-1].line
    if counts["kept"] < counts["total"]:
        yield None, cut_sentence(counts), None


def cut_sentence(counts: dict[str, int]) -> str:
    """What a report says that does not keep all of its rows."""
    told = number if has_request_context() else "{:,}".format
    shown = {name: told(counts[name]) for name in ("kept", "total")}
    return _("%(kept)s of %(total)s rows are shown: the first. All are counted.", **shown)
