"""The jobs of a content: syncs and generations, the latest first."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import func, select, union_all

from app.extensions import db
from app.models import Content, FailedJob, Generation, Job, JobHistory, SyncAction
from app.services.content.field_names import told
from app.services.jobs import payloads
from app.support.clock import when

SHOWN = 20  # jobs on the page of a content


class ContentJob(NamedTuple):
    """A job of a content: a sync (`service`, `word` is what it did; `dry_run`: only said it) or a generation (`word` is
    its status)."""

    uuid: str
    service: str | None
    word: str
    text: str
    at: datetime | None
    dry_run: bool = False


def jobs_of(content: int) -> tuple[list[ContentJob], int]:
    """The latest 20 jobs of a content, syncs and generations, and how many there are."""
    a, g, mine = SyncAction, Generation, SyncAction.content_id == content
    row = db.session.execute(select(Content.tenant_id, Content.reference).where(Content.id == content)).one_or_none()
    if row is None:
        return [], 0
    own = g.tenant_id == row.tenant_id, g.reference == row.reference
    total = sum(db.session.scalar(select(func.count()).select_from(table).where(*where)) or 0
                for table, where in ((a, (mine,)), (g, own)))
    syncs = db.session.scalars(select(a).where(mine).order_by(a.id.desc()).limit(SHOWN)).all()
    dry = _dry_runs([s.uuid for s in syncs])
    found = [(s.at_ms, ContentJob(s.uuid, s.service, s.action, told(s.text, s.text_json), when(s.at_ms), s.uuid in dry))
             for s in syncs]
    query = select(g.created_ms, g.uuid, g.status, g.model).where(*own).order_by(g.id.desc()).limit(SHOWN)
    found += [(at, ContentJob(uuid, None, status, model, when(at)))
              for at, uuid, status, model in db.session.execute(query)]
    return [job for _at, job in sorted(found, key=lambda pair: -pair[0])[:SHOWN]], total


def _dry_runs(uuids: list[str]) -> set[str]:
    """Those of the jobs whose arguments say that they only look."""
    query = union_all(*(select(m.uuid, m.payload).where(m.uuid.in_(uuids)) for m in (Job, FailedJob, JobHistory)))
    return {uuid for uuid, payload in db.session.execute(query) if payloads.raw(payload).get("dry_run") is True}
