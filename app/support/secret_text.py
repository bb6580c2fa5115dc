"""Finds secrets in text by their own form (`sk-...`, JWT, PEM, Bearer, `user:secret@`) or by the name beside them.

The steps, in this order: PEM private keys; tokens with a known prefix; passwords in URLs; webhook URLs; values beside
the name of a secret (`name: value`, `name=value`, `--name value`, `<name>value</name>`); Bearer and Basic credentials.
Each step is linear in the text: patterns are possessive or start only at the start of a run, and what a value has taken
is not read again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from app.support.secret_names import MAYBE, NONE, SURE, WEAK, hides, is_plural, looks_random, secret_kind

HIDDEN = "[hidden]"
_START = r"(?:(?<![A-Za-z0-9_-])|(?<=\\[nrt]))"
_TOKENS = re.compile(_START + r"""(?:sk-[A-Za-z0-9_-]{8,}|(?:sk|rk|whsec)_(?:live_|test_)?[A-Za-z0-9]{10,}
 |gh[opsur]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{16,}
 |gl(?:pat|dt|rt|cbt|ptt|ft|imt|agent|oas|soat)-[A-Za-z0-9_-]{16,}|xox[a-z]-[A-Za-z0-9-]{8,}|xapp-[A-Za-z0-9-]{8,}
 |A[A-Z]{2}A[0-9A-Z]{16}(?![0-9A-Za-z])|AIza[A-Za-z0-9_-]{30,}|ya29\.[A-Za-z0-9_-]{16,}|GOCSPX-[A-Za-z0-9_-]{16,}
 |npm_[A-Za-z0-9]{30,}|pypi-[A-Za-z0-9_-]{30,}|SG\.[A-Za-z0-9_.-]{30,}|key-[0-9a-f]{32}|SK[0-9a-f]{32}
 |[0-9]{8,10}:[A-Za-z0-9_-]{33,}|d[a-z]{2}_v1_[A-Za-z0-9]{30,}|shp[a-z]{2}_[A-Za-z0-9]{16,}|hf_[A-Za-z0-9]{16,}
 |dapi[0-9a-f]{32}|sq0[a-z]{3}-[A-Za-z0-9_-]{16,}|lin_api_[A-Za-z0-9]{16,}|gsk_[A-Za-z0-9]{16,}|xai-[A-Za-z0-9]{16,}
 |r8_[A-Za-z0-9]{16,}|hv[sbr]\.[A-Za-z0-9_-]{16,}|ATATT[A-Za-z0-9_=-]{16,}|pscale_[a-z]+_[A-Za-z0-9_.-]{16,}
 |sbp_[0-9a-f]{32,}|sb_secret_[A-Za-z0-9_-]{16,}|ntn_[A-Za-z0-9]{16,}|AGE-SECRET-KEY-[A-Z0-9]{16,}
 |PMAK-[A-Za-z0-9-]{16,}|ainj_[A-Za-z0-9_-]{16,}|dp\.[a-z]{2}\.[A-Za-z0-9]{16,}
 |eyJ[A-Za-z0-9_-]{6,}+\.[A-Za-z0-9_-]{4,}+(?:\.[A-Za-z0-9_-]*+){0,3})""".replace("\n ", ""))
_HOOKS = re.compile(
    r"(hooks\.slack\.com/[a-z]{1,20}/|discord(?:app)?\.com/api/webhooks/"
    r"|api\.telegram\.org/(?:file/)?bot)[^\s\"'<>\\]++")
_SCHEME = re.compile(r"(?i)\b(bearer|basic)([ \t]{1,8}+)([A-Za-z0-9._~+/=-]{6,}+)")
_SCHEMES = frozenset("token tokens authentication authorization scheme header auth credentials".split())
_PEM = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_PEM_BODY = re.compile(r"[A-Za-z0-9+/=\s\\,:-]*+")
_URL = re.compile(r"://[^\s\"'<>`\x00]++")
_PORT, _NO_HOST = re.compile(r":[0-9]{0,5}"), re.compile(r"(?!localhost$)[^.:\[]*")
_TAG = re.compile(r"<([A-Za-z][A-Za-z0-9_:.-]*+)(?:\s[^<>]{0,200}+)?>([^<>]{1,8192}+)</")
# A name before its value: an option of a command (`--password x`, `'--password', 'x'`); a name, its closing quote and a
# separator; or a name and a value in quotes.
_HEAD = re.compile(
    r"(?<![A-Za-z0-9_.$-])(?:(--[A-Za-z][A-Za-z0-9_-]*+)[\"']?,?[ \t]{1,4}+(?=\S)"
    r"|([A-Za-z0-9_.$-]++)(?:(\\{0,16}+[\"']?)\]?[ \t]{0,4}+(=>|:=|==?|:)[ \t]{0,4}+"
    r"|[ \t]{1,4}+(?:(?:is|was)[ \t]{1,4}+)?(?=\\{0,16}+[\"'])))")
_OPEN = re.compile(r"[bruf]{0,2}(\\{0,16}+)([\"'`])")
MAX_RANDOM = 520  # characters of the longest key that is recognised by its form
_DENSE = re.compile(r"[A-Za-z0-9+/_.~-]++={0,2}")
_TEXTS = re.compile(r"[\[({\s]{1,64}[\"']")
_PLAIN = re.compile(r"[^\s,;&\"'<>|\x00]++")
_LINE = re.compile(r"[^\r\n\"'<>\x00]++")
_PIECE = re.compile(r"\\.|\"(?:[^\"\\]|\\.)*+\"|'(?:[^'\\]|\\.)*+'|[\[\](){}]", re.DOTALL)
_HEADERS = re.compile(r"(?i)(?:authorization|cookie)$")
_LITERALS = frozenset("true false null none nil undefined yes no".split())
PROSE = _LITERALS | frozenset(  # words that are no secret wherever they stand
    "required missing expired invalid incorrect wrong empty unknown not must is are was has the for and with ok str "
    "int bytes bool dict list any string text optional secretstr varchar denied failed failure unset error".split())
_CODE = ("self.", "os.environ", "os.getenv(", "settings.", "config[", "config.", "args.", "kwargs", "request.",
         "getpass")


def hide(text: str) -> str:
    """The text with `[hidden]` in place of what looks like a secret or stands beside the name of one."""
    if "-----BEGIN" in text:
        text = _replaced(text, _private_keys(text))
    text = _TOKENS.sub(HIDDEN, text)
    if "://" in text:
        text = _URL.sub(lambda url: _replaced(url[0], ((a, b, HIDDEN) for a, b, _ in url_passwords(url[0]))), text)
    text = _HOOKS.sub(rf"\1{HIDDEN}", text) if "/" in text else text
    if "</" in text:
        text = _TAG.sub(_tag, text)
    return _SCHEME.sub(_scheme, _replaced(text, _named_values(text)))


def _replaced(text: str, spans: Iterable[tuple[int, int, str]]) -> str:
    """The text with each (start, end, replacement) put in; the spans come in order."""
    parts, done = [], 0
    for start, end, shown in spans:
        parts += [text[done:start], shown]
        done = end
    return "".join((*parts, text[done:])) if parts else text


def _tag(found: re.Match[str]) -> str:
    secret = hides(found[1].rpartition(":")[2], found[2].strip())
    return found[0][: found.start(2) - found.start()] + HIDDEN + "</" if secret else found[0]


def _scheme(found: re.Match[str]) -> str:
    word = found[3]
    prose = word.lower() in _SCHEMES or (found[1].lower() == "basic" and word[1:].islower() and word.isalpha())
    return found[0] if prose else f"{found[1]}{found[2]}{HIDDEN}"


def _private_keys(text: str) -> Iterator[tuple[int, int, str]]:
    """Spans of PEM private keys: to their end, or as far as a truncated one looks like a key."""
    at = 0
    while found := _PEM.search(text, at):
        end = text.find("-----END ", found.end())
        close = text.find("-----", end + 9) if end >= 0 else -1
        at = close + 5 if close >= 0 else _PEM_BODY.match(text, found.end()).end()  # type: ignore[union-attr]
        yield found.start(), at, HIDDEN
        if close < 0:
            return


def url_passwords(url: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, password) of each `://user:password@` in a text without blanks; the password may contain `@`, `:`,
    `/`. A user name without a password counts when it looks random, as in a Sentry DSN."""
    at = url.find("://")
    while at >= 0:
        start, following = at + 3, url.find("://", at + 3)
        part = url[start:following if following >= 0 else len(url)]
        reach = next((n for n, c in enumerate(part) if c in "/?#"), len(part))
        sign = part.rfind("@", 0, reach)
        colon = part.find(":", 0, reach)
        no_port = sign < 0 <= colon and not _PORT.fullmatch(part, colon, reach)
        if no_port or (0 <= colon < sign and _NO_HOST.fullmatch(part, sign + 1, reach)):
            sign = part.rfind("@")  # no port or no host here: the password contains a slash
        if 0 <= colon < sign:
            if sign > colon + 1:
                yield start + colon + 1, start + sign, part[colon + 1:sign]
        elif sign > 0 and looks_random(part[:sign]):
            yield start, start + sign, part[:sign]
        at = following


