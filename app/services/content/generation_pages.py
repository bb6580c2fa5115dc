"""Generations and prompt templates as plain values for pages; prompt templates as people change them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import or_, select

from app.extensions import db
from app.models import Content, ContentVersion, Generation, PromptTemplate
from app.services.audit import commit_audited, row_of
from app.services.content.generations import PLACEHOLDER
from app.support.clock import now_ms, when
from app.support.messages import Message, _, from_row
from app.support.validation import ValidationError, check_text, parse_tenant

NAME = re.compile(r"[\w .-]{1,100}")
MOST_BODY = 20_000


@dataclass(frozen=True)
class Version:
    """The body of a content before the generation of job `by` (uuid) replaced it."""

    body: str
    at: datetime
    by: str
    id: int = 0


@dataclass(frozen=True)
class GenerationView:
    """A request to a model and its answer.

    `tokens_*` and `cost_nano` (billionths of the unit of `currency`) are None when unknown. `first_after_ms` and
    `took_ms` count from the request to the first words and to the end. `versions` are those of its content, the latest
    first; in a list of generations they are empty.
    """

    id: int
    uuid: str
    tenant_id: str
    reference: str | None
    template: str | None
    prompt: str
    model: str
    status: str
    text: str | None
    answered_by: str | None
    raw: str | None
    tokens_in: int | None
    tokens_cached: int | None
    tokens_out: int | None
    cost_nano: int | None
    currency: str | None
    asks: int
    maybe_paid: int
    error: str | None
    created_at: datetime
    ended_at: datetime | None
    applied_at: datetime | None
    first_after_ms: int | None
    took_ms: int | None
    batch_id: str | None = None
    draft: str | None = None
    versions: tuple[Version, ...] = ()


@dataclass(frozen=True)
class TemplateView:
    """A prompt template; `tenant_id` '' means all tenants."""

    id: int
    tenant_id: str
    name: str
    body: str
    updated_at: datetime
    updated_by: str | None


_COLUMNS = [name for name in GenerationView.__dataclass_fields__ if hasattr(Generation, name)]


def listing(q: str, tenant: str, status: str, before: int | None, limit: int, batch: str = "",
            draft: str = "", reference: str = "") -> list[GenerationView]:
    """At most `limit` generations, the newest first, with ids below `before`. `q` is searched in prompt, text,
    reference and model. Blank arguments mean all; texts of a bulk that were not asked yet are found only by status,
    batch or reference."""
    query = select(Generation).order_by(Generation.id.desc()).limit(limit)
    if q:
        searched = (Generation.prompt, Generation.text, Generation.reference, Generation.model)
        query = query.where(or_(*(column.icontains(q, autoescape=True) for column in searched)))
    if not status and not batch and not reference:
        query = query.where(Generation.status != "new")
    for column, value in ((Generation.tenant_id, tenant), (Generation.status, status), (Generation.batch_id, batch),
                          (Generation.draft, draft), (Generation.reference, reference)):
        query = query.where(column == value) if value else query
    rows = db.session.scalars(query if before is None else query.where(Generation.id < before))
    return [_view(row) for row in rows]


def _view(row: Generation) -> GenerationView:
    columns: dict[str, Any] = {name: getattr(row, name) for name in _COLUMNS}
    columns["error"] = from_row(row.error, row.error_json)
    return GenerationView(
        **columns, created_at=when(row.created_ms), ended_at=when(row.ended_ms), applied_at=when(row.applied_ms),
        first_after_ms=row.first_ms - row.asked_ms if row.first_ms and row.asked_ms else None,
        took_ms=row.ended_ms - row.asked_ms if row.ended_ms and row.asked_ms else None)


def exists(uuid: str) -> bool:
    """Whether the job has a generation."""
    return db.session.scalar(select(Generation.id).where(Generation.uuid == uuid)) is not None


def one(uuid: str) -> GenerationView | None:
    """The generation of a job with the latest 50 versions of its content; None when there is none."""
    row = db.session.scalar(select(Generation).where(Generation.uuid == uuid))
    if row is None:
        return None
    mine = Content.tenant_id == row.tenant_id, Content.reference == (row.reference or "")
    query = select(ContentVersion).where(ContentVersion.content_id == select(Content.id).where(*mine).scalar_subquery())
    query = query.order_by(ContentVersion.id.desc()).limit(50)
    versions = tuple(Version(v.body, when(v.replaced_ms), v.replaced_by, v.id) for v in db.session.scalars(query))
    return replace(_view(row), versions=versions)


def templates() -> list[TemplateView]:
    """All prompt templates, by tenant and name."""
    rows = db.session.scalars(select(PromptTemplate).order_by(PromptTemplate.tenant_id, PromptTemplate.name))
    return [TemplateView(r.id, r.tenant_id, r.name, r.body, when(r.updated_ms), r.updated_by) for r in rows]


def parse_name(text: str) -> str:
    """The name of a template. Raises ValidationError."""
    text = check_text(text).strip()
    if not NAME.fullmatch(text):
        raise ValidationError(_("The name may have letters, digits, blanks, dots and hyphens, at most 100."))
    return text


def parse_body(text: str) -> str:
    """The text of a template. Raises ValidationError."""
    text = check_text(text).strip()
    if not PLACEHOLDER.search(text) or len(text) > MOST_BODY:
        raise ValidationError(_("The text must have a placeholder in it, such as {prompt} where a job's prompt goes, "
                                "and at most %(n)s characters.", n=MOST_BODY))
    return text


def save_template(tenant: str | None, name: str, body: str, actor: str) -> None:
    """Create or replace the template of a tenant (blank: all tenants) with this name. Raises ValidationError."""
    tenant_id, name, body = parse_tenant(check_text(tenant or "")) or "", parse_name(name), parse_body(body)
    key = {"tenant_id": tenant_id, "name": name}
    row = db.session.scalar(select(PromptTemplate).filter_by(**key)) or PromptTemplate(**key)
    row.body, row.updated_ms, row.updated_by = body, now_ms(), actor[:255]
    db.session.add(row)
    commit_audited(actor, Message("prompt template"), f"{tenant_id or '*'} {name}", Message("saved"))


def delete_template(template: int, actor: str) -> None:
    """Delete a template by its id. Raises ActionRefused when there is none."""
    row = row_of(PromptTemplate, template, _("There is no such template."))
    db.session.delete(row)
    commit_audited(actor, Message("prompt template"), f"{row.tenant_id or '*'} {row.name}", Message("deleted"))
