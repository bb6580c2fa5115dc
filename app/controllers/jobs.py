"""/admin/jobs: the dashboard, its JSON, the page of a job, and retry, delete and cancel."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, jsonify, render_template, request, url_for
from flask_babel import gettext as _, ngettext

from app.controllers import tree_forms
from app.controllers.access import require_delete
from app.controllers.responses import actor, ask, done, live, polled, pulse, render_error, rendered
from app.controllers.view_models import dashboard_context, dashboard_parts, job_context
from app.services.instance import deploys
from app.services.jobs import actions, lookup
from app.services.stats import pauses
from app.services.stats.job_monitoring import PERIODS, JobMonitoringService
from app.support.formatting import number
from app.support.messages import Message
from app.support.validation import ValidationError, parse_id

bp = Blueprint("jobs", __name__, url_prefix="/jobs")
service = JobMonitoringService()
FEW, MORE = 10, "50"  # rows of the two tables; what an address says for lookup.SHOWN rows
ENDED_MS = 20_000  # between polls of the page of a job with which nothing can be done: only its figures can change
PARTS = ("actions", "notices", "cards", "batches_live", "live_jobs", "failed_table")


def dashboard_pulse() -> dict[str, Any]:
    """The part of every poll, and the pauses."""
    body = pulse()
    return body | {"pauses": pauses.listing(body["stats"]["jobs"]["queues"])}


def address() -> dict[str, str]:
    """The set parts of the dashboard's address: `period`, and `queued` or `failed` for a table of 50 rows, not 10."""
    known = {"period": [p for p in PERIODS if p != "24h"], "queued": [MORE], "failed": [MORE]}
    return {name: given for name, values in known.items() if (given := request.args.get(name)) in values}


def rows(here: dict[str, str]) -> tuple[int, int]:
    """How many rows the tables of queued and of failed jobs show."""
    return tuple(lookup.SHOWN if name in here else FEW for name in ("queued", "failed"))


@bp.get("/", endpoint="index")
def index():
    """The dashboard, with charts of `period`; of 24 hours when the period is unknown."""
    here = address()
    context = dashboard_context(dashboard_pulse(), here.get("period", "24h"), rows(here))
    return render_template("admin/dashboard.html", **context, here=here,
                           poll_url=url_for("admin.jobs.realtime-stats", **here))


@bp.get("/realtime-stats", endpoint="realtime-stats")
def realtime_stats():
    """The figures as JSON (`dashboard_pulse`); a poll of the dashboard also gets its live parts as `partials`."""
    body, here = dashboard_pulse(), address()
    parts = rendered(PARTS, lambda: dashboard_parts(body, rows(here)) | {"here": here}) if polled() else None
    return jsonify(body if parts is None else body | {"partials": parts})


@bp.get("/metrics", endpoint="metrics")
def metrics():
    """Final outcomes by time with the deploys, or with `group=type` by job type, as JSON. ValidationError is answered
    by 400."""
    given = request.args
    filters = {name: given.get(name) or None for name in ("job_type", "bucket", "group")}
    rows = service.get_metrics(given.get("period", "24h"), **filters)
    return jsonify(rows if filters["group"] else deploys.on_chart(rows))


def max_failed_id() -> int | None:
    """The highest id of a failed job when the page was rendered; None from scripts, which mean all of now."""
    text = request.form.get("upto", "").strip()
    if text and parse_id(text) is None:
        raise ValidationError(_("The form was changed: load the page again."))
    return parse_id(text)


@bp.post("/retry/<uuid>", endpoint="retry")
def retry(uuid: str):
    """Requeue one failed job, or run a scheduled one now."""
    actions.retry(uuid, actor())
    return done(_("Job requeued"))


@bp.post("/retry-all", endpoint="retry-all")
def retry_all():
    """Requeue all jobs that had failed when the page was rendered, after a question."""
    text = _("They run again from the first attempt.")
    if page := ask(_("Requeue all failed jobs?"), text, _("Retry All"), danger=False):
        return page
    count = actions.retry_all(actor(), max_failed_id())
    return done(ngettext("%(n)s job requeued", "%(n)s jobs requeued", count, n=number(count)), count)


@bp.route("/delete/<uuid>", methods=["DELETE", "POST"], endpoint="delete")
def delete(uuid: str):
    """Put one failed job into the bin, after a question; `children` is what becomes of those that wait for it."""
    require_delete()
    if page := ask(_("Delete this job?"), _("It stays in the bin for 7 days."), _("Delete"),
                   tree=lambda: tree_forms.question([uuid])):
        return page
    entries: list[int] = []
    actions.delete_failed(uuid, actor(), tree_forms.chosen(), lambda _below, entry: entries.append(entry))
    return done(_("Job deleted"), entry=entries[0], undo=True)


@bp.post("/flush-failed", endpoint="flush-failed")
def flush_failed():
    """Put all jobs into the bin that had failed when the page was rendered, after a question."""
    text = _("They stay in the bin for 7 days. Jobs that failed after this page was loaded are not included.")
    highest = max_failed_id()
    if page := ask(_("Delete all failed jobs?"), text, _("Delete all"),
                   tree=lambda: tree_forms.question(actions.waiting_for("delete", actions.all_failed(highest)))):
        return page
    failed = actions.all_failed(highest)
    found = actions.do_in_steps(actor(), "delete", Message("all failed"), failed, tree_forms.chosen())
    return done(_("All failed jobs have been deleted") + f" ({number(found.count)})", found.count, entry=found.entry,
                undo=found.count > 0)


@bp.post("/cancel/<uuid>", endpoint="cancel")
def cancel(uuid: str):
    """Cancel a waiting job or ask a running one to stop, after a question; `children` as in `delete`."""
    text = _("A waiting job is cancelled; a running one is asked to stop.")
    if page := ask(_("Cancel this job?"), text, _("Cancel the job"), tree=lambda: tree_forms.question([uuid])):
        return page
    result = actions.cancel(uuid, actor(), tree_forms.chosen())
    return done(_("Job cancelled") if result == "cancelled" else _("The job was asked to stop"))


@bp.get("/job/<uuid>", endpoint="job")
def job(uuid: str):
    """The page of a job, for scripts its facts and attempts as JSON; 404 when the uuid is unknown."""
    found = lookup.find(uuid)
    if found is None:
        return render_error(404, _("There is no such job."))
    context = job_context(found)
    still = found.status and not context["job"].can.keys() - {"duplicate"}
    return live("admin/job.html", context | {"interval": ENDED_MS if still else None}, "job",
                plain=lambda: lookup.as_json(uuid))
