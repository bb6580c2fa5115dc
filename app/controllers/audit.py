"""/admin/jobs/log: who did what."""

from __future__ import annotations

from dataclasses import replace

from flask import jsonify, render_template, request, url_for

from app.controllers.access import wants_json
from app.controllers.jobs import bp
from app.services import audit
from app.support.messages import translate_stored
from app.support.validation import parse_id


@bp.get("/log", endpoint="log")
def log():
    """The audit table, the latest first, by key."""
    rows, more = audit.log(parse_id(request.args.get("before")))
    if not wants_json():
        rows = [replace(r, action=translate_stored(r.action), subject=translate_stored(r.subject),
                        result=translate_stored(r.result)) for r in rows]
    older = url_for("admin.jobs.log", before=rows[-1].id) if more else None
    return jsonify({"log": rows, "older": older}) if wants_json() else render_template("admin/log.html", rows=rows, older_url=older)
