"""Secrets and control characters out of everything that is written: ledger, logs, alerts, exports.

By value of every secret this process holds (those of the product, and of environment variables with such a name), in each
form in which text carries it; by the usual patterns (`sk-...`, JWT, PEM, Bearer, `user:secret@`); and by name, in JSON and in
text (`secretnames`). Everything is linear in its input: each character is passed a bounded number of times, whatever it is.
"""

from __future__ import annotations

import base64
import html
import json
import os
import re
from collections.abc import Mapping
from itertools import islice
from typing import Any
from urllib.parse import quote, quote_plus, unquote

from app.support.secret_names import SURE, WEAK, hides, rank
from app.support.secret_text import HIDDEN, PROSE, hide, passwords

OWN = ("SECRET_KEY", "SECRET_KEY_FALLBACKS", "OPENAI_API_KEY", "ADMIN_PASSWORD", "METRICS_TOKEN", "SENTRY_DSN", "HEARTBEAT_URL")
LEAST = 6  # characters of a value that is hidden wherever it stands
MOST_NODES, MOST_DEPTH = 200_000, 64
# C0/C1 controls but tab and newline, escape, and the bidi overrides that can reorder a line.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_PATH = re.compile(r"[/~.][A-Za-z0-9_./~+-]*")
_values: list[str] = []
_added: list[str] = []
_seen: dict[Any, Any] | None = None  # the environment when `_values` was made: a job may change it


