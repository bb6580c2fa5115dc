"""The log of what people and autoscaling do: who did what, written in the transaction of the change itself."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import and_, func, or_, select, update

from app.config import QUEUES
from app.extensions import db
from app.ledger import undo
from app.ledger.dialect import SessionExecutor
from app.ledger.executor import Executor
from app.ledger.rows import insert
from app.models import Audit
from app.models.audit import AuditJob
from app.models.types import as_text
from app.support import privacy
from app.support.clock import now_ms, when
from app.support.messages import Message, from_row, to_json
from app.support.validation import parse_uuid

_INSERT = insert("audit", "at_ms actor action action_json subject subject_json result result_json".split())
_NOTE = insert("audit_jobs", ("audit_id", "uuid", "was"), "DO NOTHING")


class ActionRefused(Exception):
    """The change did not happen; the text says why. `unknown`: its subject does not exist; `forbidden`: the web may
    not do it."""

    def __init__(self, sentence: str, unknown: bool = False, forbidden: bool = False) -> None:
        super().__init__(sentence)
        self.unknown, self.forbidden = unknown, forbidden


@dataclass(frozen=True)
class AuditRow:
    """An action of a person; `uuid` is the subject when that is a job, else None. `jobs` is 0, 1 or 2 (or more): how
    many jobs it is known to have touched, `job` the first of them; `undo`: some of them can be put back."""

    id: int
    at: datetime
    actor: str
    action: str
    subject: str
    result: str
    uuid: str | None
    jobs: int = 0
    job: str | None = None
    undo: bool = False


# Readers who see no data see the subjects of these actions, those that are a queue or a type, and results of numbers:
# other subjects and results may name contents, searches, files and errors.
_NAMED = re.compile("worker|schedule|switch|rule|alert|silence|channel|account|role|password|sign|session|limit|budget"
                    "|recurring")
_NETWORK = re.compile("[0-9a-f:.]+/[0-9]+|unknown|many networks")
_PLAIN = re.compile(f"(?:type:.*|{'|'.join(QUEUES)})$")


# Their actor is a network, which readers who see no data do not see.
FROM_NETWORKS = ("sign-in failed", "password right, code missing")


def _only_numbers(text: str | None) -> bool:
    values = text.values.items() if type(text) is Message else [("", text)]
    return all(type(value) in (int, float) or name in ("queue", "time") or (
        type(value) is Message and _only_numbers(value)) for name, value in values)


@dataclass(frozen=True)
class LogFilter:
    """Which rows of the log: parts are None when not set. `since` and `until` are in ms (`until` excluded); `job` is a
    uuid or its first digits."""

    actor: str | None = None
    actions: Collection[str] = ()
    since: int | None = None
    until: int | None = None
    job: str | None = None

    def conditions(self) -> Iterator[Any]:
        """As conditions of SQL. Rows of older versions name their one job as subject only."""
        a, j = Audit, AuditJob
        if self.actor:
            yield a.actor == self.actor
            if privacy.hidden():
                yield a.action.not_in(FROM_NETWORKS)
        if self.actions:
            yield a.action.in_(self.actions)
        if self.since is not None:
            yield a.at_ms >= self.since
        if self.until is not None:
            yield a.at_ms < self.until
        if self.job:
            last = self.job + "g"  # follows every digit
            yield or_(and_(a.subject >= self.job, a.subject < last, func.length(a.subject) == 36),
                      a.id.in_(select(j.audit_id).where(j.uuid >= self.job, j.uuid < last)))


EVERY = LogFilter()
UNDO_DAYS = 7  # then the log forgets what an undo needs (instance/sweeps.py)
# One step of the index for each name, however long the log is.
_ACTORS = """WITH RECURSIVE names (name) AS (SELECT MIN(actor) FROM audit UNION ALL
 SELECT (SELECT MIN(actor) FROM audit WHERE actor > name) FROM names WHERE name IS NOT NULL)
 SELECT name FROM names WHERE name IS NOT NULL LIMIT :most"""
UNDOABLE = (*undo.PUT_BACK, *undo.OF_BIN, "place")


def audit(actor: str, action: str, subject: str, result: str, touched: Sequence[tuple[str, str | None]] = ()) -> int:
    """Add a row to the log, in the caller's transaction; returns its id. A sentence of ours is given as a Message.
    `touched`: the jobs that it changed, each with JSON for an undo or None."""
    row = Audit(
        at_ms=now_ms(), actor=actor[:255], action=action, action_json=to_json(action), subject=subject[:255],
        subject_json=to_json(subject), result=result, result_json=to_json(result))
    db.session.add(row)
    db.session.flush()
    note(SessionExecutor(db.session), row.id, touched)
    return row.id


def amend(audit_id: int, result: str, touched: Sequence[tuple[str, str | None]] = ()) -> None:
    """Give a row of the log another result, and further jobs that it changed, in the caller's transaction."""
    db.session.execute(update(Audit).where(Audit.id == audit_id).values(result=result, result_json=to_json(result)))
    note(SessionExecutor(db.session), audit_id, touched)


