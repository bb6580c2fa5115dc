"""/admin/jobs/alerts: what is wrong now, the rules, the channels, and what was."""

from __future__ import annotations

from flask import Blueprint, flash, jsonify, redirect, render_template, request, url_for
from flask_babel import gettext as _

from app import registry
from app.config import QUEUES
from app.controllers.access import wants_json
from app.controllers.responses import actor, ask, done, live
from app.extensions import db
from app.services.alerts import incidents, rules, texts
from app.services.alerts.checks import KINDS

bp = Blueprint("alerts", __name__, url_prefix="/alerts")
SNOOZE = (60, 240, 1440)


@bp.get("/", endpoint="index")
def index():
    context = {"open": incidents.open_alerts(), "rules": rules.listing(), "channels": incidents.channels(),
               "history": incidents.history(), "checked_at": incidents.last_check()[1], "snooze": SNOOZE}
    return live("admin/alerts.html", context, "alerts")


@bp.post("/<int:id>/<any(ack, snooze, unsnooze):action>", endpoint="act")
def act(id: int, action: str):
    minutes = request.form.get("minutes", "60")
    minutes_n = int(minutes) if minutes.isascii() and minutes.isdigit() and len(minutes) < 6 else 60
    if action == "ack":
        incidents.acknowledge(id, actor())
    else:
        incidents.snooze(id, 0 if action == "unsnooze" else max(minutes_n, 1), actor())
    return done({"ack": _("Alert taken"), "snooze": _("Alert silenced"), "unsnooze": _("Silence ended")}[action])


@bp.post("/channels/<name>/test", endpoint="test")
def test(name: str):
    incidents.test_channel(name, actor())
    return done(_("Test on its way through %(name)s; its outcome appears beside the channel.", name=name))


@bp.post("/rules/<int:id>/<any(on, off, delete):action>", endpoint="rule-change")
def change(id: int, action: str):
    if action == "delete":
        name = texts.name(rules.find(id).kind)
        if page := ask(_("Delete the rule %(name)s?", name=name), _("Its open alerts end without a message."), _("Delete")):
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
    errors: dict[str, str] = {}
    if request.method == "POST":
        errors = rules.save(row, request.form, request.form.getlist("channels"), actor())
        if not errors:
            if wants_json():
                return jsonify({"ok": True, "count": 1, "id": row.id})
            flash(_("Rule saved"), "success")
            return redirect(url_for("admin.jobs.alerts.index"), 303)
        if wants_json():
            return jsonify({"error": " ".join(errors.values()), "fields": errors}), 400
    shown = rules.shown(row)
    if errors:
        shown |= {name: request.form[name] for name in shown if name in request.form} | {"channels": ",".join(request.form.getlist("channels"))}
    if row.id is None:
        db.session.rollback()
    types = [(d.name, d.label) for d in registry.known_types()]
    page = render_template("admin/rule.html", rule=shown, errors=errors, channels=incidents.channels(), queues=QUEUES, types=types)
    return page, 400 if errors else 200
