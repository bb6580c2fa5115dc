"""Where contents live at services, conflicts, and what a sync job did, as plain values for pages; and the decision of a
person about a conflict or an item that is gone.

decide -> one transaction: the decision, the log of actions, and the job that carries it out

A decision counts for what its page showed: `changed_ms` of the link is compared in the UPDATE. So of two people the
second is told, and a conflict that a sync has found anew is shown again first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import func, select, update
from sqlalchemy.engine import Engine

from app.extensions import db
from app.integrations.csv_cells import write_rows
from app.models import Content, Generation, SyncAction, SyncLink
from app.services.audit import ActionRefused, audit, row_of
from app.services.content import sync_start
from app.services.content.content_list import STEP, changed_since
from app.services.content.text_diff import Piece, differences
from app.support.clock import iso, millis, now_ms, when
from app.support.messages import Message, from_row, translate as _, translate_stored
from app.support.validation import ValidationError, stored_object

DECISIONS = {"conflict": ("ours", "theirs", "later"), "gone": ("again", "later")}  # by state
NOTED = {"ours": Message("keep ours"), "theirs": Message("take theirs"), "later": Message("decide later"),
         "again": Message("make anew")}
ACTIONS = ("created", "updated", "accepted", "unchanged", "conflict", "gone", "refused", "would_create", "would_update")
COLUMNS = ("reference", "service", "action", "text", "url", "at")
SHOWN, MOST_CHARS = 20, 20_000  # rows on a page of something else; characters of a field


@dataclass(frozen=True)
class LinkView:
    """Where a content lives at a service; `state` as in models/sync.py, or changed (here, since it was synced). `url`
    leads people to it, `edit_url` to where it is edited: both http(s) or None. `uuid` is the job that wrote it last."""

    id: int
    content_id: int
    tenant_id: str
    reference: str
    service: str
    state: str
    url: str | None
    edit_url: str | None
    synced_at: datetime | None
    changed_at: datetime | None
    changed_ms: int
    decision: str | None
    decided_by: str | None
    decided_at: datetime | None
    uuid: str


@dataclass(frozen=True)
class FieldView:
    """A field of a conflict: ours, theirs and the last common text. Parts that differ from the last common text (from
    the other side, when there is none) are marked, unless `compared` is False. `cut`: more than 20,000 characters."""

    name: str
    conflict: bool
    ours: tuple[Piece, ...]
    theirs: tuple[Piece, ...]
    base: str | None
    compared: bool
    cut: bool


@dataclass(frozen=True)
class LinkPage:
    """The page of a link: the fields that differ, those in conflict first, and how many are the same on both sides."""

    link: LinkView
    title: str
    updated_at: datetime
    fields: tuple[FieldView, ...]
    same: int
    choices: tuple[str, ...]


class ActionView(NamedTuple):
    """What a sync job did with a content, `text` in the reader's language."""

    id: int
    uuid: str
    content_id: int
    reference: str
    service: str
    action: str
    text: str
    url: str | None
    at: datetime | None


class ContentJob(NamedTuple):
    """A job of a content: a sync (`service`, `word` is what it did) or a generation (`word` is its status)."""

    uuid: str
    service: str | None
    word: str
    text: str
    at: datetime | None


@dataclass(frozen=True)
class SyncReport:
    """What a sync job did: `counts` by action, in the order of ACTIONS, and its first rows."""

    counts: dict[str, int]
    rows: tuple[ActionView, ...]

    @property
    def total(self) -> int:
        """How many contents it has dealt with."""
        return sum(self.counts.values())


# ---- links and conflicts -------------------------------------------------------------------------------------------


def links_of(content: int) -> list[LinkView]:
    """Where a content lives, WordPress first."""
    updated = select(Content.updated_ms).where(Content.id == content).scalar_subquery()
    query = select(SyncLink, updated).where(SyncLink.content_id == content).order_by(SyncLink.service.desc())
    return [_link(row, at or 0) for row, at in db.session.execute(query)]


def _link(row: SyncLink, updated_ms: int) -> LinkView:
    state = "changed" if changed_since(row.state, row.content_ms, updated_ms) else row.state
    return LinkView(row.id, row.content_id, row.tenant_id, row.reference, row.service, state, web(row.url),
                    web(row.edit_url), when(row.synced_ms), when(row.changed_ms), row.changed_ms, row.decision,
                    row.decided_by, when(row.decided_ms), row.uuid)


def web(url: str | None) -> str | None:
    """The address if it is http(s): it came from the service, and no script may stand in a link."""
    return url if url and url.lower().startswith(("http://", "https://")) else None


