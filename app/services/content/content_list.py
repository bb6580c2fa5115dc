"""The list of contents: one filter serves the rows, the count, and a sync of all that match.

address -> ContentFilter -> ids (newest first, by key) -> rows | count | the contents of a sync

A filter by the state at a service reads the index of `sync_links` in the order of contents, so a rare state costs as
little as a common one. Contents without a link, and those changed since, are found by looking at one after the other.
Counting ends at 10,000; the page says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import func, or_, select, union

from app.extensions import db
from app.models import Content, SyncAction, SyncLink
from app.services.content.field_names import told
from app.support.clock import when
from app.support.messages import translate as _
from app.support.validation import ValidationError, check_text

SERVICES = {"wordpress": "WordPress", "prestashop": "PrestaShop"}
LINKED = ("synced", "conflict", "gone", "refused", "sending")  # states of a link
STATES = ("changed", *LINKED, "never")  # changed: synced, and changed here since
NAMES = ("q", "tenant", "service", "state", "missing")
MOST, STEP = 10_000, 500


@dataclass(frozen=True)
class ContentFilter:
    """The parts of the filter, each '' when not set. `service` '' means any; `state` is one of STATES; `missing` '1'
    means contents without a body."""

    q: str = ""
    tenant: str = ""
    service: str = ""
    state: str = ""
    missing: str = ""

    @classmethod
    def read(cls, given: Any) -> ContentFilter:
        """The filter from the fields of an address or a form. Raises ValidationError."""
        found = {name: check_text(str(given.get(name, ""))).strip() for name in NAMES}
        if found["state"] not in ("", *STATES):
            raise ValidationError(_("Unknown state %(state)s.", state=repr(found["state"][:40])))
        if found["service"] not in ("", *SERVICES):
            raise ValidationError(_("Unknown service %(name)s. Use %(known)s.", name=repr(found["service"][:40]),
                                    known=", ".join(SERVICES)))
        return cls(**found | {"q": found["q"][:200], "tenant": found["tenant"][:64],
                              "missing": "1" if found["missing"] in ("1", "on", "true") else ""})

    @property
    def query(self) -> dict[str, str]:
        """The parts that are set, as an address has them."""
        return {name: getattr(self, name) for name in NAMES if getattr(self, name)}


class Standing(NamedTuple):
    """How a content stands at a service: the state of its link, or changed; `link` is the number of its row, `why`
    the sentence of a refusal."""

    service: str
    state: str
    link: int
    why: str = ""


@dataclass(frozen=True)
class ContentRow:
    """A content in the list, without its text, and how it stands at each service where it has a link."""

    id: int
    tenant_id: str
    reference: str
    title: str
    updated_at: datetime
    standings: tuple[Standing, ...]


@dataclass(frozen=True)
class ContentPage:
    """A page of contents: `following` is the id that the next page begins below, None on the last one. `total` match;
    more than these when it is not `exact`."""

    rows: list[ContentRow]
    following: int | None
    total: int
    exact: bool


def ids(wanted: ContentFilter, most: int, before: int | None = None, top: int | None = None) -> list[int]:
    """At most `most` contents, the newest first: with ids below `before`, and up to `top`."""
    parts = []
    for query, key in _queries(wanted):
        query = query if before is None else query.where(key < before)
        query = query if top is None else query.where(key <= top)
        parts.append(select(query.order_by(key.desc()).limit(most).subquery()))
    return sorted(db.session.scalars(union(*parts)), reverse=True)[:most]


def _queries(wanted: ContentFilter) -> Iterator[tuple[Any, Any]]:
    """Queries whose results together match, each with its column of content ids."""
    c, link = Content, SyncLink
    conditions = []
    if wanted.q:
        conditions.append(or_(*(x.icontains(wanted.q, autoescape=True) for x in (c.reference, c.title))))
    if wanted.tenant:
        conditions.append(c.tenant_id == wanted.tenant)
    if wanted.missing:
        conditions.append(func.trim(c.body) == "")
    services = [wanted.service] if wanted.service else list(SERVICES)
    if wanted.state in ("", "never"):
        linked = select(link.id).where(link.content_id == c.id, link.service.in_(services))
        query = select(c.id).where(*conditions)
        yield query.where(~linked.exists()) if wanted.state else query, c.id
        return
    if wanted.state == "changed":
        conditions.append(c.updated_ms != link.content_ms)
    for service in services:
        query = select(link.content_id).where(link.service == service,
                                              link.state == ("synced" if wanted.state == "changed" else wanted.state))
        if conditions:
            query = query.join(c, c.id == link.content_id).where(*conditions)
        yield query, link.content_id


def count(wanted: ContentFilter) -> tuple[int, bool]:
    """How many contents match, and whether that is exact; otherwise there are more."""
    if not wanted.query:
        return db.session.scalar(select(func.count()).select_from(Content)) or 0, True
    found = len(ids(wanted, MOST + 1))
    return min(found, MOST), found <= MOST


def newest() -> int:
    """The highest id of a content, 0 without any."""
    return db.session.scalar(select(func.max(Content.id))) or 0


def rows(found: list[int]) -> list[ContentRow]:
    """The contents of these ids, the newest first."""
    c, link = Content, SyncLink
    standings: dict[int, list[Standing]] = {}
    query = select(link.content_id, link.service, link.state, link.id, link.content_ms, c.updated_ms, SyncAction.text,
                   SyncAction.text_json).join(c, c.id == link.content_id).outerjoin(SyncAction, refusal())
    for content, service, state, number, known, updated, *why in db.session.execute(
            query.where(link.content_id.in_(found)).order_by(link.service.desc())):
        state = "changed" if changed_since(state, known, updated) else state
        standings.setdefault(content, []).append(Standing(service, state, number, told(*why) if why[0] else ""))
    query = select(c.id, c.tenant_id, c.reference, c.title, c.updated_ms).where(c.id.in_(found)).order_by(c.id.desc())
    return [ContentRow(*columns, when(updated), tuple(standings.get(columns[0], ())))
            for *columns, updated in db.session.execute(query)]


def changed_since(state: str, content_ms: int | None, updated_ms: int) -> bool:
    """Whether a content was changed here since the state that was synced last with a service."""
    return state == "synced" and content_ms is not None and updated_ms != content_ms


def refusal() -> Any:
    """Joins to a refused link the row of sync_actions that says why."""
    return ((SyncLink.state == "refused") & (SyncAction.uuid == SyncLink.uuid)
            & (SyncAction.content_id == SyncLink.content_id))


def page(wanted: ContentFilter, before: int | None, size: int = 50) -> ContentPage:
    """At most `size` contents with ids below `before`, and how many match in all."""
    if wanted.query:
        known = ids(wanted, MOST + 1)  # rare states take a look at all contents: once is enough
        total, exact = min(len(known), MOST), len(known) <= MOST
        found = [number for number in known if before is None or number < before][: size + 1]
        if not exact and len(found) <= size:
            found = ids(wanted, size + 1, before)
    else:
        (total, exact), found = count(wanted), ids(wanted, size + 1, before)
    return ContentPage(rows(found[:size]), found[size - 1] if len(found) > size else None, total, exact)
