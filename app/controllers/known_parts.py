"""Refuses addresses with a part that their page does not know: a mistyped name must not widen what is listed.

GET of a page of KNOWN -> `check` -> nothing, or FilterError with the name of the part: 400, the form, nothing listed
A part without a value says nothing, so it passes.
"""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

from flask import request
from flask_babel import gettext as _
from werkzeug.datastructures import MultiDict

from app.controllers import audit, generations
from app.services.content import content_list
from app.services.jobs.job_filter import ARGS, NAMES, FilterError

ALWAYS = ("before", "after", "page", "cursor", "lang", "csrf_token", "ask", "again", "next", "_")
OF_LIST = (*NAMES, "arg_name", "arg_value", "count")
OF_BULK = (*NAMES, "scope", "top", "uuid", "children", "to_queue", "delay")
RANGE = ("since", "until")
_OF_USE = ("period", "from", "until", "since", "compare")
# The list itself checks its address beside its own form.
KNOWN: dict[str, Collection[str]] = {
    "export": OF_LIST, "errors.index": (*RANGE, "period", "deploy", "sort", "error", "from"),
    "usage.index": ("by", "sort", *_OF_USE), "usage.one": _OF_USE,
    "log": audit.NAMES, "log-export": audit.NAMES, "contents.index": content_list.NAMES,
    "generations.index": generations.FILTERS, "batches.index": ("q", "open"), "recurring": ("q",),
    "recurring-one": (), "costs.index": RANGE, "costs.export": RANGE,
    "costs.days": (*RANGE, "currency", "period", "bucket"),
    "reports.index": (), "notices.feed": ("after",),
    "reports.report": ("period", "from", "until", "format", "type", "tenant", "queue", "language"),
    "capacity.index": ("period",), "capacity.hours": ("period",),
    "metrics-csv": ("period", "from", "until", "job_type", "tenant_id", "bucket")}


def check() -> None:
    """Before each request of the admin area. Raises FilterError."""
    known = KNOWN.get((request.endpoint or "").removeprefix("admin.jobs."))
    if known is not None and request.method in ("GET", "HEAD"):
        only(request.args, known)


def only(given: MultiDict[str, str], known: Collection[str]) -> None:
    """Raises FilterError for a field that is not `known`; where the list's filter is, args.NAME is too."""
    args = known in (OF_LIST, OF_BULK)
    for name, values in given.lists():
        if name in known or name in ALWAYS or args and name.startswith(ARGS) or not any(map(str.strip, values)):
            continue
        near = get_close_matches(name[:40], known, 1)
        raise FilterError(name, _("This page knows no filter called %(name)s.", name=repr(name[:40])) + (
            " " + _("Did you mean %(name)s?", name=near[0]) if near else ""))
