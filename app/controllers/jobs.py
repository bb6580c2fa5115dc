"""/admin/jobs: the dashboard, its JSON, and what can be done with a job."""

from __future__ import annotations

from flask import Blueprint, jsonify, render_template, request
from flask_babel import gettext as _
from flask_babel import ngettext

from app.controllers.access import require_delete
from app.controllers.responses import actor, ask, done, live, polled, pulse, render_error, rendered
from app.controllers.view_models import dashboard_context, dashboard_parts, job_context
from app.services.jobs import actions, lookup
from app.services.stats.job_monitoring import PERIODS, JobMonitoringService
from app.support.formatting import number
from app.support.validation import ValidationError, parse_id

bp = Blueprint("jobs", __name__, url_prefix="/jobs")
service = JobMonitoringService()
PARTS = ("actions", "notices", "cards", "live_jobs", "failed_table")


@bp.get("/", endpoint="index")
def index():
    period = request.args.get("period", "24h")
    return render_template("admin/dashboard.html", **dashboard_context(pulse(), period if period in PERIODS else "24h"))


@bp.get("/realtime-stats", endpoint="realtime-stats")
def realtime_stats():
    """The figures; for the script of the dashboard also its live parts, and for pages without live parts none."""
    body = pulse()
    return jsonify(body | {"partials": rendered(PARTS, lambda: dashboard_parts(body))} if polled() else body)


@bp.get("/metrics", endpoint="metrics")
def metrics():
    try:
        given = request.args
        rows = service.get_metrics(
            given.get("period", "24h"), given.get("job_type") or None, given.get("bucket") or None, given.get("group") or None
        )
    except ValidationError as error:
        return jsonify({"error": str(error)}), 400
    return jsonify(rows)


def max_failed_id() -> int | None:
    """The highest failed id when the page was rendered; None from scripts, which mean all of now."""
    text = request.form.get("upto", "").strip()
    if text and parse_id(text) is None:
        raise ValidationError(_("The form was changed: load the page again."))
    return parse_id(text)


@bp.post("/retry/<uuid>", endpoint="retry")
def retry(uuid: str):
    actions.retry(uuid, actor())
    return done(_("Job requeued"))


@bp.post("/retry-all", endpoint="retry-all")
def retry_all():
    if asked := ask(_("Requeue all failed jobs?"), _("They run again from the first attempt."), _("Retry All"), danger=False):
        return asked
    count = actions.retry_all(actor(), max_failed_id())
    return done(ngettext("%(n)s job requeued", "%(n)s jobs requeued", count, n=number(count)), count)


@bp.route("/delete/<uuid>", methods=["DELETE", "POST"], endpoint="delete")
def delete(uuid: str):
    require_delete()
    if asked := ask(_("Delete this job?"), _("It stays in the bin for 7 days."), _("Delete")):
        return asked
    actions.delete_failed(uuid, actor())
    return done(_("Job deleted"))


@bp.post("/flush-failed", endpoint="flush-failed")
def flush_failed():
    text = _("They stay in the bin for 7 days. Jobs that failed after this page was loaded are not included.")
    if asked := ask(_("Delete all failed jobs?"), text, _("Delete all")):
        return asked
    count = actions.delete_all(actor(), max_failed_id())
    text = _("All failed jobs have been deleted") + f" ({number(count)})"
    return done(text, count)


@bp.post("/cancel/<uuid>", endpoint="cancel")
def cancel(uuid: str):
    if asked := ask(_("Cancel this job?"), _("A waiting job is cancelled; a running one is asked to stop."), _("Cancel the job")):
        return asked
    result = actions.cancel(uuid, actor())
    return done(_("Job cancelled") if result == "cancelled" else _("The job was asked to stop"))


@bp.get("/job/<uuid>", endpoint="job")
def job(uuid: str):
    found = lookup.find(uuid)
    if found is None:
        return render_error(404, _("There is no such job."))
    return live("admin/job.html", job_context(found), "job", follow=not found.status, plain=lambda: lookup.as_json(uuid))
