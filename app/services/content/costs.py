"""What was spent, by tenant, type, model or day of APP_TIMEZONE; budgets. Unknown costs are counted, never summed as 0.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import case, func, select

from app import registry
from app.extensions import db
from app.ledger import costs
from app.ledger.dialect import SessionExecutor
from app.models import JobCost, TenantBudget
from app.models.types import as_integer
from app.services.audit import audit
from app.support.clock import day_of, midnight, month_start, now_ms
from app.support.messages import Message
from app.support.messages import translate as _
from app.support.settings import settings
from app.support.validation import ValidationError, check_text, parse_tenant

GROUPS = ("day", "tenant", "type", "model")
QUARTER_MS = 900_000  # every zone's midnight falls on a quarter of an hour
MOST_DAYS = 731


def _zone() -> Any:
    return settings().timezone


def _today() -> date:
    return day_of(now_ms(), _zone())


def period(since: str, until: str) -> tuple[date, date]:
    """First and last day, both included; this month without any. Raises ValidationError."""
    today = _today()
    try:
        first = date.fromisoformat(since) if since else today.replace(day=1)
        last = date.fromisoformat(until) if until else max(today, first)
    except ValueError:
        raise ValidationError(_("A date is written like 2026-01-31.")) from None
    if not first <= last or (last - first).days > MOST_DAYS or not 2000 <= first.year <= 9000:
        raise ValidationError(_("The first day comes before the last, and they are at most two years apart."))
    return first, last


def _sane(column: Any) -> Any:
    """A cost or number of tokens that can be: two of 2^63 would stop every sum."""
    return case((column.between(-costs.MOST, costs.MOST), column))


@dataclass(frozen=True)
class CostRow:
    """What was spent under a key (a day as 2026-11-26, a tenant, a type or a model) in one currency.

    `requests` were made, of which the cost of `unknown` is not known; `nano` is the sum of the others in billionths of
    the currency's unit.
    """

    key: str
    label: str
    currency: str
    requests: int
    unknown: int
    tokens_in: int
    tokens_cached: int
    tokens_out: int
    nano: int


@dataclass
class CostSum:
    """Cost in one currency, `nano` in billionths of its unit; the cost of `unknown` requests is not in it."""

    currency: str
    nano: int = 0
    unknown: int = 0


@dataclass(frozen=True)
class BudgetView:
    """What a tenant may spend this month (`limit`) and has `spent`, in billionths of the currency's unit.

    `hold`: at 100 percent its generations wait.
    """

    tenant_id: str
    limit: int
    currency: str
    hold: bool
    spent: int
    percent: float


def totals(group: str, first: date, last: date) -> list[CostRow]:
    """Costs by one of GROUPS from the first day to the last: the dearest first, days in order."""
    columns = {"day": JobCost.at_ms - JobCost.at_ms % QUARTER_MS, "tenant": JobCost.tenant_id, "type": JobCost.job_type, "model": JobCost.model}
    start, end = midnight(first, _zone()), midnight(last + timedelta(days=1), _zone())
    sums = [func.count(), func.sum(case((_sane(JobCost.cost_nano).is_(None), 1), else_=0)),
            *(func.coalesce(func.sum(_sane(c)), 0) for c in (JobCost.tokens_in, JobCost.tokens_cached, JobCost.tokens_out, JobCost.cost_nano))]
    query = select(columns[group].label("k"), JobCost.currency, *sums).where(JobCost.at_ms >= start, JobCost.at_ms < end)
    found: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0] * 6)
    for key, currency, *numbers in db.session.execute(query.group_by("k", JobCost.currency)):
        name = day_of(key, _zone()).isoformat() if group == "day" else key
        found[name, currency] = [a + as_integer(b, 0) for a, b in zip(found[name, currency], numbers, strict=True)]
    rows = [CostRow(k, registry.label_of(k) if group == "type" else k, c, *n) for (k, c), n in found.items()]
    return sorted(rows, key=lambda r: r.key if group == "day" else (r.currency, -r.nano, r.key))


def sums() -> dict[str, list[CostSum]]:
    """Today's and this month's cost by currency, under `today` and `month`."""
    today = _today()
    month = totals("day", today.replace(day=1), today)
    found: dict[str, list[CostSum]] = {}
    for name, rows in (("today", [r for r in month if r.key == today.isoformat()]), ("month", month)):
        by: dict[str, CostSum] = {}
        for row in rows:
            kept = by.setdefault(row.currency, CostSum(row.currency))
            kept.nano += row.nano
            kept.unknown += row.unknown
        found[name] = list(by.values())
    return found


def budgets() -> list[BudgetView]:
    """Each budget by its tenant, with what is spent of it this month."""
    result = []
    for row in db.session.scalars(select(TenantBudget).order_by(TenantBudget.tenant_id)):
        spent = costs.spent(SessionExecutor(db.session), row.tenant_id, month_start(now_ms(), _zone()), row.currency)
        percent = 100 * spent / row.month_nano if row.month_nano else 100.0
        result.append(BudgetView(row.tenant_id, row.month_nano, row.currency, bool(row.hold), spent, percent))
    return result


def parse_amount(text: str) -> Decimal | None:
    """A budget; None for blank. Raises ValidationError."""
    text = text.strip().replace(",", ".")
    if text and not re.fullmatch(r"\d{1,9}(\.\d{1,2})?", text):
        raise ValidationError(_("An amount is written like 50 or 49.90."))
    return Decimal(text) if text else None


def parse_currency(text: str) -> str:
    """Three letters; USD for blank. Raises ValidationError."""
    text = text.strip().upper() or "USD"
    if not re.fullmatch(r"[A-Z]{3}", text):
        raise ValidationError(_("A currency has three letters, like USD."))
    return text


def save_budget(tenant: str, amount: Decimal | str | None, currency: str, hold: bool, actor: str) -> None:
    """Set a tenant's budget a month; without an amount remove it. Raises ValidationError."""
    name, amount, currency = parse_tenant(check_text(tenant)), parse_amount("" if amount is None else str(amount)), parse_currency(currency)
    if name is None:
        raise ValidationError(_("Name the tenant."))
    row = db.session.get(TenantBudget, name)
    if amount is None:
        if row is not None:
            db.session.delete(row)
    else:
        row = row or TenantBudget(tenant_id=name)
        row.month_nano, row.currency, row.hold, row.changed_by = int(amount * costs.NANO), currency, int(hold), actor[:255]
        db.session.add(row)
    spent = f"{amount} {currency}"
    audit(actor, Message("budget"), name,
          Message("removed") if amount is None else Message("%(amount)s, holds", amount=spent) if hold else spent)
    db.session.commit()
