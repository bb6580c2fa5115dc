"""Sentences for whoever reads them: the language of the request, English on the command line and in workers."""

from __future__ import annotations

from typing import Any

from flask import has_request_context
from flask_babel import gettext


def say(text: str, **values: Any) -> str:
    """`text` with `%(name)s` filled in, translated when a person's request is being answered."""
    if has_request_context():
        return gettext(text, **values)
    return text % values if values else text
