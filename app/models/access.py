"""`invitations` to an account, and `api_tokens`, with which scripts sign in. Both keep hashes only."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.extensions import db
from app.models.types import Id
from app.models.user import User


class Invitation(db.Model):
    """A link with which a person makes an account of this address and role. It is deleted when it is used."""

    __tablename__ = "invitations"
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    email: Mapped[str] = mapped_column(String(255))
    role: Mapped[str] = mapped_column(String(50))
    sees_data: Mapped[int] = mapped_column(Integer, server_default="0")
    invited_by: Mapped[str] = mapped_column(String(255))
    created_ms: Mapped[int] = mapped_column(BigInteger)
    expires_ms: Mapped[int] = mapped_column(BigInteger)


class ApiToken(db.Model):
    """A personal token. `token_hash` is the SHA-256 (hex) of the whole token, `prefix` its first characters for people;
    `scopes` are words of read, act and dispatch."""

    __tablename__ = "api_tokens"
    __table_args__ = (Index("api_tokens_user_idx", "user_id"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(80))
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    prefix: Mapped[str] = mapped_column(String(16))
    scopes: Mapped[str] = mapped_column(String(40))
    created_ms: Mapped[int] = mapped_column(BigInteger)
    expires_ms: Mapped[int] = mapped_column(BigInteger)
    used_ms: Mapped[int | None] = mapped_column(BigInteger)
    used_from: Mapped[str | None] = mapped_column(String(64))
    revoked_ms: Mapped[int | None] = mapped_column(BigInteger)
    user: Mapped[User] = relationship(lazy="joined", innerjoin=True)
