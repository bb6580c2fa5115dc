"""/admin/jobs/log: who did what."""

from __future__ import annotations

from dataclasses import replace

from flask import jsonify, render_template, request, url_for

from app.controllers.access import wants_json
from app.controllers.jobs import bp
from app.services import audit
from app.support.messages import translate_stored


@bp.get("/log", endpoint="log")
def log():
    """The audit table, the latest first, by key."""
    before = request.args.get("before", "")
    before_id = int(before) if before.isascii() and before.isdigit() and len(before) < 19 else None
    rows, more = audit.log(before_id)
    if not wants_json():
        rows = [replace(r, action=translate_stored(r.action), subject=translate_stored(r.subject),
                        result=translate_stored(r.result)) for r in rows]
    older = url_for("admin.jobs.log", before=rows[-1].id) if more else None
    return jsonify({"log": rows, "older": older}) if wants_json() else render_template("admin/log.html", rows=rows, older_url=older)