def _named_values(text: str) -> Iterator[tuple[int, int, str]]:
    """Spans of values beside the name of a secret, each with its replacement."""
    at, line_end = 0, -1
    while found := _HEAD.search(text, at):
        at = found.end()
        name, separator = found[1] or found[2], found[4] or ""
        if name[0] in "nrt" and found.start() and text[found.start() - 1] == "\\":
            name = name[1:]  # the first letter belongs to an escaped line break or tab
        kind = secret_kind(name)
        if kind == NONE or (kind != SURE and not separator and not found[1]):
            continue
        if line_end < at:  # searched once a line
            line_end = text.find("\n", at)
            line_end = len(text) if line_end < 0 else line_end
        span = _value(text, at, name, kind, separator, found[3] or "", line_end)
        if span is not None:
            at = span[1]
            yield span


def _value(text: str, at: int, name: str, kind: str, sep: str, quote: str,
           line_end: int) -> tuple[int, int, str] | None:
    """(start, end, replacement) of the secret that begins at `at`; None when there is none.

    A None costs bounded work, because the search goes on behind the name, where the next name may begin.
    """
    if text.startswith(HIDDEN, at):
        return None
    if opened := _OPEN.match(text, at):
        start = opened.end()
        if text.startswith(HIDDEN, start):
            return None
        limit = start + MAX_RANDOM if kind == MAYBE else max(line_end, start + 4096)
        end = _closing(text, start, len(opened[1]), opened[2], limit)
        if kind == MAYBE:
            return (start, end, HIDDEN) if end >= 0 and looks_random(text[start:end]) else None
        end = end if end >= 0 else max(line_end, start)
        inner = text[start:end]
        return start, end, HIDDEN if hides(name, inner) else inner
    if text[at:at + 1] in ("[", "(", "{") and kind != MAYBE:
        if kind == WEAK and is_plural(name) and not _TEXTS.match(text, at):
            return None
        end = _balanced(text, at, line_end)
        return (at, end, f"{quote}{HIDDEN}{quote}") if end > at + 2 else None
    if kind == SURE and _HEADERS.search(name) and (found := _LINE.match(text, at)):
        return at, found.end(), HIDDEN
    found = (_DENSE if kind == MAYBE else _PLAIN).match(text, at, at + MAX_RANDOM)
    word = found[0].rstrip(")]}\\") or found[0] if found else ""
    digits, low = word.replace(".", "", 1).isdigit(), word.lower().rstrip(".:!?")
    folder = name.lower().endswith("pwd") and word.startswith("/")
    if folder or low in (_LITERALS if "=" in sep else PROSE) or word.startswith(_CODE):
        return None
    if (digits and ((kind == WEAK and len(word) < 4) or is_plural(name))) or (kind == MAYBE and not looks_random(word)):
        return None
    if not word or (sep == ":" and not quote and len(word) < 3):
        return None
    if len(word) > 256:
        word = _PLAIN.match(text, at)[0]  # type: ignore[index]
    return at, at + len(word), f"{quote}{HIDDEN}{quote}" if digits else HIDDEN


def _closing(text: str, start: int, escapes: int, sign: str, limit: int) -> int:
    """Where the quote `sign`, opened after `escapes` backslashes, closes (its first backslash); -1 past `limit`."""
    at = text.find(sign, start, limit)
    while at >= 0:
        back = at
        while back > start and text[back - 1] == "\\":
            back -= 1
        if (at - back) % (2 * (escapes + 1)) == escapes:
            return at - escapes
        at = text.find(sign, at + 1, limit)
    return -1


def _balanced(text: str, at: int, line_end: int) -> int:
    """The end of the list or object that begins at `at`, if within 4,096 characters; else the end of its line."""
    depth = 0
    for found in _PIECE.finditer(text, at, at + 4096):
        depth += {"[": 1, "(": 1, "{": 1, "]": -1, ")": -1, "}": -1}.get(found[0], 0)
        if depth <= 0:
            return found.end()
    return line_end
