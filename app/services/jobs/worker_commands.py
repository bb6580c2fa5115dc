"""Commands of a person to workers, which read their own row each second. Command and audit row are one transaction."""

from __future__ import annotations

from sqlalchemy import select

from app.extensions import db
from app.ledger import worker_slots
from app.models import WorkerHeartbeat
from app.services.audit import ActionRefused, audit
from app.support.messages import Message, translate as _

COMMANDS = ("restart", "quiet", "resume", "stop", "kill", "start")
NOTED = {action: action for action in (  # the names in the audit log
    Message("restart worker"), Message("quiet worker"), Message("resume worker"), Message("stop worker"),
    Message("kill worker"), Message("start worker"))}


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
