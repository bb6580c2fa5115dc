"""/admin/jobs/list: live and finished jobs with filters, as a page and as CSV.

Bulk actions change the ticked jobs, or all jobs that match the filter.
"""

from __future__ import annotations

import json

from flask import redirect, render_template, request, url_for
from flask_babel import gettext as _, ngettext
from flask_login import current_user
from werkzeug.datastructures import MultiDict

from app import registry
from app.config import QUEUES
from app.controllers import tree_forms
from app.controllers.jobs import bp
from app.controllers.responses import actor, ask, csv_file, done, live, wrong
from app.integrations.csv_cells import write_rows
from app.ledger.dialect import TooSlow
from app.models.job import LIVE_STATES
from app.models.job_metric import FINAL
from app.services.jobs import actions, filter_words, listing, saved_views
from app.services.jobs.job_filter import ARGS, GROUPS, HOLDS, FilterError, JobFilter
from app.services.jobs.views import JobPage, JobSummary
from app.support.clock import DAY_MS, day_of, iso, millis, now_ms
from app.support.formatting import number
from app.support.settings import settings
from app.support.validation import ValidationError, parse_id

ACTIONS = ("retry", "cancel", "delete", *listing.OF_BIN)
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
    except TooSlow:
        found, total, exact, slow = JobPage([], {}, None, None), 0, False, True
    return choices(wanted, here) | {
        "filter": wanted, "rows": found.rows, "total": max(total, len(found.rows)), "exact": exact, "slow": slow,
        "behind": found.behind, "gone": listing.gone(wanted.action) if wanted.action else 0,
        "capped": total >= listing.COUNTED, "top": f"{snapshot['l']}.{snapshot['h']}",
        "older_url": found.older and url_for("admin.jobs.list", before=found.older, **here),
        "newer_url": found.newer and url_for("admin.jobs.list", after=found.newer, **here),
        "csv_url": url_for("admin.jobs.export", **here), "here": url_for("admin.jobs.list", **here),
        "recent_url": url_for("admin.jobs.list", **here | {"since": day_before()}),
        "first_page": not request.args.get("before") and not request.args.get("after"),
        "sorts": {name: sort_link(wanted, name) for name in ("when", "run", "wait", "memory")},
    }


def choices(wanted: JobFilter, values: dict[str, str]) -> dict[str, object]:
    """What the form of the filter shows: `values` by the names of its fields, the choices and suggestions, which are
    asked for only where the whole page is shown, a chip for each part that is set, and the saved views."""
    query = wanted.query
    chips = [{"name": name, "text": text, "url": url_for("admin.jobs.list", **{
        other: value for other, value in query.items() if other != name})}
        for name, text in filter_words.parts(wanted).items()]
    return {
        "values": values, "chips": chips, "states": [*GROUPS, *LIVE_STATES, *FINAL], "queues": QUEUES,
        "holds": list(HOLDS), "types": [{"name": d.name, "label": d.label} for d in registry.known_types()],
        "words": filter_words, "suggest": lambda: filter_words.suggestions(wanted), "order": list_order(wanted),
        "views": lambda: saved_views.listing(actor(), current_user.role == "super-admin")}


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

    The form of the page also sends one argument as `arg_name` and `arg_value`; it is answered by a redirect to the
    address that has just the parts that are set.
    """
    sent = "arg_name" in request.args
    try:
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
        rows = [JobSummary(r.uuid, r.job_type, r.queue, r.state, r.tenant_id, r.attempts) for r in context["rows"]]
        return {"jobs": rows, "older": context["older_url"], "newer": context["newer_url"]}

    return live("admin/jobs.html", context, "jobs_table", poll=context["here"], follow=context["first_page"],
                plain=plain)


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
