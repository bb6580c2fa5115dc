"""/admin/jobs/usage: all types, tenants and workers by their use, and a page for each one."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from flask import Blueprint, jsonify, render_template, request, url_for
from flask_babel import gettext as _

from app import registry
from app.controllers.access import wants_json
from app.controllers.responses import render_error, wrong
from app.controllers.usage_charts import charts, jobs_url, moment
from app.extensions import db
from app.ledger.dialect import TooSlow, limited
from app.services.reports.links import local_time
from app.services.stats import colours, usage, usage_compare, usage_window
from app.services.stats.usage_window import PERIODS, Window
from app.support.clock import iso, now_ms
from app.support.formatting import number, threshold
from app.support.settings import settings

bp = Blueprint("usage", __name__, url_prefix="/usage")
READ_S = 5.0  # 30 days of 300 tenants take 0.9 s


def _given() -> dict[str, str]:
    """The range of the address; the list calls its beginning `since`, which is understood too."""
    args = request.args
    return {"from": args.get("from", "") or args.get("since", ""), "until": args.get("until", "")}


def _window(now: int) -> tuple[Window, dict[str, str]]:
    zone, given = settings().timezone, _given()
    window, faults = usage_window.read(request.args.get("period", ""), *given.values(), now, zone)
    return usage_compare.compared(window, request.args.get("compare", ""), zone), faults


def covers(window: Window, now: int) -> str:
    """A sentence that says which time the figures cover."""
    span = {"since": moment(window.since), "until": moment(window.until)}
    if window.raw:
        return _("From %(since)s until now, from the rows of each attempt.", since=span["since"])
    if window.until > now:
        return _("From %(since)s until now: whole hours, the running one included.", since=span["since"])
    return _("From %(since)s to %(until)s, whole hours.", **span)


def _context(window: Window, now: int, faults: dict[str, str], behind: int) -> dict[str, Any]:
    """What both pages say of their window; `given` is what was typed, or the range that is shown instead."""
    late = _("About %(n)s outcomes are not counted yet: the monitor is at it.", n=number(behind)) if behind else ""
    given, widened = _given(), ""
    if any(given.values()) and not faults and not usage_compare.asked(*given.values(), window, settings().timezone):
        given = {"from": local_time(window.since), "until": local_time(window.until)}
        widened = _("Only whole hours are counted: %(since)s to %(until)s is shown.", since=moment(window.since),
                    until=moment(window.until))
    compare = request.args.get("compare", "")
    compare = compare if compare in usage_compare.COMPARED else "before"
    before = window.before
    was = _("Compared with %(since)s to %(until)s.", since=moment(before.since), until=moment(before.until))
    span = {"from": local_time(window.since), "until": local_time(window.until)}
    return {"csv_of": lambda **only: url_for("admin.jobs.metrics-csv", **span, **only), "window": window,
            "widened": widened, "compare": compare, "was_time": was, "covers": covers(window, now), "faults": faults,
            "given": given, "late": late,
            "here": given if any(given.values()) and not faults else {"period": window.period}}


def _error(share: float) -> str:
    """'2' or '4.1': percent, rounded up."""
    return threshold(math.ceil(1000 * share - 1e-6) / 10)


@bp.get("/", endpoint="index")
def index():
    """The names of a scope (`by`: type, tenant, worker), sorted (`sort`), of a period or a range; JSON for scripts."""
    by = request.args.get("by") if request.args.get("by") in usage.SCOPES else "type"
    sort = request.args.get("sort") if request.args.get("sort") in usage.SORTS else "busy"
    now = now_ms()
    window, faults = _window(now)
    if window.raw:
        window = usage_window.last("24h", now)
    with limited(db.session, READ_S):
        rows, total, behind, age = usage.table(by, window, sort, now)
    context = _context(window, now, faults, behind) | {"by": by, "sort": sort, "rows": rows, "total": total, "age": age,
                                                       "error": _error(max((r.error for r in rows), default=0))}
    context["jobs_url"] = lambda name, *part: jobs_url(by, name, window.since, window.until, *part)

    def page():
        if wants_json():
            return jsonify({"by": by, "period": window.period, "since": iso(window.since), "until": iso(window.until),
                            "total": total, "not_counted": behind, "rows": rows, "waits_age_ms": age})
        return render_template("admin/usage_index.html", **context, periods=list(PERIODS)[1:])

    return wrong(faults, page) if faults else page()


@bp.get("/<any(type,tenant,worker):scope>/<path:name>", endpoint="one")
def one(scope: str, name: str):
    """The page of one name, for a `period` (1h, 24h, 7d, 30d) or a range (`from`, `until`); JSON for scripts."""
    now = now_ms()
    window, faults = _window(now)
    with limited(db.session, READ_S):
        found = usage.page(scope, name, window, now)
    if found is None:
        return _unknown(scope, name)

    def page():
        if wants_json():
            return jsonify(_plain(found))
        def listed(*part: str, **more: str) -> str:
            return jobs_url(scope, name, found.window.since, found.window.until, *part, **more)

        span = {"since": local_time(found.window.since), "until": local_time(found.window.until)}
        links = {"all": listed(), "failed": listed("failed"),
                 "completed": url_for("admin.jobs.list", **{scope: name}, state="completed", **span),
                 "sort": listed(sort="-memory"),
                 "waiting": url_for("admin.jobs.list", **{scope: name}, state="pending")}
        label = registry.label_of(name) if scope == "type" else name
        urls = [jobs_url(scope, name, bar.since, bar.until) for bar in found.bars]
        more = {"u": found, "label": label, "colour": colours.colour_of(name), "charts": charts(found), "urls": urls,
                "links": links, "moment": moment, "error": lambda q: _error(q.error), "begins": found.first_hour
                if found.first_hour and found.first_hour > found.window.before.since else None}
        given = _context(found.window, now, faults, found.behind)
        return render_template("admin/usage.html", **given, **more, periods=list(PERIODS))

    return wrong(faults, page) if faults else page()


@bp.errorhandler(TooSlow)
def _too_slow(_error: TooSlow):
    return render_error(503, _("These figures take longer than %(n)s s to read. Choose a shorter period.",
                               n=number(int(READ_S))))


def _plain(found: usage.UsagePage) -> dict[str, Any]:
    """The figures for scripts: times in UTC, bars and histograms as objects."""
    window = found.window
    bars = [asdict(bar) | {"since": iso(bar.since), "until": iso(bar.until)} for bar in found.bars]
    spread = {name: [dict(zip(("from_ms", "to_ms", "count"), row, strict=True)) for row in getattr(found, name)]
              for name in ("waits", "runs")}
    figures = {name: {**asdict(part), "costs": [cost._asdict() for cost in part.costs]}
               for name, part in (("now", found.now), ("before", found.before))}
    return {"scope": found.scope, "name": found.name, "period": window.period, "since": iso(window.since),
            "until": iso(window.until), "whole_hours": not window.raw, **figures, "bars": bars,
            "box": [asdict(bar) for bar in found.box], **spread, "heaviest": [asdict(job) for job in found.heaviest],
            "waiting": found.waiting, "oldest_ms": found.oldest_ms, "not_counted": found.behind}


def _unknown(scope: str, name: str):
    words = {"type": _("No job type is called %(name)s.", name=name[:100]),
             "tenant": _("No tenant is called %(name)s.", name=name[:100]),
             "worker": _("No worker is called %(name)s.", name=name[:100])}
    if wants_json():
        return render_error(404, words[scope])
    return render_template("admin/usage_unknown.html", scope=scope, sentence=words[scope]), 404
