"""Alerts: `alert_rules`, what is watched; `alerts`, one row an incident; `alert_messages`, the outbox."""

from __future__ import annotations

from sqlalchemy import BigInteger, Float, Index, Integer, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import db
from app.models.types import Id

_OPEN, _DUE = text("closed_ms IS NULL"), text("state IN ('waiting', 'sending')")


class AlertRule(db.Model):
    """A rule. `window_min` and `cooldown_min` are in minutes; `quiet_from` and `quiet_until` are times of day in
    APP_TIMEZONE ('22:00'). `channels` is `*` for all of ALERT_URLS, else names with commas; '' means log and page only.
    """

    __tablename__ = "alert_rules"
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    kind: Mapped[str] = mapped_column(String(40))
    enabled: Mapped[int] = mapped_column(Integer, server_default="1")
    threshold: Mapped[float] = mapped_column(Float)
    minimum: Mapped[int] = mapped_column(Integer, server_default="0")
    window_min: Mapped[int] = mapped_column(Integer, server_default="0")
    job_type: Mapped[str | None] = mapped_column(String(255))
    queue: Mapped[str | None] = mapped_column(String(255))
    tenant_id: Mapped[str | None] = mapped_column(String(255))
    view_id: Mapped[int | None] = mapped_column(BigInteger)
    severity: Mapped[str] = mapped_column(String(10))
    quiet_from: Mapped[str | None] = mapped_column(String(5))
    quiet_until: Mapped[str | None] = mapped_column(String(5))
    channels: Mapped[str] = mapped_column(Text, server_default="*")
    cooldown_min: Mapped[int] = mapped_column(Integer, server_default="15")


class Alert(db.Model):
    """An incident; (rule, subject) is open at most once. `facts` is JSON, shown as text in the reader's language.

    `notify_at` (ms) is when the team is notified: later than `opened_ms` in quiet hours, while the alert is snoozed, or
    within the cooldown of the last incident. `notified` is 1 after it.
    """

    __tablename__ = "alerts"
    __table_args__ = (
        Index("alerts_open_key", "rule_id", "subject", unique=True, sqlite_where=_OPEN, postgresql_where=_OPEN),
        Index("alerts_closed_idx", "closed_ms"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    rule_id: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[str] = mapped_column(String(40))
    subject: Mapped[str] = mapped_column(String(255), server_default="")
    severity: Mapped[str] = mapped_column(String(10))
    facts: Mapped[str] = mapped_column(Text)
    link: Mapped[str | None] = mapped_column(Text)
    opened_ms: Mapped[int] = mapped_column(BigInteger)
    seen_ms: Mapped[int] = mapped_column(BigInteger)
    closed_ms: Mapped[int | None] = mapped_column(BigInteger)
    notify_at: Mapped[int] = mapped_column("tell_ms", BigInteger)
    notified: Mapped[int] = mapped_column("told", Integer, server_default="0")
    acked_ms: Mapped[int | None] = mapped_column(BigInteger)
    acked_by: Mapped[str | None] = mapped_column(String(255))
    snoozed_ms: Mapped[int | None] = mapped_column(BigInteger)
    snoozed_by: Mapped[str | None] = mapped_column(String(255))


class AlertMessage(db.Model):
    """`phase` is open, over or test; `state` waiting, sending (until `lease_ms`), sent, dropped (the channel refused
    it for 7 days, or a test) or expired (no monitor had the channel for 8 days)."""

    __tablename__ = "alert_messages"
    __table_args__ = (
        UniqueConstraint("alert_id", "channel", "phase"),
        Index("alert_messages_due_idx", "channel", "id", sqlite_where=_DUE, postgresql_where=_DUE),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    alert_id: Mapped[int | None] = mapped_column(BigInteger)
    channel: Mapped[str] = mapped_column(String(40))
    phase: Mapped[str] = mapped_column(String(10))
    title: Mapped[str] = mapped_column(Text)
    body: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(10), server_default="waiting")
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    next_ms: Mapped[int] = mapped_column(BigInteger)
    lease_ms: Mapped[int] = mapped_column(BigInteger, server_default="0")
    repeated: Mapped[int] = mapped_column(Integer, server_default="0")
    error: Mapped[str | None] = mapped_column(Text)
    error_json: Mapped[str | None] = mapped_column(Text)
    created_ms: Mapped[int] = mapped_column(BigInteger)
    ended_ms: Mapped[int | None] = mapped_column(BigInteger)
