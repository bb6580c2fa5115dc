"""/api: jobs for programs, by a personal token or by a session. The table of openapi.py describes all addresses.

request -> bearer.check (token, limits) -> right -> CSRF of a session -> the services and JSON of the pages
"""

from __future__ import annotations

import json
from functools import partial

from flask import Blueprint, jsonify, render_template, request, url_for
from flask_babel import force_locale, gettext as _
from flask_login import current_user

from app import registry
from app.controllers import api_dispatch, api_wait, bearer, jobs, known_parts, openapi, openapi_document, rate_limits
from app.controllers.access import bearer_token, check_csrf, right_required
from app.controllers.job_list import read_filter, summaries
from app.controllers.json_schema import of_arguments
from app.controllers.responses import actor, done, render_error, wrong
from app.controllers.tree_forms import chosen
from app.ledger.dialect import TooSlow
from app.models.job_metric import FINAL
from app.services.jobs import actions, batch_pages, listing, lookup
from app.services.jobs.job_filter import FilterError
from app.support.messages import translate_stored
from app.support.validation import ValidationError

bp = Blueprint("api", __name__, url_prefix="/api")
bp.before_request(right_required)
bp.before_request(check_csrf)


@bp.before_request
def count_people():
    """A person's requests are limited as those of a token."""
    if bearer_token() is None and (
            rate_limits.take(rate_limits.REQUESTS, *bearer.who()).over or bearer.over_dispatches()):
        return bearer.too_many()
    return None


bp.post("/jobs", endpoint="dispatch")(api_dispatch.dispatch)
bp.post("/uploads", endpoint="upload")(api_dispatch.upload)
bp.get("/metrics", endpoint="metrics")(jobs.metrics)


@bp.get("/jobs", endpoint="list")
def list_jobs():
    """A page of the jobs that match a filter, which has the parts of the list's address."""
    try:
        known_parts.only(request.args, known_parts.OF_LIST)
        wanted = read_filter(request.args)
        found = listing.page(wanted, request.args.get("before", ""), request.args.get("after", ""))
        total, exact = listing.count(wanted, found.seen)
    except FilterError as fault:
        return wrong({fault.name: str(fault)}, dict)
    except TooSlow:
        return render_error(503, _("Too many jobs have to be read for this. Narrow it by state, type or time."))
    link = partial(url_for, "api.list", **wanted.query)
    return jsonify({"jobs": summaries(found.rows), "older": found.older and link(before=found.older),
                    "newer": found.newer and link(after=found.newer), "total": max(total, len(found.rows)),
                    "exact": exact})


def unknown_job():
    """404 for a uuid of no job."""
    return render_error(404, _("There is no such job."))


@bp.get("/jobs/<uuid>", endpoint="one")
def one(uuid: str):
    """State, attempts, result and error of a job."""
    found = lookup.as_json(uuid)
    return unknown_job() if found is None else jsonify(found)


@bp.get("/jobs/<uuid>/wait", endpoint="wait")
def wait(uuid: str):
    """As `one`, once the job has ended or `timeout` seconds are over; `ended` says which."""
    try:
        seconds = api_wait.seconds()
    except ValidationError as error:
        return wrong({"timeout": str(error)}, dict)
    with api_wait.place(current_user.id) as free:
        if not free:
            sentence = _("Too many requests wait for jobs: try again in a second.")
            return *render_error(503, sentence), {"Retry-After": "1"}
        state = api_wait.until_ended(uuid, seconds)
    if answer := bearer.again():
        return answer
    found = lookup.as_json(uuid)
    return unknown_job() if found is None else jsonify({"ended": state in FINAL} | found)


@bp.get("/jobs/<uuid>/log", endpoint="log")
def log(uuid: str):
    """The lines that a job has logged, oldest first."""
    return unknown_job() if lookup.find(uuid) is None else jsonify({"lines": lookup.log_of(uuid)})


@bp.post("/jobs/<uuid>/retry", endpoint="retry")
def retry(uuid: str):
    """Requeue a failed job, or run a scheduled one now."""
    actions.retry(uuid, actor())
    return done(_("Job requeued"))


@bp.post("/jobs/<uuid>/cancel", endpoint="cancel")
def cancel(uuid: str):
    """Cancel a waiting job, or ask a running one to stop; `children` is what becomes of those that wait for it."""
    return done("", result=actions.cancel(uuid, actor(), chosen()))


@bp.route("/jobs/<uuid>", methods=["DELETE"], endpoint="delete")
@bp.post("/jobs/<uuid>/delete", endpoint="delete")
def delete(uuid: str):
    """Put a failed job into the bin; `children` as in `cancel`."""
    entries: list[int] = []
    actions.delete_failed(uuid, actor(), chosen(), lambda _below, entry: entries.append(entry))
    return done("", entry=entries[0], undo=True)


@bp.get("/types", endpoint="types")
def types():
    """The job types that may be sent from outside, each with the schema of its arguments."""
    return jsonify({"types": [
        {"name": d.name, "label": d.label, "description": translate_stored(d.description), "queue": d.options.queue,
         "tries": d.options.tries, "timeout": d.options.timeout, "args": of_arguments(d)}
        for d in registry.known_types() if d.options.web]})


@bp.get("/batches/<batch>", endpoint="batch")
def one_batch(batch: str):
    """A batch with its members by state."""
    found = batch_pages.find(batch)
    if found is None:
        return render_error(404, _("There is no such batch."))
    return jsonify(batch_pages.page_as_json(batch_pages.one(found)))


@bp.get("/openapi.json", endpoint="openapi")
def document():
    """The OpenAPI document, in English. It names the types and arguments of this installation, so it is not public."""
    with force_locale("en"):
        return jsonify(openapi_document.build())


@bp.get("/docs", endpoint="docs")
def docs():
    """The document as a page, with examples."""
    kinds = {"text": _("text"), "int": _("a whole number"), "float": _("a number"), "bool": _("true or false"),
             "json": "JSON", "file": _("the upload_id of a file"), "choice": _("one of")}
    known = [d for d in registry.known_types() if d.options.web]
    return render_template("api/docs.html", groups=openapi.groups(), types=known, kinds=kinds, limits=rate_limits,
                           root=request.url_root.rstrip("/"), example=example(known))


def example(known: list[registry.JobDefinition]) -> dict[str, str]:
    """Name and arguments (JSON) of a type for the examples."""
    made_up = {"text": "text", "int": 1, "float": 0.5, "bool": False, "json": {}, "file": "up_…"}
    definition = min(known, key=lambda d: (not any(f.required for f in d.fields), len(d.fields)), default=None)
    fields = definition.fields if definition else ()
    args = {f.name: f.choices[0] if f.choices else made_up.get(f.kind) for f in fields if f.required}
    return {"name": definition.name if definition else "NAME", "args": json.dumps(args, ensure_ascii=False)}
