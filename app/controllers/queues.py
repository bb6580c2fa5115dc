"""/admin/jobs/queues: the queues, pauses of queues and of job types, and one route for most actions on a job."""

from __future__ import annotations

from flask import abort, render_template, request, url_for
from flask_babel import gettext as _

from app.config import QUEUES
from app.controllers import forms, tree_forms
from app.controllers.jobs import bp
from app.controllers.responses import actor, ask, done, live, wrong
from app.controllers.view_models import job_context
from app.ledger.control import TYPE
from app.services.audit import UNDOABLE
from app.services.jobs import actions, limits, lookup, ordering, queues
from app.support.clock import now_ms
from app.support.messages import translate_stored
from app.support.moments import parse_moment
from app.support.settings import settings
from app.support.validation import ValidationError, check_line, check_text, parse_delay, parse_id, parse_queue


@bp.post("/act/<uuid>/<action>", endpoint="act")
def act(uuid: str, action: str):
    """restore, erase, stop, run-now, run-without-waiting, hold, release, delay (`delay` as support/moments.py reads it,
    or `seconds`), move (`queue`), top, up, down. `children` says what becomes of those that wait for a job that is
    stopped or erased."""
    name, options = action.replace("-", "_"), {}
    sentences = {
        "restore": _("Job restored"), "erase": _("Job erased for good"), "stop": _("The job is being stopped"),
        "run_now": _("Job requeued"), "run_without_waiting": _("The job runs without waiting"),
        "hold": _("Job held"), "release": _("Job released"), "delay": _("Job delayed"),
        "move": _("Job moved"), "top": _("Job moved to the top"), "up": _("Job moved up"), "down": _("Job moved down"),
    }
    if name not in sentences:
        abort(404)
    if name == "delay":
        try:
            options["seconds"] = _delay()
        except ValidationError as error:
            found, said = lookup.find(uuid), {"value": request.form.get("delay"), "error": str(error)}
            if found is None or not said["value"]:
                raise
            return wrong({"delay": said["error"]}, lambda: render_template("admin/job.html", **job_context(found),
                                                                          delaying=said))
    if name == "move":
        options["queue"] = parse_queue(check_text(request.form.get("queue", "")), "default")
    questions = {
        "stop": (_("Stop this job now?"),
                 _("Its worker is killed and the job counts as cancelled. What it has written stays."), _("Stop now")),
        "erase": (_("Erase this job for good?"), _("Its history and log go too. The figures stay."), _("Erase")),
    }
    if name in questions:
        if page := ask(*questions[name], tree=lambda: tree_forms.question([uuid])):
            return page
        options["children"] = tree_forms.chosen()
    entries: list[int] = []
    actions.act(name, uuid, actor(), report=lambda _below, entry: entries.append(entry), **options)
    return done(sentences[name], back=url_for("admin.jobs.list", state="bin") if name == "erase" else None,
                entry=entries[0], undo=name in UNDOABLE)


def _delay() -> float:
    """Seconds to wait. Raises ValidationError."""
    if not (text := request.form.get("delay", "")).strip():
        return parse_delay(check_text(request.form.get("seconds", "")))
    now = now_ms()
    return ((parse_moment(check_line(text), now, settings().timezone) or now) - now) / 1000


def queues_context() -> dict[str, object]:
    """The queues, the job types, and of the chosen queue the next jobs and the backlog by tenant."""
    chosen = request.args.get("queue", "")
    rows = queues.queues()
    if chosen not in QUEUES:  # the first queue with jobs, because the page shows their order
        chosen = next((q.name for q in rows if q.depth), "default")
    return {"queues": rows, "types": queues.types(), "chosen": chosen, "next_jobs": queues.next_jobs(chosen),
            "tenant_backlog": queues.tenant_backlog(chosen), "limits": limits.listing(),
            "aside": queues.aside(), "basis": queues.basis()}


@bp.get("/queues", endpoint="queues")
def index():
    """The page of queues; for scripts the same values as JSON."""
    context = queues_context()
    return live("admin/queues.html", context, "queues", poll=url_for("admin.jobs.queues", queue=context["chosen"]))


def order_context(name: str) -> dict[str, object]:
    """The lines of all queues, of which the page shows the named one first, and the last move of the reader."""
    return {"chosen": name, "lines": ordering.lines(), "last_move": ordering.last(actor())}


@bp.get(f"/queues/<any({', '.join(QUEUES)}):name>", endpoint="queue")
def one(name: str):
    """The first waiting jobs of each queue, to be reordered."""
    return live("admin/queue.html", order_context(name), "queue_order")


@bp.post("/queues/place", endpoint="place")
def place():
    """Move a waiting job (`uuid`, or its first digits as `job`): `to` up, down or top; or ahead of the job `before`,
    behind the job `after`, or to the number `place`, whichever is the first that there is, in `queue`."""
    form = forms.PlaceForm()
    if not form.validate():
        return wrong(form.faults, lambda: render_template("admin/queue.html", form=form, **order_context(
            request.form.get("shown") if request.form.get("shown") in QUEUES else QUEUES[0])))
    given, step = form.values, form.step
    number = 1 if step == "top" else given["place"] or (ordering.END if given["queue"] else None)
    moved = ordering.place([given["job"] or given["uuid"]], actor(), given["queue"], given["before"], given["after"],
                           number, step if step != "top" else None)
    return _placed(_("Job moved"), moved)


@bp.post("/queues/undo", endpoint="undo-place")
def undo_place():
    """Put the jobs of a move (`action`, its id in the log) back where they stood."""
    return _placed(_("Move undone"), ordering.undo(parse_id(request.form.get("action")) or 0, actor()))


def _placed(sentence: str, moved: ordering.Moved):
    where = translate_stored(moved.where)
    return done(f"{sentence}: {where}", moved.count, back=url_for("admin.jobs.queue", name=moved.queue),
                queue=moved.queue, place=moved.place, where=where, action=moved.action)


@bp.post("/queues/<name>/<any(pause, resume):action>", endpoint="pause")
def pause(name: str, action: str):
    """Pause or resume a queue."""
    return _pause(name, action)


@bp.post("/types/<name>/<any(pause, resume):action>", endpoint="pause-type")
def pause_type(name: str, action: str):
    """Pause or resume a job type."""
    return _pause(TYPE + name, action)


@bp.post("/limits", endpoint="set-limit")
def set_limit():
    """Set the limits of a job type (`type`, `concurrency`, `rate`), or with `reset` make them what the code says."""
    form = forms.LimitForm()
    if not form.validate():
        return wrong(form.faults, lambda: render_template("admin/queues.html", **queues_context(), form=form,
                                                          limiting=form.type.data or ""))
    name = form.values.pop("type")
    limits.change(name, actor(), **dict.fromkeys(form.values) if request.form.get("reset")
                  else limits.unlike_code(name, **form.values))
    return done(_("Limit changed"), back=url_for("admin.jobs.queues", _anchor="limits"))


def _pause(name: str, action: str):
    if action == "resume":
        queues.resume(name, actor())
        return done(_("Resumed"))
    form = forms.PauseForm()
    if not form.validate():
        return wrong(form.faults, lambda: render_template("admin/queues.html", **queues_context(), pausing=name,
                                                          form=form))
    queues.pause(name, actor(), reason=form.values["reason"], until=form.values["minutes"])
    return done(_("Paused"))
