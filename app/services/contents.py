"""Contents as plain values for pages, and the report of the rows that an import refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.engine import Engine

from app.clock import when
from app.extensions import db
from app.integrations.csv_files import write_rows
from app.models import Content, ImportReject
from app.redact import redact_json
from app.strict import stored_object

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
    """Whether the import refused at least one row."""
    return db.session.scalar(select(ImportReject.id).where(ImportReject.uuid == uuid).limit(1)) is not None


def reject_report(uuid: str, limit: int = 50) -> dict[str, Any]:
    """`{"total": n, "rows": [{"line", "reason", "row"}, ...]}`, the first `limit` by line."""
    mine = ImportReject.uuid == uuid
    query = select(ImportReject.line, ImportReject.reason, ImportReject.row).where(mine).order_by(ImportReject.line)
    rows = [dict(row) for row in db.session.execute(query.limit(limit)).mappings()]
    return {"total": db.session.scalar(select(func.count()).select_from(ImportReject).where(mine)), "rows": rows}


def reject_csv(uuid: str) -> Iterator[str]:
    """The whole report as CSV text, a line at a time; needs the application only when it is called, not while read."""
    return write_rows(_report_rows(db.engine, uuid))


def _report_rows(engine: Engine, uuid: str) -> Iterator[tuple]:
    """500 rows a transaction: a slow download must not hold one open (the WAL could not shrink)."""
    yield REPORT_COLUMNS
    columns, line = (ImportReject.line, ImportReject.reason, ImportReject.row), 0
    while True:
        query = select(*columns).where(ImportReject.uuid == uuid, ImportReject.line > line)
        with engine.connect().execution_options(begin="BEGIN") as connection:
            rows = connection.execute(query.order_by(ImportReject.line).limit(STEP)).all()
        yield from rows
        if len(rows) < STEP:
            return
        line = rows[-1].line
