"""Moves of waiting jobs to a place of a queue, by a person, and the undo of the last one.

a move -> ledger/order.py -> an entry "place" in the log with its jobs (audit_jobs: where each stood, and what the move
left) -> the undo, for jobs that are still as the move left them
What a worker has taken meanwhile, or somebody holds, is refused with the reason; nothing else changes then.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import select

from app.config import QUEUES
from app.extensions import db
from app.ledger import counts, order, undo as ledger
from app.ledger.dialect import SessionExecutor
from app.models import Audit, Job
from app.models.audit import AuditJob
from app.models.job import BY_TYPE
from app.services.audit import ActionRefused, audit, row_of
from app.services.jobs import lookup, queues
from app.support.clock import HOUR_MS, now_ms
from app.support.messages import Message, from_row, translate as _, translate_stored
from app.support.states import state_label
from app.support.validation import ValidationError, parse_uuid, stored_object

NAMED = Message("place")
END = 10**12  # a place behind every line
WINDOW = order.WINDOW
_GROUPS = re.compile(r"(?<=\d)[.,\s](?=\d{3}(?!\d))")  # between thousands
LEFT = ("queue", "rank", "seat")


@dataclass(frozen=True)
class Moved:
    """A move: how many jobs, to which queue, the place of the first one (None: not known), the same in words, and the
    id of its entry in the log."""

    count: int
    queue: str
    place: int | None
    where: str
    action: int


@dataclass(frozen=True)
class LastMove:
    """The last move of a person, which can be undone: its id in the log, its job, and its result in words."""

    action: int
    subject: str
    result: str


@dataclass(frozen=True)
class Line:
    """A queue with `depth` ready jobs, and the first 200 of them in the order in which workers will take them."""

    name: str
    depth: int
    is_paused: bool
    jobs: list[queues.NextJob]


def lines() -> list[Line]:
    """The lines of all queues, in the order in which they are served."""
    (live, _age), paused, found = counts.recent(SessionExecutor(db.session)), queues.pauses(), []
    for name in QUEUES:
        jobs, counted = queues.next_jobs(name, WINDOW), live["queues"].get(name, {}).get("depth", 0)
        found.append(Line(name, len(jobs) if len(jobs) < WINDOW else max(counted, WINDOW), name in paused, jobs))
    return found


def parse_place(text: str) -> int | None:
    """A place in a line, from 1; None for a blank text. Raises ValidationError."""
    text = _GROUPS.sub("", text.strip())
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 12 and int(text)):
        raise ValidationError(_("A place is a whole number from 1."))
    return int(text)


def parse_job(text: str) -> str | None:
    """The uuid of a job, given whole or by at least its first 4 digits when it waits; None for a blank text. Raises
    ValidationError."""
    text = text.strip().lower()
    if not text or parse_uuid(text):
        return parse_uuid(text) if text else None
    found = db.session.scalars(select(Job.uuid).where(Job.uuid >= text, Job.uuid < text + "g", Job.state == "pending")
                               .limit(2)).all() if len(text) >= 4 and set(text) <= set("0123456789abcdef-") else []
    if not found:
        raise ValidationError(_("No waiting job begins with these digits. Give at least 4."))
    if len(found) > 1:
        raise ValidationError(_("Several waiting jobs begin with these digits. Give more of them."))
    return found[0]


def place(uuids: Sequence[str], actor: str, queue: str | None = None, before: str | None = None,
          after: str | None = None, number: int | None = None, step: str | None = None) -> Moved:
    """Move waiting jobs, in this order, into a queue (None: that of the first): ahead of `before`, behind `after`, or
    to the place `number`, whichever is the first that there is; or one place "up" or "down" (`step`).

    Raises ActionRefused with the reason when nothing moves.
    """
    tx = SessionExecutor(db.session)
    rows = {uuid: (id_, where) for id_, uuid, where in db.session.execute(
        select(Job.id, Job.uuid, Job.queue).where(Job.uuid.in_(uuids)))}
    ids = [rows[uuid][0] for uuid in uuids if uuid in rows]
    queue = queue or next(iter(rows.values()), (0, "default"))[1]
    db.session.rollback()  # what was read so far must not be older than the lock that serialises moves
    were = order.step(tx, ids, step == "up") if step else order.place(tx, ids, queue, before, after, number)
    if not were:
        raise _refusal(uuids[0] if uuids else "", step)
    return _noted(tx, were, actor, NAMED, number)


def _noted(tx: SessionExecutor, were: list[order.Was], actor: str, name: Message, number: int | None = None,
           back: int | None = None) -> Moved:
    """Write the log, commit, and tell where the first job stands. `number` is the place that was asked for, `back` the
    entry of the move that was undone."""
    left = _left([was.uuid for was in were])
    first = were[0].uuid
    queue = left[first]["queue"]
    line = select(Job.uuid).where(Job.state == "pending", Job.queue == queue)
    head = db.session.scalars(line.order_by(*Job.order()).limit(WINDOW)).all()
    is_last = db.session.scalar(line.order_by(Job.rank, Job.line.desc(), Job.id.desc()).limit(1)) == were[-1].uuid
    at = head.index(first) + 1 if first in head else None if is_last else number
    subject = first if len(were) == 1 else Message("%(n)s jobs", n=len(were))
    touched = [(was.uuid, None if back else json.dumps(asdict(was) | {"left": left[was.uuid]})) for was in were]
    words = _words(queue, at, is_last)
    entry = audit(actor, name, subject, words, touched)
    db.session.commit()
    return Moved(len(were), queue, at, words, entry)


def _words(queue: str, at: int | None, is_last: bool) -> Message:
    """Where a job stands, as far as that is known."""
    if at:
        return Message("place %(n)s of %(queue)s", n=at, queue=queue)
    return (Message("the end of %(queue)s", queue=queue) if is_last
            else Message("behind the first %(n)s of %(queue)s", n=WINDOW, queue=queue))


def _left(uuids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What identifies the place of a job now, by uuid: its queue, rank, seat and number of claims."""
    rows = db.session.execute(select(Job.uuid, Job.queue, Job.rank, Job.seat, Job.claim_no).where(Job.uuid.in_(uuids)))
    return {uuid: {"queue": queue, "rank": rank, "seat": seat, "claim_no": claims}
            for uuid, queue, rank, seat, claims in rows}


