"""/admin/jobs/list: live and finished jobs with filters, as a page and as CSV. What can be done to them: bulk.py."""

from __future__ import annotations

import json

from flask import request, url_for

from app import registry
from app.config import QUEUES
from app.controllers.jobs import bp
from app.controllers.responses import csv_file, live
from app.integrations.csv_cells import write_rows
from app.models.job import LIVE_STATES
from app.models.job_metric import FINAL
from app.services.jobs import listing
from app.services.jobs.job_filter import GROUPS, HOLDS, JobFilter
from app.services.jobs.views import JobSummary
from app.support.clock import iso, millis
from app.support.settings import settings

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
        "filter": wanted, "rows": found.rows, "total": total, "exact": exact, "top": f"{snapshot['l']}.{snapshot['h']}",
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
