"""Takes an action of a person back, for exactly those of its jobs that are still as the action left them.

audit_jobs of the entry (`was`) -> ledger/undo.py or the bin -> an entry "undo" with the jobs that are as before
A job that was put back loses its `was`, so a second undo reaches the others only. 2,000 jobs a transaction, as in
actions.py. Retry, cancel, run now and erase have no undo: what ran, or is gone, stays so.
"""

from __future__ import annotations

from sqlalchemy import select

from app.extensions import db
from app.ledger import manual, undo as ledger
from app.ledger.dialect import SessionExecutor
from app.ledger.rows import among
from app.models import Audit
from app.models.audit import AuditJob
from app.services.audit import UNDO_DAYS, UNDOABLE, ActionRefused, amend, audit, row_of
from app.services.jobs import ordering
from app.services.jobs.actions import STEP, WAKE, Done
from app.services.jobs.tickets import want_tickets
from app.support.messages import Message, from_row, translate as _
from app.support.validation import stored_object

_UNDONE = "UPDATE audit_jobs SET was = NULL WHERE audit_id = :id AND "


def undo(entry: int, actor: str) -> Done:
    """Take an entry of the log back; returns how many of its jobs are as before. Raises ActionRefused when it has no
    undo, or nothing left for one."""
    row = row_of(Audit, entry, _("There is no such entry in the log."))
    action, named, was = row.action, from_row(row.action, row.action_json), from_row(row.result, row.result_json)
    j, last, total, done, mine = AuditJob, "", 0, 0, None
    if action not in UNDOABLE:
        db.session.rollback()
        raise ActionRefused(_("This action has no undo."))
    if action == ordering.NAMED:
        moved = ordering.undo(entry, actor)
        return Done(moved.count, moved.count, moved.action)
    while kept := dict(db.session.execute(select(j.uuid, j.was).where(
            j.audit_id == entry, j.was.is_not(None), j.uuid > last).order_by(j.uuid).limit(STEP)).all()):
        tx, last, total = SessionExecutor(db.session), max(kept), total + len(kept)
        back = (_bin(tx, entry, action, kept) if action in ledger.OF_BIN
                else ledger.put_back(tx, entry, action, kept))
        tx.execute(_UNDONE + among(back, "uuid"), id=entry)
        done += len(back)
        result = Message("%(n)s of %(total)s", n=done, total=total)
        if mine is None:
            subject = Message("%(action)s, entry %(id)s: %(was)s", action=named, id=entry, was=was)
            mine = audit(actor, Message("undo"), subject, result)
        amend(mine, result, [(uuid, None) for uuid in back])
        want_tickets(db.session, [""] * min(len(back), WAKE))
        db.session.commit()
    db.session.rollback()
    if mine is None:
        raise ActionRefused(_("This was taken back already, or is older than %(n)s days.", n=UNDO_DAYS))
    return Done(done, total, mine)


def _bin(tx: SessionExecutor, entry: int, action: str, kept: dict[str, str]) -> list[str]:
    """The failed jobs that lie in the bin since the action, or are out of it since then, and are put back."""
    rows = tx.fetch_all(f"SELECT j.id, j.uuid, j.deleted_at FROM failed_jobs j WHERE {among(kept, 'j.uuid')} "
                        "ORDER BY j.id {skip}")
    later = ledger.acted_on(tx, entry, kept)
    fit = {id_: uuid for id_, uuid, at in rows if uuid not in later and at == stored_object(kept[uuid]).get("left")}
    change = manual.restore if action == "delete" else manual.to_bin
    return list(fit.values()) if change(tx, list(fit)) else []
