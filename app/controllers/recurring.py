"""/admin/jobs/recurring: the schedules; switch one on or off, run it now, delete it; its own page with its history."""

from __future__ import annotations

from flask import jsonify, request, url_for
from flask_babel import gettext as _

from app.controllers.access import wants_json
from app.controllers.jobs import bp
from app.controllers.log_words import sentence
from app.controllers.responses import actor, ask, done, live, polled
from app.services.audit import ActionRefused
from app.services.jobs import recurring, recurring_runs, schedules
from app.support import privacy
from app.support.redaction import redact_json
from app.support.settings import settings
from app.support.validation import parse_id

PAGE = 50  # schedules of a page


@bp.get("/recurring", endpoint="recurring")
def index():
    """A page of schedules, those after the name `after`, only those whose name or type contains `q`; for scripts
    `{"schedules": [...]}`, all of them."""
    plans, after, q = schedules.listed(), request.args.get("after", ""), request.args.get("q", "").strip()[:100]
    if wants_json() and not polled():
        return jsonify({"schedules": recurring.listing(settings().timezone, plans)})
    found = [p for p in plans if q.lower() in f"{p.name}\n{p.job_type}".lower()]
    rest = [p for p in found if p.name > after]
    older = url_for("admin.jobs.recurring", q=q or None, after=rest[PAGE - 1].name) if len(rest) > PAGE else None
    context = {"schedules": recurring.listing(settings().timezone, rest[:PAGE]), "q": q, "found": len(found),
               "total": len(plans), "older_url": older, "after": after}
    return live("admin/recurring.html", context, "recurring_table")


@bp.get("/recurring/<path:name>", endpoint="recurring-one")
def one(name: str):
    """A schedule: its next ten runs, its history before the minute `before` (ms), who changed what. A deleted one still
    has its history. 404 for a name that nothing is known of."""
    zone = settings().timezone
    plan = next((plan for plan in schedules.listed() if plan.name == name), None)
    runs, more = recurring_runs.history(name, parse_id(request.args.get("before")))
    changes = recurring_runs.changes(name)
    if plan is None and not runs and not changes:
        raise ActionRefused(_("There is no such recurring job."), unknown=True)
    view = recurring.listing(zone, [plan])[0] if plan else None
    context = {
        "name": name, "schedule": view, "runs": runs, "queue": plan and plan.queue, "tenant": plan and plan.tenant_id,
        "args": redact_json(plan.given) if plan and not privacy.hidden() else {},
        "coming": recurring.coming(plan.cron, zone) if view and view.enabled and view.job_type else [],
        "changes": [{"at": row.at, "actor": row.actor, "what": sentence(row)} for row in changes],
        "older_url": url_for("admin.jobs.recurring-one", name=name, before=runs[-1].at_ms) if more else None,
        "first": "before" not in request.args}
    return live("admin/recurring_one.html", context, "recurring_one", follow=context["first"])


@bp.post("/recurring/<path:name>/<any(on, off, run, reset, delete):action>", endpoint="recurring-change")
def change(name: str, action: str):
    """Switch a schedule on or off, dispatch its job now, give it the code's time again, or delete what the page has
    of it."""
    if action == "run":
        return done(_("Job created"), back=url_for("admin.jobs.job", uuid=recurring.run_now(name, actor())))
    if action == "reset":
        schedules.reset(schedules.find(name), actor())
        return done(_("The code's time holds again"))
    if action == "delete":
        plan = schedules.find(name)
        question = ask(_("Delete the schedule %(name)s?", name=name), _("Its history stays."), _("Delete"))
        if question is None:
            schedules.delete(plan, actor())
            return done(_("Schedule deleted"))
        return question
    recurring.switch(name, action == "on", actor())
    return done(_("Switched on") if action == "on" else _("Switched off"))
