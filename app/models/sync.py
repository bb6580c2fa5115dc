"""`sync_links`: where a content lives at a service; `sync_actions`: what a job did with each content."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import db
from app.models.types import Id


class SyncLink(db.Model):
    """Where a content lives at a service. `state` is sending (a create or an update may be on its way), synced,
    conflict (changed there, waits for a person), gone (deleted or binned there) or refused (by the service).

    Fields as JSON objects of texts: `sent` ours when they were last written, `base` theirs right after it, `sending`
    ours of a write whose answer has not come, `theirs` what was found in a conflict, `ours` what was to be sent then.
    `owner` is the claim that writes (uuid/number); `decision` is None, ours, theirs, later or again.
    `since_ms` is when its create began, `asked_ms` when it was last asked for: it may still arrive a while later.
    `content_ms` is the `updated_ms` of the content that was synced last: while it differs, the content changed here.
    """

    __tablename__ = "sync_links"
    __table_args__ = (
        UniqueConstraint("content_id", "service", name="sync_links_content_key"),
        Index("sync_links_state_idx", "service", "state", "content_id"),
        Index("sync_links_remote_idx", "tenant_id", "service", "remote_id"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    content_id: Mapped[int] = mapped_column(BigInteger)
    tenant_id: Mapped[str] = mapped_column(String(64))
    reference: Mapped[str] = mapped_column(String(255))
    service: Mapped[str] = mapped_column(String(20))
    state: Mapped[str] = mapped_column(String(20))
    remote_id: Mapped[str | None] = mapped_column(String(64))
    url: Mapped[str | None] = mapped_column(Text)
    edit_url: Mapped[str | None] = mapped_column(Text)
    sent: Mapped[str | None] = mapped_column(Text)
    base: Mapped[str | None] = mapped_column(Text)
    sending: Mapped[str | None] = mapped_column(Text)
    theirs: Mapped[str | None] = mapped_column(Text)
    ours: Mapped[str | None] = mapped_column(Text)
    notes: Mapped[str] = mapped_column(Text, server_default="{}")
    since_ms: Mapped[int | None] = mapped_column(BigInteger)
    owner: Mapped[str | None] = mapped_column(String(80))
    decision: Mapped[str | None] = mapped_column(String(10))
    decided_by: Mapped[str | None] = mapped_column(String(255))
    decided_ms: Mapped[int | None] = mapped_column(BigInteger)
    uuid: Mapped[str] = mapped_column(String(36))
    synced_ms: Mapped[int | None] = mapped_column(BigInteger)
    content_ms: Mapped[int | None] = mapped_column(BigInteger)
    asked_ms: Mapped[int | None] = mapped_column(BigInteger)
    changed_ms: Mapped[int] = mapped_column(BigInteger)


class SyncAction(db.Model):
    """What a job did with a content: created, updated, unchanged, conflict, gone, refused, accepted (theirs) or, in a
    dry run, would_create, would_update; `text` says it in a sentence, `url` leads to it."""

    __tablename__ = "sync_actions"
    __table_args__ = (
        UniqueConstraint("uuid", "content_id", name="sync_actions_job_key"),
        Index("sync_actions_content_idx", "content_id", "id"), Index("sync_actions_at_idx", "at_ms"),
        {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    uuid: Mapped[str] = mapped_column(String(36))
    retry_round: Mapped[int] = mapped_column("round", Integer)
    content_id: Mapped[int] = mapped_column(BigInteger)
    reference: Mapped[str] = mapped_column(String(255))
    service: Mapped[str] = mapped_column(String(20))
    action: Mapped[str] = mapped_column(String(20))
    text: Mapped[str] = mapped_column(Text)
    text_json: Mapped[str | None] = mapped_column(Text)
    url: Mapped[str | None] = mapped_column(Text)
    at_ms: Mapped[int] = mapped_column(BigInteger)