def link_page(number: int) -> LinkPage | None:
    """The page of a link; None when there is none of this number."""
    row = db.session.get(SyncLink, number) if 0 < number < 2**62 else None
    content = row and db.session.get(Content, row.content_id)
    if row is None or content is None:
        return None
    ours, theirs, base = (_fields(text) for text in (row.ours or row.sent, row.theirs, row.base))
    names = sorted(ours or theirs) if row.theirs else []  # the service has other fields too, which we never set
    fields = [_field(name, ours.get(name, ""), theirs.get(name, ""), base.get(name)) for name in names
              if ours.get(name, "") != theirs.get(name, "")]
    fields.sort(key=lambda field: not field.conflict)
    return LinkPage(_link(row, content.updated_ms), content.title, when(content.updated_ms), tuple(fields),
                    len(names) - len(fields), DECISIONS.get(row.state, ()))


def _fields(text: str | None) -> dict[str, str]:
    return {name: value if isinstance(value, str) else str(value) for name, value in stored_object(text).items()}


def _field(name: str, ours: str, theirs: str, base: str | None) -> FieldView:
    cut = max(len(ours), len(theirs), len(base or "")) > MOST_CHARS
    ours, theirs, last = ours[:MOST_CHARS], theirs[:MOST_CHARS], None if base is None else base[:MOST_CHARS]
    if last is None:
        theirs_parts, ours_parts, compared = differences(theirs, ours)
    else:
        _before, ours_parts, one = differences(last, ours)
        _before, theirs_parts, other = differences(last, theirs)
        compared = one and other
    return FieldView(name, theirs != last, ours_parts, theirs_parts, last, compared, cut)


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


# ---- jobs ----------------------------------------------------------------------------------------------------------


def jobs_of(content: int) -> tuple[list[ContentJob], int]:
    """The latest 20 jobs of a content, syncs and generations, and how many there are."""
    a, g, mine = SyncAction, Generation, SyncAction.content_id == content
    row = db.session.execute(select(Content.tenant_id, Content.reference).where(Content.id == content)).one_or_none()
    if row is None:
        return [], 0
    own = g.tenant_id == row.tenant_id, g.reference == row.reference
    total = sum(db.session.scalar(select(func.count()).select_from(table).where(*where)) or 0
                for table, where in ((a, (mine,)), (g, own)))
    syncs = db.session.scalars(select(a).where(mine).order_by(a.id.desc()).limit(SHOWN))
    found = [(s.at_ms, ContentJob(s.uuid, s.service, s.action, _told(s.text, s.text_json), when(s.at_ms)))
             for s in syncs]
    query = select(g.created_ms, g.uuid, g.status, g.model).where(*own).order_by(g.id.desc()).limit(SHOWN)
    found += [(at, ContentJob(uuid, None, status, model, when(at)))
              for at, uuid, status, model in db.session.execute(query)]
    return [job for _at, job in sorted(found, key=lambda pair: -pair[0])[:SHOWN]], total


def _told(text: str, stored: str | None) -> str:
    return translate_stored(from_row(text, stored)) or ""


def report(uuid: str) -> SyncReport | None:
    """What a sync job did, with the first 20 rows; None when it has dealt with no content."""
    query = select(SyncAction.action, func.count()).where(SyncAction.uuid == uuid).group_by(SyncAction.action)
    found = {action: n for action, n in db.session.execute(query)}
    if not found:
        return None
    names = [*(action for action in ACTIONS if action in found), *sorted(found.keys() - set(ACTIONS))]
    return SyncReport({name: found[name] for name in names}, tuple(actions(uuid, limit=SHOWN)))


def actions(uuid: str, action: str = "", after: int | None = None, limit: int = 50) -> list[ActionView]:
    """At most `limit` rows of a sync job in the order of its contents, behind content `after`; '' means all actions."""
    return [_action(row) for row in db.session.execute(_rows(uuid, action, after, limit))]


def _rows(uuid: str, action: str, after: int | None, limit: int) -> Any:
    a = SyncAction
    query = select(a.id, a.uuid, a.content_id, a.reference, a.service, a.action, a.text, a.text_json, a.url, a.at_ms)
    query = query.where(a.uuid == uuid, *([a.action == action] if action else ()))
    return query.where(*([] if after is None else [a.content_id > after])).order_by(a.content_id).limit(limit)


def _action(row: Any) -> ActionView:
    *columns, text, stored, url, at = row
    return ActionView(*columns, _told(text, stored), web(url), when(at))


def iterate(engine: Engine, uuid: str, action: str = "") -> Iterator[dict[str, Any]]:
    """All rows of a sync job as COLUMNS, times in UTC. Each transaction reads 500: a slow download must not hold one
    open."""
    after, rows = None, None
    while rows is None or len(rows) == STEP:
        with engine.connect().execution_options(begin="BEGIN") as connection:
            rows = [_action(row) for row in connection.execute(_rows(uuid, action, after, STEP))]
        for row in rows:
            yield {name: getattr(row, name) for name in COLUMNS[:-1]} | {"at": row.at and iso(millis(row.at))}
        after = rows[-1].content_id if rows else after


def as_csv(engine: Engine, uuid: str, action: str = "") -> Iterator[str]:
    """The rows of a sync job as lines of CSV."""
    def lines() -> Iterator[tuple]:
        yield COLUMNS
        for row in iterate(engine, uuid, action):
            yield tuple(row.values())
    return write_rows(lines())
