"""/admin/jobs/recurring: the declared schedules, on and off, run now; and /admin/jobs/log: who did what."""

from __future__ import annotations

from flask import current_app, url_for
from flask_babel import gettext as _

from app.controllers.jobs import bp
from app.controllers.responses import actor, done, live
from app.services.jobs import recurring


@bp.get("/recurring", endpoint="recurring")
def index():
    schedules = recurring.listing(current_app.extensions["settings"].timezone)
    return live("admin/recurring.html", {"schedules": schedules}, "recurring_table")


@bp.post("/recurring/<name>/<any(on, off, run):action>", endpoint="recurring-change")
def change(name: str, action: str):
    if action == "run":
        return done(_("Job created"), back=url_for("admin.jobs.job", uuid=recurring.run_now(name, actor())))
    recurring.switch(name, action == "on", actor())
    return done(_("Switched on") if action == "on" else _("Switched off"))
