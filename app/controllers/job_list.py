"""/admin/jobs/list: live and finished jobs with filters, as a page and as CSV. What can be done to them: bulk.py."""

from __future__ import annotations

import json
from collections.abc import Iterable

from flask import redirect, render_template, request, url_for
from flask_babel import gettext as _
from flask_login import current_user
from werkzeug.datastructures import MultiDict

from app import registry
from app.config import QUEUES
from app.controllers import known_parts, log_words
from app.controllers.form_again import kept_ticks
from app.controllers.jobs import bp
from app.controllers.responses import actor, csv_file, live, wrong
from app.controllers.rights import MANAGE
from app.integrations.csv_cells import write_rows
from app.ledger.dialect import TooSlow
from app.models.job import LIVE_STATES
from app.models.job_metric import FINAL
from app.services.jobs import filter_hints, filter_words, listing, saved_views
from app.services.jobs.job_filter import ARGS, GROUPS, HOLDS, FilterError, JobFilter
from app.services.jobs.views import JobPage, JobRow, JobSummary
from app.support import privacy
from app.support.clock import DAY_MS, day_of, iso, millis, now_ms
from app.support.settings import settings

COLUMNS = ("uuid", "type", "queue", "state", "tenant", "attempts", "tries", "created", "finished", "arguments", "error")
MOST_TICKED = 1000


def read_filter(given) -> JobFilter:
    """The filter in a query string or a form, with days of APP_TIMEZONE."""
    return JobFilter.read(given, settings().timezone)


def list_context(wanted: JobFilter) -> dict[str, object]:
    """The rows of a page, the addresses of its neighbours, the count of all rows, and the choices of the filter.

    `top` has the highest ids of now, as `live.finished`: a bulk action on "all that match" changes no later job.
    `slow`: too many rows had to be read, so there are none.
    """
    here, snapshot, slow = wanted.query, listing.snapshot_ids(), False
    try:
        found = listing.page(wanted, request.args.get("before", ""), request.args.get("after", ""))
        total, exact = listing.count(wanted, found.seen)
        asked = request.args.get("count") == "all"
        if not exact and (asked or wanted.query.keys() <= listing.PLAIN):
            every = listing.count_all(wanted, listing.CLICK_S if asked else listing.CHEAP_S)
            total, exact = (total, False) if every is None else (every, True)
    except TooSlow:
        found, total, exact, slow = JobPage([], {}, None, None), 0, False, True
    return choices(wanted, here) | {
        "filter": wanted, "rows": found.rows, "total": max(total, len(found.rows)), "exact": exact, "slow": slow,
        "stopped": found.stopped,
        "behind": found.behind, "gone": listing.gone(wanted.action) if wanted.action else 0,
        "capped": total >= listing.COUNTED, "count_url": None if exact or slow else url_for(
            "admin.jobs.list", **here, count="all"), "top": f"{snapshot['l']}.{snapshot['h']}",
        "older_url": found.older and url_for("admin.jobs.list", before=found.older, **here),
        "newer_url": found.newer and url_for("admin.jobs.list", after=found.newer, **here),
        "csv_url": url_for("admin.jobs.export", **here), "here": url_for("admin.jobs.list", **here),
        "recent_url": url_for("admin.jobs.list", **here | {"since": day_before()}),
        "ticked": kept_ticks(), "first_page": not request.args.get("before") and not request.args.get("after"),
        "kinds": " ".join(kind for kind, of in (("live", LIVE_STATES), ("ended", ("failed", "timeout")))
                          if wanted.states(of)),
        "unknown": lambda: [(text, [(name, url_for("admin.jobs.list", **query)) for name, query in near])
                            for text, near in filter_hints.unknown(wanted)],
        "sorts": {name: sort_link(wanted, name) for name in ("when", "run", "wait", "memory")},
    }


