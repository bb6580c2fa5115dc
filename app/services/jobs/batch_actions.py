"""Actions of a person on a batch: on its failed members (retry, delete), on its live ones (cancel, move), and on the
batch itself (cancel, pause, resume, seal). Each writes one audit row.

Members are changed in steps. When this process ends in between, the monitor completes a cancel, a pause and a resume;
retry, delete and move have then reached the members so far, and may be asked for again.
"""

from __future__ import annotations

from contextlib import closing
from typing import Any

from sqlalchemy import select

from app.extensions import db
from app.ledger import batches
from app.ledger.dialect import Connection, SessionExecutor
from app.models import FailedJob, Job
from app.services.audit import ActionRefused, audit
from app.services.jobs import actions
from app.services.jobs.batch_pages import BatchView
from app.support.messages import Message, translate as _

OF_MEMBERS = ("retry", "delete", "cancel", "move")
OF_FAILED = ("retry", "delete")
OF_BATCH = ("pause", "resume", "seal")


def ids_of(batch: BatchView, action: str) -> list[int]:
    """Sorted row ids of the members that one of OF_MEMBERS changes: of `failed_jobs` for retry and delete, else of
    `jobs`."""
    if action in OF_FAILED:
        query = select(FailedJob.id).where(FailedJob.batch_id == batch.id, FailedJob.deleted_at.is_(None))
    else:
        query = select(Job.id).where(Job.batch_id == batch.id)
        query = query if action == "cancel" else query.where(Job.state != "processing")
    return sorted(db.session.scalars(query))


def change_members(batch: BatchView, action: str, actor: str, **options: Any) -> tuple[int, int]:
    """Do one of OF_MEMBERS; returns the numbers of changed members and of those that were to be changed. Raises
    ActionRefused when there is nothing to change."""
    ids = ids_of(batch, action)
    if action == "cancel":
        done = batches.cancel(SessionExecutor(db.session), batch.id)
        if done:
            entry = audit(actor, actions.NOTED["cancel"], _subject(batch), Message("members: %(n)s", n=len(ids)))
            db.session.commit()
            return actions.do_in_steps(actor, action, "", ids_of(batch, action), entry=entry).count, len(ids)
        if not ids:
            raise _refused(_("This batch has ended already."))
    if not ids:
        raise _refused(_("No member of this batch has failed and waits for a decision.") if action in OF_FAILED else
                       _("No member of this batch waits any more."))
    count = actions.in_steps(actor, action, _subject(batch), ids, **options)
    if action == "retry" and batch.paused:
        _sweep()
    return count, len(ids)


def change(batch: BatchView, action: str, actor: str) -> None:
    """Do one of OF_BATCH. Raises ActionRefused when the batch is not in the state for it."""
    tx = SessionExecutor(db.session)
    if action == "seal":
        done, noted = batches.seal(tx, batch.id), Message("seal")
    else:
        done = batches.pause(tx, batch.id, action == "pause")
        noted = Message("pause") if action == "pause" else Message("resume")
    if not done:
        raise _refused({
            "seal": _("This batch is complete already."), "resume": _("This is not paused."),
            "pause": _("This batch is paused already, or has ended.")}[action])
    audit(actor, noted, _subject(batch), Message("done"))
    db.session.commit()
    if action != "seal":
        _sweep()


def _sweep() -> None:
    """Hold or free the members at once. The monitor does it too, in case this process ends before."""
    url = db.engine.url.render_as_string(hide_password=False)
    with closing(Connection(url, synchronous="FULL")) as connection:
        batches.sweep_paused(connection)


def _subject(batch: BatchView) -> Message:
    return Message("batch %(name)s (%(id)s)", name=batch.name[:150], id=batch.id[:8])


def _refused(sentence: str) -> ActionRefused:
    db.session.rollback()
    return ActionRefused(sentence)
