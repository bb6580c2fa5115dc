"""/admin/jobs/reports: plans of reports, and a report of any period and filter as a file."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from flask import Blueprint, jsonify, render_template, request, send_file
from flask_babel import force_locale, get_locale, gettext as _
from flask_login import current_user

from app.controllers import report_forms
from app.controllers.report_forms import PlanForm
from app.controllers.responses import actor, ask, done, live, polled, pulse, rendered, wrong
from app.controllers.rights import MANAGE
from app.services.jobs.job_filter import FilterError
from app.services.reports import figures, files, periods, plan_values, plans, without_data
from app.services.reports.model import ReportFilter
from app.support import privacy
from app.support.clock import now_ms
from app.support.settings import settings
from app.support.validation import ValidationError

bp = Blueprint("reports", __name__, url_prefix="/reports")
FIELDS = ("period", "from", "until", "format", "type", "tenant", "queue")


def _manages() -> bool:
    return MANAGE in current_user.rights


def _context(faults: dict[str, str]) -> dict[str, Any]:
    listed = plans.listing(actor(), _manages())
    mute = any(v.plan and v.plan.enabled and v.plan.target.startswith("mail:") and not v.served for v in listed)
    return {"plans": listed, "senders": plans.senders(), "most": plans.MOST_SHOWN, "mute": mute, "words": report_forms,
            "faults": faults, "asked": request.args if faults else {},
            "choices": report_forms.choices(actor(), _manages())}


@bp.get("/", endpoint="index")
def index():
    """The plans that one sees with what became of their last mails, and the form of a download; for scripts
    `{"plans", "senders"}` as JSON."""
    if polled():
        return jsonify(pulse() | {"partials": rendered(("report_plans",), lambda: _context({}))})
    context = _context({})
    return live("admin/reports.html", context, "report_plans",
                plain=lambda: {name: context[name] for name in ("plans", "senders")})


@bp.get("/report", endpoint="report")
def report():
    """A report as a file: `period` (day, week, month: the last whole one) or `from` and `until`, limited to `type`,
    `tenant` and `queue`, as `format` (pdf, html, txt, csv) in the language `lang` (or `language`)."""
    faults: dict[str, str] = {}
    given = {name: request.args.get(name, "") for name in FIELDS}
    form, asked = given["format"].strip() or "pdf", request.args.get("lang", "").strip() or request.args.get("language")
    language = (asked or str(get_locale())[:2]).strip()
    if form not in files.FORMATS:
        faults["format"] = _("Choose one of these formats: %(known)s.", known=", ".join(files.FORMATS))
    if language not in plan_values.LANGUAGES:
        faults["lang"] = _("Choose Italian or English: it, en.")
    limits: dict[str, str | None] = {}
    for name, column, parse in (("type", "job_type", plan_values.parse_known_type),
                                ("tenant", "tenant_id", plan_values.parse_tenant),
                                ("queue", "queue", plan_values.parse_queue)):
        try:
            limits[column] = parse(given[name])
        except ValidationError as error:
            faults[name] = str(error)
    try:
        window = periods.parse(given["period"], given["from"], given["until"], now_ms(), settings().timezone)
    except FilterError as error:
        faults[error.name] = str(error)
    if faults:
        return wrong(faults, lambda: render_template("admin/reports.html", **_context(faults)))
    found = figures.collect(window, ReportFilter(**limits))
    found = without_data.hide(found) if privacy.hidden() else found
    with force_locale(language):
        name, mime, content = files.one(found, form, language)
    return send_file(BytesIO(content), mime.partition(";")[0], as_attachment=True, download_name=name)


@bp.route("/new", methods=["GET", "POST"], endpoint="new")
def new():
    """The form of a new plan, and its saving."""
    return _edit(None)


@bp.route("/<int(max=9223372036854775807):id>", methods=["GET", "POST"], endpoint="plan")
def plan(id: int):
    """The form of a plan, and its saving."""
    return _edit(plans.find(id, actor(), _manages()))


def _edit(row):
    known = plans.read(row) if row else None
    form = PlanForm(actor(), _manages(), row.name if row else "", known)

    def page():
        return render_template("admin/report_plan.html", form=form, row=row, manage=_manages(),
                               rests=plans.why_rests(known) if known else "",
                               hint=plan_values.tenant_hint(known.limits.tenant_id) if known else "",
                               choices=report_forms.choices(actor(), _manages()))

    if request.method == "GET":
        return page()
    if not form.validate():
        return wrong(form.faults, page)
    given = form.values
    values = {name: given[name] for name in ("name", "target", "period", "day", "hour", "language")}
    limits = ReportFilter(given["type"], given["tenant"], given["queue"])
    saved, hint = plans.save(row, values, limits, form.past.data, actor()), plan_values.tenant_hint(limits.tenant_id)
    return done(f"{_('Plan saved')}. {hint}" if hint else _("Plan saved"), id=saved, **({"hint": hint} if hint else {}))


@bp.post("/<int(max=9223372036854775807):id>/<any(on, off, delete, test):action>", endpoint="change")
def change(id: int, action: str):
    """Switch a plan on or off, delete it after a question, or send its latest report as a test."""
    row = plans.find(id, actor(), _manages())
    if action == "delete":
        title = _("Delete the plan %(name)s?", name=row.name)
        if page := ask(title, _("Its reports are no longer sent."), _("Delete")):
            return page
        plans.remove(row, actor())
        return done(_("Plan deleted"))
    if action == "test":
        plans.request_test(row, actor())
        return done(_("A test is on its way; its outcome appears beside the plan."))
    plans.switch(row, action == "on", actor())
    return done({"on": _("Switched on"), "off": _("Switched off")}[action])
