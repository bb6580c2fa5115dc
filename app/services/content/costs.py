"""Costs by tenant, type, model or day of APP_TIMEZONE; budgets. Unknown costs are counted, never summed as 0."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import case, delete, func, select

from app import registry
from app.extensions import db
from app.ledger import costs
from app.ledger.dialect import SessionExecutor
from app.models import Generation, JobCost, TenantBudget
from app.models.types import as_integer
from app.services.audit import commit_audited
from app.support.clock import day_of, midnight, month_start, now_ms
from app.support.messages import Message, _
from app.support.number_text import plain_number
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
    """First and last day, both included, from dates like 2026-01-31; this month for blanks. Raises ValidationError."""
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
    """A possible cost or number of tokens, else NULL: two values of 2^63 would break every sum."""
    return case((column.between(-costs.MOST, costs.MOST), column))


@dataclass(frozen=True)
class CostRow:
    """Costs of a `key` (a day as 2026-11-26, a tenant, a type or a model) in one currency.

    `requests` were made. The cost of `unknown` of them is not known; `nano` is the sum of the others, in billionths of
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
    """Costs in one currency, `nano` in billionths of its unit, without those of `unknown` requests."""

    currency: str
    nano: int = 0
    unknown: int = 0


@dataclass(frozen=True)
class BudgetView:
    """The monthly budget of a tenant; `limit` and `spent` (this month) in billionths of the currency's unit.

    `hold`: at 100 percent its generations wait.
    """

    tenant_id: str
    limit: int
    currency: str
    hold: bool
    spent: int
    percent: float


def totals(group: str, first: date, last: date) -> list[CostRow]:
    """Costs by one of GROUPS from the first day to the last: the highest first, days in order."""
    c = JobCost
    columns = {"day": c.at_ms - c.at_ms % QUARTER_MS, "tenant": c.tenant_id, "type": c.job_type, "model": c.model}
    start, end = midnight(first, _zone()), midnight(last + timedelta(days=1), _zone())
    summed = (c.tokens_in, c.tokens_cached, c.tokens_out, c.cost_nano)
    numbers = [func.count(), func.count(case((_sane(c.cost_nano).is_(None), 1))),
               *(func.coalesce(func.sum(_sane(column)), 0) for column in summed)]
    query = select(columns[group].label("k"), c.currency, *numbers).where(c.at_ms >= start, c.at_ms < end)
    found: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0] * 6)
    for key, currency, *numbers in db.session.execute(query.group_by("k", c.currency)):
        name = day_of(key, _zone()).isoformat() if group == "day" else key
        found[name, currency] = [a + as_integer(b, 0) for a, b in zip(found[name, currency], numbers, strict=True)]
    rows = [CostRow(k, registry.label_of(k) if group == "type" else k, c, *n) for (k, c), n in found.items()]
    return sorted(rows, key=lambda r: r.key if group == "day" else (r.currency, -r.nano, r.key))


def sums() -> dict[str, list[CostSum]]:
    """Costs of today and of this month by currency: {"today": [...], "month": [...]}."""
    today = _today()
    found: dict[str, dict[str, CostSum]] = {"today": {}, "month": {}}
    for row in totals("day", today.replace(day=1), today):
        for name in ("today", "month") if row.key == today.isoformat() else ("month",):
            total = found[name].setdefault(row.currency, CostSum(row.currency))
            total.nano += row.nano
            total.unknown += row.unknown
    return {name: list(by_currency.values()) for name, by_currency in found.items()}


def of_content(tenant: str, reference: str) -> list[CostSum]:
    """What the generations of a content have cost, by currency."""
    c, g = JobCost, Generation
    uuids = select(g.uuid).where(g.tenant_id == tenant, g.reference == reference)
    sums = func.coalesce(func.sum(_sane(c.cost_nano)), 0), func.count(case((_sane(c.cost_nano).is_(None), 1)))
    query = select(c.currency, *sums).where(c.uuid.in_(uuids)).group_by(c.currency).order_by(c.currency)
    return [CostSum(currency, as_integer(nano, 0), unknown) for currency, nano, unknown in db.session.execute(query)]


def budgets() -> list[BudgetView]:
    """All budgets by tenant."""
    result, start = [], month_start(now_ms(), _zone())
    for row in db.session.scalars(select(TenantBudget).order_by(TenantBudget.tenant_id)):
        spent = costs.spent(SessionExecutor(db.session), row.tenant_id, start, row.currency)
        percent = 100 * spent / row.month_nano if row.month_nano else 100.0
        result.append(BudgetView(row.tenant_id, row.month_nano, row.currency, bool(row.hold), spent, percent))
    return result


def parse_amount(text: str) -> Decimal | None:
    """An amount in units of a currency; None for blank. Raises ValidationError."""
    text = plain_number(text)
    if text and not re.fullmatch(r"\d{1,9}(\.\d{1,2})?", text):
        raise ValidationError(_("An amount is written like 50 or 49.90."))
    return Decimal(text) if text else None


def parse_currency(text: str) -> str:
    """Three capital letters; USD for blank. Raises ValidationError."""
    text = text.strip().upper() or "USD"
    if not re.fullmatch(r"[A-Z]{3}", text):
        raise ValidationError(_("A currency has three letters, like USD."))
    return text


def save_budget(tenant: str, amount: Decimal | str | None, currency: str, hold: bool, actor: str) -> None:
    """Set the monthly budget of a tenant; without an amount remove it. Raises ValidationError."""
    name, currency = parse_tenant(check_text(tenant)), parse_currency(currency)
    amount = parse_amount("" if amount is None else str(amount))
    if name is None:
        raise ValidationError(_("Name the tenant."))
    if amount is None:
        db.session.execute(delete(TenantBudget).where(TenantBudget.tenant_id == name))
        result = Message("removed")
    else:
        db.session.merge(TenantBudget(tenant_id=name, month_nano=int(amount * costs.NANO), currency=currency,
                                      hold=int(hold), changed_by=actor[:255]))
        result = f"{amount} {currency}"
        result = Message("%(amount)s, holds", amount=result) if hold else result
    commit_audited(actor, Message("budget"), name, result)
