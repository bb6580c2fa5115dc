"""/admin/jobs/recurring: the declared schedules, on and off, run now; and /admin/jobs/log: who did what."""

from __future__ import annotations

from flask import current_app, jsonify, render_template, request, url_for
from flask_babel import gettext as _

from app.controllers.guard import wants_json
from app.controllers.jobs import PARTS, actor, bp, done, refused
from app.services import operations, recurring
from app.words import retell


def context() -> dict[str, object]:
    return {"schedules": recurring.listing(current_app.extensions["settings"].timezone)}


PARTS["recurring_table"] = context


@bp.get("/recurring", endpoint="recurring")
def index():
    return jsonify(context()) if wants_json() else render_template("admin/recurring.html", **context())


@bp.post("/recurring/<name>/<any(on, off, run):action>", endpoint="recurring-change")
def change(name: str, action: str):
    back = url_for("admin.jobs.recurring")
    try:
        if action == "run":
            return done(_("Job created"), 1, url_for("admin.jobs.job", uuid=recurring.run_now(name, actor())))
        recurring.switch(name, action == "on", actor())
    except operations.Refused as error:
        return refused(error, back)
    return done(_("Switched on") if action == "on" else _("Switched off"), 1, back)


@bp.get("/log", endpoint="log")
def log():
    """The audit table, the latest first, by key."""
    before = request.args.get("before", "")
    before_id = int(before) if before.isascii() and before.isdigit() and len(before) < 19 else None
    rows, more = operations.log(before_id)
    if not wants_json():
        rows = [row | {name: retell(row[name]) for name in ("action", "subject", "result")} for row in rows]
    older = url_for("admin.jobs.log", before=rows[-1]["id"]) if more else None
    return jsonify({"log": rows, "older": older}) if wants_json() else render_template("admin/log.html", rows=rows, older_url=older)
