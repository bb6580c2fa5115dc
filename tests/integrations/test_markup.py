"""The body of a content as HTML."""

from __future__ import annotations

import pytest

from app.integrations.markup import to_html

TABLE = "| a | b |\n|---|---|\n| 1 | 2 |"


@pytest.mark.parametrize(("text", "given", "html"), [
    ("# One\r\n\r\ntwo", None, "<h1>One</h1>\n<p>two</p>"),
    ("a *b*", "", "<p>a <em>b</em></p>"),
    ("a <b>c</b>", None, "<p>a <b>c</b></p>"),
    ("<p>a *b*</p>", None, "<p>a *b*</p>"),
    ("<P\nclass='x'>a *b*</P>", "?", "<P\nclass='x'>a *b*</P>"),
    ("a *b*", "HTML ", "a *b*"),
    ("<p>x</p>\n\n*b*", "markdown", "<p>x</p>\n\n<p><em>b</em></p>"),
    ("3 < 4 & 5\r6", None, "<p>3 &lt; 4 &amp; 5\n6</p>"),
    ("", None, ""),
])
def test_markdown_becomes_html_and_html_stays(text, given, html):
    assert to_html(text, given) == html


def test_tables_lists_and_code_are_known():
    assert "<td>1</td>" in to_html(TABLE, None)
    assert "<li>b</li>" in to_html("- a\n- b", None)
    assert "<code>x = 1\n</code>" in to_html("```\nx = 1\n```", None)


def test_many_beginnings_of_tags_cost_no_time():
    assert to_html("<p" * 200_000, "html").startswith("<p<p")
    assert to_html("x <pre" * 3_000, None)
