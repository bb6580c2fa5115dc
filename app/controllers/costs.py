"""/admin/jobs/costs: costs of a period by tenant, type, model and day; budgets."""

from __future__ import annotations

from decimal import Decimal

from flask import Blueprint, jsonify, render_template, request
from flask_babel import gettext as _, ngettext

from app.controllers import forms
from app.controllers.access import wants_json
from app.controllers.responses import actor, csv_file, done, here, polled, pulse, rendered, wrong
from app.integrations.csv_cells import write_rows
from app.ledger.costs import NANO
from app.services.content import costs
from app.services.instance import deploys
from app.support.formatting import money
from app.support.validation import ValidationError

bp = Blueprint("costs", __name__, url_prefix="/costs")
COLUMNS = ("by", "key", "currency", "cost", "requests", "of_unknown_cost", "tokens_in", "tokens_cached", "tokens_out")


def _period():
    return costs.period(request.args.get("since", ""), request.args.get("until", ""))


def _days(first, last, only: str | None = None) -> list[dict[str, object]]:
    """The days of a chart and its table, of each currency or of `only` one; `cost` is in `currency`, `shown` a text."""
    return deploys.on_chart([
        {"date": r.key, "total": r.requests, "cost": round(r.nano / NANO, 6), "shown": shown(r), "currency": r.currency}
        for r in costs.totals("day", first, last) if only in (None, r.currency)])


def shown(row: costs.CostRow) -> str:
    """A sum as text, with the number of requests whose cost is unknown: these are not part of the sum."""
    if row.unknown == row.requests:
        return _("unknown")
    more = " " + ngettext("+ %(num)s of unknown cost", "+ %(num)s of unknown cost", row.unknown) if row.unknown else ""
    return money(row.nano, row.currency) + more


@bp.get("/", endpoint="index")
def index():
    """The page of costs with an empty budget form; for scripts the totals as JSON."""
    form, faults = forms.BudgetForm(currency="USD"), {}
    try:
        _period()
    except ValidationError as error:
        faults = {"since": str(error)}
    return wrong(faults, lambda: page(form, faults["since"])) if faults else page(form)


def page(form: forms.BudgetForm, wrong_day: str = ""):
    """The page of costs with `form`, of this month when a day is wrong, or as JSON `{"since", "until", "totals",
    "budgets"}`."""
    first, last = costs.period("", "") if wrong_day else _period()
    groups, budgets = {group: costs.totals(group, first, last) for group in costs.GROUPS}, costs.budgets()
    live = {"groups": groups, "budgets": budgets, "shown": shown}
    if polled():
        return jsonify(pulse() | {"partials": rendered(("costs_tables", "costs_budgets"), lambda: live)})
    if wants_json():
        return jsonify({"since": first.isoformat(), "until": last.isoformat(), "totals": groups, "budgets": budgets})
    charts = {name: _days(first, last, name) for name in sorted({row.currency for row in groups["day"]}, key=str)}
    return render_template("admin/costs.html", form=form, first=first, last=last, **live,
                           charts=charts or {"": []}, wrong_day=wrong_day,
                           **({"asked": request.args} if wrong_day else {"asked": {}, "poll_url": here()}))


@bp.get("/days", endpoint="days")
def days():
    """The days of the period as JSON, of `currency` or of each, for a chart."""
    return jsonify(_days(*_period(), request.args.get("currency")))


@bp.get("/costs.csv", endpoint="export")
def export():
    """All totals of the period as CSV, `cost` in units of the currency."""
    first, last = _period()
    rows = [(group, r.key, r.currency, Decimal(r.nano).scaleb(-9), r.requests, r.unknown,
             r.tokens_in, r.tokens_cached, r.tokens_out)
            for group in costs.GROUPS for r in costs.totals(group, first, last)]
    return csv_file(f"costs-{first}-{last}.csv", "".join(write_rows([COLUMNS, *rows])))


@bp.post("/budgets", endpoint="budget")
def budget():
    """Save the monthly budget of a tenant; with `hold`, its generations wait once the budget is spent."""
    form = forms.BudgetForm()
    if not form.validate():
        return wrong(form.faults, lambda: page(form))
    costs.save_budget(**form.values, hold=form.hold.data, actor=actor())
    return done(_("Budget saved"))
