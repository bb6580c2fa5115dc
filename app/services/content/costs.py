"""What was spent, by tenant, type, model or day of APP_TIMEZONE; budgets. Unknown costs are counted, never summed as 0."""

from __future__ import annotations

import re
from collections import defaultdict
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from flask import current_app
from sqlalchemy import case, func, select

from app import registry
from app.extensions import db
from app.ledger.costs import NANO
from app.models import JobCost, TenantBudget
from app.models.types import as_integer
from app.services.audit import audit
from app.services.content.generations import month_start
from app.support.clock import millis, now_ms, when
from app.support.messages import Message
from app.support.messages import translate as _
from app.support.validation import ValidationError, check_text, parse_tenant

GROUPS = ("day", "tenant", "type", "model")
QUARTER_MS = 900_000  # every zone's midnight falls on a quarter of an hour
MOST_DAYS = 731
MOST = 9 * 10**15  # nine million of a currency for one request


def _zone() -> Any:
    return current_app.extensions["settings"].timezone


def period(since: str, until: str) -> tuple[date, date]:
    """First and last day, both included; this month without any. Raises ValidationError."""
    today = when(now_ms()).astimezone(_zone()).date()  # type: ignore[union-attr]
    try:
        first = date.fromisoformat(since) if since else today.replace(day=1)
        last = date.fromisoformat(until) if until else max(today, first)
    except ValueError:
        raise ValidationError(_("A date is written like 2026-01-31.")) from None
    if not first <= last or (last - first).days > MOST_DAYS or not 2000 <= first.year <= 9000:
        raise ValidationError(_("The first day comes before the last, and they are at most two years apart."))
    return first, last


def _bounds(first: date, last: date) -> tuple[int, int]:
    ends = first, last + timedelta(days=1)
    start, end = (millis(datetime(d.year, d.month, d.day, tzinfo=_zone())) for d in ends)
    return start, end


def _sane(column: Any) -> Any:
    """A cost or number of tokens that can be: two of 2^63 would stop every sum."""
    return case((column.between(-MOST, MOST), column))


def totals(group: str, first: date, last: date) -> list[dict[str, Any]]:
    """Rows `key, label, currency, requests, unknown, tokens_in, tokens_cached, tokens_out, nano`, the dearest first, days in order."""
    columns = {"day": JobCost.at_ms - JobCost.at_ms % QUARTER_MS, "tenant": JobCost.tenant_id, "type": JobCost.job_type, "model": JobCost.model}
    start, end = _bounds(first, last)
    sums = [func.count(), func.sum(case((_sane(JobCost.cost_nano).is_(None), 1), else_=0)),
            *(func.coalesce(func.sum(_sane(c)), 0) for c in (JobCost.tokens_in, JobCost.tokens_cached, JobCost.tokens_out, JobCost.cost_nano))]
    query = select(columns[group].label("k"), JobCost.currency, *sums).where(JobCost.at_ms >= start, JobCost.at_ms < end)
    found: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0] * 6)
    for key, currency, *numbers in db.session.execute(query.group_by("k", JobCost.currency)):
        name = when(key).astimezone(_zone()).date().isoformat() if group == "day" else key  # type: ignore[union-attr]
        found[name, currency] = [a + as_integer(b, 0) for a, b in zip(found[name, currency], numbers, strict=True)]
    names = ("requests", "unknown", "tokens_in", "tokens_cached", "tokens_out", "nano")
    rows = [{"key": k, "label": registry.label_of(k) if group == "type" else k, "currency": c} | dict(zip(names, n, strict=True))
            for (k, c), n in found.items()]
    return sorted(rows, key=lambda r: r["key"]) if group == "day" else sorted(rows, key=lambda r: (r["currency"], -r["nano"], r["key"]))


def sums() -> dict[str, list[dict[str, Any]]]:
    """Today's and this month's cost by currency: `today`, `month` of {"currency", "nano", "unknown"}."""
    today = when(now_ms()).astimezone(_zone()).date()  # type: ignore[union-attr]
    month = totals("day", today.replace(day=1), today)
    found: dict[str, list[dict[str, Any]]] = {}
    for name, rows in (("today", [r for r in month if r["key"] == today.isoformat()]), ("month", month)):
        by: dict[str, dict[str, Any]] = {}
        for row in rows:
            kept = by.setdefault(row["currency"], {"currency": row["currency"], "nano": 0, "unknown": 0})
            kept["nano"] += row["nano"]
            kept["unknown"] += row["unknown"]
        found[name] = list(by.values())
    return found


def budgets() -> list[dict[str, Any]]:
    """Each budget with what is spent of it this month."""
    result = []
    for row in db.session.scalars(select(TenantBudget).order_by(TenantBudget.tenant_id)):
        query = select(func.coalesce(func.sum(_sane(JobCost.cost_nano)), 0)).where(
            JobCost.tenant_id == row.tenant_id, JobCost.currency == row.currency, JobCost.at_ms >= month_start(now_ms(), _zone()))
        spent = as_integer(db.session.scalar(query), 0)
        result.append({"tenant_id": row.tenant_id, "limit": row.month_nano, "currency": row.currency, "hold": bool(row.hold), "spent": spent,
                       "percent": 100 * spent / row.month_nano if row.month_nano else 100.0})
    return result


def save_budget(tenant: str, amount: str, currency: str, hold: bool, actor: str) -> None:
    """Set a tenant's budget a month; an empty amount removes it. Raises ValidationError."""
    name = parse_tenant(check_text(tenant))
    if name is None:
        raise ValidationError(_("Name the tenant."))
    amount, currency = amount.strip().replace(",", "."), currency.strip().upper() or "USD"
    row = db.session.get(TenantBudget, name)
    if not amount:
        if row is not None:
            db.session.delete(row)
    elif not re.fullmatch(r"\d{1,9}(\.\d{1,2})?", amount) or not re.fullmatch(r"[A-Z]{3}", currency):
        raise ValidationError(_("A budget is an amount like 50 or 49.90 and a currency like USD."))
    else:
        row = row or TenantBudget(tenant_id=name)
        row.month_nano, row.currency, row.hold, row.changed_by = int(Decimal(amount) * NANO), currency, int(hold), actor[:255]
        db.session.add(row)
    spent = f"{amount} {currency}"
    audit(actor, Message("budget"), name, Message("removed") if not amount else Message("%(amount)s, holds", amount=spent) if hold else spent)
    db.session.commit()
