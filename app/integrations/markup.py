"""The body of a content as HTML: Markdown is converted, HTML stays as it is.

Markdown is CommonMark with tables and ~~strikethrough~~. It takes time in proportion to its length, whatever it holds.
"""

from __future__ import annotations

import html
import re
from functools import cache
from typing import Any

from app.integrations.service_errors import ItemRefused
from app.support.messages import Message

FORMATS, MOST_NESTED = ("markdown", "html"), 20  # a list is two levels
_BLOCK = re.compile(r"<(?:p|div|h[1-6]|ul|ol|table|blockquote|section|article|figure|pre|dl|hr)(?=[\s/>])", re.I)


def to_html(text: str, given: str | None) -> str:
    """`text` as HTML. `given` is the column `format` (markdown or html); without it (None, "" or another word) a text
    with a block tag is HTML, any other Markdown. HTML inside Markdown stays as it is. Line ends become \\n. Raises
    ItemRefused for lists and quotes deeper than MOST_NESTED, which the parser would leave out."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    kind = (given or "").strip().lower()
    if kind == "html" or kind != "markdown" and _BLOCK.search(text):
        return text
    parser, references = _parser(), {}
    tokens = parser.parse(text, references)
    if any(token.nesting == 1 and token.level >= MOST_NESTED - 1 for token in tokens):
        raise ItemRefused(Message("Column body is nested too deeply for Markdown."))
    return parser.renderer.render(tokens, parser.options, references).strip()


@cache
def _parser() -> Any:
    from markdown_it import MarkdownIt  # imported here: only where a text is sent

    parser = MarkdownIt("commonmark", {"xhtmlOut": False, "maxNesting": MOST_NESTED}).enable(["table", "strikethrough"])
    parser.add_render_rule("text", _text)
    return parser


def _text(_renderer: Any, tokens: Any, place: int, *_: Any) -> str:
    """A text with its quotation marks as they are, which WordPress makes curly."""
    return html.escape(tokens[place].content, quote=False)
