"""The log of what people and autoscaling do: who did what, written in the transaction of the change itself."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from app.extensions import db
from app.ledger.executor import Executor
from app.ledger.rows import insert
from app.models import Audit
from app.models.audit import AuditJob
from app.support.clock import now_ms, when
from app.support.messages import from_row, to_json
from app.support.validation import parse_uuid

_INSERT = insert("audit", "at_ms actor action action_json subject subject_json result result_json".split())


class ActionRefused(Exception):
    """The change did not happen; the text says why. `unknown`: its subject does not exist; `forbidden`: the web may
    not do it."""

    def __init__(self, sentence: str, unknown: bool = False, forbidden: bool = False) -> None:
        super().__init__(sentence)
        self.unknown, self.forbidden = unknown, forbidden


@dataclass(frozen=True)
class AuditRow:
    """An action of a person; `uuid` is the subject when that is a job, else None."""

    id: int
    at: datetime
    actor: str
    action: str
    subject: str
    result: str
    uuid: str | None


def audit(actor: str, action: str, subject: str, result: str, touched: Sequence[tuple[str, str | None]] = ()) -> int:
    """Add a row to the log, in the caller's transaction; returns its id. A sentence of ours is given as a Message.
    `touched`: the jobs that it changed, each with JSON for an undo or None."""
    row = Audit(
        at_ms=now_ms(), actor=actor[:255], action=action, action_json=to_json(action), subject=subject[:255],
        subject_json=to_json(subject), result=result, result_json=to_json(result))
    db.session.add(row)
    db.session.flush()
    db.session.add_all(AuditJob(audit_id=row.id, uuid=uuid, was=was) for uuid, was in touched)
    return row.id


def write(tx: Executor, actor: str, action: str, subject: str, result: str) -> None:
    """As `audit`, in the open transaction of a connection."""
    tx.execute(_INSERT, at_ms=tx.now(), actor=actor[:255], action=action, action_json=to_json(action),
               subject=subject[:255], subject_json=to_json(subject), result=result, result_json=to_json(result))


def commit_audited(actor: str, action: str, subject: str, result: str) -> None:
    """Add a row to the log and commit it with the change."""
    audit(actor, action, subject, result)
    db.session.commit()


def refuse_unless(found: Any, refusal: str) -> Any:
    """What was found. Rolls back and raises ActionRefused (unknown) when that is nothing."""
    if not found:
        db.session.rollback()
        raise ActionRefused(refusal, unknown=True)
    return found


def row_of(model: Any, number: int, refusal: str) -> Any:
    """The row of a model by its number. Raises ActionRefused (unknown) when there is none."""
    return refuse_unless(db.session.get(model, number) if 0 < number < 2**62 else None, refusal)


def log(before: int | None = None, size: int = 100, actor: str | None = None,
        actions: Collection[str] = ()) -> tuple[list[AuditRow], bool]:
    """At most `size` rows before the id `before`, the latest first, and whether there are more; only those of an
    `actor`, and only `actions` (which have an index), when given."""
    query = select(Audit).order_by(Audit.id.desc()).limit(size + 1)
    if before is not None:
        query = query.where(Audit.id < before)
    if actor:
        query = query.where(Audit.actor == actor)
    found = list(db.session.scalars(query.where(Audit.action.in_(actions)) if actions else query))
    return [_shown(row) for row in found[:size]], len(found) > size


def _shown(row: Audit) -> AuditRow:
    texts = (from_row(getattr(row, name), getattr(row, f"{name}_json")) for name in ("action", "subject", "result"))
    return AuditRow(row.id, when(row.at_ms), row.actor, *texts, parse_uuid(row.subject))
