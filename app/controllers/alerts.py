"""/admin/jobs/alerts: open alerts, rules, channels and past alerts."""

from __future__ import annotations

from flask import Blueprint, render_template, request
from flask_babel import gettext as _

from app import registry
from app.config import QUEUES
from app.controllers import forms
from app.controllers.responses import actor, ask, done, live, wrong
from app.services.alerts import channels, incident_views, incidents, rules, texts
from app.services.alerts.checks import KINDS
from app.services.jobs import saved_views

bp = Blueprint("alerts", __name__, url_prefix="/alerts")
SNOOZE = (60, 240, 1440)  # minutes that the page offers


@bp.get("/", endpoint="index")
def index():
    """The page of alerts; for scripts the same values as JSON."""
    context = {"open": incident_views.open_alerts(), "rules": rules.listing(), "channels": channels.listing(),
               "history": incident_views.history(), "checked_at": incident_views.last_check()[1], "snooze": SNOOZE}
    return live("admin/alerts.html", context, "alerts")


@bp.post("/<int:id>/<any(ack, snooze, unsnooze):action>", endpoint="act")
def act(id: int, action: str):
    """Acknowledge an open alert, silence it for `minutes` (60 without the field) or end its silence."""
    if action == "ack":
        incidents.acknowledge(id, actor())
    else:
        minutes = incidents.parse_snooze(request.form.get("minutes", "60")) if action == "snooze" else 0
        incidents.snooze(id, minutes, actor())
    return done({"ack": _("Alert acknowledged"), "snooze": _("Alert silenced"), "unsnooze": _("Silence ended")}[action])


@bp.post("/channels/<name>/test", endpoint="test")
def test(name: str):
    """Queue a test message for one channel."""
    channels.request_test(name, actor())
    return done(_("Test on its way through %(name)s; its outcome appears beside the channel.", name=name))


@bp.post("/rules/<int:id>/<any(on, off, delete):action>", endpoint="rule-change")
def change(id: int, action: str):
    """Switch a rule on or off, or delete it after a question."""
    if action == "delete":
        name = texts.name(rules.find(id).kind)
        title, text = _("Delete the rule %(name)s?", name=name), _("Its open alerts end without a message.")
        if page := ask(title, text, _("Delete")):
            return page
        rules.delete(id, actor())
    else:
        rules.switch(id, action == "on", actor())
    return done({"on": _("Switched on"), "off": _("Switched off"), "delete": _("Rule deleted")}[action])


@bp.route("/rules/<int:id>", methods=["GET", "POST"], endpoint="rule")
def rule(id: int):
    """The form of a rule, and its saving."""
    return _edit(rules.find(id))


@bp.route("/rules/new", methods=["GET", "POST"], endpoint="new-rule")
def new_rule():
    """The form of a new rule of `kind`, and its saving; without a kind, the list of kinds."""
    if kind := request.values.get("kind"):
        return _edit(rules.blank(kind))
    return render_template("admin/rule.html", kinds=[(k, texts.name(k)) for k in KINDS], rule=None)


def _edit(row):
    form = forms.RuleForm(row)

    def page():
        types = {row.job_type: row.job_type} | {d.name: d.label for d in registry.known_types()}  # or one that was
        return render_template("admin/rule.html", rule=rules.shown(row), form=form, channels=channels.listing(),
                               queues=[(q, q) for q in QUEUES], types=[pair for pair in types.items() if pair[0]],
                               views=[(str(id), name) for id, name in saved_views.shared_views()])

    if request.method == "GET":
        return page()
    if not form.validate():
        return wrong(form.faults, page)
    rules.save(row, form.values, actor())
    return done(_("Rule saved"), id=row.id)
