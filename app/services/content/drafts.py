"""Drafts: texts that become the body of their content only when a person accepts them.

answered -> waiting -> accepted: the new body, the old one becomes a version
                    -> refused: the text stays with its generation

A decision counts once: its row is changed only while it waits. Each has a row in the log of actions, in the same
transaction.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, update

from app.extensions import db
from app.ledger.dialect import SessionExecutor
from app.models import Content, ContentVersion, Generation
from app.services.audit import ActionRefused, audit, refuse_unless
from app.services.content import generations
from app.services.content.generation_pages import Version
from app.services.content.text_diff import Difference, Piece, differences, side_by_side
from app.support.clock import now_ms, when
from app.support.messages import Message, translate as _
from app.support.validation import stored_object

WAITING, DECISIONS = "waiting", {"accept": "accepted", "refuse": "refused"}
NOTED = {"accept": Message("accept draft"), "refuse": Message("refuse draft")}
STEP, SHOWN = 200, 20  # drafts a transaction; drafts and versions on a page


@dataclass(frozen=True)
class DraftView:
    """A waiting draft of job `uuid`, beside the body of today: `before` and `after` are their parts. `compared` is
    False when they are too long."""

    uuid: str
    prompt: str
    model: str
    batch_id: str | None
    at: datetime | None
    before: tuple[Piece, ...]
    after: tuple[Piece, ...]
    compared: bool


@dataclass(frozen=True)
class ContentPage:
    """A content with its text, its other columns, its waiting drafts (the first 20 of `waiting`) and the latest 20
    versions."""

    id: int
    tenant_id: str
    reference: str
    title: str
    body: str
    attributes: dict[str, str]
    updated_at: datetime
    waiting: int
    drafts: tuple[DraftView, ...]
    versions: tuple[Version, ...]


def content_page(number: int) -> ContentPage | None:
    """The page of a content; None when there is none of this number."""
    row = db.session.get(Content, number) if 0 < number < 2**62 else None
    if row is None:
        return None
    g = Generation
    mine = g.tenant_id == row.tenant_id, g.reference == row.reference, g.draft == WAITING
    count = db.session.scalar(select(func.count()).select_from(g).where(*mine)) or 0
    found = db.session.scalars(select(g).where(*mine).order_by(g.id.desc()).limit(SHOWN)) if count else ()
    query = select(ContentVersion).where(ContentVersion.content_id == row.id).order_by(ContentVersion.id.desc())
    found_versions = db.session.scalars(query.limit(SHOWN))
    versions = (Version(v.body, when(v.replaced_ms), v.replaced_by, v.id) for v in found_versions)
    return ContentPage(row.id, row.tenant_id, row.reference, row.title, row.body,
                       {k: str(v) for k, v in stored_object(row.attributes).items()}, when(row.updated_ms), count,
                       tuple(_draft(one, row.body) for one in found), tuple(versions))


def version_difference(content: int, version: int) -> Difference | None:
    """What differs between a version of a content and the text that replaced it; None when there is no such version."""
    v, mine = ContentVersion, ContentVersion.content_id == content
    old = db.session.scalar(select(v.body).where(mine, v.id == version))
    new = db.session.scalar(select(v.body).where(mine, v.id > version).order_by(v.id).limit(1))
    if old is not None and new is None:
        new = db.session.scalar(select(Content.body).where(Content.id == content))
    return None if old is None else side_by_side(old, new or "")


def _draft(row: Generation, body: str) -> DraftView:
    before, after, compared = differences(body or "", row.text or "")
    return DraftView(row.uuid, row.prompt, row.answered_by or row.model, row.batch_id, when(row.ended_ms), before,
                     after, compared)


def count_waiting() -> int:
    """How many drafts wait, of all tenants."""
    return db.session.scalar(select(func.count()).select_from(Generation).where(Generation.draft == WAITING)) or 0


def waiting(batch_id: str) -> tuple[list[tuple[int, str, str]], int]:
    """The first 20 waiting drafts of a batch as (number of the content, its reference, prompt), and how many wait whose
    content is gone."""
    g = Generation
    content = select(Content.id).where(Content.tenant_id == g.tenant_id, Content.reference == g.reference)
    of_batch = g.batch_id == batch_id, g.draft == WAITING
    query = select(content.scalar_subquery(), g.reference, g.prompt).where(*of_batch, content.exists())
    found = [(number, reference, prompt) for number, reference, prompt in db.session.execute(
        query.order_by(g.id).limit(SHOWN))]
    lost = db.session.scalar(select(func.count()).select_from(g).where(*of_batch, ~content.exists()))
    return found, lost or 0


def content_of(uuid: str) -> int | None:
    """The number of the content that the generation of a job names, or None."""
    g = Generation
    query = select(Content.id).join(g, (g.tenant_id == Content.tenant_id) & (g.reference == Content.reference))
    return db.session.scalar(query.where(g.uuid == uuid))


def decide(uuid: str, decision: str, actor: str) -> None:
    """Accept or refuse the draft of a job. Raises ActionRefused when it does not wait, or has no content any more."""
    draft = select(Generation.draft).where(Generation.uuid == uuid)
    state = refuse_unless(db.session.scalar(draft), _("There is no such draft."))
    if not _decide(uuid, decision, actor):
        db.session.rollback()
        raise ActionRefused(_("The draft was decided on already.") if state != WAITING else
                            _("Its content is no longer there."))
    audit(actor, NOTED[decision], uuid, Message("done"))
    db.session.commit()


def decide_all(batch_id: str, decision: str, actor: str) -> tuple[int, int]:
    """Accept or refuse all waiting drafts of a batch, 200 a transaction; returns how many, and how many waited."""
    done = total = 0
    for uuids in _waiting(batch_id):
        made = sum(_decide(uuid, decision, actor) for uuid in uuids)
        done, total = done + made, total + len(uuids)
        db.session.commit()
    audit(actor, NOTED[decision], batch_id, Message("%(n)s of %(total)s", n=done, total=total))
    db.session.commit()
    return done, total


def _waiting(batch_id: str) -> Iterator[list[str]]:
    """The jobs of the waiting drafts, 200 at a time: each is given once, also one whose content is gone."""
    last, g = 0, Generation
    while True:
        query = select(g.id, g.uuid).where(g.batch_id == batch_id, g.draft == WAITING, g.id > last)
        rows = db.session.execute(query.order_by(g.id).limit(STEP)).all()
        if not rows:
            return
        last = rows[-1].id
        yield [row.uuid for row in rows]


def _decide(uuid: str, decision: str, actor: str) -> bool:
    """Decide on a draft in the open transaction; False when it does not wait, or its content is gone."""
    g, tx = Generation, SessionExecutor(db.session)
    waits = select(g.tenant_id, g.reference, g.text).where(g.uuid == uuid, g.draft == WAITING).with_for_update()
    row = db.session.execute(waits).one_or_none()
    if row is None:
        return False
    if decision == "accept" and not generations.apply(tx, uuid, row.tenant_id, row.reference or "", row.text or ""):
        return False
    db.session.execute(update(g).where(g.uuid == uuid).values(
        draft=DECISIONS[decision], decided_by=actor[:255], decided_ms=now_ms()))
    return True
