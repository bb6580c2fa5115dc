"""/admin/jobs/alerts: what is wrong now, the rules, the channels, and what was."""

from __future__ import annotations

from flask import Blueprint, render_template, request
from flask_babel import gettext as _

from app import registry
from app.config import QUEUES
from app.controllers import forms
from app.controllers.responses import actor, ask, done, live, wrong
from app.services.alerts import channels, incident_views, incidents, rules, texts
from app.services.alerts.checks import KINDS

bp = Blueprint("alerts", __name__, url_prefix="/alerts")
SNOOZE = (60, 240, 1440)


@bp.get("/", endpoint="index")
def index():
    context = {"open": incident_views.open_alerts(), "rules": rules.listing(), "channels": channels.listing(),
               "history": incident_views.history(), "checked_at": incident_views.last_check()[1], "snooze": SNOOZE}
    return live("admin/alerts.html", context, "alerts")


@bp.post("/<int:id>/<any(ack, snooze, unsnooze):action>", endpoint="act")
def act(id: int, action: str):
    minutes = request.form.get("minutes", "60")
    minutes_n = int(minutes) if minutes.isascii() and minutes.isdigit() and len(minutes) < 6 else 60
    if action == "ack":
        incidents.acknowledge(id, actor())
    else:
        incidents.snooze(id, 0 if action == "unsnooze" else max(minutes_n, 1), actor())
    return done({"ack": _("Alert acknowledged"), "snooze": _("Alert silenced"), "unsnooze": _("Silence ended")}[action])


@bp.post("/channels/<name>/test", endpoint="test")
def test(name: str):
    channels.request_test(name, actor())
    return done(_("Test on its way through %(name)s; its outcome appears beside the channel.", name=name))


@bp.post("/rules/<int:id>/<any(on, off, delete):action>", endpoint="rule-change")
def change(id: int, action: str):
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
    return _edit(rules.find(id))


@bp.route("/rules/new", methods=["GET", "POST"], endpoint="new-rule")
def new_rule():
    kind = request.values.get("kind", "")
    if not kind:
        return render_template("admin/rule.html", kinds=[(k, texts.name(k)) for k in KINDS], rule=None)
    return _edit(rules.blank(kind))


def _edit(row):
    form = forms.RuleForm(row)
    if request.method == "GET":
        return _rule_page(row, form)
    if not form.validate():
        return wrong(form.faults, lambda: _rule_page(row, form))
    rules.save(row, form.values, actor())
    return done(_("Rule saved"), id=row.id)


def _rule_page(row, form):
    types = [(d.name, d.label) for d in registry.known_types()]
    return render_template("admin/rule.html", rule=rules.shown(row), form=form, channels=channels.listing(),
                           queues=[(q, q) for q in QUEUES], types=types)
