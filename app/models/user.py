"""`users`, their `user_sessions`, and `login_attempts`, which limit the guessing of passwords."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.extensions import db
from app.models.types import Id

ROLES = ("super-admin", "operator", "viewer", "user")


class User(db.Model):
    """An account. `role` is one of ROLES; with `disabled_ms` it cannot sign in.

    `sees_data`: a viewer may see arguments, logs and results. `language` is that of what is sent to the person;
    `browser_alerts`: the browser tells new alerts. With `totp_on_ms` signing in needs a code of `totp_secret` (sealed),
    each once (`totp_step` is the last), or one of `recovery_codes` (JSON of hashes).
    """

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    email: Mapped[str] = mapped_column(String(255), unique=True)
    password_hash: Mapped[str] = mapped_column(String(255))
    role: Mapped[str] = mapped_column(String(50))
    created_ms: Mapped[int] = mapped_column(BigInteger)
    disabled_ms: Mapped[int | None] = mapped_column(BigInteger)
    sees_data: Mapped[int] = mapped_column(Integer, server_default="0")
    language: Mapped[str | None] = mapped_column(String(5))
    browser_alerts: Mapped[int] = mapped_column(Integer, server_default="0")
    totp_secret: Mapped[str | None] = mapped_column(Text)
    totp_on_ms: Mapped[int | None] = mapped_column(BigInteger)
    totp_step: Mapped[int | None] = mapped_column(BigInteger)
    recovery_codes: Mapped[str | None] = mapped_column(Text)


class UserSession(db.Model):
    """A signed-in browser. The cookie contains a random id, the row its SHA-256; deleting the row signs it out."""

    __tablename__ = "user_sessions"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created_ms: Mapped[int] = mapped_column(BigInteger)
    seen_ms: Mapped[int] = mapped_column(BigInteger)
    agent: Mapped[str | None] = mapped_column(String(200))
    network: Mapped[str | None] = mapped_column(String(64))
    user: Mapped[User] = relationship(lazy="joined", innerjoin=True)


class LoginAttempt(db.Model):
    """An attempt to sign in. It is written before the password is checked and deleted when the password was right.
    `network` is the client's /32 or /64, or `device:` with the id of a browser that has signed in before."""

    __tablename__ = "login_attempts"
    __table_args__ = (Index("login_attempts_network_idx", "network", "at_ms"), Index("login_attempts_at_idx", "at_ms"))

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    account: Mapped[str] = mapped_column(String(64))
    network: Mapped[str] = mapped_column(String(64))
    at_ms: Mapped[int] = mapped_column(BigInteger)