def last(actor: str) -> LastMove | None:
    """The last move of a person within an hour, unless it was undone."""
    row = db.session.scalar(select(Audit).where(Audit.action == NAMED, Audit.actor == actor,
                                                Audit.at_ms > now_ms() - HOUR_MS).order_by(Audit.id.desc()).limit(1))
    if row is None or not db.session.scalar(
            select(AuditJob.uuid).where(AuditJob.audit_id == row.id, AuditJob.was.is_not(None)).limit(1)):
        return None
    return LastMove(row.id, *map(translate_stored, (
        from_row(row.subject, row.subject_json), from_row(row.result, row.result_json))))


def undo(action: int, actor: str) -> Moved:
    """Put the jobs of a move back where they stood, without those that have left the line or that a later action names.

    Raises ActionRefused when none can be put back.
    """
    row = row_of(Audit, action, _("There is no such move."))
    tx, kept = SessionExecutor(db.session), []
    tx.lock_key("order")
    jobs = {job.uuid: stored_object(job.was) for job in db.session.scalars(select(AuditJob).where(
        AuditJob.audit_id == row.id, AuditJob.was.is_not(None)))} if row.action == NAMED else {}
    ids = db.session.scalars(select(Job.id).where(Job.uuid.in_(list(jobs)))).all()
    rows = {now["uuid"]: (id_, now) for id_, now in ledger.snapshot(tx, "jobs", ids, "{skip}").items()}
    later = ledger.acted_on(tx, action, rows)
    for uuid, was in jobs.items():
        id_, now = rows.get(uuid, (0, {}))
        if id_ and uuid not in later and _as_left(was.get("left"), now) and (stood := _stood(uuid, was)):
            kept += order.put_back(tx, id_, stood)
    if not kept:
        db.session.rollback()
        raise ActionRefused(_("Nothing to undo: the job has been changed since or has left the line."))
    tx.execute("UPDATE audit_jobs SET was = NULL WHERE audit_id = :id", id=action)
    return _noted(tx, kept, actor, Message("undo place"), back=action)


def _as_left(left: Any, now: dict[str, Any]) -> bool:
    """Whether a job stands where a move left it. Its seat may be another: moves of its neighbours change it."""
    return isinstance(left, dict) and all(left.get(name) == now[name] for name in ("queue", "rank", "claim_no"))


def _stood(uuid: str, was: dict[str, Any]) -> order.Was | None:
    """Where a job stood, as the log says; None when a value is not one of ours."""
    queue, rank, seat, before, after = (was.get(name) for name in (*LEFT, "before", "after"))
    ours = queue in QUEUES and isinstance(rank, int) and isinstance(seat, int | float | None)
    before, after = (name if isinstance(name, str) else None for name in (before, after))
    return order.Was(uuid, queue, rank, seat, before, after) if ours else None


def _refusal(uuid: str, step: str | None) -> ActionRefused:
    """Why a job was not moved."""
    row = db.session.execute(select(Job.state, Job.hold_code).where(Job.uuid == uuid)).first()
    state = row.state if row else lookup.state_of(uuid)
    db.session.rollback()
    if state is None:
        return ActionRefused(_("There is no such job."), unknown=True)
    if state == "pending":
        return ActionRefused(
            _("It is the first or the last of its queue already.") if step else
            _("The jobs beside that place have left the line meanwhile. Nothing was moved."))
    if state == "processing":
        return ActionRefused(_("A worker has taken this job meanwhile: it runs, so it has no place in a line."))
    if row and row.hold_code == BY_TYPE:
        return ActionRefused(_("The type of this job is paused, so the job is in no line. Resume the type first."))
    return ActionRefused(_("The job is not waiting in a line: it is now %(state)s.", state=state_label(state).lower()))
