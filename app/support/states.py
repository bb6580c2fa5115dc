"""The labels of states: live states of jobs, outcomes of attempts, health of workers, pauses."""

from __future__ import annotations

from flask_babel import lazy_gettext as _, ngettext

STATE_LABELS = {
    "pending": _("Pending"), "scheduled": _("Scheduled"), "waiting": _("Waiting"), "held": _("Held"),
    "blocked": _("Blocked"), "processing": _("Processing"), "completed": _("Completed"), "failed": _("Failed"),
    "timeout": _("Timed out"), "cancelled": _("Cancelled"), "retried": _("Failed, retried"), "lost": _("Lost"),
    "late": _("Late"), "released": _("Handed back"), "bin": _("In the bin"),
    "counted": _("Completed or failed"), "erased": _("Erased"), "paused": _("Paused"), "healthy": _("Healthy"),
    "watch": _("Look at it"), "unresponsive": _("Not responding"), "stuck": _("Stuck"), "stopped": _("Stopped"),
}

COUNTED = {  # of jobs
    "pending": lambda n, shown: ngettext("%(n)s pending", "%(n)s pending", n, n=shown),
    "scheduled": lambda n, shown: ngettext("%(n)s scheduled", "%(n)s scheduled", n, n=shown),
    "waiting": lambda n, shown: ngettext("%(n)s waiting", "%(n)s waiting", n, n=shown),
    "held": lambda n, shown: ngettext("%(n)s held", "%(n)s held", n, n=shown),
    "blocked": lambda n, shown: ngettext("%(n)s blocked", "%(n)s blocked", n, n=shown),
    "processing": lambda n, shown: ngettext("%(n)s processing", "%(n)s processing", n, n=shown),
    "completed": lambda n, shown: ngettext("%(n)s completed", "%(n)s completed", n, n=shown),
    "failed": lambda n, shown: ngettext("%(n)s failed", "%(n)s failed", n, n=shown),
    "timeout": lambda n, shown: ngettext("%(n)s timed out", "%(n)s timed out", n, n=shown),
    "cancelled": lambda n, shown: ngettext("%(n)s cancelled", "%(n)s cancelled", n, n=shown),
    "bin": lambda n, shown: ngettext("%(n)s in the bin", "%(n)s in the bin", n, n=shown),
    "erased": lambda n, shown: ngettext("%(n)s erased", "%(n)s erased", n, n=shown),
}


def count_label(state: str, n: int, shown: str) -> str:
    """'80 completed': `n` jobs of a state, `shown` is the number as text."""
    return COUNTED[state](n, shown) if state in COUNTED else f"{shown} {state}"


def state_label(state: str | None) -> str:
    """The label in the reader's language; an unknown state is shown as it is, None as an en dash.

    In a template apply it only to a variable: Jinja evaluates a filter of a constant once, in the first reader's
    language.
    """
    return str(STATE_LABELS.get(state or "", state or "–"))
