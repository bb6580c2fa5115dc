"""/admin/jobs/list: live and finished jobs with filters, as a page and as CSV.

Bulk actions change the ticked jobs, or all jobs that match the filter.
"""

from __future__ import annotations

import json

from flask import request, url_for
from flask_babel import gettext as _, ngettext

from app import registry
from app.config import QUEUES
from app.controllers import tree_forms
from app.controllers.jobs import bp
from app.controllers.responses import actor, ask, csv_file, done, live
from app.integrations.csv_cells import write_rows
from app.models.job import LIVE_STATES
from app.models.job_metric import FINAL
from app.services.jobs import actions, listing
from app.services.jobs.job_filter import GROUPS, HOLDS, JobFilter
from app.services.jobs.views import JobSummary
from app.support.clock import iso, millis
from app.support.formatting import number
from app.support.settings import settings
from app.support.validation import ValidationError, parse_id

ACTIONS = ("retry", "cancel", "delete", *listing.OF_BIN)
COLUMNS = ("uuid", "type", "queue", "state", "tenant", "attempts", "tries", "created", "finished", "arguments", "error")
MOST_TICKED = 1000


def read_filter(given) -> JobFilter:
    """The filter in a query string or a form, with days of APP_TIMEZONE."""
    return JobFilter.read(given, settings().timezone)


def list_context() -> dict[str, object]:
    """The rows of a page, the addresses of its neighbours, the count of all rows, and the choices of the filter.

    `top` has the highest ids of now, as `live.finished`: a bulk action on "all that match" changes no later job.
    """
    wanted = read_filter(request.args)
    found = listing.page(wanted, request.args.get("before", ""), request.args.get("after", ""))
    total, exact = listing.count(wanted, found.seen)
    here, snapshot = wanted.query, listing.snapshot_ids()
    return {
        "filter": wanted, "rows": found.rows, "total": total, "exact": exact, "stopped": found.stopped,
        "top": f"{snapshot['l']}.{snapshot['h']}",
        "older_url": found.older and url_for("admin.jobs.list", before=found.older, **here),
        "newer_url": found.newer and url_for("admin.jobs.list", after=found.newer, **here),
        "csv_url": url_for("admin.jobs.export", **here), "here": url_for("admin.jobs.list", **here),
        "first_page": not request.args.get("before") and not request.args.get("after"),
        "states": [*GROUPS, *LIVE_STATES, *FINAL], "queues": QUEUES, "holds": list(HOLDS),
        "types": [{"name": d.name, "label": d.label} for d in registry.known_types()],
    }


@bp.get("/list", endpoint="list")
def index():
    """The list as a page or as JSON. Only the first page polls: rows of older pages must not move under the reader."""
    context = list_context()

    def plain():
        rows = [JobSummary(r.uuid, r.job_type, r.queue, r.state, r.tenant_id, r.attempts) for r in context["rows"]]
        return {"jobs": rows, "older": context["older_url"], "newer": context["newer_url"]}

    return live("admin/jobs.html", context, "jobs_table", poll=context["here"], follow=context["first_page"],
                plain=plain)


@bp.get("/list.csv", endpoint="export")
def export():
    """Every job that matches the filter as CSV, times in UTC."""
    return csv_file("jobs.csv", write_rows(_lines(listing.iterate(read_filter(request.args)))))


def _lines(rows):
    yield COLUMNS
    for r in rows:
        times = (iso(millis(at)) if at else None for at in (r.created_at, r.finished_at))
        yield (r.uuid, r.job_type, r.queue, r.state, r.tenant_id, r.attempts, r.tries, *times,
               json.dumps(r.args, ensure_ascii=False), r.error)


@bp.post("/bulk", endpoint="bulk")
def bulk():
    """Do one of ACTIONS to the ticked jobs (`uuid`, several), or to all that match the filter (`scope=all`).

    `top` bounds `scope=all` to jobs that existed when the page was rendered; `children` says what becomes of the jobs
    that wait for those which are ended. Raises ValidationError.
    """
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
    chosen = ids if action == "cancel" else ()
    if page := ask(*question(action, len(ids)), danger=action not in ("retry", "restore"),
                   tree=lambda: tree_forms.question(actions.waiting_for(action, ids), chosen)):
        return page
    count = actions.in_steps(actor(), action, subject, ids, tree_forms.chosen())
    return done(report(action, count, len(ids)), count)


def read_top(text: str) -> dict[str, int]:
    """The highest ids of `jobs` (`l`) and `job_history` (`h`) from `live.finished`; those of now when it is blank."""
    if not text:
        return listing.snapshot_ids()
    snapshot = [parse_id(part) for part in text.split(".")]
    if len(snapshot) != 2 or None in snapshot:
        raise ValidationError(_("The form was changed: load the page again."))
    return {"l": snapshot[0], "h": snapshot[1]}


def question(action: str, n: int) -> tuple[str, str, str]:
    """Title with the number of jobs, consequence, and label of the button."""
    shown = number(n)
    return {
        "retry": (ngettext("Retry %(n)s failed job?", "Retry %(n)s failed jobs?", n, n=shown),
                  _("They go back to their queues and start at attempt 1. "
                    "Jobs that fail from now on are not included."), _("Retry %(n)s", n=shown)),
        "cancel": (ngettext("Cancel %(n)s job?", "Cancel %(n)s jobs?", n, n=shown),
                   _("Waiting jobs will not run; running ones are asked to stop. "
                     "They stay in the history as cancelled."), _("Cancel %(n)s", n=shown)),
        "move": (ngettext("Move %(n)s waiting job?", "Move %(n)s waiting jobs?", n, n=shown),
                 _("Running ones end where they are. Among the others of the new queue they stand last."),
                 _("Move %(n)s", n=shown)),
        "restore": (ngettext("Restore %(n)s job?", "Restore %(n)s jobs?", n, n=shown),
                    _("They wait for a decision again."), _("Restore %(n)s", n=shown)),
        "erase": (ngettext("Erase %(n)s job for good?", "Erase %(n)s jobs for good?", n, n=shown),
                  _("Their history and log go too. The figures stay."), _("Erase %(n)s", n=shown)),
        "delete": (ngettext("Delete %(n)s failed job?", "Delete %(n)s failed jobs?", n, n=shown),
                   _("They stay in the bin for 7 days. Jobs that fail from now on are not included."),
                   _("Delete %(n)s", n=shown)),
    }[action]


def report(action: str, n: int, of: int) -> str:
    """The sentence after a bulk action: `n` jobs changed, the others of `of` had changed meanwhile."""
    shown, left = number(n), of - n
    text = {
        "retry": ngettext("%(n)s job requeued", "%(n)s jobs requeued", n, n=shown),
        "cancel": ngettext("%(n)s job cancelled or asked to stop", "%(n)s jobs cancelled or asked to stop", n, n=shown),
        "move": ngettext("%(n)s job moved", "%(n)s jobs moved", n, n=shown),
        "restore": ngettext("%(n)s job restored", "%(n)s jobs restored", n, n=shown),
        "erase": ngettext("%(n)s job erased for good", "%(n)s jobs erased for good", n, n=shown),
        "delete": ngettext("%(n)s job deleted", "%(n)s jobs deleted", n, n=shown),
    }[action]
    if not left:
        return text
    return text + ngettext(", %(n)s had changed meanwhile", ", %(n)s had changed meanwhile", left, n=number(left))
