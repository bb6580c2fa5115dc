"""What becomes of the jobs that wait for one that a person ends, and the jobs that a person lets a new one wait for.

cancel, stop, delete, erase of a job -> `below` counts the whole tree under it -> the person chooses one of CHOICES ->
                                        `settle_tree`, in the transaction of the change
    wait    they stay; a retry of the failed job, however late, lets them go on
    cancel  they are cancelled too, with all that waits for them
    run     those that wait for this job alone become ready
On PostgreSQL the tree is read after the job's own row is locked or gone: a child dispatched at the same moment is
either in the tree, or its dispatch sees the job's end.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sqlalchemy import select

from app.extensions import db
from app.ledger import graph, manual
from app.ledger.dialect import SessionExecutor
from app.models import Job, JobHistory
from app.services.jobs import lookup
from app.support.messages import Message, translate as _
from app.support.validation import ValidationError

CHOICES = WAIT, CANCEL, RUN = "wait", "cancel", "run"


def parse_lines(texts: Iterable[str]) -> list[str]:
    """The uuids of the jobs that these texts name by uuid or first digits, each once. Raises ValidationError for what
    is no known job."""
    found = [lookup.called(text.strip()) for text in texts if text.strip()]
    known = {uuid for table in (Job, JobHistory)
             for uuid in db.session.scalars(select(table.uuid).where(table.uuid.in_(found)))}
    if unknown := [key for key in dict.fromkeys(found) if key not in known]:
        raise ValidationError(_("It cannot wait for %(names)s: no such job is known here.",
                                names=", ".join(key[:40] for key in unknown[:5])))
    return list(dict.fromkeys(found))


def parse_choice(text: str | None) -> str:
    """One of CHOICES; nothing means `wait`. Raises ValidationError."""
    choice = (text or "").strip() or WAIT
    if choice not in CHOICES:
        raise ValidationError(_("children is %(names)s.", names=", ".join(CHOICES)))
    return choice


def below(uuids: Collection[str]) -> int:
    """How many live jobs wait for these, directly or through others."""
    return len(graph.descendants(SessionExecutor(db.session), list(uuids))) if uuids else 0


def settle_tree(tx: SessionExecutor, uuid: str, choice: str, actor: str) -> tuple[Message | None, int]:
    """Do what a person has chosen with the jobs that wait for one that has just been ended, in the same transaction.

    Returns the words for the log of actions (None when nothing waits) and the number of jobs that may be ready now.
    """
    ids = [row[0] for row in graph.descendants(tx, [uuid])]
    if not ids:
        return None, 0
    if choice == CANCEL:
        gone, asked = manual.cancel(tx, ids, Message("Cancelled by %(name)s, with the job that it waited for.",
                                                     name=actor))
        return Message("done; cancelled with it: %(n)s of %(total)s", n=gone + asked, total=len(ids)), 0
    if choice == RUN:
        freed = graph.release_children(tx, [uuid])
        return Message("done; let go: %(n)s", n=freed), freed
    return Message("done; left waiting: %(n)s", n=len(ids)), 0
