"""Actions of a person on jobs. The change and its audit row are written in one transaction.

"Retry all" and "delete all" act on the jobs that had failed when the page was rendered (`max_id` is the highest id at
that time), 2,000 rows a transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from app import registry
from app.extensions import db
from app.ledger import control, graph, manual, order, undo
from app.ledger.dialect import SessionExecutor
from app.models import FailedJob, Job
from app.services.audit import ActionRefused, amend, audit, note
from app.services.jobs import lookup, tree, uploads
from app.services.jobs.dispatch import dispatch, payload
from app.services.jobs.limits import key_for
from app.services.jobs.tickets import want_tickets
from app.services.jobs.touched import changed
from app.support.clock import now_ms
from app.support.messages import Message, translate as _
from app.support.moments import clock_text
from app.support.settings import settings
from app.support.states import state_label
from app.support.validation import ValidationError, parse_uuid

STEP = 2000
EDITABLE = ("blocked", "held", "scheduled")
# A job in one of these states keeps it when its arguments change; the value is the result in the audit log.
KEPT = {"held": Message("stays held"), "scheduled": Message("stays scheduled")}
WAKE = 64  # tickets a step: enough to wake every worker, which finds the other rows without a ticket


def not_from_web(definition: registry.JobDefinition) -> str:
    """The sentence that refuses to start or change jobs of a type with `web=False`; retry and delete are allowed."""
    return _("Jobs of type %(name)s are not started or changed from the web, as the code says web=False.",
             name=definition.name)


@dataclass(frozen=True)
class Action:
    """A change of rows of `table`. `change(tx, ids, actor, **options)` returns the number of changed rows; a cancel
    returns these by kind. `wakes`: the rows are ready afterwards, so workers get tickets. `ends`: the job will not
    complete, so a choice of tree.CHOICES says what becomes of those that wait for it."""

    table: Any
    change: Callable[..., int | manual.Cancelled]
    wakes: bool = False
    ends: bool = False


ACTIONS = {
    "retry": Action(FailedJob, lambda tx, ids, _: len(manual.requeue(tx, ids, registry.fair_types())), wakes=True),
    "delete": Action(FailedJob, lambda tx, ids, _: manual.to_bin(tx, ids), ends=True),
    "restore": Action(FailedJob, lambda tx, ids, _: manual.restore(tx, ids)),
    "erase": Action(FailedJob, lambda tx, ids, _: manual.erase(tx, ids), ends=True),
    "cancel": Action(Job, lambda tx, ids, by: manual.cancel(tx, ids, Message("Cancelled by %(name)s.", name=by)),
                     ends=True),
    "stop": Action(Job, lambda tx, ids, _: manual.stop_at(tx, ids, tx.now()), ends=True),
    "run_now": Action(Job, lambda tx, ids, _: manual.run_now(tx, ids), wakes=True),
    "run_without_waiting": Action(Job, lambda tx, ids, _: graph.detach(tx, ids), wakes=True),
    "hold": Action(Job, control.hold),
    "release": Action(Job, control.release, wakes=True),
    "delay": Action(Job, control.delay),
    "move": Action(Job, lambda tx, ids, by, queue: control.move(tx, ids, by, queue, registry.fair_types())),
    "top": Action(Job, control.to_top),
    "up": Action(Job, lambda tx, ids, _: len(order.step(tx, ids, up=True))),
    "down": Action(Job, lambda tx, ids, _: len(order.step(tx, ids, up=False)))}
Report = Callable[[tree.Settled, int], None]
Touched = list[tuple[str, str | None]]
NOTED = {action: action for action in (  # the names in the audit log
    Message("retry"), Message("delete"), Message("restore"), Message("erase"), Message("cancel"), Message("stop"),
    Message("run now"), Message("run without waiting"), Message("hold"), Message("release"), Message("delay"),
    Message("move"), Message("top"), Message("up"), Message("down"))}


def act(action: str, uuid: str, actor: str, children: str = tree.WAIT, report: Report | None = None,
        **options: Any) -> int | manual.Cancelled:
    """Do one of ACTIONS to one job; returns the result of its `change`. `children` is one of tree.CHOICES, for an
    action that ends the job; `report` is told what became of them, and the id of the entry in the log. Raises
    ActionRefused when the job is unknown or has changed meanwhile."""
    how, key, tx = ACTIONS[action], parse_uuid(uuid) or uuid, SessionExecutor(db.session)
    done, touched = _changed_rows(tx, action, _ids(how.table, uuid), actor, **options)
    if not _total(done):
        raise _changed(key, "seconds" in options)
    below = tree.settle_tree(tx, [key], children, actor) if how.ends else tree.Settled()
    touched = touched or [(key, None)] * (len(key) <= 36)
    entry = audit(actor, NOTED[action.replace("_", " ")], key, below.told(_result(options, Message("done"))),
                  touched + below.touched)
    if how.wakes:
        want_tickets(db.session, [key])
    want_tickets(db.session, [""] * min(below.freed, WAKE))
    db.session.commit()
    if report is not None:
        report(below, entry)
    return done


def _result(options: dict[str, Any], done: Message) -> Message:
    """What was done, with what it was done with, for the log."""
    if "queue" in options:
        return Message("%(done)s, to the queue %(queue)s", done=done, queue=options["queue"])
    if "seconds" in options:
        until = clock_text(now_ms() + int(options["seconds"] * 1000), settings().timezone)
        return Message("%(done)s, until %(time)s", done=done, time=until)
    return done


def _changed_rows(tx: SessionExecutor, action: str, ids: list[int], actor: str,
                  **options: Any) -> tuple[int | manual.Cancelled, Touched]:
    """Do it to these rows; returns the result of `change`, and each job that is another afterwards."""
    how, running = ACTIONS[action], action in ("cancel", "stop")
    table = how.table.__tablename__
    before = undo.locked(tx, table, ids, running)
    done = how.change(tx, ids if running else list(before), actor, **options)
    after = undo.snapshot(tx, table, ids)
    touched = changed(action, before, after)
    if running:  # claimed between the locks and the change
        touched += [(row["uuid"], None) for id_, row in after.items() if id_ not in before and row["cancel_requested"]]
    return done, touched


def _ids(table: Any, uuid: str) -> list[int]:
    """Row ids of a job, whose uuid another program may have written in another form: as it is given here."""
    return list(db.session.scalars(select(table.id).where(table.uuid.in_((parse_uuid(uuid) or uuid, uuid)))))


def _total(done: int | manual.Cancelled) -> int:
    return done if isinstance(done, int) else sum(done)


def start(definition: registry.JobDefinition, args: dict[str, Any], actor: str, **options: Any) -> str:
    """Dispatch a job for a person and commit; returns its uuid. Raises the errors of `dispatch`."""
    uuid = dispatch(definition, args, created_by=actor, **options)
    audit(actor, Message("start"), uuid, definition.name, [(uuid, None)])
    db.session.commit()
    return uuid


def retry(uuid: str, actor: str) -> None:
    """Put a failed job back into its queue (same uuid and history, attempt 1), or run a scheduled job now.

    Raises ActionRefused.
    """
    act("retry" if _ids(FailedJob, uuid) else "run_now", uuid, actor)


def delete_failed(uuid: str, actor: str, children: str = tree.WAIT, report: Report | None = None) -> None:
    """Put a failed job into the bin for 7 days. Raises ActionRefused."""
    act("delete", uuid, actor, children, report)


def cancel(uuid: str, actor: str, children: str = tree.WAIT, report: Report | None = None) -> str:
    """Cancel a waiting job (returns 'cancelled') or ask a running one to stop ('asked'). Raises ActionRefused."""
    done = act("cancel", uuid, actor, children, report)
    return "asked" if isinstance(done, manual.Cancelled) and done.asked else "cancelled"


def retry_edited(uuid: str, args: dict[str, Any], actor: str, seen: str = "") -> str:
    """Replace the arguments of a job; returns its new state. A failed or blocked job becomes ready; a scheduled or held
    one keeps its state.

    `seen` is `lookup.version` of the job when the person saw it. Raises InvalidArguments or ValidationError when the
    arguments do not fit or the job is another one now, ActionRefused when it is in another state or its type is unknown
    or not for the web.
    """
    row = db.session.scalar(select(FailedJob).where(FailedJob.uuid == uuid, FailedJob.deleted_at.is_(None)))
    row = row or db.session.scalar(select(Job).where(Job.uuid == uuid, Job.state.in_(EDITABLE)).with_for_update())
    if row is None:
        raise _changed(uuid)
    definition = registry.find(row.job_type or "")
    if definition is None:
        raise ActionRefused(_("No code declares this type here, so its arguments cannot be checked."))
    if not definition.options.web:
        db.session.rollback()
        raise ActionRefused(not_from_web(definition), forbidden=True)
    if seen and seen != lookup.version_of(row):
        db.session.rollback()
        raise ValidationError(_("This job was retried or edited elsewhere meanwhile: nothing was saved. Open it anew."))
    definition.accept(args, row.tenant_id)
    stored = uploads.to_ids(definition, args, row.tenant_id, uuid)
    row.payload = payload(uuid, definition.name, stored, row.tenant_id, row.queue)
    row.limit_key = key_for(definition, row.tenant_id, stored) or row.limit_key
    kept = isinstance(row, Job) and row.state in KEPT
    state = row.state if kept else "pending"
    if isinstance(row, Job) and not kept:
        row.state, row.reason, row.available_ms = "pending", None, now_ms()
    db.session.flush()
    if isinstance(row, FailedJob):
        manual.requeue(SessionExecutor(db.session), [row.id], registry.fair_types())
        db.session.expunge(row)
    audit(actor, Message("edit") if kept else Message("edit and retry"), uuid,
          KEPT[state] if kept else Message("requeued"), [(uuid, None)])
    if not kept:
        want_tickets(db.session, [uuid])
    db.session.commit()
    return state


def retry_all(actor: str, max_id: int | None = None) -> int:
    """Put every failed job up to the id `max_id` back into its queue; returns how many."""
    return in_steps(actor, "retry", Message("all failed"), all_failed(max_id))


def delete_all(actor: str, max_id: int | None = None, children: str = tree.WAIT) -> int:
    """Put every failed job up to the id `max_id` into the bin; returns how many."""
    return in_steps(actor, "delete", Message("all failed"), all_failed(max_id), children)


def all_failed(max_id: int | None = None) -> list[int]:
    """The ids of the failed jobs outside the bin, up to `max_id`."""
    query = select(FailedJob.id).where(FailedJob.deleted_at.is_(None)).order_by(FailedJob.id)
    return list(db.session.scalars(query if max_id is None else query.where(FailedJob.id <= max_id)))


def waiting_for(action: str, ids: list[int]) -> list[str]:
    """The uuids of those rows that `action` ends and for which other jobs wait."""
    how = ACTIONS[action]
    return tree.parents_among(how.table.__tablename__, ids) if how.ends else []


@dataclass(frozen=True)
class Done:
    """A finished action on many: `count` jobs changed of `total`, and the id of its entry in the log."""

    count: int
    total: int
    entry: int


def in_steps(actor: str, action: str, subject: str, ids: list[int], children: str = tree.WAIT, **options: Any) -> int:
    """As `do_in_steps`; returns the number of changed rows."""
    return do_in_steps(actor, action, subject, ids, children, **options).count


def do_in_steps(actor: str, action: str, subject: str, ids: list[int], children: str = tree.WAIT,
                entry: int | None = None, **options: Any) -> Done:
    """Do one of ACTIONS to these rows, 2,000 a transaction.

    `children` is what becomes of the jobs that wait for them. The log gets one entry, for `subject`, or these jobs are
    added to `entry`. Each step writes its jobs, and the number so far: what a process that dies leaves behind is true.
    """
    total, how, below, own = 0, ACTIONS[action], tree.Settled(), entry is None
    db.session.rollback()
    starts = range(0, max(len(ids), 1), STEP)
    for start in reversed(starts) if action == "top" else starts:  # who comes later stands above those before
        some, tx = ids[start : start + STEP], SessionExecutor(db.session)
        parents = waiting_for(action, some)
        done, touched = _changed_rows(tx, action, some, actor, **options)
        settled = tree.settle_tree(tx, parents, children, actor)
        want_tickets(db.session, [""] * min(_total(done) * how.wakes + settled.freed, WAKE))
        total, below = total + _total(done), below + settled
        result = below.told(_result(options, Message("%(n)s of %(total)s", n=total, total=len(ids))))
        if entry is None:
            entry = audit(actor, NOTED[action.replace("_", " ")], subject, result)
        if own:
            amend(entry, result)
        note(tx, entry, touched + settled.touched)
        db.session.commit()
    return Done(total, len(ids), entry or 0)


def _changed(key: str, delayed: bool = False) -> ActionRefused:
    """The refusal for a job that is not in the expected state, with the state in which it is, or due later than a
    delay."""
    db.session.rollback()
    state, binned = lookup.state_of(key), lookup.in_bin(key)
    db.session.rollback()
    if binned:
        return ActionRefused(_("The job lies in the bin. Restore it first."))
    if state is None:
        return ActionRefused(_("There is no such job."), unknown=True)
    if delayed and state in ("scheduled", "waiting"):
        return ActionRefused(_("The job is due later than that: a delay brings no job forward."))
    if state == "cancelled":
        return ActionRefused(_("The job has ended: it is %(state)s. Duplicate it to run it once more.",
                               state=state_label(state).lower()))
    return ActionRefused(_("The job changed meanwhile: it is now %(state)s.", state=state_label(state).lower()))
