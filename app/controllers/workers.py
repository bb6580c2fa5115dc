"""/admin/jobs/workers: the workers as a page and as JSON; commands to one worker or to all."""

from __future__ import annotations

from flask import Blueprint
from flask_babel import gettext as _, ngettext

from app.controllers.jobs import bp as jobs
from app.controllers.responses import actor, ask, done, live
from app.controllers.worker_views import workers_page
from app.services.jobs import worker_commands
from app.services.stats.autoscaling import autoscaling
from app.support.formatting import number
from app.support.settings import settings

bp = Blueprint("workers", __name__, url_prefix="/workers")


@jobs.get("/workers", endpoint="workers")
def workers():
    """The table of workers; for scripts `{"workers", "troubles", "expected", "autoscaling"}` (null when it is off)."""
    context = workers_page() | {"autoscaling": autoscaling(settings().workers_clear_min)}
    return live("admin/workers.html", context, "workers_table")


@bp.post("/<int(max=9223372036854775807):id>/restart", endpoint="restart", defaults={"command": "restart"})
@bp.post("/<int(max=9223372036854775807):id>/<any(quiet, resume, stop, kill, start):command>", endpoint="command")
def change(id: int, command: str):
    """Give one worker a command; `kill` and `stop` ask first."""
    questions = {
        "kill": (_("Kill this worker?"), _("Its job is taken from it and runs again in another worker."), _("Kill")),
        "stop": (_("Stop this worker?"), _("It ends after its current job. Nothing takes its place until somebody "
                                           "starts it again."), _("Stop")),
    }
    if command in questions and (page := ask(*questions[command])):
        return page
    name = worker_commands.command_worker(id, command, actor())
    sentences = {
        "restart": _("Worker %(name)s restarts after its current job", name=name),
        "resume": _("Worker %(name)s takes jobs again", name=name),
        "quiet": _("Worker %(name)s takes no more jobs", name=name),
        "stop": _("Worker %(name)s stops after its current job", name=name),
        "kill": _("Worker %(name)s is being killed", name=name),
        "start": _("Another worker starts in the place of %(name)s", name=name),
    }
    return done(sentences[command])


@bp.post("/all/<any(restart, start):command>", endpoint="all")
def change_all(command: str):
    """Give all workers a command; `restart` asks first."""
    if command == "restart":
        text = _("Each ends after its current job, and another takes its place.")
        if page := ask(_("Restart all workers?"), text, _("Restart all"), danger=False):
            return page
    n = worker_commands.command_workers(command, actor())
    if command == "start":
        return done(ngettext("%(n)s worker starts again", "%(n)s workers start again", n, n=number(n)), n)
    return done(ngettext("%(n)s worker restarts after its current job",
                         "%(n)s workers restart after their current jobs", n, n=number(n)), n)
