"""`connections`: how a tenant reaches a service."""

from __future__ import annotations

from sqlalchemy import BigInteger, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import db
from app.models.types import Id


class Connection(db.Model):
    """The account of a tenant at a service (openai, wordpress, prestashop). `secret` is encrypted, `options` is JSON.

    The breaker: `failures` in a row; from the fifth on nothing is tried before `held_until_ms`, which is `hold_s` after
    the last failure (60 s, doubled up to 900). `error` is the sentence of the last failure.
    """

    __tablename__ = "connections"
    __table_args__ = (
        UniqueConstraint("tenant_id", "service", name="connections_tenant_key"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(64))
    service: Mapped[str] = mapped_column(String(20))
    url: Mapped[str] = mapped_column(Text)
    user_name: Mapped[str | None] = mapped_column(String(255))
    secret: Mapped[str] = mapped_column(Text)
    options: Mapped[str] = mapped_column(Text, server_default="{}")
    created_ms: Mapped[int] = mapped_column(BigInteger)
    updated_ms: Mapped[int] = mapped_column(BigInteger)
    updated_by: Mapped[str | None] = mapped_column(String(255))
    tested_ms: Mapped[int | None] = mapped_column(BigInteger)
    test_ok: Mapped[int | None] = mapped_column(Integer)
    test_text: Mapped[str | None] = mapped_column(Text)
    test_json: Mapped[str | None] = mapped_column(Text)
    failures: Mapped[int] = mapped_column(Integer, server_default="0")
    hold_s: Mapped[int] = mapped_column(Integer, server_default="0")
    held_until_ms: Mapped[int | None] = mapped_column(BigInteger)
    error: Mapped[str | None] = mapped_column(Text)
    error_json: Mapped[str | None] = mapped_column(Text)
