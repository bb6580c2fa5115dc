"""Generations and prompt templates as plain values for pages; templates as people change them."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import or_, select

from app.extensions import db
from app.models import Content, ContentVersion, Generation, PromptTemplate
from app.services.audit import ActionRefused, audit
from app.support.clock import now_ms, when
from app.support.messages import Message, from_row
from app.support.messages import translate as _
from app.support.validation import ValidationError, check_text, parse_tenant

NAME = re.compile(r"[\w .-]{1,100}")
MOST_BODY = 20_000


def listing(q: str, tenant: str, status: str, before: int | None, limit: int) -> list[dict[str, Any]]:
    """The newest generations; `q` in prompt, text, reference and model."""
    query = select(Generation).order_by(Generation.id.desc()).limit(limit)
    if q:
        looked = (Generation.prompt, Generation.text, Generation.reference, Generation.model)
        query = query.where(or_(*(column.icontains(q, autoescape=True) for column in looked)))
    for column, value in ((Generation.tenant_id, tenant), (Generation.status, status)):
        query = query.where(column == value) if value else query
    rows = db.session.scalars(query if before is None else query.where(Generation.id < before))
    return [_shown(row) for row in rows]


def _shown(row: Generation) -> dict[str, Any]:
    return {c.name: getattr(row, c.name) for c in Generation.__table__.columns if c.name != "error_json"} | {
        "error": from_row(row.error, row.error_json),
        "created_at": when(row.created_ms), "ended_at": when(row.ended_ms), "applied_at": when(row.applied_ms),
        "first_after_ms": row.first_ms - row.asked_ms if row.first_ms and row.asked_ms else None,
        "took_ms": row.ended_ms - row.asked_ms if row.ended_ms and row.asked_ms else None,
    }


def exists(uuid: str) -> bool:
    return db.session.scalar(select(Generation.id).where(Generation.uuid == uuid)) is not None


def one(uuid: str) -> dict[str, Any] | None:
    """One generation, with its content's versions: bodies that were replaced, the latest first."""
    row = db.session.scalar(select(Generation).where(Generation.uuid == uuid))
    if row is None:
        return None
    content = db.session.scalar(select(Content).where(Content.tenant_id == row.tenant_id, Content.reference == (row.reference or "")))
    query = select(ContentVersion).where(ContentVersion.content_id == (content.id if content else 0)).order_by(ContentVersion.id.desc()).limit(50)
    versions = [{"body": v.body, "at": when(v.replaced_ms), "by": v.replaced_by} for v in db.session.scalars(query)]
    return _shown(row) | {"content": None if content is None else {"title": content.title, "body": content.body}, "versions": versions}


def templates() -> list[dict[str, Any]]:
    rows = db.session.scalars(select(PromptTemplate).order_by(PromptTemplate.tenant_id, PromptTemplate.name))
    return [{"id": r.id, "tenant_id": r.tenant_id, "name": r.name, "body": r.body, "updated_at": when(r.updated_ms), "updated_by": r.updated_by}
            for r in rows]


def save_template(tenant: str, name: str, body: str, actor: str) -> None:
    """Make or replace the template of that tenant ('' is everybody's) and name. Raises ValidationError."""
    tenant_id, name, body = parse_tenant(check_text(tenant)) or "", check_text(name).strip(), check_text(body).strip()
    if not NAME.fullmatch(name):
        raise ValidationError(_("The name may have letters, digits, blanks, dots and hyphens, at most 100."))
    if "{prompt}" not in body or len(body) > MOST_BODY:
        raise ValidationError(_("The text must have {prompt} in it, where a job's prompt goes, and at most %(n)s characters.", n=MOST_BODY))
    row = db.session.scalar(select(PromptTemplate).where(PromptTemplate.tenant_id == tenant_id, PromptTemplate.name == name))
    row = row or PromptTemplate(tenant_id=tenant_id, name=name)
    row.body, row.updated_ms, row.updated_by = body, now_ms(), actor[:255]
    db.session.add(row)
    audit(actor, Message("prompt template"), f"{tenant_id or '*'} {name}", Message("saved"))
    db.session.commit()


def delete_template(template: int, actor: str) -> None:
    row = db.session.get(PromptTemplate, template) if 0 < template < 2**62 else None
    if row is None:
        db.session.rollback()
        raise ActionRefused(_("There is no such template."), unknown=True)
    audit(actor, Message("prompt template"), f"{row.tenant_id or '*'} {row.name}", Message("deleted"))
    db.session.delete(row)
    db.session.commit()
