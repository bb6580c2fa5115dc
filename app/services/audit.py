"""The one door of human actions: who did what, written in the transaction of the change itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from app.extensions import db
from app.models import Audit
from app.support.clock import now_ms, when
from app.support.messages import from_row, to_json
from app.support.validation import parse_uuid


class ActionRefused(Exception):
    """The change did not happen; the text says why. `unknown`: there is no such job; `forbidden`: not from the web."""

    def __init__(self, sentence: str, unknown: bool = False, forbidden: bool = False) -> None:
        super().__init__(sentence)
        self.unknown, self.forbidden = unknown, forbidden


@dataclass(frozen=True)
class AuditRow:
    """Who did what; `uuid` is the subject's when it is a job."""

    id: int
    at: datetime
    actor: str
    action: str
    subject: str
    result: str
    uuid: str | None


def audit(actor: str, action: str, subject: str, result: str) -> None:
    """Note who did what, in the caller's transaction. What is a sentence of ours is given as a Message."""
    db.session.add(Audit(at_ms=now_ms(), actor=actor[:255], action=action, action_json=to_json(action), subject=subject[:255],
                         subject_json=to_json(subject), result=result, result_json=to_json(result)))


def log(before: int | None = None, size: int = 100) -> tuple[list[AuditRow], bool]:
    """Rows of the audit table, the latest first, and whether there are more."""
    query = select(Audit).order_by(Audit.id.desc()).limit(size + 1)
    found = list(db.session.scalars(query if before is None else query.where(Audit.id < before)))
    rows = [AuditRow(r.id, when(r.at_ms), r.actor, from_row(r.action, r.action_json), from_row(r.subject, r.subject_json),
                     from_row(r.result, r.result_json), parse_uuid(r.subject))
            for r in found[:size]]
    return rows, len(found) > size
