"""/admin/jobs/bulk: an action on the ticked jobs or on all that match the filter; /admin/jobs/undo: taking one back.

bar of the list -> question: how many can be changed, how many cannot and why, and where to or until when -> the action
in steps -> how many were changed, and a form that takes it back where that is possible. "All that match" is bounded by
the ids of the page (`top`): what came later is not changed.
"""

from __future__ import annotations

import json
from typing import Any

from flask import request
from flask_babel import gettext as _, ngettext

from app.config import QUEUES
from app.controllers import known_parts, tree_forms
from app.controllers.job_list import MOST_TICKED, read_filter
from app.controllers.jobs import bp
from app.controllers.responses import actor, ask, done
from app.extensions import reading
from app.services.audit import UNDO_DAYS
from app.services.jobs import actions, listing, selection, undo
from app.support.clock import now_ms
from app.support.formatting import number
from app.support.messages import Message
from app.support.moments import parse_moment
from app.support.settings import settings
from app.support.validation import ValidationError, check_line, parse_id, parse_queue

ACTIONS = ("retry", "cancel", "delete", *listing.OF_BIN, "hold", "release", "run_now", "top", "move", "delay")
MILD = ("retry", "restore", "hold", "release", "run_now", "top", "move", "delay")
FIELDS = {"move": "to_queue", "delay": "delay"}  # `queue` is a part of the filter


@bp.post("/bulk", endpoint="bulk")
def bulk():
    """Do one of ACTIONS to the ticked jobs (`uuid`, several), or to all that match the filter (`scope=all`).

    `move` takes `to_queue`; `delay` takes `delay`, as support/moments.py reads it. `top` bounds `scope=all` to jobs
    that existed when the page was rendered; `children` says what becomes of the jobs that wait for those which are
    ended. Raises ValidationError.
    """
    form, given = request.form, [text.replace("-", "_") for text in request.form.getlist("action")]
    action = next((text for text in given if text in ACTIONS), "")
    if not action:
        raise ValidationError(_("Choose what to do: %(names)s.", names=", ".join(ACTIONS)))
    options, error = _options(action)
    with reading():  # no write lock while the jobs are looked for
        if form.get("scope") == "all":
            known_parts.only(form, known_parts.OF_BULK)
            # The filter has an `action` too: the number of an entry in the log.
            wanted = read_filter(form.to_dict() | {"action": next((text for text in given if parse_id(text)), "")})
            choice = selection.matching(action, wanted, read_top(form.get("top", "")), **options)
            subject = "list " + json.dumps(wanted.query, ensure_ascii=False)
        else:
            ticked = list(dict.fromkeys(form.getlist("uuid")))
            if not ticked or len(ticked) > MOST_TICKED:
                raise ValidationError(_("Tick the jobs first, at most %(n)s.", n=MOST_TICKED))
            choice = selection.ticked(action, ticked, **options)
            subject = Message("%(n)s ticked", n=len(ticked))
        if not choice.ids:
            return done(" ".join([none_fit(), *choice.left]), 0)
        chosen = choice.ids if action == "cancel" else ()
        title, text, button = question(action, len(choice.ids))
        title = title if not choice.left else f"{title} ({_shares(choice)})"
        undoable = action in undo.UNDOABLE
        text = " ".join([*choice.left, text, _("You can undo it for %(n)s days.", n=UNDO_DAYS) if undoable else
                         _("It cannot be undone.")])
        if page := ask(title, text, button, danger=action not in MILD, field=error, always=error is not None,
                       tree=lambda: tree_forms.question(actions.waiting_for(action, choice.ids), chosen)):
            return page
    found = actions.do_in_steps(actor(), action, subject, choice.ids, tree_forms.chosen(), **options)
    said = " ".join([report(action, found.count, found.total, options.get("queue")), *choice.left])
    return done(said, found.count, entry=found.entry, undo=undoable and found.count > 0)


def _shares(choice: selection.Choice) -> str:
    """'98 of 100', with the share of the chosen jobs that can be changed."""
    total = number(choice.total)
    return _("%(done)s of %(total)s", done=number(len(choice.ids)),
             total=total if choice.exact else _("more than %(n)s", n=total))