def secrets_of(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Values of this process that must never be written anywhere, longest first."""
    found: set[str] = set()
    for name, value in environ.items():
        if name in OWN:
            found |= {value, *(value.split() if name == "SECRET_KEY_FALLBACKS" else ())}
        elif name not in ("PWD", "OLDPWD", "ALERT_URLS") and rank(name) in (SURE, WEAK) and not _trivial(value):
            found.add(value)
        if "://" in value and name != "ALERT_URLS":
            found |= {form for url in value.split() for _start, _end, word in passwords(url) for form in (word, unquote(word))}
    for part in environ.get("ALERT_URLS", "").split():  # each address; its password; and its parts, as many services have their keys in the path
        address = part.partition("=")[2].partition("://")[2]
        user = address.rpartition("@")[0]
        found |= {part.partition("=")[2], user.partition(":")[2], *(p for p in re.split(r"[/:@?&=]+", address) if len(p) >= 8 and "." not in p)}
    return sorted((s for s in found if len(s) >= LEAST), key=len, reverse=True)


def _trivial(value: str) -> bool:
    """A word, a small number or a path: to hide it everywhere would make pages unreadable and protect nobody."""
    if len(value) < LEAST or (len(value) < 8 and (value.isalpha() or value.isdigit())) or value.lower() in PROSE:
        return True
    return bool(_PATH.fullmatch(value)) and (any(c in value for c in "-_.~") or os.path.exists(value))


def _forms(secret: str) -> set[str]:
    """What a secret looks like raw, in an address, in JSON, in `repr`, in HTML, and within anything that was put into base64."""
    raw = secret.encode("utf-8", "surrogatepass")
    quoted = {quote(raw, safe=""), quote(raw), quote_plus(raw)}
    forms = {secret, *quoted, *(re.sub("%[0-9A-F]{2}", lambda m: m[0].lower(), q) for q in quoted), repr(secret)[1:-1], repr(secret + "'")[1:-2],
             json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], html.escape(secret), ascii(secret)[1:-1]}
    forms |= {json.dumps(form)[1:-1] for form in forms}  # JSON within JSON
    for before in range(3):  # base64 of a text with the secret in it: it may begin at any of three places within a group
        text = base64.b64encode(b"\0" * before + raw).decode().rstrip("=")
        for end in (len(text), len(text) - bool((len(raw) + before) % 3)):  # and end within one
            piece = text[(0, 2, 3)[before]:end]
            forms |= {piece, piece.replace("+", "-").replace("/", "_")}
    if "\n" in secret:  # text that holds it may be indented
        forms |= {line.strip() for line in secret.splitlines() if len(line) >= 20 and not line.startswith("-----")}
    return {form for form in forms if len(form) >= LEAST}


def _secret_values() -> list[str]:
    global _values, _seen
    environ = getattr(os.environ, "_data", os.environ)  # bytes as they are: comparing them takes a microsecond
    if _seen != environ:
        _seen = dict(environ)
        forms: set[str] = set()
        for secret in (*secrets_of(), *_added):
            forms |= _forms(secret)
        _values = sorted(forms, key=len, reverse=True)
    return _values


def add_secrets(secrets: list[str]) -> None:
    """Hide further values (a generated SECRET_KEY) from now on."""
    global _seen
    _added.extend(s for s in secrets if len(s) >= LEAST and s not in _added)
    _seen = None


def redact(text: str) -> str:
    """The text without secrets."""
    if len(text) < 4:
        return text
    for value in _secret_values():
        if value in text:
            text = text.replace(value, HIDDEN)
    return hide(text)


def redact_json(value: Any) -> Any:
    """A JSON value without secrets: by key name, whatever the value is, and in every string.

    The value given is not changed. At most 200,000 nodes and 64 levels are taken over; what lies beyond is "…". Values that
    JSON does not know stay as they are.
    """
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return redact(encodable(value))
    box: list[Any] = [None]
    stack: list[tuple[Any, Any, Any, int]] = [(box, 0, value, 0)]
    texts: list[tuple[Any, Any, str]] = []
    left = MOST_NODES
    while stack:
        into, place, node, depth = stack.pop()
        if isinstance(node, str):
            texts.append((into, place, node))
        elif not isinstance(node, dict | list | tuple):
            into[place] = node
        elif depth >= MOST_DEPTH or left <= 0:
            into[place] = "…"
        elif isinstance(node, dict):
            new = into[place] = {}
            label = next((node[k] for k in ("name", "key", "header", "field") if isinstance(node.get(k), str)), None)
            for key, inner in islice(node.items(), left):
                name = label if label and key in ("value", "content", "default") else str(key)
                shown = redact(encodable(key)) if isinstance(key, str) and (len(key) >= LEAST or not key.isascii()) else key
                new[shown if shown not in new else f"{shown} {len(new)}"] = HIDDEN if (hidden := hides(name, inner)) else None
                if not hidden:
                    stack.append((new, next(reversed(new)), inner, depth + 1))
            left -= len(node)
        else:
            new = into[place] = [None] * min(len(node), left)
            before: Any = None  # ["--password", "x"], ["X-Api-Key", "x"]: a name and its value
            for n, inner in enumerate(islice(node, left)):
                named = isinstance(before, str) and isinstance(inner, str) and (len(node) == 2 or before.startswith("--"))
                if named and hides(before.lstrip("-"), inner):
                    new[n] = HIDDEN
                else:
                    stack.append((new, n, inner, depth + 1))
                before = inner
            left -= len(node)
    for start in range(0, len(texts), 200):  # most texts hold none: they are looked at together
        some = texts[start:start + 200]
        joined = "\x00".join(text for _into, _place, text in some)
        clean = encodable(joined) == joined == redact(joined)
        for into, place, text in some:
            into[place] = text if clean else redact(encodable(text))
    return box[0]


def encodable(text: str) -> str:
    """The text with each half of a surrogate pair as `\\ud800`: no page, file or database could take it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def one_line(text: str, limit: int = 8192) -> str:
    """Control, escape and bidi characters escaped, at most `limit` bytes; fit for one log field."""
    text = _CONTROL.sub(lambda m: f"\\u{ord(m[0]):04x}", text.replace("\r", "\\r").replace("\n", "\\n"))
    raw = text.encode("utf-8", "backslashreplace")
    return text if len(raw) <= limit else raw[: limit - 4].decode("utf-8", "ignore") + " …"


def printable(text: str) -> str:
    """Like `one_line` but keeps line breaks and is not cut: for tracebacks and messages of several lines."""
    return _CONTROL.sub(lambda m: f"\\u{ord(m[0]):04x}", text.encode("utf-8", "backslashreplace").decode())


def cut(text: str, limit: int) -> tuple[str, bool]:
    """At most `limit` bytes of UTF-8, and whether something was cut."""
    raw = text.encode("utf-8", "backslashreplace")
    return (text, False) if len(raw) <= limit else (raw[:limit].decode("utf-8", "ignore"), True)
