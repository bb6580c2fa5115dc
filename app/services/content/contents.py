"""The report of the rows that an import rejected."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from flask import has_request_context
from sqlalchemy import func, select
from sqlalchemy.engine import Engine

from app.extensions import db
from app.integrations.csv_cells import write_rows
from app.models import ImportReject, ImportRun
from app.support.formatting import number
from app.support.messages import _, from_row, translate_stored

STEP = 500
_REJECTS = select(ImportReject.line, ImportReject.reason, ImportReject.reason_json, ImportReject.row)
_REJECTS = _REJECTS.order_by(ImportReject.line)


class RejectedRow(NamedTuple):
    """A rejected row: `line` of the file (from 1), `reason` in the reader's language, `row` as text."""

    line: int
    reason: str
    row: str


@dataclass(frozen=True)
class RejectReport:
    """The report of an import: of `total` rows (`rejected` and `repeated`) it keeps the first `kept`; `rows` are the
    first of these."""

    total: int
    rejected: int
    repeated: int
    kept: int
    rows: tuple[RejectedRow, ...] = ()

    @property
    def cut(self) -> str | None:
        """The sentence of a report that does not keep all of its rows, else None."""
        if self.kept >= self.total:
            return None
        shown = number if has_request_context() else "{:,}".format
        counts = {"kept": shown(self.kept), "total": shown(self.total)}
        return _("%(kept)s of %(total)s rows are shown: the first. All are counted.", **counts)


def has_report(uuid: str) -> bool:
    """Whether the import of a job has rejected or repeated rows."""
    return db.session.scalar(select(ImportReject.id).where(ImportReject.uuid == uuid).limit(1)) is not None


def report_counts(uuid: str) -> RejectReport:
    """The report of the import of a job, without its rows."""
    kept = db.session.scalar(select(func.count()).where(ImportReject.uuid == uuid))
    run = db.session.execute(select(ImportRun.rejected, ImportRun.repeated).where(ImportRun.uuid == uuid)).one_or_none()
    rejected, repeated = run or (kept, 0)
    return RejectReport(max(rejected + repeated, kept), rejected, repeated, kept)


def reject_report(uuid: str, limit: int = 50) -> RejectReport:
    """The report of the import of a job, with its first `limit` rows."""
    found = db.session.execute(_REJECTS.where(ImportReject.uuid == uuid).limit(limit))
    return replace(report_counts(uuid), rows=tuple(map(_rejected, found)))


def reject_csv(uuid: str) -> Iterator[str]:
    """The whole report as lines of CSV. The call needs an application context, reading the lines does not."""
    counts = report_counts(uuid)
    db.session.rollback()  # the session lives as long as the download
    return write_rows(_report_rows(db.engine, uuid, counts))


def _report_rows(engine: Engine, uuid: str, counts: RejectReport) -> Iterator[tuple]:
    """Read 500 rows in each transaction: a slow download must not hold one open, because the WAL could not shrink."""
    yield "line", "reason", "row"
    line, rows = 0, None
    while rows is None or len(rows) == STEP:
        query = _REJECTS.where(ImportReject.uuid == uuid, ImportReject.line > line).limit(STEP)
        with engine.connect().execution_options(begin="BEGIN") as connection:
            rows = connection.execute(query).all()
        yield from map(_rejected, rows)
        line = rows[-1].line if rows else line
    if counts.cut:
        yield None, counts.cut, None


def _rejected(row: Any) -> RejectedRow:
    return RejectedRow(row.line, translate_stored(from_row(row.reason, row.reason_json)), row.row)
