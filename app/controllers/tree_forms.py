"""The question what becomes of the jobs that wait for one that a person ends.

`question` -> radio buttons of the dialog or of the question page -> field `children` -> `chosen` -> services/jobs/tree
Scripts send `children` as a field of a form or of JSON; without it the jobs go on waiting.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from flask import request
from flask_babel import gettext as _, ngettext

from app.services.jobs import tree
from app.support.formatting import number


@dataclass(frozen=True)
class TreeQuestion:
    """How many jobs wait, as a sentence (above 10,000 only that they are more), and the choices as (value, words); the
    first one is the default."""

    told: str
    choices: list[tuple[str, str]]


def question(uuids: Collection[str], chosen_ids: Collection[int] = ()) -> TreeQuestion | None:
    """The question for these jobs; None when no job waits for them but live ones that are chosen too."""
    n = tree.below(uuids, chosen_ids)
    if not n:
        return None
    return TreeQuestion(
        _("More than %(n)s jobs wait, directly or through others.", n=number(tree.MOST_COUNTED))
        if n > tree.MOST_COUNTED else
        ngettext("%(n)s job waits for it, directly or through others.",
                 "%(n)s jobs wait for it, directly or through others.", n, n=number(n)) if len(uuids) == 1 else
        ngettext("%(n)s other job waits for them, directly or through others.",
                 "%(n)s other jobs wait for them, directly or through others.", n, n=number(n)),
        [(tree.WAIT, _("Leave them waiting")), (tree.CANCEL, _("Cancel them too, the whole tree")),
         (tree.RUN, _("Let them run without it"))])


def chosen() -> str:
    """The choice that was sent, one of tree.CHOICES. Raises ValidationError."""
    given = request.form.get("children") or request.args.get("children")
    if given is None and request.is_json:
        body = request.get_json(silent=True)
        given = body.get("children") if isinstance(body, dict) else None
    return tree.parse_choice(given if given is None else str(given))
