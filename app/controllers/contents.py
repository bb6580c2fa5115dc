"""/admin/jobs/contents: what the imports have brought, and an import's report of refused rows."""

from __future__ import annotations

from flask import Blueprint, Response, render_template, request, stream_with_context, url_for
from flask_babel import gettext as _

from app.controllers.responses import render_error
from app.services.content import contents as service
from app.support import disk
from app.support.validation import check_text, parse_id, parse_uuid

bp = Blueprint("contents", __name__, url_prefix="/contents")
PAGE = 50


@bp.get("/", endpoint="index")
def index():
    q, tenant = check_text(request.args.get("q", "")).strip()[:200], check_text(request.args.get("tenant", "")).strip()[:64]
    rows = service.list_contents(q or None, tenant or None, parse_id(request.args.get("after")), PAGE + 1)
    more = len(rows) > PAGE
    rows = rows[:PAGE]
    given = {"q": q or None, "tenant": tenant or None}
    next_url = url_for("admin.jobs.contents.index", **given, after=rows[-1].id) if more else None
    return render_template("admin/contents.html", rows=rows, contents=rows, q=q, tenant=tenant, next_url=next_url)


@bp.get("/report/<uuid>.csv", endpoint="report")
def report(uuid: str):
    """The rows an import refused, as CSV: line, reason, row."""
    disk.require_room()
    key = parse_uuid(uuid)
    if key is None or not service.has_report(key):
        return render_error(404, _("There is no report for this job."))
    headers = {"Content-Disposition": f'attachment; filename="rejected-{key[:8]}.csv"'}
    return Response(stream_with_context(service.reject_csv(key)), content_type="text/csv; charset=utf-8", headers=headers)