def note(tx: Executor, audit_id: int, touched: Sequence[tuple[str, str | None]]) -> None:
    """Write, in the open transaction, that an entry of the log has touched these jobs."""
    tx.execute_many(_NOTE, [{"audit_id": audit_id, "uuid": uuid, "was": was} for uuid, was in touched])


def write(tx: Executor, actor: str, action: str, subject: str, result: str) -> None:
    """As `audit`, in the open transaction of a connection."""
    tx.execute(_INSERT, at_ms=tx.now(), actor=actor[:255], action=action, action_json=to_json(action),
               subject=subject[:255], subject_json=to_json(subject), result=result, result_json=to_json(result))


def commit_audited(actor: str, action: str, subject: str, result: str) -> None:
    """Add a row to the log and commit it with the change."""
    audit(actor, action, subject, result)
    db.session.commit()


def refuse_unless(found: Any, refusal: str, unknown: bool = True) -> Any:
    """What was found. Rolls back and raises ActionRefused when that is nothing."""
    if not found:
        db.session.rollback()
        raise ActionRefused(refusal, unknown=unknown)
    return found


def row_of(model: Any, number: int, refusal: str) -> Any:
    """The row of a model by its number. Raises ActionRefused (unknown) when there is none."""
    return refuse_unless(db.session.get(model, number) if 0 < number < 2**62 else None, refusal)


def log(before: int | None = None, size: int = 100, wanted: LogFilter = EVERY) -> tuple[list[AuditRow], bool]:
    """At most `size` rows before the id `before`, the latest first, and whether there are more."""
    query = select(Audit).where(*wanted.conditions()).order_by(Audit.id.desc()).limit(size + 1)
    found = list(db.session.scalars(query if before is None else query.where(Audit.id < before)))
    return _shown(found[:size]), len(found) > size


def of_job(uuid: str, since: int, actions: Collection[str], most: int = 200) -> list[AuditRow]:
    """The latest rows about a job, oldest first: those that name it among their jobs, and those of `actions` (which
    have an index by time) since `since` (ms) with the job as subject, as older versions wrote them."""
    of_jobs = Audit.id.in_(select(AuditJob.audit_id).where(AuditJob.uuid == uuid))
    older = and_(Audit.action.in_(actions), Audit.at_ms >= since, Audit.subject == uuid)
    found = {}
    for condition in (of_jobs, older):
        rows = db.session.scalars(select(Audit).where(condition).order_by(Audit.id.desc()).limit(most))
        found |= {row.id: row for row in rows}
    return _shown([found[key] for key in sorted(found)])


def actors(most: int = 200) -> list[str]:
    """Names of those who stand in the log, sorted; without networks for readers who see no data."""
    names = [as_text(row[0]) or "" for row in SessionExecutor(db.session).fetch_all(_ACTORS, most=most)]
    return [name for name in names if not _NETWORK.fullmatch(name)] if privacy.hidden() else names


def _shown(rows: list[Audit]) -> list[AuditRow]:
    """The rows with their jobs: each looked up by the primary key, however many there are."""
    j, ids = AuditJob, [row.id for row in rows]
    first, last, back = (select(what).where(j.audit_id == Audit.id, *more).correlate(Audit).scalar_subquery()
                         for what, more in ((func.min(j.uuid), ()), (func.max(j.uuid), ()),
                                            (func.min(j.uuid), (j.was.is_not(None),))))
    jobs, undone = {}, set()
    if ids:
        jobs = {id_: ends for id_, *ends in db.session.execute(select(Audit.id, first, last).where(Audit.id.in_(ids)))}
        may = [row.id for row in rows if row.action in UNDOABLE]
        undone = {id_ for id_, one in db.session.execute(select(Audit.id, back).where(Audit.id.in_(may))) if one}
    return [_row(row, *jobs.get(row.id, (None, None)), row.id in undone) for row in rows]


def _row(row: Audit, first: str | None, last: str | None, undo: bool) -> AuditRow:
    texts = [from_row(getattr(row, name), getattr(row, f"{name}_json")) for name in ("action", "subject", "result")]
    if privacy.hidden():
        texts[1] = texts[1] if parse_uuid(row.subject) or _NAMED.search(row.action) or _PLAIN.match(row.subject) else ""
        texts[2] = texts[2] if _only_numbers(texts[2]) else ""
    actor = "" if privacy.hidden() and row.action in FROM_NETWORKS else row.actor
    return AuditRow(row.id, when(row.at_ms), actor, *texts, parse_uuid(row.subject),
                    0 if first is None else 1 if first == last else 2, first, undo)
