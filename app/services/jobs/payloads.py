"""Reads payloads, which any program may have written: the arguments for a page, and the telling argument for a list.

A list reads the first 16 KB (`HEAD`): 50 of 256 KB took 1 to 2 s. Any text is accepted: cut, nested deeply, no JSON.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import func

from app.support import privacy
from app.support.cut_json import pairs
from app.support.redaction import HIDDEN, redact, redact_json
from app.support.secret_names import hides
from app.support.validation import stored_object

HEAD = 16_000  # characters of a payload that a list reads
SHOWN, REDACTED = 60, 2_000  # characters of an argument that a list shows; characters that are redacted for it


def head(column: Any) -> Any:
    """The part of a payload column that a list reads."""
    return func.substr(column, 1, HEAD)


def name_of(payload: Any, job_type: str | None) -> str:
    """The type of a job: that of its row, else the name in its payload, else 'Unknown'; at most 255 characters."""
    name = job_type or stored_object(payload).get("displayName")
    return name[:255] if isinstance(name, str) and name else "Unknown"


def raw(payload: Any) -> dict[str, Any]:
    """The arguments in a payload, with secrets; {} when there are none."""
    args = None if privacy.hidden() else stored_object(payload).get("args")
    return args if isinstance(args, dict) else {}


def arguments(payload: Any) -> dict[str, Any]:
    """The arguments in a payload, without secrets; {} when there are none."""
    return redact_json(raw(payload))


def headline_argument(payload: Any) -> str:
    """The telling argument, by which people tell jobs of a type apart: the first text, at most 60 characters, without
    secrets; '' when there is none. The head of a payload is enough."""
    for name, value in _pairs(payload):
        if isinstance(value, str) and value.strip() and not value.startswith("up_"):
            text = HIDDEN if hides(name, value) else redact(value[:REDACTED])
            text = text.encode("utf-8", "replace").decode()
            return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
    return ""


def names(payload: Any) -> list[str]:
    """The names of the arguments in the head of a payload."""
    return [name for name, _value in _pairs(payload)][:50]


def _pairs(payload: Any) -> Any:
    return pairs(payload if isinstance(payload, str) and not privacy.hidden() else "", "args")
