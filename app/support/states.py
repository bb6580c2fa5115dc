"""The labels of states: live states of jobs, outcomes of attempts, health of workers, pauses."""

from __future__ import annotations

from flask_babel import lazy_gettext as _

STATE_LABELS = {
    "pending": _("Pending"), "scheduled": _("Scheduled"), "waiting": _("Waiting"), "held": _("Held"),
    "blocked": _("Blocked"), "processing": _("Processing"), "completed": _("Completed"), "failed": _("Failed"),
    "timeout": _("Timed out"), "cancelled": _("Cancelled"), "retried": _("Failed, retried"), "lost": _("Lost"),
    "late": _("Late"), "bin": _("In the bin"), "erased": _("Erased"), "paused": _("Paused"), "healthy": _("Healthy"),
    "watch": _("Look at it"), "unresponsive": _("Not responding"), "stuck": _("Stuck"), "stopped": _("Stopped"),
}


def state_label(state: str | None) -> str:
    """The label in the reader's language; an unknown state is shown as it is, None as an en dash.

    In a template apply it only to a variable: Jinja evaluates a filter of a constant once, in the first reader's
    language.
    """
    return str(STATE_LABELS.get(state or "", state or "–"))
