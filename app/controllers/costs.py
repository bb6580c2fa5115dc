"""/admin/jobs/costs: what was spent in a period, by tenant, type, model and day; budgets."""

from __future__ import annotations

from decimal import Decimal

from flask import Blueprint, Response, jsonify, render_template, request
from flask_babel import gettext as _
from flask_babel import ngettext

from app.controllers import forms
from app.controllers.access import wants_json
from app.controllers.responses import actor, done, wrong
from app.integrations.csv_cells import write_rows
from app.ledger.costs import NANO
from app.services.content import costs
from app.support import disk
from app.support.formatting import money

bp = Blueprint("costs", __name__, url_prefix="/costs")
COLUMNS = ("by", "key", "currency", "cost", "requests", "of_unknown_cost", "tokens_in", "tokens_cached", "tokens_out")


def _period():
    return costs.period(request.args.get("since", ""), request.args.get("until", ""))


def _days(first, last) -> list[dict[str, object]]:
    """The days, for the chart and its table: `cost` in the currency of most days; `shown` says each in its own."""
    rows = costs.totals("day", first, last)
    currencies = [r.currency for r in rows]
    main = max(dict.fromkeys(currencies), key=currencies.count, default="")
    return [{"date": r.key, "total": r.requests, "cost": round(r.nano / NANO, 6) if r.currency == main else 0,
             "shown": shown(r), "currency": main} for r in rows]


def shown(row: costs.CostRow) -> str:
    """A sum in words: what is unknown is said, not summed."""
    if row.unknown == row.requests:
        return _("unknown")
    more = " " + ngettext("+ %(num)s of unknown cost", "+ %(num)s of unknown cost", row.unknown) if row.unknown else ""
    return money(row.nano, row.currency) + more


@bp.get("/", endpoint="index")
def index():
    return page(forms.BudgetForm(currency="USD"))


def page(form: forms.BudgetForm):
    first, last = _period()
    groups = {group: costs.totals(group, first, last) for group in costs.GROUPS}
    if wants_json():
        return jsonify({"since": first.isoformat(), "until": last.isoformat(), "totals": groups, "budgets": costs.budgets()})
    given = {"first": first, "last": last, "groups": groups, "days": _days(first, last), "budgets": costs.budgets(), "shown": shown}
    return render_template("admin/costs.html", form=form, **given)


@bp.get("/days", endpoint="days")
def days():
    return jsonify(_days(*_period()))


@bp.get("/costs.csv", endpoint="export")
def export():
    disk.require_room()
    first, last = _period()

    def lines():
        yield COLUMNS
        for group in costs.GROUPS:
            for r in costs.totals(group, first, last):
                cost = Decimal(r.nano).scaleb(-9)
                tokens = (r.tokens_in, r.tokens_cached, r.tokens_out)
                yield (group, r.key, r.currency, cost, r.requests, r.unknown, *tokens)

    headers = {"Content-Disposition": f'attachment; filename="costs-{first}-{last}.csv"'}
    return Response("".join(write_rows(list(lines()))), content_type="text/csv; charset=utf-8", headers=headers)


@bp.post("/budgets", endpoint="budget")
def budget():
    form = forms.BudgetForm()
    if not form.validate():
        return wrong(form.faults, lambda: page(form))
    costs.save_budget(**form.values, hold=form.hold.data, actor=actor())
    return done(_("Budget saved"))
