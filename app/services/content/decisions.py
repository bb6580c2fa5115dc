"""The decision of a person about a conflict or an item that is gone.

decide -> one transaction: the decision, the log of actions, and the job that carries it out

A decision counts for what its page showed: `changed_ms` of the link is compared in the UPDATE. So of two people the
second is told, and a conflict that a sync has found anew is shown again first.
"""

from __future__ import annotations

from sqlalchemy import update

from app.extensions import db
from app.models import SyncLink
from app.services.audit import ActionRefused, audit, row_of
from app.services.content import sync_start
from app.support.clock import now_ms
from app.support.messages import Message, translate as _
from app.support.validation import ValidationError

DECISIONS = {"conflict": ("ours", "theirs", "later"), "gone": ("again", "later")}  # by state
NOTED = {"ours": Message("keep ours"), "theirs": Message("take theirs"), "later": Message("decide later"),
         "again": Message("make anew")}


def of(state: str) -> tuple[str, ...]:
    """The decisions that a person can take about a link in this state."""
    return DECISIONS.get(state, ())


def decide(link_id: int, decision: str, actor: str, seen_changed_ms: int) -> str | None:
    """Decide about a conflict, or an item that is gone; returns the uuid of the job that carries it out, None for
    later. Raises ActionRefused (unknown, or changed since `seen_changed_ms`) and ValidationError (no connection)."""
    link = row_of(SyncLink, link_id, _("There is no such conflict."))
    state, service, content = link.state, link.service, (link.tenant_id, link.reference)
    now = max(now_ms(), seen_changed_ms + 1)
    decided = update(SyncLink).where(SyncLink.id == link_id, SyncLink.state == state,
                                     SyncLink.changed_ms == seen_changed_ms).values(
        decision=decision, decided_by=actor[:255], decided_ms=now, changed_ms=now)
    if state not in DECISIONS or not db.session.execute(decided).rowcount:
        db.session.rollback()
        raise ActionRefused(_("It changed after this page was loaded. Look at it again, then choose."))
    try:
        if decision not in DECISIONS[state]:
            raise ValidationError(_("Choose one of these: %(names)s.", names=", ".join(DECISIONS[state])))
        uuids = [] if decision == "later" else sync_start.add(sync_start.Wish(service), [content], actor)
    except ValidationError:
        db.session.rollback()
        raise
    audit(actor, NOTED[decision], f"{service} {content[0]} {content[1]}", uuids[0] if uuids else Message("done"))
    db.session.commit()
    return uuids[0] if uuids else None
