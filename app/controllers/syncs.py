"""/admin/jobs/contents/links and /admin/jobs/contents/syncs: conflicts, and what sync jobs did."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, render_template, request, stream_with_context, url_for
from flask_babel import gettext as _

from app.controllers.access import wants_json
from app.controllers.responses import actor, csv_file, done, render_error
from app.extensions import db
from app.services.content import conflicts, decisions, sync_reports
from app.services.content.content_list import SERVICES
from app.support.json_values import streamed
from app.support.validation import ValidationError, parse_id, parse_uuid

bp = Blueprint("syncs", __name__, url_prefix="/contents")
PAGE = 50


@bp.get("/links/<int:id>", endpoint="link")
def link(id: int):
    """Where a content lives at a service; in a conflict both sides and the last common text, for a person to choose."""
    found = conflicts.link_page(id)
    if found is None:
        return render_error(404, _("There is no such conflict."))
    if wants_json():
        return jsonify(found)
    return render_template("admin/conflict.html", p=found, link=found.link, name=SERVICES.get(found.link.service, ""))


@bp.post("/links/<int:id>", endpoint="decide")
def decide(id: int):
    """Decide (`decision`: ours, theirs, later, again) about what the page of `changed_ms` showed."""
    seen = parse_id(request.form.get("changed_ms"))
    if seen is None:
        raise ValidationError(_("The form was changed: load the page again."))
    uuid = decisions.decide(id, request.form.get("decision", ""), actor(), seen)
    if uuid is None:
        return done(_("Decided later: it stays as it is."))
    return done(_("Decided: this job carries it out."), back=url_for("admin.jobs.job", uuid=uuid), uuid=uuid)


def asked(uuid: str) -> tuple[str | None, str]:
    """The uuid of a sync job that has dealt with contents, or None, and the action that is asked for."""
    key, action = parse_uuid(uuid), request.args.get("action", "")
    if action not in ("", *sync_reports.ACTIONS):
        raise ValidationError(_("Unknown action %(name)s.", name=repr(action[:40])))
    return (key if key and sync_reports.actions(key, limit=1) else None), action


def unknown():
    """404: the job has synced nothing."""
    return render_error(404, _("This job has synced no content."))


@bp.get("/syncs/<uuid>", endpoint="job")
def job(uuid: str):
    """What a sync job did with each content, 50 a page; `action` of one kind only. For scripts as JSON."""
    key, action = asked(uuid)
    if key is None:
        return unknown()
    rows = sync_reports.actions(key, action, parse_id(request.args.get("after")), PAGE + 1)
    following = len(rows) > PAGE and url_for("admin.jobs.syncs.job", uuid=key, action=action or None,
                                             after=rows[PAGE - 1].content_id)
    found = sync_reports.report(key)
    if wants_json():
        return jsonify({"counts": found.counts if found else {}, "actions": [row._asdict() for row in rows[:PAGE]],
                        "next": following or None})
    return render_template("admin/sync_actions.html", uuid=key, action=action, rows=rows[:PAGE], next_url=following,
                           sync=found, first=not request.args.get("after"))


@bp.get("/syncs/<uuid>/actions.csv", endpoint="csv")
def actions_csv(uuid: str):
    """All rows of a sync job as CSV."""
    key, action = asked(uuid)
    return csv_file(f"sync-{key[:8]}.csv", sync_reports.as_csv(db.engine, key, action)) if key else unknown()


@bp.get("/syncs/<uuid>/actions.json", endpoint="json")
def actions_json(uuid: str):
    """All rows of a sync job as JSON: `{"job": uuid, "actions": [...]}`."""
    key, action = asked(uuid)
    if key is None:
        return unknown()
    rows = streamed("job", key, "actions", sync_reports.iterate(db.engine, key, action))
    return Response(stream_with_context(rows), mimetype="application/json")
