"""The table of the addresses that answer JSON (or CSV): they are in the OpenAPI document, and a token opens these only.

this table, paths and methods of the URL map, rights of rights.py -> openapi_document.py and templates/api/docs.html

A row: the endpoint, what it does, the schema of its answer, the parts of its address, the fields of its form or body.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from flask import current_app
from flask_babel import lazy_gettext as _
from werkzeug.routing import Rule

from app.controllers import known_parts
from app.controllers.rights import right_of, scope_of

SENT = "POST", "PUT", "DELETE"
PAGE = ("before", "after")
PLACE = re.compile(r"<(?:(\w+)(?:\((.*?)\))?:)?(\w+)>")  # converter, its arguments, name


@dataclass(frozen=True)
class Route:
    """An endpoint of the table. `answer` is a schema of openapi_schemas.py, "csv" or "file"; `query` and `form` are
    names."""

    endpoint: str
    summary: Any
    answer: str = "Object"
    query: Collection[str] = ()
    form: Collection[str] = ()

    def scope(self) -> str:
        """The scope that a token needs."""
        return scope_of(right_of(self.endpoint) or "")

    def rules(self) -> Iterable[tuple[Rule, str]]:
        """Its addresses with each method."""
        for rule in current_app.url_map.iter_rules(self.endpoint):
            for method in sorted(rule.methods - {"HEAD", "OPTIONS"}):
                yield rule, method


def path_of(rule: Rule) -> str:
    """An address as the document has it: /api/jobs/{uuid}."""
    return PLACE.sub(r"{\3}", rule.rule)


def _rows(start: str, *rows: tuple[Any, ...]) -> list[Route]:
    return [Route(f"{start}.{row[0]}", *row[1:]) for row in rows]


def _of(name: str) -> Collection[str]:
    return known_parts.KNOWN[name]


CHILDREN = ("children",)
API = _rows(
    "api",
    ("dispatch", _("Send a job"), "Sent", (), ("NewJob",)),
    ("upload", _("Send a file for a job"), "Uploaded", (), ("Upload",)),
    ("types", _("Job types with the schemas of their arguments"), "Types"),
    ("list", _("Jobs by a filter, 50 a page"), "Page", (*known_parts.OF_LIST[:-3], *PAGE)),
    ("one", _("State, attempts, result and error of a job"), "Job"),
    ("wait", _("The same once the job has ended"), "Waited", ("timeout",)),
    ("log", _("The lines that a job has logged"), "Log"),
    ("retry", _("Put a failed job back, or run a scheduled one now"), "Done"),
    ("cancel", _("Cancel a waiting job, or stop a running one"), "Done", (), CHILDREN),
    ("delete", _("Put a failed job into the bin"), "Done", (), CHILDREN),
    ("batch", _("A batch with its members by state"), "Batch"),
    ("metrics", _("Outcomes by time or by type"), "List", ("period", "job_type", "bucket", "group")),
    ("openapi", _("This document")),
)
READ = _rows(
    "admin.jobs",
    ("list", _("Jobs by a filter, 50 a page"), "Jobs", (*known_parts.OF_LIST[:-3], "count", *PAGE)),
    ("export", _("Every job that matches a filter, as CSV"), "csv", known_parts.OF_LIST[:-3]),
    ("job", _("State, attempts, result and error of a job"), "Job"),
    ("realtime-stats", _("The figures of the dashboard")),
    ("metrics", _("Outcomes by time or by type"), "List", ("period", "job_type", "bucket", "group")),
    ("metrics-csv", _("Outcomes by time, type and tenant, as CSV"), "csv", _of("metrics-csv")),
    ("reports.report", _("A report of a period, as a file"), "file", (*_of("reports.report"), "lang")),
    ("queues", _("The queues, their pauses and limits")), ("queue", _("A queue in the order in which it runs")),
    ("workers", _("The workers, and what is wrong with them")),
    ("recurring", _("The schedules"), "Object", ("q", "after")),
    ("recurring-one", _("A schedule with its runs"), "Object", ("before",)),
    ("schedules.next", _("The next runs of a time"), "Object", ("cron",)),
    ("batches.index", _("The batches"), "Object", (*_of("batches.index"), "before")),
    ("batches.one", _("A batch with its members by state"), "Batch"),
    ("errors.index", _("Failed jobs by error"), "Object", _of("errors.index")),
    ("usage.index", _("Use by type, tenant or worker"), "Object", _of("usage.index")),
    ("usage.one", _("Use of one type, tenant or worker"), "Object", _of("usage.one")),
    ("capacity.index", _("How many workers are enough"), "Object", _of("capacity.index")),
    ("capacity.hours", _("The busy hours"), "List", _of("capacity.hours")),
    ("costs.index", _("Costs and budgets"), "Object", _of("costs.index")),
    ("costs.days", _("Costs by day"), "List", _of("costs.days")),
    ("costs.export", _("Costs as CSV"), "csv", _of("costs.export")),
    ("alerts.index", _("The alerts")), ("views.index", _("The saved views")),
    ("log", _("The log of actions"), "Object", (*_of("log"), "before")),
    ("log-export", _("The log of actions as CSV"), "csv", _of("log-export")),
    ("palette-json", _("What is found by a text"), "Object", ("q",)),
    ("connections.index", _("The connections of tenants, without their secrets")),
    ("contents.index", _("The contents"), "Object", _of("contents.index")),
    ("contents.one", _("A content with its links and jobs"), "Object", ("version",)),
    ("contents.report", _("The rows of an import, as CSV"), "csv"),
    ("generations.index", _("The generations"), "Object", (*_of("generations.index"), "before")),
    ("syncs.job", _("What a sync did"), "Object", ("action", "after")),
    ("syncs.json", _("Every action of a sync"), "Object", ("action",)),
    ("syncs.csv", _("Every action of a sync, as CSV"), "csv", ("action",)),
    ("syncs.link", _("A conflict of a sync")),
    ("texts.one", _("The texts of a batch in figures")), ("texts.json", _("All texts of a batch")),
    ("texts.csv", _("All texts of a batch, as CSV"), "csv"),
)
_CHANGES = _rows(
    "admin.jobs",
    ("retry", _("Put a failed job back, or run a scheduled one now"), "Done"),
    ("retry-all", _("Put all failed jobs back"), "Done"),
    ("cancel", _("Cancel a waiting job, or stop a running one"), "Done", (), CHILDREN),
    ("delete", _("Put a failed job into the bin"), "Done", (), (*CHILDREN, "_method")),
    ("flush-failed", _("Put all failed jobs into the bin"), "Done", (), CHILDREN),
    ("act", _("Hold, release, delay, move, stop, restore or erase a job"), "Done", (),
     ("seconds", "delay", "queue", *CHILDREN)),
    ("bulk", _("Act on many jobs"), "Done", (), ("action", "scope", "to_queue", "delay", *known_parts.OF_LIST[:-3])),
    ("undo", _("Take an action back"), "Done"),
    ("place", _("Move a job in its queue"), "Done", (),
     ("uuid", "job", "place", "queue", "before", "after", "to")),
    ("undo-place", _("Take a move back"), "Done", (), ("action",)),
    ("pause", _("Pause or resume a queue"), "Done", (), ("minutes", "reason")),
    ("pause-type", _("Pause or resume a type"), "Done", (), ("minutes", "reason")),
    ("recurring-change", _("Switch, run, reset or delete a schedule"), "Done"),
    ("workers.command", _("Give a worker a command"), "Done"),
    ("workers.restart", _("Restart a worker"), "Done"),
    ("workers.all", _("Give all workers a command"), "Done"),
    ("batches.act", _("Act on a batch"), "Done", (), ("queue",)),
    ("alerts.act", _("Answer an alert"), "Done", (), ("minutes",)),
    ("errors.act", _("Act on a group of failed jobs"), "Done", (), ("since", "until", "deploy", "upto")),
    ("errors.mark", _("Mark a deploy"), "Done", (), ("text",)),
    ("new.form", _("Job types, or the fields of one"), "Object", ("type", "like")),
    ("new.create", _("Send a job by the form"), "Done", (), ("type", "queue", "tenant", "delay", "after")),
    ("new.edit", _("The arguments of a job, and their change"), "Object"),
    ("schedules.new", _("Make a schedule"), "Object", ("type",), ("type", "name", "cron")),
    ("schedules.edit", _("Change a schedule"), "Object", (), ("cron", "seen")),
    ("contents.sync", _("Sync a content"), "Done", (), ("to", "status", "dry_run")),
    ("contents.sync-many", _("Sync many contents"), "Done", (), ("to", "id", "scope", "tenant", "state")),
    ("contents.decide", _("Accept or refuse a draft"), "Done"),
    ("syncs.decide", _("Decide a conflict"), "Done", (), ("decision", "changed_ms")),
    ("texts.create", _("Prepare many texts"), "Done", (), ("prompts", "missing", "model", "template", "tenant")),
    ("texts.preview", _("What many texts would cost, and their start"), "Object",
     ("upload", "tenant", "missing", "model", "template"),
     ("upload", "tenant", "missing", "model", "template", "step")),
    ("texts.decide", _("Accept or refuse the drafts of a batch"), "Done"),
    ("generations.save-template", _("Save a prompt template"), "Done", (), ("tenant", "name", "body")),
    ("generations.delete-template", _("Delete a prompt template"), "Done"),
)
ROUTES = [*API, *READ, *_CHANGES]
ENDPOINTS = {route.endpoint for route in ROUTES}


def groups() -> list[tuple[str, list[tuple[Route, str, str]]]]:
    """For the page: (`api` | `read` | `change`, rows of (route, method, path))."""
    return [(name, [(route, method, path_of(rule)) for route in routes for rule, method in route.rules()])
            for name, routes in (("api", API), ("read", READ), ("change", _CHANGES))]
