"""Secrets and control characters out of everything that is written: ledger, logs, alerts, exports.

By value of every secret this process holds (raw, URL-encoded, base64), by the usual
patterns (`sk-...`, Bearer, Basic, `user:secret@`) and, in JSON, by key name.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote, urlsplit

HIDDEN = "[hidden]"
_KEY = re.compile(r"(?i)^(.*[_-])?(password|passwd|secret|token|api[_-]?key|authorization|credential|private[_-]?key)s?([_-].*)?$")
_PATTERNS = (
    (re.compile(r"\bsk-[A-Za-z0-9_-]{8,}"), HIDDEN),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}"), rf"\1 {HIDDEN}"),
    (re.compile(r"(?<=://)([^\s/:@]+):([^\s/@]+)@"), rf"\1:{HIDDEN}@"),
    (re.compile(r"(?i)\b(password|passwd|secret|token|api[_-]?key)(\s*[=:]\s*)[^\s,;&'\"]{3,}"), rf"\1\2{HIDDEN}"),
)
# C0/C1 controls but tab and newline, escape, and the bidi overrides that can reorder a line.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_values: list[str] | None = None


def secrets_of(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Values of this process that must never be written anywhere, longest first."""
    names = ("SECRET_KEY", "OPENAI_API_KEY", "ADMIN_PASSWORD", "METRICS_TOKEN", "SENTRY_DSN", "HEARTBEAT_URL")
    found = {environ.get(n, "") for n in names}
    found.update(environ.get("SECRET_KEY_FALLBACKS", "").split())
    for part in environ.get("ALERT_URLS", "").split():  # each address; its password; and its parts, as many services have their keys in the path
        address = part.partition("=")[2].partition("://")[2]
        user, at, _host = address.rpartition("@")
        found |= {part.partition("=")[2], user.partition(":")[2], *(p for p in re.split(r"[/:@?&=]+", address) if len(p) >= 8 and "." not in p)}
    for url in (environ.get("DATABASE_URL", ""), environ.get("QUEUE_URL", "")):
        try:
            found.add(unquote(urlsplit(url).password or ""))
        except ValueError:
            continue
    return sorted((s for s in found if len(s) >= 6), key=len, reverse=True)


def _secret_values() -> list[str]:
    global _values
    if _values is None:
        forms: set[str] = set()
        for secret in secrets_of():
            forms |= {secret, quote(secret, safe=""), base64.b64encode(secret.encode()).decode().rstrip("=")}
        _values = sorted(forms, key=len, reverse=True)
    return _values


def add_secrets(secrets: list[str]) -> None:
    """Hide further values (a generated SECRET_KEY) from now on."""
    global _values
    _values = sorted({*_secret_values(), *(s for s in secrets if len(s) >= 6)}, key=len, reverse=True)


def redact(text: str) -> str:
    """The text without secrets."""
    for value in _secret_values():
        if value in text:
            text = text.replace(value, HIDDEN)
    for pattern, by in _PATTERNS:
        text = pattern.sub(by, text)
    return text


def redact_json(value: Any) -> Any:
    """A JSON value without secrets: by key name and in every string."""
    if isinstance(value, dict):
        return {k: HIDDEN if _KEY.match(str(k)) and isinstance(v, str) and v else redact_json(v) for k, v in value.items()}
    if isinstance(value, list):
        return [redact_json(v) for v in value]
    return redact(value) if isinstance(value, str) else value


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
