"""/admin/jobs/contents: contents with their drafts, and the report of rows that an import or a bulk refused."""

from __future__ import annotations

from flask import Blueprint, render_template, request, url_for
from flask_babel import gettext as _

from app.controllers.responses import actor, csv_file, done, render_error
from app.services.content import contents as service, drafts
from app.support.validation import check_text, parse_id, parse_uuid

bp = Blueprint("contents", __name__, url_prefix="/contents")
PAGE = 50


@bp.get("/", endpoint="index")
def index():
    """A page of 50 contents, the newest first, filtered by text and tenant."""
    q = check_text(request.args.get("q", "")).strip()[:200]
    tenant = check_text(request.args.get("tenant", "")).strip()[:64]
    rows = service.list_contents(q or None, tenant or None, parse_id(request.args.get("after")), PAGE + 1)
    following = {"q": q or None, "tenant": tenant or None, "after": rows[PAGE - 1].id} if len(rows) > PAGE else None
    next_url = following and url_for("admin.jobs.contents.index", **following)
    return render_template("admin/contents.html", contents=rows[:PAGE], q=q, tenant=tenant, next_url=next_url,
                           waiting=drafts.count_waiting())


@bp.get("/<int:id>", endpoint="one")
def one(id: int):
    """A content: its text, its waiting drafts beside it, and its versions. 404 when there is none."""
    found = drafts.content_page(id)
    if found is None:
        return render_error(404, _("There is no such content."))
    return render_template("admin/content.html", c=found)


@bp.post("/drafts/<uuid>/<action>", endpoint="decide")
def decide(uuid: str, action: str):
    """Accept or refuse the draft of a job."""
    key = parse_uuid(uuid)
    if key is None or action not in drafts.DECISIONS:
        return render_error(404, _("There is no such draft."))
    drafts.decide(key, action, actor())
    return done(_("Draft accepted: it is the body now") if action == "accept" else _("Draft refused"))


@bp.get("/report/<uuid>.csv", endpoint="report")
def report(uuid: str):
    """The rows that an import refused, as CSV: line, reason, row."""
    key = parse_uuid(uuid)
    if key is None or not service.has_report(key):
        return render_error(404, _("There is no report for this job."))
    return csv_file(f"rejected-{key[:8]}.csv", service.reject_csv(key))
