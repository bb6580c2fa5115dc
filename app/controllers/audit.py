"""/admin/jobs/log: the audit log of what people did."""

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
    """A page of audit rows, the newest first. `before` is the id of the last row of the page above, `actor` the name
    of one who did them."""
    actor = request.args.get("actor", "")[:255] or None
    rows, more = audit.log(parse_id(request.args.get("before")), actor=actor)
    older = url_for("admin.jobs.log", before=rows[-1].id, actor=actor) if more else None
    if wants_json():
        return jsonify({"log": rows, "older": older})
    rows = [replace(r, action=translate_stored(r.action), subject=translate_stored(r.subject),
                    result=translate_stored(r.result)) for r in rows]
    return render_template("admin/log.html", rows=rows, older_url=older, by=actor)
