"""`generations`: what was asked of a model and what came back; `content_versions`: bodies that were replaced; `prompt_templates`."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import db
from app.models.types import Id


class Generation(db.Model):
    """One a job (`uuid`). `status`: asking (sent), answering (the answer has begun), answered, partial, failed, cancelled.

    `asks` counts requests sent, `maybe_paid` those of which nobody knows whether they were billed. `cost_nano` is in
    thousand-millionths of `currency`, None when unknown; `applied_ms` is when the text became a content's body.
    """

    __tablename__ = "generations"
    __table_args__ = (Index("generations_tenant_idx", "tenant_id", "id"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    uuid: Mapped[str] = mapped_column(String(36), unique=True)
    round: Mapped[int] = mapped_column(Integer, server_default="0")
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


class ContentVersion(db.Model):
    """A body that generation `replaced_by` (a job's uuid) put aside; the pair is unique, so a second run keeps one."""

    __tablename__ = "content_versions"
    __table_args__ = (UniqueConstraint("content_id", "replaced_by"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    content_id: Mapped[int] = mapped_column(BigInteger)
    body: Mapped[str] = mapped_column(Text)
    replaced_ms: Mapped[int] = mapped_column(BigInteger)
    replaced_by: Mapped[str] = mapped_column(String(36))


class PromptTemplate(db.Model):
    """`body` with {prompt}, {reference}, {title} and {body} in it; tenant '' is everybody's."""

    __tablename__ = "prompt_templates"
    __table_args__ = (UniqueConstraint("tenant_id", "name"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(64), server_default="")
    name: Mapped[str] = mapped_column(String(100))
    body: Mapped[str] = mapped_column(Text)
    updated_ms: Mapped[int] = mapped_column(BigInteger)
    updated_by: Mapped[str | None] = mapped_column(String(255))
