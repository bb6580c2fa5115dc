"""What a person may do with jobs and workers: each change with its audit row, in one transaction.

Retry All and Delete All act on what had failed when the page was rendered (`upto`, the highest
id then), in steps of 2,000 rows a transaction.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select

from app.clock import now_ms
from app.extensions import db
from app.ledger import people
from app.ledger.dialect import SessionRunner
from app.models import Audit, FailedJob, WorkerHeartbeat
from app.services.ticketing import want_tickets
from app.strict import parse_uuid

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


def _key(uuid: str) -> str:
    key = parse_uuid(uuid)
    if key is None and db.session.scalar(select(FailedJob.id).where(FailedJob.uuid == uuid)) is None:
        raise Refused("There is no such job.", unknown=True)
    return key or uuid


def retry(uuid: str, actor: str) -> None:
    """A failed job back into its queue (same uuid and history, attempt 1); a scheduled one runs now."""
    key, run = _key(uuid), _run()
    row = people.take_failed(run, key)
    if row is not None:
        people.requeue(run, row)
        what = "retry"
    elif people.run_now(run, key):
        what = "run now"
    else:
        raise _changed(key)
    audit(actor, what, key, "requeued")
    want_tickets(db.session, [key])
    db.session.commit()


def retry_all(actor: str, upto: int | None = None) -> int:
    """Requeue every failed job up to the id shown; returns how many."""
    return _in_steps(actor, "retry all", upto, people.requeue_many)


def delete_all(actor: str, upto: int | None = None) -> int:
    """Put every failed job up to the id shown into the bin; returns how many."""
    return _in_steps(actor, "delete all", upto, people.bin_many)


def _in_steps(actor: str, action: str, upto: int | None, step: Any) -> int:
    if upto is None:
        upto = db.session.scalar(select(func.max(FailedJob.id))) or 0
        db.session.rollback()
    total = 0
    while True:
        done = step(_run(), upto, STEP)
        total += done
        if done < STEP:
            audit(actor, action, f"up to {upto}", str(total))
        if action == "retry all" and done:
            want_tickets(db.session, [""] * min(done, WAKE))
        db.session.commit()
        if done < STEP:
            return total


def delete_failed(uuid: str, actor: str) -> None:
    """A failed job into the bin for 7 days."""
    key = _key(uuid)
    if not people.bin_one(_run(), key):
        raise _changed(key)
    audit(actor, "delete", key, "in the bin")
    db.session.commit()


def cancel(uuid: str, actor: str) -> str:
    """Cancel a waiting job ('cancelled'); ask a running one to stop ('asked')."""
    key, run = _key(uuid), _run()
    result = people.cancel(run, key, "sqlite" if run.sqlite else "postgresql")
    if result is None:
        raise _changed(key)
    audit(actor, "cancel", key, result)
    db.session.commit()
    return result


def restart_worker(worker: int, actor: str) -> str:
    """Ask a worker to end after its current job; its consumer starts a new one. Returns its name."""
    row = db.session.get(WorkerHeartbeat, worker)
    if row is None:
        raise Refused("There is no such worker.", unknown=True)
    if row.status == "stopped":
        raise Refused("This worker has stopped already.")
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
        return Refused("There is no such job.", unknown=True)
    return Refused(f"The job changed meanwhile: it is now {state}.")