def _options(action: str) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """What the action needs besides the jobs, and the field that asks for it (of confirm.html) when it is missing or
    wrong. Raises ValidationError for scripts."""
    name = FIELDS.get(action)
    if name is None:
        return {}, None
    given, wrong = request.form.get(name, ""), None
    try:
        if name == "to_queue" and (queue := parse_queue(check_line(given))):
            return {"queue": queue}, None
        now = now_ms()
        if name == "delay" and (at := parse_moment(check_line(given), now, settings().timezone)):
            return {"seconds": (at - now) / 1000}, None
        if given.strip() or not request.form.get("ask"):
            raise ValidationError(_("Choose a queue.") if name == "to_queue" else _("Write until when they wait."))
    except ValidationError as error:
        if not request.form.get("ask"):
            raise
        wrong = str(error)
    return {}, {"name": name, "value": given, "error": wrong, "choices": QUEUES if name == "to_queue" else (),
                "label": _("To the queue") if name == "to_queue" else _("For how long, or until when")}


@bp.post("/undo/<int(max=9223372036854775807):id>", endpoint="undo")
def take_back(id: int):
    """Take the entry `id` of the log back, for those of its jobs that are still as it left them."""
    found = undo.undo(id, actor())
    text = ngettext("%(n)s job is as before", "%(n)s jobs are as before", found.count, n=number(found.count))
    left = found.total - found.count
    return done(text + (ngettext(", %(n)s had changed meanwhile", ", %(n)s had changed meanwhile", left,
                                 n=number(left)) if left else ""), found.count, entry=found.entry)


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
        "hold": (ngettext("Hold %(n)s job?", "Hold %(n)s jobs?", n, n=shown),
                 _("They do not run until somebody releases them."), _("Hold %(n)s", n=shown)),
        "release": (ngettext("Release %(n)s job?", "Release %(n)s jobs?", n, n=shown),
                    _("They wait for a worker again, or for their time."), _("Release %(n)s", n=shown)),
        "run_now": (ngettext("Run %(n)s scheduled job now?", "Run %(n)s scheduled jobs now?", n, n=shown),
                    _("They do not wait for their time any more."), _("Run %(n)s now", n=shown)),
        "top": (ngettext("Move %(n)s job to the top?", "Move %(n)s jobs to the top?", n, n=shown),
                _("They stand ahead of all others of their queue, in their own order."),
                _("%(n)s to the top", n=shown)),
        "delay": (ngettext("Delay %(n)s job?", "Delay %(n)s jobs?", n, n=shown),
                  ngettext("It runs no sooner than then: if it is due later, its time stays. If it is held, it is not "
                           "held any more.", "They run no sooner than then: those due later keep their time. Held ones "
                           "are not held any more.", n),
                  _("Delay %(n)s", n=shown)),
    }[action]


def report(action: str, n: int, of: int, queue: str | None = None) -> str:
    """The sentence after a bulk action: `n` jobs changed, the others of `of` had changed meanwhile."""
    shown, left = number(n), of - n
    text = {
        "retry": ngettext("%(n)s job requeued", "%(n)s jobs requeued", n, n=shown),
        "cancel": ngettext("%(n)s job cancelled or asked to stop", "%(n)s jobs cancelled or asked to stop", n, n=shown),
        "move": ngettext("%(n)s job moved", "%(n)s jobs moved", n, n=shown) if queue is None else
                ngettext("%(n)s job moved to %(queue)s", "%(n)s jobs moved to %(queue)s", n, n=shown, queue=queue),
        "restore": ngettext("%(n)s job restored", "%(n)s jobs restored", n, n=shown),
        "erase": ngettext("%(n)s job erased for good", "%(n)s jobs erased for good", n, n=shown),
        "delete": ngettext("%(n)s job deleted", "%(n)s jobs deleted", n, n=shown),
        "hold": ngettext("%(n)s job held", "%(n)s jobs held", n, n=shown),
        "release": ngettext("%(n)s job released", "%(n)s jobs released", n, n=shown),
        "run_now": ngettext("%(n)s job is ready now", "%(n)s jobs are ready now", n, n=shown),
        "top": ngettext("%(n)s job moved to the top", "%(n)s jobs moved to the top", n, n=shown),
        "delay": ngettext("%(n)s job delayed", "%(n)s jobs delayed", n, n=shown),
    }[action]
    if left:
        text += ngettext(", %(n)s had changed meanwhile", ", %(n)s had changed meanwhile", left, n=number(left))
    return text + "."


def none_fit() -> str:
    """The answer when nothing is left to change."""
    return _("None of these jobs can be changed so now: their states do not allow it, or have changed meanwhile.")
