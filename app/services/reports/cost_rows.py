"""Costs of a report by tenant, against the monthly budgets. Each currency is summed for itself.

job_costs (from the start of the month, or of the period before) + tenant_budgets -> Costs
A tenant with a budget has a row also when it spent nothing.
"""

from __future__ import annotations

from sqlalchemy import select

from app.extensions import db
from app.ledger.costs import MOST
from app.ledger.dialect import SessionExecutor
from app.models import TenantBudget
from app.models.types import as_integer, as_text
from app.services.reports import links
from app.services.reports.model import MOST_KINDS, MOST_ROWS, CostRow, Costs, CostTotal, ReportFilter
from app.support.clock import month_start
from app.support.settings import settings

_KNOWN = f"CASE WHEN cost_nano BETWEEN -{MOST} AND {MOST} THEN cost_nano END"
_NOW = "at_ms >= :since AND at_ms < :until"
_SUMS = f"""SELECT tenant_id, currency, SUM(CASE WHEN {_NOW} THEN {_KNOWN} END),
 SUM(CASE WHEN at_ms >= :before AND at_ms < :before_until THEN {_KNOWN} END), SUM(CASE WHEN {_NOW} THEN 1 ELSE 0 END),
 SUM(CASE WHEN {_NOW} AND {_KNOWN} IS NULL THEN 1 ELSE 0 END),
 SUM(CASE WHEN at_ms >= :month AND at_ms < :until THEN {_KNOWN} END)
 FROM job_costs WHERE at_ms >= :low AND at_ms < :until{{of}} GROUP BY tenant_id, currency"""
_SUMMED = ("nano", "before", "requests", "unknown", "month")


def read(since: int, until: int, before: int, before_until: int, only: ReportFilter) -> Costs:
    """The costs of [since, until) and of [before, before_until), in ms."""
    month = month_start(until - 1, settings().timezone)
    given = {name: value for name, value in vars(only).items() if value is not None}
    of = "".join(f" AND {name} = :{name}" for name in given)
    rows = SessionExecutor(db.session).fetch_all(
        _SUMS.format(of=of), since=since, until=until, before=before, before_until=before_until, month=month,
        low=min(before, month), **given)
    sums = {(as_text(tenant) or "", as_text(currency) or ""): [as_integer(n, 0) or 0 for n in numbers]
            for tenant, currency, *numbers in rows}
    budgets = {} if only.job_type else {
        (as_text(row.tenant_id) or "", as_text(row.currency) or ""): row
        for row in db.session.scalars(select(TenantBudget)) if only.tenant_id in (None, row.tenant_id)}
    found = []
    for tenant, currency in sums.keys() | budgets.keys():
        numbers, budget = sums.get((tenant, currency), [0] * 5), budgets.get((tenant, currency))
        limit = budget and as_integer(budget.month_nano, 0)
        link = links.costs(since, until) if not only.job_type else ""
        found.append(CostRow(
            tenant, currency, *numbers, limit, 100 * numbers[4] / limit if limit else None,
            bool(budget and budget.hold), link or (links.usage(since, until, "tenant", tenant) if tenant else "")))
    found.sort(key=lambda row: (-row.nano, -row.month, row.tenant_id, row.currency))
    totals = [CostTotal(currency, *(sum(getattr(row, name) for row in found if row.currency == currency)
                                    for name in _SUMMED), _link(since, until, only))
              for currency in dict.fromkeys(row.currency for row in found)]
    return Costs(tuple(found[:MOST_ROWS]), tuple(totals), len({row.tenant_id for row in found}), month,
                 more=tuple(found[MOST_ROWS:MOST_KINDS]))


def _link(since: int, until: int, only: ReportFilter) -> str:
    if only.job_type and only.tenant_id:
        return ""
    if only.job_type or only.tenant_id:
        return links.usage(since, until, "type" if only.job_type else "tenant", only.job_type or only.tenant_id or "")
    return links.costs(since, until)
