"""`generations`: requests to a language model; `content_versions`: replaced texts; `prompt_templates`."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Integer, String, Text, UniqueConstraint, text as sql
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import db
from app.models.types import Id

_NAMED, _MEMBER, _WAITS = map(sql, ("reference IS NOT NULL", "batch_id IS NOT NULL", "draft = 'waiting'"))


class Generation(db.Model):
    """The generation of one job (`uuid`). `status` is asking (sent), answering (the answer has begun), answered,
    partial, failed or cancelled.

    `asks` counts the requests sent, `maybe_paid` those that may have been billed. `cost_nano` is in billionths of
    `currency`, None when unknown. `applied_ms` is when the text became the body of a content. A bulk writes the rows
    of its texts as new, with the id of their batch, in the order of its prompts. `draft` is None, or waiting, accepted
    or refused for a text that becomes the body only when a person accepts it.
    """

    __tablename__ = "generations"
    __table_args__ = (
        Index("generations_tenant_idx", "tenant_id", "id"), Index("generations_model_idx", "model", "id"),
        Index("generations_content_idx", "tenant_id", "reference", sqlite_where=_NAMED, postgresql_where=_NAMED),
        Index("generations_batch_idx", "batch_id", "id", sqlite_where=_MEMBER, postgresql_where=_MEMBER),
        Index("generations_draft_idx", "id", sqlite_where=_WAITS, postgresql_where=_WAITS),
        {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    uuid: Mapped[str] = mapped_column(String(36), unique=True)
    retry_round: Mapped[int] = mapped_column("round", Integer, server_default="0")
    tenant_id: Mapped[str] = mapped_column(String(64), server_default="")
    reference: Mapped[str | None] = mapped_column(String(255))
    template: Mapped[str | None] = mapped_column(String(100))
    prompt: Mapped[str] = mapped_column(Text)
    parameters: Mapped[str] = mapped_column(Text, server_default="{}")
    model: Mapped[str] = mapped_column(String(100))
    status: Mapped[str] = mapped_column(String(20))
    text: Mapped[str | None] = mapped_column(Text)
    answered_by: Mapped[str | None] = mapped_column(String(100))
    raw: Mapped[str | None] = mapped_column(Text)
    tokens_in: Mapped[int | None] = mapped_column(BigInteger)
    tokens_cached: Mapped[int | None] = mapped_column(BigInteger)
    tokens_out: Mapped[int | None] = mapped_column(BigInteger)
    cost_nano: Mapped[int | None] = mapped_column(BigInteger)
    currency: Mapped[str | None] = mapped_column(String(3))
    asks: Mapped[int] = mapped_column(Integer, server_default="0")
    maybe_paid: Mapped[int] = mapped_column(Integer, server_default="0")
    error: Mapped[str | None] = mapped_column(Text)
    error_json: Mapped[str | None] = mapped_column(Text)
    created_ms: Mapped[int] = mapped_column(BigInteger)
    asked_ms: Mapped[int | None] = mapped_column(BigInteger)
    first_ms: Mapped[int | None] = mapped_column(BigInteger)
    ended_ms: Mapped[int | None] = mapped_column(BigInteger)
    applied_ms: Mapped[int | None] = mapped_column(BigInteger)
    batch_id: Mapped[str | None] = mapped_column(String(36))
    draft: Mapped[str | None] = mapped_column(String(10))
    decided_by: Mapped[str | None] = mapped_column(String(255))
    decided_ms: Mapped[int | None] = mapped_column(BigInteger)


class ContentVersion(db.Model):
    """The body of a content before the job `replaced_by` (uuid) replaced it; a second run of the job adds no row."""

    __tablename__ = "content_versions"
    __table_args__ = (UniqueConstraint("content_id", "replaced_by"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    content_id: Mapped[int] = mapped_column(BigInteger)
    body: Mapped[str] = mapped_column(Text)
    replaced_ms: Mapped[int] = mapped_column(BigInteger)
    replaced_by: Mapped[str] = mapped_column(String(36))


class PromptTemplate(db.Model):
    """A template whose `body` can contain {prompt}, {reference}, {title} and {body}. Tenant '' means all tenants."""

    __tablename__ = "prompt_templates"
    __table_args__ = (UniqueConstraint("tenant_id", "name"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(64), server_default="")
    name: Mapped[str] = mapped_column(String(100))
    body: Mapped[str] = mapped_column(Text)
    updated_ms: Mapped[int] = mapped_column(BigInteger)
    updated_by: Mapped[str | None] = mapped_column(String(255))
