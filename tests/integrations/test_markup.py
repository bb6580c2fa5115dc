"""The body of a content as HTML."""

from __future__ import annotations

import time

import pytest

from app.integrations.markup import MOST_NESTED, to_html
from app.integrations.service_errors import ItemRefused

TABLE = "| a | b |\n|---|---|\n| 1 | 2 |"


@pytest.mark.parametrize(("text", "given", "html"), [
    ("# One\r\n\r\ntwo", None, "<h1>One</h1>\n<p>two</p>"),
    ("a *b*", "", "<p>a <em>b</em></p>"),
    ("a <b>c</b>", None, "<p>a <b>c</b></p>"),
    ("<p>a *b*</p>", None, "<p>a *b*</p>"),
    ("<P\nclass='x'>a *b*</P>", "?", "<P\nclass='x'>a *b*</P>"),
    ("a *b*", "HTML ", "a *b*"),
    ("<p>x</p>\n\n*b*", "markdown", "<p>x</p>\n<p><em>b</em></p>"),
    ("a \"b\" ~~c~~ `\"`  \nd\n- e", None, '<p>a "b" <s>c</s> <code>&quot;</code><br>\nd</p>\n<ul>\n<li>e</li>\n</ul>'),
    ("[a](https://x/?b&c \"t\") [d][e]\n\n[e]: /f", None, '<p><a href="https://x/?b&amp;c" title="t">a</a> <a href="/f">d</a></p>'),
    ("[a](javascript:x)", None, "<p>[a](javascript:x)</p>"),
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


@pytest.mark.parametrize("text", [">" * 400 + " x", "- " * 400 + "x", "".join(" " * 2 * n + "- x\n" for n in range(50))])
def test_what_the_parser_would_leave_out_is_refused(text):
    with pytest.raises(ItemRefused, match="Column body is nested too deeply"):
        to_html(text, "markdown")


def test_what_is_nested_as_people_do_stays_whole():
    depth = MOST_NESTED // 2 - 1
    made = to_html("".join(" " * 2 * n + f"- item {n}\n" for n in range(depth)), None)
    assert all(f"item {n}" in made for n in range(depth))


@pytest.mark.parametrize("piece", [
    "[", "[a](", "![", "[a][", "[\n", "x[`", "[a]: <", "*a ", "**a*", "_a*b", "~~a ", "`a", "<", "<a ", "<!--", '<a href="', "a <![CDATA[ ", "&", "\\", "> a\nb\n",
    "- a\nb\n", "1. a\n", "|a|b|\n|-|-|\n", "a|b\n", "![a](b)", "[a]: /b\n", "[a](b \"", "<b>\n", "```\n", "a  \n"])
def test_markdown_of_any_form_takes_linear_time(piece):
    def seconds(count: int) -> float:
        began = time.process_time()
        to_html(piece * count, "markdown")
        return time.process_time() - began

    count = 4_000 // len(piece)
    seconds(10)
    assert min(seconds(4 * count) for _ in range(2)) < 10 * seconds(count) + 0.3  # quadratic: 16 times
