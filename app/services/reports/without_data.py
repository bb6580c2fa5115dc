"""A report for who may not see the data of jobs (support/privacy.py): without the texts of errors.

ReportFigures -> `hide` -> the same numbers and links, but no title of an error and no reason of an alert
Of a mail readers.py decides when it is sent.
"""

from __future__ import annotations

import json
from dataclasses import replace

from app.services.reports.model import AlertRow, ErrorRow, ReportFigures
from app.support.validation import stored_object

HIDDEN = "–"


def hide(found: ReportFigures) -> ReportFigures:
    """The report without the texts of errors: they have numbers (words.title), the same in each table."""
    keys = dict.fromkeys(row.key for row in (*found.frequent_errors, *found.new_errors, *found.more_errors))
    titles = {key: f"{HIDDEN} {n}" for n, key in enumerate(keys, start=1)}

    def errors(rows: tuple[ErrorRow, ...]) -> tuple[ErrorRow, ...]:
        return tuple(replace(row, title=titles[row.key]) for row in rows)

    return replace(found, new_errors=errors(found.new_errors), frequent_errors=errors(found.frequent_errors),
                   more_errors=errors(found.more_errors), alerts=tuple(map(_alert, found.alerts)))


def _alert(row: AlertRow) -> AlertRow:
    facts = stored_object(row.facts)
    kept = {name: value for name, value in facts.items() if not name.startswith("why")}
    return row if kept == facts else replace(row, facts=json.dumps(kept | {"why": HIDDEN}))
