"""/admin/jobs/log: the log of actions in words, filtered by person, action, day and job, as a page and as CSV."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

from flask import jsonify, render_template, request, url_for
from flask_babel import gettext as _

from app.controllers import log_words
from app.controllers.access import wants_json
from app.controllers.jobs import bp
from app.controllers.responses import csv_file
from app.extensions import db
from app.integrations.csv_cells import write_rows
from app.services import audit
from app.support.clock import iso, midnight, millis
from app.support.settings import settings
from app.support.validation import ValidationError, check_text, parse_id

NAMES = ("actor", "action", "since", "until", "job")
COLUMNS = ("id", "time", "person", "action", "what", "from", "job")
STEP = 500
DIGITS = re.compile(r"[0-9a-f]{4,32}")


def read_filter(given: dict[str, str]) -> tuple[audit.LogFilter, dict[str, str]]:
    """The filter from the fields of an address, and a sentence for each field that is wrong, which counts as blank."""
    faults, days, zone = {}, {}, settings().timezone
    for name, later in (("since", 0), ("until", 1)):
        try:
            day = date.fromisoformat(given[name]) if given[name] else None
            days[name] = day and midnight(day + timedelta(days=later), zone)
        except (ValueError, OverflowError):
            faults[name] = _("A date is written as 2026-11-23.")
    if not faults and days["since"] is not None and days["until"] is not None and days["since"] >= days["until"]:
        faults["until"] = _("The last day is before the first.")
    job = given["job"].lower().replace("-", "")
    if job and not DIGITS.fullmatch(job):
        faults["job"], job = _("A job is named by its uuid, or by its first four or more digits."), ""
    job = "-".join(part for part in (job[:8], job[8:12], job[12:16], job[16:20], job[20:]) if part)
    return audit.LogFilter(given["actor"] or None, (given["action"],) if given["action"] else (), days.get("since"),
                           days.get("until"), job or None), faults


def given_filter() -> dict[str, str]:
    """What the address says, each '' when it says nothing."""
    return {name: check_text(request.args.get(name, "")).strip()[:255] for name in NAMES}


@bp.get("/log", endpoint="log")
def log():
    """A page of audit rows, the newest first. `before` is the id of the last row of the page above, `actor` the name
    of one who did them, `action` the name of an action, `since` and `until` days, `job` a uuid or its first digits."""
    given = given_filter()
    wanted, faults = read_filter(given)
    if faults and wants_json():
        raise ValidationError(" ".join(faults.values()))
    rows, more = ([], False) if faults else audit.log(parse_id(request.args.get("before")), wanted=wanted)
    here = {name: value for name, value in given.items() if value}
    older = url_for("admin.jobs.log", before=rows[-1].id, **here) if more else None
    if wants_json():
        return jsonify({"log": rows, "older": older})
    known = [*log_words.OF_JOBS, *log_words.OF_OTHERS]
    actions = sorted(((name, log_words.label(name)) for name in {*known, given["action"]} if name), key=lambda a: a[1])
    # A chip takes its part out of the address.
    chips = [(name, value, url_for("admin.jobs.log", **{k: v for k, v in here.items() if k != name}))
             for name, value in here.items()]
    page = render_template("admin/log.html", rows=[log_words.said(row) for row in rows], older_url=older, given=given,
                           faults=faults, actions=actions, people=audit.actors(), chips=chips,
                           csv_url=url_for("admin.jobs.log-export", **here))
    return (page, 400) if faults else page


@bp.get("/log.csv", endpoint="log-export")
def export():
    """Every entry that matches the filter as CSV, in words, times in UTC. Raises ValidationError."""
    wanted, faults = read_filter(given_filter())
    if faults:
        raise ValidationError(" ".join(faults.values()))
    return csv_file("actions.csv", write_rows(_lines(wanted)))


def _lines(wanted: audit.LogFilter) -> Iterator[tuple[Any, ...]]:
    yield COLUMNS
    before, more = None, True
    while more:
        rows, more = audit.log(before, STEP, wanted)
        db.session.rollback()
        for said in map(log_words.said, rows):
            row = said["row"]
            before = row.id
            yield (row.id, iso(millis(row.at)) if row.at else None, row.actor, str(row.action), said["what"],
                   said["origin"], said["job"])
