"""/admin/jobs/recurring: the declared schedules; switch one on or off, or run it now."""

from __future__ import annotations

from flask import url_for
from flask_babel import gettext as _

from app.controllers.jobs import bp
from app.controllers.responses import actor, done, live
from app.services.jobs import recurring
from app.support.settings import settings


@bp.get("/recurring", endpoint="recurring")
def index():
    """The table of schedules; for scripts `{"schedules": [...]}`."""
    schedules = recurring.listing(settings().timezone)
    return live("admin/recurring.html", {"schedules": schedules}, "recurring_table")


@bp.post("/recurring/<name>/<any(on, off, run):action>", endpoint="recurring-change")
def change(name: str, action: str):
    """Switch a schedule on or off, or dispatch its job now."""
    if action == "run":
        return done(_("Job created"), back=url_for("admin.jobs.job", uuid=recurring.run_now(name, actor())))
    recurring.switch(name, action == "on", actor())
    return done(_("Switched on") if action == "on" else _("Switched off"))
