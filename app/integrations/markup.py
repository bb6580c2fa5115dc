"""The body of a content as HTML: Markdown is converted, HTML stays as it is."""

from __future__ import annotations

import re

FORMATS = ("markdown", "html")
_BLOCK = re.compile(r"<(?:p|div|h[1-6]|ul|ol|table|blockquote|section|article|figure|pre|dl|hr)(?=[\s/>])", re.I)


def to_html(text: str, given: str | None) -> str:
    """`text` as HTML. `given` is the column `format` (markdown or html); without it (None, "" or another word) a text
    with a block tag is HTML, any other Markdown. HTML inside Markdown stays as it is. Line ends become \\n."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    kind = (given or "").strip().lower()
    if kind == "html" or kind != "markdown" and _BLOCK.search(text):
        return text
    import markdown  # imported here: it costs 5 MB, only where a text is sent

    return markdown.markdown(text, extensions=["extra", "sane_lists", "tables"], output_format="html")
