"""Values in answers of WordPress: JSON, also between notices of PHP; numbers, texts, what a message says, and
how long to wait."""

from __future__ import annotations

import html
import json
import re
from itertools import islice
from typing import Any

from app.integrations.answer import Answer
from app.integrations.service_errors import Limited, retry_after
from app.support.messages import Message
from app.support.redaction import encodable, one_line, redact

MOST_TRIES, SAID_CHARS, LIMITED_S = 50, 300, 60.0
_START = re.compile(r'(?:\A|(?<=[>\n]))[ \t]*(\{\s*"|\[\s*[\]{])')  # after a page or a line, not inside of other JSON
_TAG = re.compile(r"<[^<>]*>")


def whole(value: Any) -> int | None:
    """A number from 1 on that JSON gives as number or as text; None for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 18:
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**18 else None


def clean(value: Any) -> str:
    """A text of an answer as every database can store it; "" for anything else."""
    return encodable(value.replace("\0", "")) if isinstance(value, str) else ""


def parsed(answer: Answer) -> Any:
    """The JSON value of a body, also behind a mark of byte order and between pages of errors; None without one."""
    try:
        text = answer.body.decode("utf-8-sig").strip()
        return json.loads(text)
    except UnicodeDecodeError:
        return None
    except (ValueError, RecursionError):
        pass
    for match in islice(_START.finditer(text), MOST_TRIES):
        try:
            value, end = json.JSONDecoder().raw_decode(text, match.start(1))
        except (ValueError, RecursionError):
            continue
        if value or text[end:end + 99].lstrip()[:1] in ("", "<"):  # else the [] of a notice
            return value
    return None


def said_in(message: Any) -> str:
    """A message of WordPress as one line without tags and secrets."""
    text = html.unescape(_TAG.sub(" ", clean(message)[:5000]))
    return one_line(redact(" ".join(text.split())), SAID_CHARS)


def answer_start(answer: Answer) -> str:
    """How an answer begins, for people."""
    return said_in(answer.text[:2000])[:120]


def limited(answer: Answer, status: int, write: bool) -> Limited | None:
    """The error for a site that asks to wait; `status` is that of WordPress, which a notice may hide."""
    if status == 429:
        return Limited(Message("WordPress, or a server in front of it, asks for fewer requests (429)."),
                       retry_after(answer.headers, LIMITED_S), write)
    if status == 503 and ("retry-after" in answer.headers or b"aintenance" in answer.body[:20_000]):
        return Limited(Message("WordPress is in maintenance."), retry_after(answer.headers, LIMITED_S), write)
    return None
