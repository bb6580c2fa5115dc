"""/admin/jobs: the dashboard, its JSON, and what can be done with a job."""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, flash, jsonify, redirect, render_template, request, url_for
from flask_babel import gettext as _
from flask_babel import ngettext
from flask_login import current_user

from app.clock import iso, now_ms
from app.controllers.guard import require_delete, wants_json
from app.controllers.pages import dashboard_context, job_context
from app.controllers.returns import safe_next
from app.formatting import number
from app.services import alerts, catalogue, operations
from app.services.job_monitoring import PERIODS, JobMonitoringService, monitor_state
from app.strict import BadInput

bp = Blueprint("jobs", __name__, url_prefix="/jobs")
service = JobMonitoringService()
PARTS: dict[str, Callable[[], dict[str, object]]] = {}  # live parts of other pages: name -> what its template is given
OF_DASHBOARD = ("actions", "notes", "cards", "queue_table", "failed_table")


def done(sentence: str, count: int, back: str):
    """The answer to a change: JSON `{"ok": true, "count": n}` or a flash and the page it came from."""
    if wants_json():
        return jsonify({"ok": True, "count": count})
    flash(sentence, "success")
    return redirect(safe_next(request.form.get("next"), back), 303)


def refused(error: operations.Refused, back: str):
    """404 for an unknown job, 403 for what is not for the web, 409 (JSON) or a flash when it changed meanwhile."""
    if error.unknown:
        return render_error(404, str(error))
    if error.forbidden:
        return render_error(403, str(error), _("Not from here"))
    if wants_json():
        return jsonify({"error": str(error)}), 409
    flash(str(error), "error")
    return redirect(safe_next(request.form.get("next"), back), 303)


def render_error(code: int, sentence: str, title: str | None = None):
    if wants_json():
        return jsonify({"error": sentence}), code
    return render_template("errors/error.html", code=code, title=title or _("Not found"), text=sentence), code


def actor() -> str:
    return current_user.email


def ask(title: str, text: str, action: str, danger: bool = True):
    """The page that asks first when there is no JavaScript; None when the form was sent to act.

    Forms that ask carry `ask=1`, which the dialog takes out once confirmed; scripts never send it.
    """
    if request.form.get("ask") != "1":
        return None
    fields = [(k, v) for k, v in request.form.items(multi=True) if k not in ("csrf_token", "ask")]
    back = safe_next(request.form.get("next"), url_for("admin.jobs.index"))
    here = request.script_root + request.path
    return render_template("admin/confirm.html", title=title, text=text, action=action, action_url=here, fields=fields,
                           danger=danger, back_url=back)


@bp.get("/", endpoint="index")
def index():
    period = request.args.get("period", "24h")
    return render_template("admin/dashboard.html", **dashboard_context(period if period in PERIODS else "24h"))


@bp.get("/realtime-stats", endpoint="realtime-stats")
def realtime_stats():
    return jsonify({"stats": service.get_dashboard_stats(), "timestamp": iso(now_ms()), "monitor": monitor_state(),
                    "alerts": {"open": alerts.count_open()}})


@bp.get("/partials", endpoint="partials")
def partials():
    """HTML of the parts named in `names`, rendered by the same templates as the page."""
    names = request.args.get("names", ",".join(OF_DASHBOARD)).split(",")
    parts: dict[str, str] = {}
    body: dict[str, object] = {"partials": parts, "timestamp": iso(now_ms()), "monitor": monitor_state(),
                               "alerts": {"open": alerts.count_open()}}
    if wanted := [n for n in OF_DASHBOARD if n in names]:
        context = dashboard_context()
        body["stats"] = context["stats"]
        parts |= {n: render_template(f"admin/partials/{n}.html", **context) for n in wanted}
    for name in set(PARTS) & set(names):
        parts[name] = render_template(f"admin/partials/{name}.html", **PARTS[name]())
    if "job" in names:
        found = catalogue.find(request.args.get("uuid", ""))
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
    except BadInput as error:
        return jsonify({"error": str(error)}), 400
    return jsonify(rows)


def upto() -> int | None:
    """The highest failed id when the page was rendered; None from scripts, which mean all of now."""
    text = request.form.get("upto", "").strip()
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise BadInput(_("The form was changed: load the page again."))
    return int(text)


@bp.post("/retry/<uuid>", endpoint="retry")
def retry(uuid: str):
    back = url_for("admin.jobs.index")
    try:
        operations.retry(uuid, actor())
    except operations.Refused as error:
        return refused(error, back)
    return done(_("Job requeued"), 1, back)


@bp.post("/retry-all", endpoint="retry-all")
def retry_all():
    if asked := ask(_("Requeue all failed jobs?"), _("They run again from the first attempt."), _("Retry All"), danger=False):
        return asked
    count = operations.retry_all(actor(), upto())
    return done(ngettext("%(n)s job requeued", "%(n)s jobs requeued", count, n=number(count)), count, url_for("admin.jobs.index"))


@bp.route("/delete/<uuid>", methods=["DELETE", "POST"], endpoint="delete")
def delete(uuid: str):
    require_delete()
    if asked := ask(_("Delete this job?"), _("It stays in the bin for 7 days."), _("Delete")):
        return asked
    back = url_for("admin.jobs.index")
    try:
        operations.delete_failed(uuid, actor())
    except operations.Refused as error:
        return refused(error, back)
    return done(_("Job deleted"), 1, back)


@bp.post("/flush-failed", endpoint="flush-failed")
def flush_failed():
    text = _("They stay in the bin for 7 days. Jobs that failed after this page was loaded are not included.")
    if asked := ask(_("Delete all failed jobs?"), text, _("Delete all")):
        return asked
    count = operations.delete_all(actor(), upto())
    text = _("All failed jobs have been deleted") + f" ({number(count)})"
    return done(text, count, url_for("admin.jobs.index"))


@bp.post("/cancel/<uuid>", endpoint="cancel")
def cancel(uuid: str):
    if asked := ask(_("Cancel this job?"), _("A waiting job is cancelled; a running one is asked to stop."), _("Cancel the job")):
        return asked
    back = url_for("admin.jobs.job", uuid=uuid)
    try:
        result = operations.cancel(uuid, actor())
    except operations.Refused as error:
        return refused(error, back)
    return done(_("Job cancelled") if result == "cancelled" else _("The job was asked to stop"), 1, back)


@bp.get("/job/<uuid>", endpoint="job")
def job(uuid: str):
    found = catalogue.find(uuid)
    if found is None:
        return render_error(404, _("There is no such job."))
    context = job_context(found)
    if wants_json():
        return jsonify(catalogue.whole(uuid))
    return render_template("admin/job.html", **context)


