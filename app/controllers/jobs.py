"""/admin/jobs: the dashboard, its JSON, and what can be done with a job."""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, jsonify, render_template, request, url_for
from flask_babel import gettext as _
from flask_babel import ngettext

from app.controllers.access import require_delete, wants_json
from app.controllers.responses import actor, ask, done, refused, render_error
from app.controllers.view_models import dashboard_context, job_context
from app.services.alerts import incidents
from app.services.audit import ActionRefused
from app.services.jobs import actions, lookup
from app.services.stats.job_monitoring import PERIODS, JobMonitoringService, monitor_state
from app.support.clock import iso, now_ms
from app.support.formatting import number
from app.support.validation import ValidationError, parse_id

bp = Blueprint("jobs", __name__, url_prefix="/jobs")
service = JobMonitoringService()
PARTS: dict[str, Callable[[], dict[str, object]]] = {}  # live parts of other pages: name -> what its template is given
OF_DASHBOARD = ("actions", "notices", "cards", "live_jobs", "failed_table")


@bp.get("/", endpoint="index")
def index():
    period = request.args.get("period", "24h")
    return render_template("admin/dashboard.html", **dashboard_context(period if period in PERIODS else "24h"))


@bp.get("/realtime-stats", endpoint="realtime-stats")
def realtime_stats():
    return jsonify({"stats": service.get_dashboard_stats(), "timestamp": iso(now_ms()), "monitor": monitor_state(),
                    "alerts": {"open": incidents.count_open()}})


@bp.get("/partials", endpoint="partials")
def partials():
    """HTML of the parts named in `names`, rendered by the same templates as the page."""
    names = request.args.get("names", ",".join(OF_DASHBOARD)).split(",")
    parts: dict[str, str] = {}
    body: dict[str, object] = {"partials": parts, "timestamp": iso(now_ms()), "monitor": monitor_state(),
                               "alerts": {"open": incidents.count_open()}}
    if wanted := [n for n in OF_DASHBOARD if n in names]:
        context = dashboard_context()
        body["stats"] = context["stats"]
        parts |= {n: render_template(f"admin/partials/{n}.html", **context) for n in wanted}
    for name in set(PARTS) & set(names):
        parts[name] = render_template(f"admin/partials/{name}.html", **PARTS[name]())
    if "job" in names:
        found = lookup.find(request.args.get("uuid", ""))
        if found is None:
            return render_error(404, _("There is no such job."))
        parts["job"] = render_template("admin/partials/job.html", **job_context(found))
    body["partials"] = parts
    return jsonify(body)


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
    back = url_for("admin.jobs.index")
    try:
        actions.retry(uuid, actor())
    except ActionRefused as error:
        return refused(error, back)
    return done(_("Job requeued"), 1, back)


@bp.post("/retry-all", endpoint="retry-all")
def retry_all():
    if asked := ask(_("Requeue all failed jobs?"), _("They run again from the first attempt."), _("Retry All"), danger=False):
        return asked
    count = actions.retry_all(actor(), max_failed_id())
    return done(ngettext("%(n)s job requeued", "%(n)s jobs requeued", count, n=number(count)), count, url_for("admin.jobs.index"))


@bp.route("/delete/<uuid>", methods=["DELETE", "POST"], endpoint="delete")
def delete(uuid: str):
    require_delete()
    if asked := ask(_("Delete this job?"), _("It stays in the bin for 7 days."), _("Delete")):
        return asked
    back = url_for("admin.jobs.index")
    try:
        actions.delete_failed(uuid, actor())
    except ActionRefused as error:
        return refused(error, back)
    return done(_("Job deleted"), 1, back)


@bp.post("/flush-failed", endpoint="flush-failed")
def flush_failed():
    text = _("They stay in the bin for 7 days. Jobs that failed after this page was loaded are not included.")
    if asked := ask(_("Delete all failed jobs?"), text, _("Delete all")):
        return asked
    count = actions.delete_all(actor(), max_failed_id())
    text = _("All failed jobs have been deleted") + f" ({number(count)})"
    return done(text, count, url_for("admin.jobs.index"))


@bp.post("/cancel/<uuid>", endpoint="cancel")
def cancel(uuid: str):
    if asked := ask(_("Cancel this job?"), _("A waiting job is cancelled; a running one is asked to stop."), _("Cancel the job")):
        return asked
    back = url_for("admin.jobs.job", uuid=uuid)
    try:
        result = actions.cancel(uuid, actor())
    except ActionRefused as error:
        return refused(error, back)
    return done(_("Job cancelled") if result == "cancelled" else _("The job was asked to stop"), 1, back)


@bp.get("/job/<uuid>", endpoint="job")
def job(uuid: str):
    found = lookup.find(uuid)
    if found is None:
        return render_error(404, _("There is no such job."))
    context = job_context(found)
    if wants_json():
        return jsonify(lookup.as_json(uuid))
    return render_template("admin/job.html", **context)


