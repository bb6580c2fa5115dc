"""`job_costs`: one row a paid request; `tenant_budgets`: monthly limits."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import db
from app.models.types import Id


class JobCost(db.Model):
    """The cost of one paid request of any job. `cost_nano` is in billionths of `currency`, which is exact for prices
    per million tokens; None means unknown, never 0."""

    __tablename__ = "job_costs"
    __table_args__ = (
        Index("job_costs_at_idx", "at_ms"), Index("job_costs_tenant_idx", "tenant_id", "at_ms"),
        Index("job_costs_uuid_idx", "uuid"),
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
    """What a tenant may spend in a calendar month, in billionths of `currency`. With `hold`, at 100 % further
    generations are held until the budget is raised or the next month begins."""

    __tablename__ = "tenant_budgets"

    tenant_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    month_nano: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(String(3))
    hold: Mapped[int] = mapped_column(Integer, server_default="0")
    changed_by: Mapped[str | None] = mapped_column(String(255))
