"""Why a filter lists nothing: a type, tenant, worker or code version that no job has, and the names that are near it.

An empty list -> for each such part one look for any job that has it -> a sentence, and the same filter with a near name
"""

from __future__ import annotations

import dataclasses
import difflib

from app import registry
from app.ledger.dialect import TooSlow
from app.services.jobs import filter_words, listing
from app.services.jobs.job_filter import JobFilter
from app.support.messages import translate as _

NEAR = 0.6  # of difflib's ratio, from 0 to 1: "acmee" and "acme" have 0.89


def unknown(wanted: JobFilter) -> list[tuple[str, list[tuple[str, dict[str, str]]]]]:
    """(a sentence, the names near it, each with the query of the same filter) for each name that no job has."""
    told = {"type": lambda name: _("No job has the type %(name)s.", name=name),
            "tenant": lambda name: _("No job has the tenant %(name)s.", name=name),
            "worker": lambda name: _("No job ran on the worker %(name)s.", name=name),
            "code": lambda name: _("No job ran with the code version %(name)s.", name=name)}
    missing = [part for part in told if getattr(wanted, part) and not _found(part, getattr(wanted, part))]
    if not missing:
        return []
    known = filter_words.suggestions(wanted) | {"type": [known.name for known in registry.known_types()]}
    return [(told[part](filter_words.short(getattr(wanted, part))), [
        (filter_words.short(name), dataclasses.replace(wanted, **{part: name}).query)
        for name in near(getattr(wanted, part), known[part])]) for part in missing]


def _found(part: str, name: str) -> bool:
    try:
        return bool(listing.page(JobFilter(**{part: name}), size=1).rows)  # type: ignore[arg-type]
    except TooSlow:
        return True


def near(name: str, known: list[str]) -> list[str]:
    """At most three known names that are like `name`, whatever their case."""
    by_case = {text.casefold(): text for text in known if text != name}
    return [by_case[text] for text in difflib.get_close_matches(name.casefold(), by_case, 3, NEAR)]
