"""Where contents live at services, as plain values for pages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from app.extensions import db
from app.models import Content, SyncAction, SyncLink
from app.services.content.content_list import changed_since, refusal
from app.services.content.field_names import told
from app.support.clock import when


@dataclass(frozen=True)
class LinkView:
    """Where a content lives at a service; `state` as in models/sync.py, or changed (here, since it was synced). `url`
    leads people to it, `edit_url` to where it is edited: both http(s) or None, as for an item that is gone. `uuid` is
    the job that wrote it last, `why` its sentence when the service refused the content."""

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
    why: str | None = None


def links_of(content: int) -> list[LinkView]:
    """Where a content lives, WordPress first."""
    updated = select(Content.updated_ms).where(Content.id == content).scalar_subquery()
    query = select(SyncLink, updated, SyncAction.text, SyncAction.text_json).outerjoin(SyncAction, refusal())
    query = query.where(SyncLink.content_id == content).order_by(SyncLink.service.desc())
    return [view(row, at or 0, text and told(text, stored)) for row, at, text, stored in db.session.execute(query)]


def view(row: SyncLink, updated_ms: int, why: str | None = None) -> LinkView:
    """A link as pages show it; `updated_ms` is that of its content."""
    gone = row.state == "gone"
    state = "changed" if changed_since(row.state, row.content_ms, updated_ms) else row.state
    return LinkView(row.id, row.content_id, row.tenant_id, row.reference, row.service, state,
                    None if gone else web(row.url), None if gone else web(row.edit_url), when(row.synced_ms),
                    when(row.changed_ms), row.changed_ms, row.decision, row.decided_by, when(row.decided_ms), row.uuid,
                    why)


def web(url: str | None) -> str | None:
    """The address if it is http(s): it came from the service, and no script may stand in a link."""
    return url if url and url.lower().startswith(("http://", "https://")) else None
