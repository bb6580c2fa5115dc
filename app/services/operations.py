"""What a person may do with jobs and workers: each change with its audit row, in one transaction.

Retry All and Delete All act on what had failed when the page was rendered (`upto`, the highest
id then), in steps of 2,000 rows a transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import func, select

from app.clock import now_ms
from app.extensions import db
from app.ledger import people
from app.ledger.dialect import SessionRunner
from app.models import Audit, FailedJob, Job, WorkerHeartbeat
from app.services.ticketing import want_tickets
from app.strict import parse_uuid
from app.words import say as _

STEP = 2000
WAKE = 64  # enough to wake every worker; the others are found without a ticket


class Refused(Exception):
    """The change did not happen; the text says why. `unknown`: there is no such job."""

    def __init__(self, sentence: str, unknown: bool = False) -> None:
        super().__init__(sentence)
        self.unknown = unknown


def audit(actor: str, action: str, subject: str, result: str) -> None:
    """Note who did what, in the caller's transaction."""
    db.session.add(Audit(at_ms=now_ms(), actor=actor[:255], action=action, subject=subject[:255], result=result))


def _run() -> SessionRunner:
    return SessionRunner(db.session)


def _one(model: Any, uuid: str) -> tuple[str, list[int]]:
    """The uuid as stored and the id of its row, if there is one."""
    key = parse_uuid(uuid) or uuid
    row = db.session.scalar(select(model.id).where(model.uuid == key))
    return key, [] if row is None else [row]


def retry(uuid: str, actor: str) -> None:
    """A failed job back into its queue (same uuid and history, attempt 1); a scheduled one runs now."""
    key, failed = _one(FailedJob, uuid)
    if failed and people.requeue(_run(), failed):
        what = "retry"
    elif people.run_now(_run(), _one(Job, uuid)[1]):
        what = "run now"
    else:
        raise _changed(key)
    audit(actor, what, key, "requeued")
    want_tickets(db.session, [key])
    db.session.commit()


def retry_all(actor: str, upto: int | None = None) -> int:
    """Requeue every failed job up to the id shown; returns how many."""
    return _all_failed(actor, "retry", upto)


def delete_all(actor: str, upto: int | None = None) -> int:
    """Put every failed job up to the id shown into the bin; returns how many."""
    return _all_failed(actor, "delete", upto)


def _all_failed(actor: str, action: str, upto: int | None) -> int:
    if upto is None:
        upto = db.session.scalar(select(func.max(FailedJob.id))) or 0
        db.session.rollback()
    last = 0

    def step() -> list[int]:
        nonlocal last
        query = select(FailedJob.id).where(FailedJob.deleted_at.is_(None), FailedJob.id > last, FailedJob.id <= upto)
        ids = list(db.session.scalars(query.order_by(FailedJob.id).limit(STEP)))
        last = ids[-1] if ids else last
        return ids

    return in_steps(actor, action, f"all failed up to {upto}", step)


def in_steps(actor: str, action: str, subject: str, step: Callable[[], list[int]]) -> int:
    """Do `action` (retry, delete, cancel, run now) to the row ids that `step` gives until it gives none; returns how many changed.

    Each step is a transaction; the audit row comes with the last.
    """
    total = 0
    while ids := step():
        if action == "retry":
            done = len(people.requeue(_run(), ids))
        elif action == "delete":
            done = people.to_bin(_run(), ids)
        elif action == "run now":
            done = people.run_now(_run(), ids)
        else:
            done = sum(people.cancel(_run(), ids, f"Cancelled by {actor}."))
        if action in ("retry", "run now") and done:
            want_tickets(db.session, [""] * min(done, WAKE))
        total += done
        db.session.commit()
    db.session.rollback()
    audit(actor, action, subject, str(total))
    db.session.commit()
    return total


def delete_failed(uuid: str, actor: str) -> None:
    """A failed job into the bin for 7 days."""
    key, failed = _one(FailedJob, uuid)
    if not people.to_bin(_run(), failed):
        raise _changed(key)
    audit(actor, "delete", key, "in the bin")
    db.session.commit()


def cancel(uuid: str, actor: str) -> str:
    """Cancel a waiting job ('cancelled'); ask a running one to stop ('asked')."""
    key, live = _one(Job, uuid)
    cancelled, asked = people.cancel(_run(), live, f"Cancelled by {actor}.")
    if not cancelled and not asked:
        raise _changed(key)
    result = "cancelled" if cancelled else "asked"
    audit(actor, "cancel", key, result)
    db.session.commit()
    return result


def restart_worker(worker: int, actor: str) -> str:
    """Ask a worker to end after its current job; its consumer starts a new one. Returns its name."""
    row = db.session.get(WorkerHeartbeat, worker)
    if row is None:
        raise Refused(_("There is no such worker."), unknown=True)
    if row.status == "stopped":
        raise Refused(_("This worker has stopped already."))
    row.command = "restart"
    audit(actor, "restart worker", row.worker_name, "asked")
    db.session.commit()
    return row.worker_name


def _changed(key: str) -> Refused:
    db.session.rollback()
    from app.services import catalogue

    state = catalogue.state_of(key)
    db.session.rollback()
    if state is None:
        return Refused(_("There is no such job."), unknown=True)
    return Refused(_("The job changed meanwhile: it is now %(state)s.", state=_word(state)))


def _word(state: str) -> str:
    words = {"pending": _("pending"), "scheduled": _("scheduled"), "held": _("held"), "blocked": _("blocked"), "processing": _("processing"),
             "completed": _("completed"), "failed": _("failed"), "timeout": _("timed out"), "cancelled": _("cancelled")}
    return words.get(state, state)
