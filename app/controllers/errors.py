"""/admin/jobs/errors: failed jobs by group, with a window of time; retry and delete of a group; deploys."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, request, url_for
from flask_babel import gettext as _

from app import registry
from app.controllers import tree_forms
from app.controllers.bulk import none_fit, question, report
from app.controllers.form_again import kept_fields
from app.controllers.jobs import max_failed_id
from app.controllers.redirects import here
from app.controllers.responses import actor, ask, done, live, wrong
from app.services.audit import ActionRefused
from app.services.instance import deploys
from app.services.jobs import actions, error_pages, undo
from app.services.jobs.facts import MOST_KINDS
from app.services.jobs.job_filter import FilterError
from app.support.clock import iso, now_ms, when
from app.support.messages import Message
from app.support.settings import settings
from app.support.validation import ValidationError

bp = Blueprint("errors", __name__, url_prefix="/errors")
MOST_DEPLOYS, MOST_POLLED = 10, 20_000  # 100,000 failures are counted in 0.5 s: such a page does not poll


@bp.get("/", endpoint="index")
def index():
    """The groups of a window; for scripts `{"since", "until", "total", "failed", "groups", "foreign", "behind",
    "deploys"}`. A window that cannot be read is answered by 400, with the page of the last 24 hours."""
    try:
        over = error_pages.window(request.args, settings().timezone)
    except FilterError as error:
        faults = {error.name: str(error)}
        return wrong(faults, lambda: page(faults))
    return page({}, over, (kept_fields() or {}).get("text", ""))


def page(faults: dict[str, str], over: error_pages.Window | None = None, typed: str = ""):
    """The page with `faults` (sentences by field); `typed` is the text of a deploy that was refused."""
    given = request.args
    over = over or error_pages.window({}, settings().timezone)
    order = sort if (sort := given.get("sort", "")) in error_pages.ORDERS else "failed"
    key, start = given.get("error", "")[:64], max(given.get("from", 0, type=int), 0) if len(
        given.get("from", "")) < 9 else 0
    found = error_pages.groups(over, order, start, key)
    kept: dict[str, Any] = (over.query if not over.name else {"period": over.name}) | ({"error": key} if key else {})
    context = {
        "over": over, "found": found, "order": order, "start": start, "one": key, "kept": kept, "faults": faults,
        "typed": typed, "deploys": deploys.newest(MOST_DEPLOYS), "periods": list(error_pages.PERIODS),
        "deploy": over.query.get("deploy") and deploys.one(int(over.query["deploy"])), "short": deploys.short,
        "actions": actions_of(found, over), "now": when(now_ms()), "most_kinds": MOST_KINDS}
    poll = url_for("admin.jobs.errors.index", **kept, sort=order, **({"from": start} if start else {}))
    return live("admin/errors.html", context, "error_groups", poll=poll,
                follow=not faults and found.failed <= MOST_POLLED,
                plain=lambda: as_json(over, found, context["deploys"]))


def actions_of(found: error_pages.GroupPage, over: error_pages.Window) -> dict[str, dict[str, Any]]:
    """By key of a group what its two buttons ask: (title, text, label) of `retry` and `delete`, and their fields."""
    fields = over.query | {"upto": found.upto, "next": here()}
    return {row.key: {"retry": question("retry", row.undecided), "delete": question("delete", row.undecided),
                      "fields": fields} for row in found.rows if row.undecided}


def as_json(over: error_pages.Window, found: error_pages.GroupPage, marked: list[deploys.DeployView]) -> dict[str, Any]:
    """The page for scripts, times in UTC."""
    return {
        "since": iso(over.low), "until": iso(over.high) if over.high < error_pages.NO_END else None,
        "total": found.total, "failed": found.failed, "foreign": found.foreign, "behind": found.behind,
        "groups": [{**vars(row), "largest": [{"tenant_id": name, "failed": n} for name, n in row.largest]}
                   for row in found.rows],
        "deploys": [{"id": d.id, "at": iso(d.at_ms), "text": d.text, "actor": d.actor, "version": d.version}
                    for d in marked]}


@bp.post("/<key>/<any(retry,delete):action>", endpoint="act")
def act(key: str, action: str):
    """Retry or delete the jobs of a group and window that wait for a decision, after a question; those that had
    failed when the page was rendered."""
    named = error_pages.title_of(key)
    if named is None:
        raise ActionRefused(_("There is no such group of failures."), unknown=True)
    ids = error_pages.undecided(key, error_pages.window({"period": "all"} | request.form.to_dict(),
                                                        settings().timezone), max_failed_id())
    if not ids:
        return done(none_fit(), 0)
    if asked := ask(*question(action, len(ids)), danger=action == "delete",
                    tree=lambda: tree_forms.question(actions.waiting_for(action, ids))):
        return asked
    subject = Message("failures of %(type)s: %(title)s", type=registry.label_of(named[0])[:80], title=named[1][:120])
    found = actions.do_in_steps(actor(), action, subject, ids, tree_forms.chosen())
    return done(report(action, found.count, found.total), found.count, entry=found.entry,
                undo=action in undo.UNDOABLE and found.count > 0)


@bp.post("/deploys", endpoint="mark")
def mark():
    """Mark a deploy of now."""
    text = request.form.get("text", "")
    try:
        found = deploys.mark(text, actor())
    except ValidationError as error:
        faults = {"text": str(error)}
        return wrong(faults, lambda: page(faults, typed=text[:1000]))
    return done(_("Deploy marked: %(text)s", text=found.text))
