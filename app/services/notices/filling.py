"""Numbers of a notice, which are stored as they are and shown in the language of who reads it.

Message of telling.py with `time` (ms), `total` and `failed` (counts) -> `filled`, in the language of get_locale()
A value that is a text already stays as it is. A sentence inside (`told`) is filled too; an error is not, since its
numbers are its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.support.formatting import duration, number
from app.support.messages import Message

_FORMS: dict[str, Callable[[Any], str]] = {"time": duration, "total": number, "failed": number}


def filled(message: Message) -> Message:
    """The message with its numbers as texts."""
    values: dict[str, Any] = {name: _FORMS[name](value) for name, value in message.values.items()
                              if name in _FORMS and type(value) in (int, float)}
    if type(told := message.values.get("told")) is Message:
        values["told"] = filled(told)
    return message.having(**values) if values else message