def choices(wanted: JobFilter, values: dict[str, str]) -> dict[str, object]:
    """What the form of the filter shows: `values` by the names of its fields, the choices and suggestions, which are
    asked for only where the whole page is shown, a chip for each part that is set, and the saved views."""
    query = wanted.query
    chips = [{"name": name, "text": text, "url": url_for("admin.jobs.list", **{
        other: value for other, value in query.items() if other != name})}
        for name, text in filter_words.parts(wanted, log_words.label).items()]
    return {
        "values": values, "chips": chips, "states": [*GROUPS, *LIVE_STATES, *FINAL], "queues": QUEUES,
        "holds": list(HOLDS), "types": [{"name": d.name, "label": d.label} for d in registry.known_types()],
        "words": filter_words, "suggest": lambda: filter_words.suggestions(wanted), "order": list_order(wanted),
        "views": lambda: saved_views.listing(actor(), MANAGE in current_user.rights)}


def list_order(wanted: JobFilter) -> str:
    """The order of the list in words."""
    return _("Newest first") if wanted.error and not wanted.sort else filter_words.sort_label(wanted.sort)


def sort_link(wanted: JobFilter, name: str) -> dict[str, str]:
    """The link on a heading: its address, and the value of aria-sort now."""
    down, up = ("", "when") if name == "when" else (f"-{name}", name)
    others = {part: value for part, value in wanted.query.items() if part != "sort"}
    following = up if wanted.sort == down else down
    return {"url": url_for("admin.jobs.list", **others | ({"sort": following} if following else {})),
            "now": {down: "descending", up: "ascending"}.get(wanted.sort, "none")}


def day_before() -> str:
    """The day before today, as addresses have it."""
    return day_of(now_ms() - DAY_MS, settings().timezone).isoformat()


@bp.get("/list", endpoint="list")
def index():
    """The list as a page or as JSON. Only the first page polls: rows of older pages must not move under the reader.
    With `count=all` it counts beyond 1,000 for up to 10 s, and does not poll.

    The form of the page also sends one argument as `arg_name` and `arg_value`; it is answered by a redirect to the
    address that has just the parts that are set.
    """
    sent = "arg_name" in request.args
    try:
        known_parts.only(request.args, known_parts.OF_LIST)
        wanted = read_filter(with_argument(request.args) if sent else request.args)
        if sent:
            return redirect(url_for("admin.jobs.list", **wanted.query))
        context = list_context(wanted)
    except FilterError as fault:
        empty = JobFilter(zone=settings().timezone)
        values = {name: text for name, text in request.args.items() if text}
        context = choices(empty, values) | {"filter": empty, "fault": {fault.name: str(fault)}}
        return wrong({fault.name: str(fault)}, lambda: render_template("admin/jobs.html", **context))

    def plain():
        return {"jobs": summaries(context["rows"]), "older": context["older_url"], "newer": context["newer_url"]}

    return live("admin/jobs.html", context, "jobs_table", poll=context["here"], plain=plain,
                follow=context["first_page"] and "count" not in request.args)


def summaries(rows: Iterable[JobRow]) -> list[JobSummary]:
    """Rows of the list as scripts get them."""
    return [JobSummary(r.uuid, r.job_type, r.queue, r.state, r.tenant_id, r.attempts) for r in rows]


def with_argument(given: MultiDict) -> MultiDict:
    """The fields of the form with its argument as a part of the filter. Raises FilterError."""
    name, value = (given.get(field, "").strip() for field in ("arg_name", "arg_value"))
    if bool(name) != bool(value):
        raise FilterError("args", _("Give the name of the argument and its value."))
    fields = [(field, text) for field, text in given.items(multi=True)
              if field not in ("arg_name", "arg_value", f"{ARGS}{name}")]
    return MultiDict([*fields, (f"{ARGS}{name}", value)] if name else fields)


@bp.get("/list.csv", endpoint="export")
def export():
    """Every job that matches the filter as CSV, times in UTC; without the columns of data for readers who see none."""
    return csv_file("jobs.csv", write_rows(_lines(listing.iterate(read_filter(request.args)))))


def _lines(rows):
    shown = len(COLUMNS) - 2 * privacy.hidden()  # without arguments and error
    yield COLUMNS[:shown]
    for r in rows:
        times = (iso(millis(at)) if at else None for at in (r.created_at, r.finished_at))
        yield (r.uuid, r.job_type, r.queue, r.state, r.tenant_id, r.attempts, r.tries, *times,
               json.dumps(r.args, ensure_ascii=False), r.error)[:shown]
