"""Hides the data of jobs from readers who may not see them: arguments, results, logs, errors, contents, names of files.

row of the database -> a column of `COLUMNS` (models/types.py: every read by a model) or a text of raw SQL (services)
-> its value, or the blank when `hidden()` -> pages, JSON and CSV, which know nothing of it
`hidden` is what the website says of its request (controllers/access.py); elsewhere it is False: commands, workers and
the monitor see everything. It is never true where a job is changed, so a blank is never written back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.support.messages import translate as _
from app.support.validation import ValidationError

# By table: what may hold data of a job or of a tenant. A column of a new table is added here.
COLUMNS = {table: frozenset(names.split()) for table, names in {
    "contents": "title body attributes",
    "content_versions": "body",
    "error_groups": "title error error_json",
    "failed_jobs": "payload exception error error_json",
    "generations": "prompt parameters text raw error error_json",
    "import_rejects": "reason reason_json row",
    "job_batches": "name",
    "job_history": "payload result error error_json traceback",
    "job_logs": "message message_json",
    "job_metrics": "error_message error_json metadata traceback",
    "jobs": "payload reason reason_json progress_note progress_json",
    "prompt_templates": "body",
    "sync_actions": "text text_json reference url",
    "sync_links": "sent base sending theirs ours notes url edit_url",
    "uploads": "filename",
}.items()}
_asked: list[Callable[[bool], bool]] = []


def ask(function: Callable[[bool], bool]) -> None:
    """Let `function` decide whether the present reader may see no data; its argument is that of `hidden`."""
    _asked[:] = [function]


def hidden(search: bool = False) -> bool:
    """Whether data are hidden from the present reader; for a `search` also in a request that changes something."""
    return bool(_asked) and _asked[0](search)


def shown(value: Any, instead: Any) -> Any:
    """The value, or `instead` when data are hidden."""
    return instead if hidden() else value


def no_search() -> str:
    """Why a reader from whom data are hidden may not search in them: each answer would tell some."""
    return _("Your role does not see arguments, names and errors, so you cannot search in them.")


def refuse_search() -> None:
    """Raise ValidationError when data are hidden from the present reader."""
    if hidden(search=True):
        raise ValidationError(no_search())
