"""The last sections of a report: costs against budgets, capacity of workers and machine, alerts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from flask_babel import gettext as _, ngettext

from app.services.alerts import texts
from app.services.reports import changes, chapter_tables as tables, moments
from app.services.reports.changes import show
from app.services.reports.document import MOST_TITLE, Block, Budgets, Cell, Head, Link, Section, Table, tidy
from app.services.reports.model import AlertRow, CostRow, ReportFigures
from app.support.formatting import money, number, percent


def sections(f: ReportFigures, section: Callable[..., Section], to: Link) -> Iterator[Section]:
    """Costs, capacity, alerts. `section` and `to` are those of chapters.py."""
    yield section(
        "costs", _("Costs"), [*changes.sentences([f.costs.why]), *_hidden(f)], *_costs(f, to),
        more=(_("All costs"), next((one.link for one in f.costs.totals + f.costs.rows), "")))
    c, limited = f.capacity, any((f.filter.job_type, f.filter.tenant_id, f.filter.queue))
    rows = [(_("Workers alive, on average"), c.workers, "mean"),
            (_("Workers busy, share of the time"), c.busy, "percent"),
            (_("Longest wait of the oldest job"), c.oldest_wait, "ms"),
            (_("Processor, highest minute"), c.cpu, "percent"),
            (_of(_("Memory, highest minute"), c.memory_total), c.memory, "bytes"),
            (_of(_("Disk, highest minute"), c.disk_total), c.disk, "bytes")]
    yield section(
        "capacity", _("Capacity"), [*changes.sentences(["whole"] if limited else []),
                                    *changes.reasons(*(figure for _label, figure, _unit in rows))],
        tables.figures("", rows, to),
        Table(_("Busiest hours"), (Head(_("Hour"), number=False, share=2), Head(_("Workers busy"))), tuple(
            (Cell(moments.at(peak.since, f, "EEE d MMM, HH:mm")), Cell(percent(peak.share))) for peak in c.peaks),
            _("No hour is known.")), more=(_("Workers and machine"), c.busy.link))
    heads = Head(_("Alert"), number=False, share=3.4), Head(_("Opened"), number=False), Head(_("Closed"), number=False)
    yield section(
        "alerts", _("Alerts"), changes.reasons(f.alerts_opened),
        tables.figures("", [(_("Alerts opened"), f.alerts_opened, "jobs")], to),
        Table(_("Latest alerts"), heads, tuple(_alert(alert, f, to) for alert in f.alerts), _("No alert opened.")),
        more=(_("All alerts"), f.alerts_opened.link))


def _hidden(f: ReportFigures) -> Iterator[str]:
    more = f.costs.tenants - len({row.tenant_id for row in f.costs.rows})
    if more > 0:
        yield ngettext("%(n)s more tenant had costs.", "%(n)s more tenants had costs.", more, n=number(more))


def _of(label: str, total: int | None) -> str:
    if total is None:
        return label
    return _("%(what)s, of %(total)s", what=label, total=show(total, "bytes").replace(" ", "\u00a0"))  # one word


def _alert(alert: AlertRow, f: ReportFigures, to: Link) -> tuple[Cell, ...]:
    try:
        facts: Any = json.loads(alert.facts)
    except ValueError:
        facts = {}
    text = texts.notification(alert.kind, facts if isinstance(facts, dict) else {})
    return (Cell(tidy(text, MOST_TITLE), tidy(texts.name(alert.kind)), to(alert.link)),
            Cell(moments.at(alert.opened_ms, f)),
            Cell(moments.at(alert.closed_ms, f) if alert.closed_ms is not None else _("still open")))


def _costs(f: ReportFigures, to: Link) -> Iterator[Block]:
    was, requests = _("before"), Head(_("Requests"), _("of unknown cost"))
    if f.costs.totals:
        heads = (Head(_("Currency"), number=False), Head(_("This period"), was), Head(_("Difference"), share=1.5),
                 Head(_("This month")), requests)
        yield Table(_("In total"), heads, tuple(
            (Cell(tidy(one.currency, 8), link=to(one.link)), Cell(_money(one.nano, one), _money(one.before, one)),
             Cell(changes.difference(one.nano, one.before, f"nano {tidy(one.currency, 8)}")),
             Cell(_money(one.month, one)), Cell(number(one.requests), number(one.unknown))) for one in f.costs.totals))
    limited = [row for row in f.costs.rows if row.percent is not None]
    if limited:
        yield Budgets(_("Spent of the monthly budget"), _("budget"), tuple(
            (_tenant(row, 40), row.percent or 0, _("%(share)s of %(budget)s", share=percent(row.percent),
                                                   budget=_money(row.budget, row))) for row in limited))
    if not f.costs.why:
        heads = (Head(_("Tenant"), number=False, share=2), Head(_("This period"), was, share=1.3),
                 Head(_("This month"), share=1.3), Head(_("Budget"), _("spent of it"), share=1.3), requests)
        yield Table(_("By tenant"), heads, tuple(
            (Cell(_tenant(row), _hold(row), to(row.link)), Cell(_money(row.nano, row), _money(row.before, row)),
             Cell(_money(row.month, row)), Cell(_money(row.budget, row), percent(row.percent)),
             Cell(number(row.requests), number(row.unknown))) for row in f.costs.rows), _("No costs."))


def _money(nano: int | None, row: Any) -> str:
    return money(nano, tidy(row.currency, 8))


def _tenant(row: CostRow, most: int = 100) -> str:
    return tidy(row.tenant_id, most) or _("(no tenant)")


def _hold(row: CostRow) -> str:
    over = row.percent is not None and row.percent >= 100 or row.budget == 0 and row.month > 0
    if over and row.hold:
        return _("over its budget, its generations wait")
    return _("over its budget") if over else ""
