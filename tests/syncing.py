"""Contents, connections, links and what syncs did, as rows."""

from __future__ import annotations

import json

from app.extensions import db
from app.models import Connection, Content, SyncAction, SyncLink
from app.support.messages import to_json

UUID = "00000000-0000-8000-8000-0000000000aa"


def content(reference: str, tenant: str = "acme", updated: int = 1000, body: str = "text", title: str = "", **attributes: str) -> int:
    row = Content(tenant_id=tenant, reference=reference, title=title or f"Title {reference}", body=body, attributes=json.dumps(attributes), created_ms=1, updated_ms=updated)
    db.session.add(row)
    db.session.flush()
    return row.id


def connect(tenant: str = "acme", *services: str) -> None:
    for service in services or ("wordpress", "prestashop"):
        db.session.add(Connection(tenant_id=tenant, service=service, url="https://there.test", secret="x", created_ms=1, updated_ms=1))


def link(content_id: int, state: str = "synced", service: str = "wordpress", synced: int | None = 2000, changed: bool = False, **more) -> int:
    """`changed`: the content has changed here since."""
    row = db.session.get(Content, content_id)
    fields = {name: json.dumps(more.pop(name)) for name in ("sent", "base", "theirs", "ours") if name in more}
    made = SyncLink(content_id=content_id, tenant_id=row.tenant_id, reference=row.reference, service=service, state=state, remote_id="7", uuid=UUID,
                    synced_ms=synced, content_ms=row.updated_ms - changed, **{"changed_ms": 3000} | fields | more)
    db.session.add(made)
    db.session.flush()
    return made.id


def action(content_id: int, name: str, text: str = "Done.", uuid: str = UUID, service: str = "wordpress", url: str | None = None, at_ms: int = 5000) -> None:
    row = db.session.get(Content, content_id)
    db.session.add(SyncAction(uuid=uuid, retry_round=1, content_id=content_id, reference=row.reference, service=service, action=name, text=text,
                              text_json=to_json(text), url=url, at_ms=at_ms))
