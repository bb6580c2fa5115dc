"""Removes secrets and control characters from everything that is written: ledger, logs, alerts, exports.

Secrets are found by value, by form and by name. By value: those of this process (its settings, and environment
variables with the name of a secret) in each form in which text can carry them. By form: `sk-...`, JWT, PEM, Bearer,
`user:secret@` (secret_text.py). By name: in JSON and in text (secret_names.py). All of it is linear in its input.
"""

from __future__ import annotations

import base64
import html
import json
import os
import re
from collections.abc import Mapping
from itertools import islice, pairwise
from typing import Any
from urllib.parse import quote, quote_plus, unquote

from app.support.secret_names import SURE, WEAK, hides, secret_kind
from app.support.secret_text import HIDDEN, PROSE, hide, url_passwords

OWN = ("SECRET_KEY", "SECRET_KEY_FALLBACKS", "OPENAI_API_KEY", "ADMIN_PASSWORD", "METRICS_TOKEN", "SENTRY_DSN",
       "HEARTBEAT_URL")
MIN_CHARS = 6  # shortest value that is hidden wherever it occurs
MAX_NODES, MAX_DEPTH, BATCH = 200_000, 64, 200
MOST_LENT = 100  # connections: a worker has one at a time, and the check of a text gets slower with each
# C0 and C1 controls without tab and newline, and the line separators and bidi controls that can reorder a line.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_PATH = re.compile(r"[/~.][A-Za-z0-9_./~+-]*")
_values: list[str] = []
_added: list[str] = []
_lent: dict[str, None] = {}  # secrets of connections, the latest last
_seen: dict[Any, Any] | None = None  # the environment from which `_values` was made: a job may change it


def secrets_of(environ: Mapping[str, str] = os.environ) -> list[str]:
    """The secret values of an environment, longest first."""
    found: set[str] = set()
    for name, value in environ.items():
        if name == "ALERT_URLS":
            continue
        if name in OWN:
            found |= {value, *(value.split() if name == "SECRET_KEY_FALLBACKS" else ())}
        elif name not in ("PWD", "OLDPWD") and secret_kind(name) in (SURE, WEAK) and not _trivial(value):
            found.add(value)
        if "://" in value:
            words = [word for url in value.split() for _start, _end, word in url_passwords(url)]
            found |= {*words, *map(unquote, words)}
    for part in environ.get("ALERT_URLS", "").split():
        address = part.partition("=")[2].partition("://")[2]
        user = address.rpartition("@")[0]
        keys = (key for key in re.split(r"[/:@?&=]+", address) if len(key) >= 8 and "." not in key)  # often in the path
        found |= {part.partition("=")[2], user.partition(":")[2], *keys}
    return sorted((secret for secret in found if len(secret) >= MIN_CHARS), key=len, reverse=True)


def _trivial(value: str) -> bool:
    """Whether a value is a word, a small number or a path: hiding it everywhere would make pages unreadable."""
    if len(value) < MIN_CHARS or (len(value) < 8 and (value.isalpha() or value.isdigit())) or value.lower() in PROSE:
        return True
    return bool(_PATH.fullmatch(value)) and (any(c in value for c in "-_.~") or os.path.exists(value))


