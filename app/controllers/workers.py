"""/admin/jobs/workers: a page, and JSON for scripts; restart of one."""

from __future__ import annotations

from flask import Blueprint, jsonify, render_template, url_for
from flask_babel import gettext as _

from app.controllers.guard import wants_json
from app.controllers.jobs import PARTS, actor, done, refused
from app.controllers.jobs import bp as jobs
from app.controllers.pages import workers_context
from app.services import operations

bp = Blueprint("workers", __name__, url_prefix="/workers")
PARTS["workers_table"] = lambda: {"workers": workers_context()}


@jobs.get("/workers", endpoint="workers")
def workers():
    rows = workers_context()
    if wants_json():
        return jsonify({"workers": rows})
    return render_template("admin/workers.html", workers=rows)


@bp.post("/<int(max=9223372036854775807):id>/restart", endpoint="restart")
def restart(id: int):
    back = url_for("admin.jobs.workers")
    try:
        name = operations.restart_worker(id, actor())
    except operations.Refused as error:
        return refused(error, back)
    return done(_("Worker %(name)s restarts after its current job", name=name), 1, back)
