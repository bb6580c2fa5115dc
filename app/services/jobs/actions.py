"""Actions of a person on jobs and workers. The change and its audit row are written in one transaction.

"Retry all" and "delete all" act on the jobs that had failed when the page was rendered (`max_id` is the highest id at
that time), 2,000 rows a transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import select

from app import registry
from app.extensions import db
from app.ledger import control, graph, manual, worker_slots
from app.ledger.dialect import SessionExecutor
from app.models import FailedJob, Job, WorkerHeartbeat
from app.services.audit import ActionRefused, audit
from app.services.jobs import lookup, tree, uploads
from app.services.jobs.dispatch import dispatch, payload
from app.services.jobs.limits import key_for
from app.services.jobs.tickets import want_tickets
from app.support.clock import now_ms
from app.support.messages import Message, translate as _
from app.support.states import state_label
from app.support.validation import ValidationError, parse_uuid

STEP = 2000
EDITABLE = ("blocked", "held", "scheduled")
# A job in one of these states keeps it when its arguments change; the value is the result in the audit log.
KEPT = {"held": Message("stays held"), "scheduled": Message("stays scheduled")}
WAKE = 64  # tickets a step: enough to wake every worker, which finds the other rows without a ticket
COMMANDS = ("restart", "quiet", "resume", "stop", "kill", "start")


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
    "up": Action(Job, partial(control.step, up=True)),
    "down": Action(Job, partial(control.step, up=False))}
Report = Callable[[tree.Settled], None]
NOTED = {action: action for action in (  # the names in the audit log
    Message("retry"), Message("delete"), Message("restore"), Message("erase"), Message("cancel"), Message("stop"),
    Message("run now"), Message("run without waiting"), Message("hold"), Message("release"), Message("delay"),
    Message("move"), Message("top"), Message("up"), Message("down"), Message("restart worker"),
    Message("quiet worker"), Message("resume worker"), Message("stop worker"), Message("kill worker"),
    Message("start worker"))}


def act(action: str, uuid: str, actor: str, children: str = tree.WAIT, report: Report | None = None,
        **options: Any) -> int | manual.Cancelled:
    """Do one of ACTIONS to one job; returns the result of its `change`. `children` is one of tree.CHOICES, for an
    action that ends the job; `report` is told what became of them. Raises ActionRefused when the job is unknown or has
    changed meanwhile."""
    how, key, tx = ACTIONS[action], parse_uuid(uuid) or uuid, SessionExecutor(db.session)
    done = how.change(tx, _ids(how.table, uuid), actor, **options)
    if not _total(done):
        raise _changed(key)
    result, words = ", ".join(f"{k} {v}" for k, v in options.items()) or Message("done"), action.replace("_", " ")
    below = tree.settle_tree(tx, [key], children, actor) if how.ends else tree.Settled()
    audit(actor, NOTED.get(words, words), key, below.told(result))
    if how.wakes:
        want_tickets(db.session, [key])
    want_tickets(db.session, [""] * min(below.freed, WAKE))
    db.session.commit()
    if report is not None:
        report(below)
    return done


def _ids(table: Any, uuid: str) -> list[int]:
    """Row ids of a job, whose uuid another program may have written in another form: as it is given here."""
    return list(db.session.scalars(select(table.id).where(table.uuid.in_((parse_uuid(uuid) or uuid, uuid)))))


def _total(done: int | manual.Cancelled) -> int:
    return done if isinstance(done, int) else sum(done)


def start(definition: registry.JobDefinition, args: dict[str, Any], actor: str, **options: Any) -> str:
    """Dispatch a job for a person and commit; returns its uuid. Raises the errors of `dispatch`."""
    uuid = dispatch(definition, args, created_by=actor, **options)
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
          KEPT[state] if kept else Message("requeued"))
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


def in_steps(actor: str, action: str, subject: str, ids: list[int], children: str = tree.WAIT, **options: Any) -> int:
    """Do one of ACTIONS to these rows, 2,000 a transaction; returns the number of changed rows.

    `children` is what becomes of the jobs that wait for them. One audit row, for `subject`, is written at the end.
    """
    total, below = _steps(actor, action, ids, children, **options)
    audit(actor, NOTED.get(action, action), subject,
          below.told(Message("%(n)s of %(total)s", n=total, total=len(ids))))
    db.session.commit()
    return total


def steps(actor: str, action: str, ids: list[int], **options: Any) -> int:
    """`in_steps` without the audit row; jobs that wait go on waiting."""
    return _steps(actor, action, ids, tree.WAIT, **options)[0]


def _steps(actor: str, action: str, ids: list[int], children: str, **options: Any) -> tuple[int, tree.Settled]:
    total, how, below = 0, ACTIONS[action], tree.Settled()
    db.session.rollback()
    for start in range(0, len(ids), STEP):
        some, tx = ids[start : start + STEP], SessionExecutor(db.session)
        parents = waiting_for(action, some)
        done = _total(how.change(tx, some, actor, **options))
        settled = tree.settle_tree(tx, parents, children, actor)
        want_tickets(db.session, [""] * min(done * how.wakes + settled.freed, WAKE))
        total, below = total + done, below + settled
        db.session.commit()
    return total, below


def command_worker(worker: int, command: str, actor: str) -> str:
    """Write one of COMMANDS into a worker's row, which the worker reads each second; returns the worker's name.

    restart: it ends after its job, and another worker takes its place. quiet: it takes no more jobs until `resume`.
    stop: it ends after its job, and its place stays empty until `start`. kill: the monitor kills it at once, and its
    job runs elsewhere. Raises ActionRefused.
    """
    row = db.session.get(WorkerHeartbeat, worker)
    if row is None or command not in COMMANDS:
        db.session.rollback()
        raise ActionRefused(_("There is no such worker."), unknown=True)
    stopped, can = row.status == "stopped", worker_slots.can_start(row.status, row.stop_code, row.consumer_id, row.host)
    if not (stopped and can) if command == "start" else stopped:
        db.session.rollback()
        raise ActionRefused(
            _("This worker has stopped already.") if command != "start" else
            _("This worker has not stopped.") if not stopped else
            _("Nobody keeps its place: start workers with bash scripts/start-workers.sh, or restart the site."))
    name, row.command = row.worker_name, None if command == "resume" else command
    audit(actor, NOTED[f"{command} worker"], name, Message("asked"))
    db.session.commit()
    return name


def command_workers(command: str, actor: str) -> int:
    """Write a command into the row of each worker that can follow it; returns how many. A worker that is already ending
    gets no other command."""
    w, total = WorkerHeartbeat, 0
    wanted = w.status == "stopped" if command == "start" else w.status != "stopped"
    for row in db.session.scalars(select(w).where(wanted).order_by(w.id)):
        if command == "start":
            fits = row.command is None and worker_slots.can_start(row.status, row.stop_code, row.consumer_id, row.host)
        else:
            fits = row.command not in ("stop", "kill", command) and (command != "resume" or row.command == "quiet")
        if fits:
            row.command, total = None if command == "resume" else command, total + 1
    audit(actor, NOTED[f"{command} worker"], Message("all"), Message("%(n)s asked", n=total))
    db.session.commit()
    return total


def _changed(key: str) -> ActionRefused:
    """The refusal for a job that is not in the expected state, with the state in which it is."""
    db.session.rollback()
    state, binned = lookup.state_of(key), lookup.in_bin(key)
    db.session.rollback()
    if binned:
        return ActionRefused(_("The job lies in the bin. Restore it first."))
    if state is None:
        return ActionRefused(_("There is no such job."), unknown=True)
    if state == "cancelled":
        return ActionRefused(_("The job has ended: it is %(state)s. Duplicate it to run it once more.",
                               state=state_label(state).lower()))
    return ActionRefused(_("The job changed meanwhile: it is now %(state)s.", state=state_label(state).lower()))
