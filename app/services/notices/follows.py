"""What people follow: "tell me when it ends".

form -> `follow`, one row for a person and a job or batch; another way replaces it -> the monitor tells, and deletes it
(telling.py)
A job that has ended already is told at once, by the same way. No way is taken that nobody would serve: mails need a
monitor with SMTP_URL, a channel one that has it; the sentence says what to set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, select

from app import registry
from app.extensions import db
from app.ledger.dialect import SessionExecutor
from app.ledger.rows import insert, replacing
from app.models import Follow, Job, JobBatch, User
from app.services.alerts import channels
from app.services.audit import ActionRefused, refuse_unless
from app.services.jobs import batch_pages, lookup
from app.support.clock import now_ms, when
from app.support.messages import translate as _, translate_stored
from app.support.redaction import one_line, redact
from app.support.validation import ValidationError

BROWSER, MAIL, CHANNEL = "browser", "mail", "channel:"
JOB, BATCH = "job", "batch"
LANGUAGES, MOST = ("it", "en"), 500
_FOLLOW = insert("follows", "user_id kind subject via language created_ms".split(),
                 f"(user_id, kind, subject) {replacing('via language created_ms')}")


@dataclass(frozen=True)
class FollowView:
    """A job or batch that a person follows; `name` is its type, or of a batch its name."""

    kind: str
    subject: str
    name: str
    via: str
    since: datetime | None


def ways(may_act: bool) -> list[str]:
    """How a person can be told now: in the browser, by mail if a running monitor sends mails, through the channels of
    running monitors if the person may act."""
    tx = SessionExecutor(db.session)

    def live(fact: str) -> list[str]:
        return [name for name, age in channels.known(tx, fact).items() if age < channels.LIVE_MS]

    mail = [MAIL] if live(channels.SENDERS) else []
    return [BROWSER, *mail, *([CHANNEL + name for name in sorted(live(channels.FACT))] if may_act else [])]


def follow(user_id: int, kind: str, subject: str, via: str, may_act: bool, shown: str = LANGUAGES[0]) -> str:
    """Tell a person when a job or batch ends, in their language, else that of the page (`shown`);
    returns its whole id. Raises ValidationError for a way that nobody serves, and ActionRefused when it is unknown or
    the person follows MOST others."""
    found = (lookup.find(subject) if kind == JOB else batch_pages.find(subject)) if subject else None
    refuse_unless(found, _("There is no such job.") if kind == JOB else _("There is no such batch."))
    key = found.uuid if kind == JOB else found.id
    if via not in ways(may_act):
        raise ValidationError(no_mail() if via == MAIL else _("Choose how you are told: this way is not there."))
    mine = select(func.count()).select_from(Follow).where(Follow.user_id == user_id)
    others = db.session.scalar(mine.where((Follow.kind != kind) | (Follow.subject != key)))
    if others >= MOST:
        db.session.rollback()
        raise ActionRefused(_("You follow %(n)s jobs and batches already: stop following one first.", n=MOST))
    language = db.session.scalar(select(User.language).where(User.id == user_id))
    SessionExecutor(db.session).execute(
        _FOLLOW, user_id=user_id, kind=kind, subject=key, via=via, created_ms=now_ms(),
        language=next((one for one in (language, shown) if one in LANGUAGES), LANGUAGES[0]))
    db.session.commit()
    return key


def no_mail() -> str:
    """Why no mail can be chosen, and what to do."""
    return _("No running monitor can send mails to addresses.") + " " + _("Set SMTP_URL for the monitor.")


def unfollow(user_id: int, kind: str, subject: str) -> int:
    """No longer tell a person; returns how many rows there were, 0 or 1."""
    mine = delete(Follow).where(Follow.user_id == user_id, Follow.kind == kind, Follow.subject == subject)
    ended = db.session.execute(mine).rowcount
    db.session.commit()
    return ended


def via_of(user_id: int, kind: str, subject: str) -> str | None:
    """How a person is told of a job or batch; None when it is not followed."""
    mine = select(Follow.via).where(Follow.user_id == user_id, Follow.kind == kind, Follow.subject == subject)
    return db.session.scalar(mine)


def listing(user_id: int, sees_data: bool, size: int = 100) -> tuple[list[FollowView], int]:
    """What a person follows, the latest first, at most `size`; and how many there are."""
    mine = select(Follow).where(Follow.user_id == user_id)
    rows = db.session.scalars(mine.order_by(Follow.id.desc()).limit(size)).all()
    types = _names(select(Job.uuid, Job.job_type), Job.uuid, [row.subject for row in rows if row.kind == JOB])
    named = _names(select(JobBatch.id, JobBatch.name), JobBatch.id, [row.subject for row in rows if row.kind == BATCH])
    names = {**{uuid: registry.label_of(name) for uuid, name in types.items()}, **(named if sees_data else {})}
    said = [translate_stored(names.get(row.subject)) or row.subject[:8] for row in rows]
    views = [FollowView(row.kind, row.subject, one_line(redact(name), 120), row.via, when(row.created_ms))
             for row, name in zip(rows, said, strict=True)]
    return views, db.session.scalar(select(func.count()).select_from(mine.subquery()))


def _names(query, column, keys: Sequence[str]) -> dict[str, str]:
    found = db.session.execute(query.where(column.in_(keys))) if keys else ()
    return {key: name or "" for key, name in found}
