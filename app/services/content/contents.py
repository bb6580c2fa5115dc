"""Contents as plain values for pages, and the report of the rows that an import refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
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


@dataclass(frozen=True)
class ContentView:
    """`body` is its first 300 characters; `attributes` are the other columns of the file, secrets hidden by name."""

    id: int
    tenant_id: str
    reference: str
    title: str
    body: str
    attributes: dict[str, Any]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class RejectedRow:
    """`line` of the file, `reason` in the reader's language, the row's text."""

    line: int
    reason: str
    row: str


@dataclass(frozen=True)
class RejectReport:
    """How many rows an import's report is about: `total` is `rejected` and `repeated`, of which it keeps `kept`.

    `rows` are the first of them.
    """

    total: int
    rejected: int
    repeated: int
    kept: int
    rows: tuple[RejectedRow, ...] = ()

    @property
    def cut(self) -> str | None:
        """What a report says that does not keep all of its rows."""
        if self.kept >= self.total:
            return None
        told = number if has_request_context() else "{:,}".format
        return _("%(kept)s of %(total)s rows are shown: the first. All are counted.",
                 kept=told(self.kept), total=told(self.total))


def list_contents(
    q: str | None = None, tenant: str | None = None, after_id: int | None = None, limit: int = 50
) -> list[ContentView]:
    """The newest contents; the next page begins after the last `id` of this one.

    `q` is looked for in reference and title; `tenant` None means all, "" those without one.
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
    return [ContentView(row.id, row.tenant_id, row.reference, row.title, row.body,
                        redact_json(stored_object(row.attributes)), when(row.created_ms), when(row.updated_ms))
            for row in db.session.execute(query.limit(limit))]


def has_report(uuid: str) -> bool:
    """Whether the import refused at least one row, or had a reference twice."""
    return db.session.scalar(select(ImportReject.id).where(ImportReject.uuid == uuid).limit(1)) is not None


def report_counts(uuid: str) -> RejectReport:
    """The report without its rows."""
    kept = db.session.scalar(select(func.count()).select_from(ImportReject).where(ImportReject.uuid == uuid))
    run = db.session.execute(select(ImportRun.rejected, ImportRun.repeated).where(ImportRun.uuid == uuid)).one_or_none()
    rejected, repeated = run or (kept, 0)
    return RejectReport(max(rejected + repeated, kept), rejected, repeated, kept)


def reject_report(uuid: str, limit: int = 50) -> RejectReport:
    """The report with its first `limit` rows."""
    mine = ImportReject.uuid == uuid
    query = select(ImportReject.line, ImportReject.reason, ImportReject.reason_json, ImportReject.row).where(mine).order_by(ImportReject.line)
    rows = (RejectedRow(r.line, translate_stored(from_row(r.reason, r.reason_json)), r.row) for r in db.session.execute(query.limit(limit)))
    return replace(report_counts(uuid), rows=tuple(rows))


def reject_csv(uuid: str) -> Iterator[str]:
    """The whole report as CSV text, a line at a time; needs the application only when it is called, not while read."""
    counts = report_counts(uuid)
    db.session.rollback()  # the session lives as long as the download
    return write_rows(_report_rows(db.engine, uuid, counts))


def _report_rows(engine: Engine, uuid: str, counts: RejectReport) -> Iterator[tuple]:
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
    if counts.cut:
        yield None, counts.cut, None
