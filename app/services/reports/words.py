"""The sentences of the codes in a report: why a figure is not known, and notes for the whole report.

A report is stored without a language, so figures carry codes; an unknown code (of a later version) is shown as it is.
"""

from __future__ import annotations

import re

from flask_babel import gettext as _

_NUMBERED = re.compile(r"– (\d{1,9})")


def sentence(code: str) -> str:
    """The sentence of a code, in the language of `force_locale`, of the request, or the usual one."""
    return {
        "kept": _("The rows of this time are deleted already: 32 days are kept."),
        "usage": _("No hour of this time was counted: the monitor did not run, or this installation is younger."),
        "many": _("Too many outcomes for this filter: what is not counted by the hour is read from single rows."),
        "failures": _("The rows of this time are deleted already: 90 days are kept."),
        "sent": _("In this time it was not counted yet how many jobs were sent."),
        "tenant": _("Times of each type are not counted for one tenant: choose the type too."),
        "queue": _("This is not counted by queue."),
        "filter": _("This is not counted by the parts of this filter."),
        "samples": _("The monitor recorded nothing in this time."),
        "never": _("Nothing ended in this time."),
        "stranger": _("No job of this tenant is known: its name may be mistyped, or the tenant is new."),
        "whole": _("Capacity and alerts are those of the whole installation, whatever the filter."),
        "running": _("The period is not over: the figures are those until now."),
        "hours": _("Whole hours of UTC are counted: the period begins and ends up to 45 min before its days."),
        "behind": _("Some outcomes were not counted yet when these figures were read."),
    }.get(code, code)


def title(text: str) -> str:
    """The title of an error; of one whose text the reader may not see, its number in this report."""
    found = _NUMBERED.fullmatch(text)
    return _("error %(n)s, its message is not shown", n=found[1]) if found else text