def _forms(secret: str) -> set[str]:
    """A secret as it looks raw, in a URL, in JSON, in `repr`, in HTML and inside base64."""
    raw = secret.encode("utf-8", "surrogatepass")
    quoted = {quote(raw, safe=""), quote(raw), quote_plus(raw)}
    forms = {secret, *quoted, *(re.sub("%[0-9A-F]{2}", lambda m: m[0].lower(), q) for q in quoted),
             repr(secret)[1:-1], repr(secret + "'")[1:-2], ascii(secret)[1:-1], html.escape(secret),
             json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    forms |= {json.dumps(form)[1:-1] for form in forms}  # JSON within JSON
    for before in range(3):  # base64 of a text that contains the secret: it starts at one of three offsets of a group
        text = base64.b64encode(b"\0" * before + raw).decode().rstrip("=")
        for end in (len(text), len(text) - bool((len(raw) + before) % 3)):  # and can end inside a group
            piece = text[(0, 2, 3)[before]:end]
            forms |= {piece, piece.replace("+", "-").replace("/", "_")}
    if "\n" in secret:  # a text that contains it may be indented
        forms |= {line.strip() for line in secret.splitlines() if len(line) >= 20 and not line.startswith("-----")}
    return {form for form in forms if len(form) >= MIN_CHARS}


def _secret_values() -> list[str]:
    global _values, _seen
    environ = getattr(os.environ, "_data", os.environ)  # the raw bytes: comparing them takes a microsecond
    if _seen != environ:
        _seen = dict(environ)
        lent = {form for secret in _lent for form in (secret, re.sub("[^A-Za-z0-9]", "", secret))}
        _values = sorted(set().union(*map(_forms, (*secrets_of(), *_added, *lent))), key=len, reverse=True)
    return _values


def add_secrets(secrets: list[str]) -> None:
    """From now on hide these values too (a generated SECRET_KEY), if they have at least 6 characters."""
    global _seen
    _added.extend(s for s in secrets if len(s) >= MIN_CHARS and s not in _added)
    _seen = None


def hide_lent(secret: str) -> None:
    """From now on hide this value too, until 100 others were given: a decrypted secret of a connection. Also without
    its blanks and signs, as WordPress reads an application password."""
    global _seen
    if secret not in _lent:
        _lent[secret] = None
        for old in list(_lent)[:-MOST_LENT]:
            _lent.pop(old, None)
        _seen = None


def redact(text: str) -> str:
    """The text with `[hidden]` in place of its secrets."""
    if len(text) < 4:
        return text
    for value in _secret_values():
        if value in text:
            text = text.replace(value, HIDDEN)
    return hide(text)


def redact_json(value: Any) -> Any:
    """A copy of a JSON value without secrets: by the names of its keys, and in every string.

    At most 200,000 nodes and 64 levels are copied; "…" stands for the rest. Values that JSON does not know stay as they
    are.
    """
    box: list[Any] = [value]
    texts: list[tuple[Any, Any]] = []
    stack: list[tuple[Any, Any, int]] = [(box, 0, 0)]  # container, key of its next node, depth
    left = MAX_NODES
    while stack:
        into, place, depth = stack.pop()
        node = into[place]
        if isinstance(node, str):
            texts.append((into, place))
        if not isinstance(node, dict | list | tuple):
            continue
        if depth >= MAX_DEPTH or left <= 0:
            into[place] = "…"
            continue
        into[place] = new = _copy_of_object(node, left) if isinstance(node, dict) else _copy_of_list(node, left)
        stack += [(new, key, depth + 1) for key in (new if isinstance(new, dict) else range(len(new)))]
        left -= len(node)
    for start in range(0, len(texts), BATCH):  # most texts contain no secret, so they are checked together
        batch = texts[start:start + BATCH]
        joined = "\x00".join(into[place] for into, place in batch)
        if not encodable(joined) == joined == redact(joined):
            for into, place in batch:
                into[place] = redact(encodable(into[place]))
    return box[0]


def _copy_of_object(node: dict[Any, Any], most: int) -> dict[Any, Any]:
    """A shallow copy with redacted keys, where the values under names of secrets are hidden."""
    new: dict[Any, Any] = {}
    label = next((node[k] for k in ("name", "key", "header", "field") if isinstance(node.get(k), str)), None)
    for key, inner in islice(node.items(), most):
        name = label if label and key in ("value", "content", "default") else str(key)
        long = isinstance(key, str) and (len(key) >= MIN_CHARS or not key.isascii())
        shown = redact(encodable(key)) if long else key
        new[shown if shown not in new else f"{shown} {len(new)}"] = HIDDEN if hides(name, inner) else inner
    return new


def _copy_of_list(node: list[Any] | tuple[Any, ...], most: int) -> list[Any]:
    """A shallow copy. A name and its value beside it (["--password", "x"], ["X-Api-Key", "x"]) count as such."""
    new = list(islice(node, most))
    for n, (name, inner) in enumerate(pairwise(node[:most]), start=1):
        if isinstance(name, str) and isinstance(inner, str) and (len(node) == 2 or name.startswith("--")):
            new[n] = HIDDEN if hides(name.lstrip("-"), inner) else inner
    return new


def encodable(text: str) -> str:
    """The text with each lone surrogate as `\\ud800`, which no page, file or database could store."""
    return text.encode("utf-8", "backslashreplace").decode()


def one_line(text: str, limit: int = 8192) -> str:
    """The text as one log field: control, escape and bidi characters escaped, at most `limit` bytes."""
    text = _escaped(text.replace("\r", "\\r").replace("\n", "\\n"))
    raw = text.encode("utf-8", "backslashreplace")
    return text if len(raw) <= limit else raw[: limit - 4].decode("utf-8", "ignore") + " …"


def printable(text: str) -> str:
    """The text with control, escape and bidi characters escaped; line breaks stay, and the length is not limited."""
    return _escaped(encodable(text))


def _escaped(text: str) -> str:
    return _CONTROL.sub(lambda m: f"\\u{ord(m[0]):04x}", text)


def cut(text: str, limit: int) -> tuple[str, bool]:
    """(the text in at most `limit` bytes of UTF-8, whether something was cut off)."""
    raw = text.encode("utf-8", "backslashreplace")
    return (text, False) if len(raw) <= limit else (raw[:limit].decode("utf-8", "ignore"), True)
