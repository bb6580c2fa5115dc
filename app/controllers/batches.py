"""/admin/jobs/batches: the list of batches, the page of one, and its buttons. An address takes an id or its first
digits."""

from __future__ import annotations

from flask import Blueprint, request, url_for
from flask_babel import gettext as _

from app.config import QUEUES
from app.controllers.bulk import question, report
from app.controllers.responses import actor, ask, done, live, render_error
from app.models.job import LIVE_STATES
from app.services.jobs import batch_actions, batch_pages
from app.support.clock import now_ms
from app.support.validation import ValidationError, check_text, parse_queue

bp = Blueprint("batches", __name__, url_prefix="/batches")


@bp.get("/", endpoint="index")
def index():
    """A page of 50 batches, open ones first, filtered by name; with `open` only these. Only the first page
    polls."""
    q, before = check_text(request.args.get("q", "")).strip()[:200], request.args.get("before", "")
    only_open = "1" if request.args.get("open") else ""
    rows, more = batch_pages.listing(q, before, only_open=bool(only_open))
    kept = {name: value for name, value in (("q", q), ("open", only_open)) if value}
    older = url_for("admin.jobs.batches.index", before=rows[-1].key, **kept) if more else None
    ends = {name: told for name, (_end, told) in batch_pages.ends_of(rows, now_ms()).items()}
    context = {"rows": rows, "q": q, "only_open": only_open, "older_url": older, "ends": ends}
    return live("admin/batches.html", context, "batches_table", follow=not before,
                plain=lambda: {"batches": list(map(batch_pages.as_json, rows)), "older": older})


@bp.get("/<batch>", endpoint="one")
def one(batch: str):
    """The page of a batch, or 404. It polls, as a retry opens an ended batch again."""
    found = batch_pages.find(batch)
    if found is None:
        return render_error(404, _("There is no such batch."))
    page = batch_pages.one(found)
    live_ones = sum(page.members.get(state, 0) for state in LIVE_STATES)
    failed, waiting = page.members["undecided"], live_ones - page.members.get("processing", 0)
    asks = questions(found, {"retry": failed, "delete": failed, "cancel": live_ones, "move": waiting})
    context = {"page": page, "batch": found, "live": live_ones, "waiting": waiting, "asks": asks, "queues": QUEUES}
    return live("admin/batch.html", context, "batch", plain=lambda: batch_pages.page_as_json(page))


@bp.post("/<batch>/<any(retry, delete, cancel, move, pause, resume, seal):action>", endpoint="act")
def act(batch: str, action: str):
    """Do one of the actions to a batch: after a question, except for pause and resume. `move` takes `queue`."""
    found = batch_pages.find(batch)
    if found is None:
        return render_error(404, _("There is no such batch."))
    back = url_for("admin.jobs.batches.one", batch=found.id)
    if action in batch_actions.OF_BATCH:
        text = _("It ends once its members have ended. No code can add members afterwards.")
        if action == "seal" and (page := ask(_("Is this batch complete?"), text, _("It is complete"), danger=False)):
            return page
        batch_actions.change(found, action, actor())
        said = {"pause": _("Batch paused"), "resume": _("Batch resumed"), "seal": _("Batch marked as complete")}
        return done(said[action], back=back)
    options = {}
    if action == "move":
        options["queue"] = parse_queue(check_text(request.form.get("queue", "")))
        if not options["queue"]:
            raise ValidationError(_("Choose a queue."))
    asked = questions(found, {action: len(batch_actions.ids_of(found, action))})[action]
    if page := ask(**asked, danger=action in ("cancel", "delete")):
        return page
    count, of = batch_actions.change_members(found, action, actor(), **options)
    return done(report(action, count, of), count, back=back)


def questions(batch: batch_pages.BatchView, numbers: dict[str, int]) -> dict[str, dict[str, str]]:
    """The question before each of these actions on so many members: its title, text and the label of its button."""
    found = {}
    for action, n in numbers.items():
        title, text, button = question(action, n)
        if action == "cancel" and batch.then and not batch.then_uuid:
            text += " " + _("What follows the batch does not run.")
        found[action] = {"title": title, "text": text, "action": button}
    return found
