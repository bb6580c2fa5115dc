"""/admin/jobs/queues and the buttons by which people steer: one route for all that can be done to a job, two for
pauses."""

from __future__ import annotations

from flask import abort, render_template, request, url_for
from flask_babel import gettext as _

from app.config import QUEUES
from app.controllers import forms
from app.controllers.jobs import bp
from app.controllers.responses import actor, ask, done, live, wrong
from app.ledger.control import TYPE
from app.services.jobs import actions, queues
from app.support.validation import check_text, parse_delay, parse_queue


def said(action: str) -> str:
    words = {"restore": _("Job restored"), "erase": _("Job erased for good"), "stop": _("The job is being stopped"), "run_now": _("Job requeued"),
             "hold": _("Job held"), "release": _("Job released"), "delay": _("Job delayed"), "move": _("Job moved"), "top": _("Job moved to the top"),
             "up": _("Job moved up"), "down": _("Job moved down")}
    return words[action]


@bp.post("/act/<uuid>/<action>", endpoint="act")
def act(uuid: str, action: str):
    """restore, erase, stop, run-now, hold, release, delay (seconds), move (queue), top, up, down."""
    name, options = action.replace("-", "_"), {}
    if name not in actions.ACTIONS or name in ("retry", "delete", "cancel"):
        abort(404)
    if name == "delay":
        options["seconds"] = parse_delay(check_text(request.form.get("seconds", "")))
    if name == "move":
        options["queue"] = parse_queue(check_text(request.form.get("queue", "")), "default")
    questions = {
        "stop": (_("Stop this job now?"), _("Its worker is killed and the job counts as cancelled. What it has written stays."), _("Stop now")),
        "erase": (_("Erase this job for good?"), _("Its history and log go too. The figures stay."), _("Erase")),
    }
    if name in questions and (asked := ask(*questions[name])):
        return asked
    actions.act(name, uuid, actor(), **options)
    return done(said(name), back=url_for("admin.jobs.list", state="bin") if name == "erase" else None)


def queues_context() -> dict[str, object]:
    chosen = request.args.get("queue", "")
    rows = queues.queues()
    if chosen not in QUEUES:  # the first with work, as that is where order matters
        chosen = next((q.name for q in rows if q.depth), "default")
    return {"queues": rows, "types": queues.types(), "chosen": chosen, "next_jobs": queues.next_jobs(chosen),
            "tenant_backlog": queues.tenant_backlog(chosen)}


@bp.get("/queues", endpoint="queues")
def index():
    context = queues_context()
    return live("admin/queues.html", context, "queues", poll=url_for("admin.jobs.queues", queue=context["chosen"]))


@bp.post("/queues/<name>/<any(pause, resume):action>", endpoint="pause")
def pause(name: str, action: str):
    return _pause(name, action)


@bp.post("/types/<name>/<any(pause, resume):action>", endpoint="pause-type")
def pause_type(name: str, action: str):
    return _pause(TYPE + name, action)


def _pause(name: str, action: str):
    if action == "resume":
        queues.resume(name, actor())
        return done(_("Resumed"))
    form = forms.PauseForm()
    if not form.validate():
        return wrong(form.faults, lambda: render_template("admin/queues.html", **queues_context(), pausing=name, form=form))
    queues.pause(name, actor(), **form.values)
    return done(_("Paused"))
