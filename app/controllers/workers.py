"""/admin/jobs/workers: a page, and JSON for scripts; restart of one."""

from __future__ import annotations

from flask import Blueprint, current_app, jsonify, render_template, url_for
from flask_babel import gettext as _

from app.controllers.guard import wants_json
from app.controllers.jobs import actor, bp as jobs, done, refused
from app.services import fleet, operations

bp = Blueprint("workers", __name__, url_prefix="/workers")


@jobs.get("/workers", endpoint="workers")
def workers():
    rows = fleet.workers(current_app.extensions["settings"].worker_memory_mb)
    if wants_json():
        return jsonify({"workers": rows})
    for row in rows:
        row["restart_url"] = url_for("admin.jobs.workers.restart", id=row["id"]) if row["status"] != "stopped" else None
    return render_template("admin/workers.html", workers=rows)


@bp.post("/<int:id>/restart", endpoint="restart")
def restart(id: int):
    back = url_for("admin.jobs.workers")
    try:
        name = operations.restart_worker(id, actor())
    except operations.Refused as error:
        return refused(error, back)
    return done(_("Worker %(name)s restarts after its current job", name=name), 1, back)
