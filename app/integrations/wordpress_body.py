"""The body of a post: our marker in it, and HTML without line breaks that WordPress would show.

The marker is an HTML comment in the last paragraph: after it, WordPress would show an empty one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from app.integrations.markup import FORMATS, to_html
from app.integrations.service_errors import ItemRefused
from app.integrations.wordpress_text import lines
from app.support.messages import Message

_MARKER = re.compile(r"<!--\s*ainstein-key:([0-9a-f]{1,64})\s*-->")
_LAST = re.compile(r"</(?:p|li|h[1-6]|td|dd)>", re.I)
_APART = re.compile(r"<!--|<(pre|script|style|textarea)(?=[\s>])", re.I)
_BREAK = re.compile(r"(</?[a-z][^<>]*>)?\n(?=(</?[a-z]\w*)?)", re.I)
_INLINE = re.compile(r"</?(?:a|abbr|b|cite|code|del|em|i|img|ins|kbd|mark|q|s|small|span|strong|sub|sup|u)\b", re.I)


def key_in(content: str) -> str:
    """The key in a marker of a body, or ""."""
    found = _MARKER.search(content)
    return found[1] if found else ""


def unmarked(content: str) -> str:
    """A body as a field: without our marker."""
    return lines(_MARKER.sub("", content))


def marked(body: str, key: str) -> str:
    """A body with the marker: at the end of its last paragraph, or (no paragraph; blocks of the editor) of the body."""
    body, marker = unmarked(body), f"<!-- ainstein-key:{key} -->"
    if "<!-- wp:" in body:
        return f"{body}\n\n{marker}"
    place, offset = len(body), 0
    for piece, apart in _pieces(body):
        if not apart:
            place = max((offset + m.start() for m in _LAST.finditer(piece)), default=place)
        offset += len(piece)
    return body[:place] + marker + body[place:]


def _pieces(made: str) -> Iterator[tuple[str, bool]]:
    """HTML in pieces: text (False); comments, scripts and texts with lines of their own (True). Linear in its length:
    what does not end goes to the end."""
    place = 0
    while opened := _APART.search(made, place):
        ends = re.compile(f"</{opened[1]}" if opened[1] else "-->", re.I).search(made, opened.end())
        yield made[place:opened.start()], False
        place = ends.end() if ends else len(made)
        yield made[opened.start():place], True
    yield made[place:], False


def body_of(text: str, format: str | None) -> str:
    """The body of a content as a field: HTML, without a marker. Raises ItemRefused as to_html."""
    if format and format.lower() not in FORMATS:
        raise ItemRefused(Message("Column format must be markdown or html, not %(value)s.", value=format[:80]))
    plain = _MARKER.sub("", text).replace("\r\n", "\n").replace("\r", "\n").strip()
    made = to_html(plain, format)
    return lines(made if made == plain else _one_line_paragraphs(made))


def _one_line_paragraphs(made: str) -> str:
    """HTML of Markdown whose text has no line breaks, which WordPress would show (wpautop)."""
    return "".join(piece if apart else _BREAK.sub(_joined, piece) for piece, apart in _pieces(made))


def _joined(match: re.Match) -> str:
    before, after = match[1] or "", match[2] or ""
    inline = (not before or _INLINE.match(before)) and (not after or _INLINE.match(after))
    at_edge = match.start() == 0 or match.end() == len(match.string)
    blank = match.string[match.end():match.end() + 1] == "\n" or match.string[match.start() - 1:match.start()] == "\n"
    return before + (" " if inline and not at_edge and not blank else "\n")
