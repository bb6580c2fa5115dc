"""`job_costs`: one row a paid request of any job; `tenant_budgets`: what a tenant may spend a month; `ask_minutes`: the account's rate."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import db
from app.models.types import Id


class JobCost(db.Model):
    """`cost_nano` is in billionths of the unit of `currency`: exact for prices a million tokens; None is unknown."""

    __tablename__ = "job_costs"
    __table_args__ = (
        Index("job_costs_at_idx", "at_ms"), Index("job_costs_tenant_idx", "tenant_id", "at_ms"), Index("job_costs_uuid_idx", "uuid"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    uuid: Mapped[str] = mapped_column(String(36))
    job_type: Mapped[str] = mapped_column(String(255))
    tenant_id: Mapped[str] = mapped_column(String(64), server_default="")
    model: Mapped[str] = mapped_column(String(100), server_default="")
    at_ms: Mapped[int] = mapped_column(BigInteger)
    tokens_in: Mapped[int | None] = mapped_column(BigInteger)
    tokens_cached: Mapped[int | None] = mapped_column(BigInteger)
    tokens_out: Mapped[int | None] = mapped_column(BigInteger)
    cost_nano: Mapped[int | None] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(String(3))


class TenantBudget(db.Model):
    """`hold`: at 100 % further generations are held until it is raised or the month turns."""

    __tablename__ = "tenant_budgets"

    tenant_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    month_nano: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(String(3))
    hold: Mapped[int] = mapped_column(Integer, server_default="0")
    changed_by: Mapped[str | None] = mapped_column(String(255))


class AskMinute(db.Model):
    """Requests sent in each minute, for OPENAI_RPM."""

    __tablename__ = "ask_minutes"

    minute_ms: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    count: Mapped[int] = mapped_column(Integer)
