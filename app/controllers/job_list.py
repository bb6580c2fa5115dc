"""/admin/jobs/list: live and finished jobs with filters, bulk actions on the ticked or on all that match, CSV."""

from __future__ import annotations

import json

from flask import Response, request, stream_with_context, url_for
from flask_babel import gettext as _
from flask_babel import ngettext

from app import registry
from app.config import QUEUES
from app.controllers.jobs import bp
from app.controllers.responses import actor, ask, done, live
from app.integrations.csv_cells import write_rows
from app.models.job import LIVE_STATES
from app.models.job_metric import FINAL
from app.services.jobs import actions, listing
from app.services.jobs.job_filter import GROUPS, JobFilter
from app.services.jobs.views import JobSummary
from app.support import disk
from app.support.clock import iso, millis
from app.support.formatting import number
from app.support.settings import settings
from app.support.validation import ValidationError, parse_id

ACTIONS = ("retry", "cancel", "delete", *listing.OF_BIN)
COLUMNS = ("uuid", "type", "queue", "state", "tenant", "attempts", "tries", "created", "finished", "arguments", "error")
MOST_TICKED = 1000


def read_filter(given) -> JobFilter:
    return JobFilter.read(given, settings().timezone)


def list_context() -> dict[str, object]:
    """The rows of the page asked for, with addresses, the count, and the ids up to which "all that match" reaches."""
    wanted = read_filter(request.args)
    found = listing.page(wanted, request.args.get("before", ""), request.args.get("after", ""))
    total, exact = listing.count(wanted, found.seen)
    here, tops = wanted.query, listing.snapshot_ids()
    return {
        "filter": wanted, "rows": found.rows, "total": total, "exact": exact, "top": f"{tops['l']}.{tops['h']}",
        "older_url": found.older and url_for("admin.jobs.list", before=found.older, **here),
        "newer_url": found.newer and url_for("admin.jobs.list", after=found.newer, **here),
        "csv_url": url_for("admin.jobs.export", **here), "here": url_for("admin.jobs.list", **here),
        "first_page": not request.args.get("before") and not request.args.get("after"),
        "states": [*GROUPS, *LIVE_STATES, *FINAL], "queues": QUEUES,
        "types": [{"name": d.name, "label": d.label} for d in registry.known_types()],
    }


@bp.get("/list", endpoint="list")
def index():
    """Only the first page follows the jobs: older ones stand still, so that nobody loses the place."""
    context = list_context()

    def plain():
        rows = [JobSummary(r.uuid, r.job_type, r.queue, r.state, r.tenant_id, r.attempts) for r in context["rows"]]
        return {"jobs": rows, "older": context["older_url"], "newer": context["newer_url"]}

    return live("admin/jobs.html", context, "jobs_table", poll=context["here"], follow=context["first_page"], plain=plain)


@bp.get("/list.csv", endpoint="export")
def export():
    """Every job of the current filter as CSV, times in UTC."""
    disk.require_room()
    rows = listing.iterate(read_filter(request.args))
    body = write_rows(line for line in _lines(rows))
    headers = {"Content-Disposition": 'attachment; filename="jobs.csv"'}
    return Response(stream_with_context(body), content_type="text/csv; charset=utf-8", headers=headers)


def _lines(rows):
    yield COLUMNS
    for r in rows:
        times = (iso(millis(at)) if at else None for at in (r.created_at, r.finished_at))
        yield (r.uuid, r.job_type, r.queue, r.state, r.tenant_id, r.attempts, r.tries, *times,
               json.dumps(r.args, ensure_ascii=False), r.error)


@bp.post("/bulk", endpoint="bulk")
def bulk():
    """Retry, cancel or delete: the ticked (`uuid`, several) or, with `scope=all`, all of the filter as the page showed
    it (`top`)."""
    form, action = request.form, request.form.get("action", "")
    if action not in ACTIONS:
        raise ValidationError(_("Choose what to do: retry, cancel, delete, restore or erase."))
    if form.get("scope") == "all":
        wanted = read_filter(form)
        ids = listing.matching_ids(wanted, action, read_top(form.get("top", "")))
        subject = "list " + json.dumps(wanted.query, ensure_ascii=False)
    else:
        ticked = list(dict.fromkeys(form.getlist("uuid")))
        if not ticked or len(ticked) > MOST_TICKED:
            raise ValidationError(_("Tick the jobs first, at most %(n)s.", n=MOST_TICKED))
        ids, subject = listing.rows_of(ticked, action), f"{len(ticked)} ticked"
    if not ids:
        return done(_("None of these jobs can be changed so."), 0)
    if asked := ask(*question(action, len(ids)), danger=action not in ("retry", "restore")):
        return asked
    count = actions.in_steps(actor(), action, subject, ids)
    return done(report(action, count, len(ids)), count)


def read_top(text: str) -> dict[str, int]:
    """The highest ids shown, as `live.finished`; from scripts without it, those of now."""
    if not text:
        return listing.snapshot_ids()
    tops = [parse_id(part) for part in text.split(".")]
    if len(tops) != 2 or None in tops:
        raise ValidationError(_("The form was changed: load the page again."))
    return {"l": tops[0], "h": tops[1]}


def question(action: str, n: int) -> tuple[str, str, str]:
    """Title with the number, consequence, and the button's words."""
    shown = number(n)
    if action == "retry":
        return (ngettext("Retry %(n)s failed job?", "Retry %(n)s failed jobs?", n, n=shown),
                _("They go back to their queues and start at attempt 1. Jobs that fail from now on are not included."), _("Retry %(n)s", n=shown))
    if action == "cancel":
        return (ngettext("Cancel %(n)s job?", "Cancel %(n)s jobs?", n, n=shown),
                _("Waiting jobs will not run; running ones are asked to stop. They stay in the history as cancelled."), _("Cancel %(n)s", n=shown))
    if action == "restore":
        return ngettext("Restore %(n)s job?", "Restore %(n)s jobs?", n, n=shown), _("They wait for a decision again."), _("Restore %(n)s", n=shown)
    if action == "erase":
        return (ngettext("Erase %(n)s job for good?", "Erase %(n)s jobs for good?", n, n=shown),
                _("Their history and log go too. The figures stay."), _("Erase %(n)s", n=shown))
    return (ngettext("Delete %(n)s failed job?", "Delete %(n)s failed jobs?", n, n=shown),
            _("They stay in the bin for 7 days. Jobs that fail from now on are not included."), _("Delete %(n)s", n=shown))


def report(action: str, n: int, of: int) -> str:
    shown = number(n)
    if action == "retry":
        text = ngettext("%(n)s job requeued", "%(n)s jobs requeued", n, n=shown)
    elif action == "cancel":
        text = ngettext("%(n)s job cancelled or asked to stop", "%(n)s jobs cancelled or asked to stop", n, n=shown)
    elif action == "restore":
        text = ngettext("%(n)s job restored", "%(n)s jobs restored", n, n=shown)
    elif action == "erase":
        text = ngettext("%(n)s job erased for good", "%(n)s jobs erased for good", n, n=shown)
    else:
        text = ngettext("%(n)s job deleted", "%(n)s jobs deleted", n, n=shown)
    left = of - n
    return text + (ngettext(", %(n)s had changed meanwhile", ", %(n)s had changed meanwhile", left, n=number(left)) if left else "")
