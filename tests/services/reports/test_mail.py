"""The HTML of the mail and the plain text: whole, escaped, small, in order, and readable in any program."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from app.services.reports import html_mail, html_parts, plain
from app.services.reports.document import Cell, Head, Table
from app.services.reports.model import Slot
from app.services.reports.plain import columns
from tests.services.reports.made_up import ALL, DAY, EMPTY, NASTY, RICH

SITE = "https://jobs.example.org/ops"
VOID = {"meta", "br", "wbr", "link", "img"}


class Page(HTMLParser):
    """The elements of a page, each closed in turn, and its texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.elements, self.headings, self.texts = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def having(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture(scope="module", params=[(name, language) for name in ALL for language in ("it", "en")], ids="-".join)
def mail(request, languages):
    name, language = request.param
    return ALL[name], language, html_mail.render(ALL[name], language, SITE, "/admin/jobs/reports?a=1&b=2")


def test_a_mail_is_whole_and_small(mail):
    _figures, language, text = mail
    page = Page(text)
    assert not page.open and page.having("html")[0]["lang"] == language
    assert len(text.encode()) < 100_000 and text.isprintable() is False and max(map(len, text.splitlines())) < 20_000
    assert page.headings[0] == 1 and page.headings.count(1) == 1
    assert all(later - before <= 1 for before, later in zip(page.headings, page.headings[1:], strict=False))


def test_a_mail_asks_for_nothing_from_outside_and_has_no_layout_that_outlook_lacks(mail):
    text = mail[2]
    page = Page(text)
    assert not {tag for tag, _attrs in page.elements} & {"img", "link", "script", "iframe", "form", "svg", "object", "video"}
    outside = [value for _tag, attrs in page.elements for name, value in attrs.items() if name in ("src", "background", "action") or "url(" in (value or "")]
    assert not outside and not re.search(r"display:\s*(flex|grid)|position:|float:|@import", text)
    assert any(attrs.get("name") == "color-scheme" and attrs["content"] == "light dark" for attrs in page.having("meta"))


def test_layout_tables_are_no_tables_to_screen_readers_and_data_has_heads(mail):
    page = Page(mail[2])
    for attrs in page.having("table"):
        assert attrs.get("role") == "presentation" or attrs.get("class") == "d"
    assert all(attrs.get("scope") == "col" for attrs in page.having("th")) and page.having("th")


def test_links_have_words_and_stay_on_the_site(mail):
    figures, language, text = mail
    links = re.findall(r'<a href="([^"]*)"[^>]*>(.*?)</a>', text, re.S)
    assert all(html.unescape(url).startswith(SITE + "/admin/jobs/") and re.sub("<[^>]+>", "", words).strip() for url, words in links)
    assert html.unescape(links[-1][0]) == SITE + "/admin/jobs/reports?a=1&b=2"
    assert ("Ricevi questo rapporto perché" if language == "it" else "You get this report because") in text


def test_text_has_its_colour_beside_its_ground(mail):
    """A program that inverts one inverts both; nothing is light grey on white."""
    for attrs in Page(mail[2]).having("td") + Page(mail[2]).having("p"):
        style = attrs.get("style") or ""
        assert "background:" not in style or "color:#1b2330" in style
        for colour in re.findall(r"(?<![-\w])color:(#\w{6})", style):
            red, green, blue = (int(colour[n:n + 2], 16) for n in (1, 3, 5))
            assert .2126 * red + .7152 * green + .0722 * blue < 120, colour


def test_names_are_text(languages):
    text = html_mail.render(RICH, "en", SITE)
    page = Page(text)
    assert "\u202e" not in text and "<b>=HYPERLINK" not in text
    assert '<b>=HYPERLINK("http://x")</b> & "quotes" \\u202e 日本語 🛒' in "".join(page.texts)
    evil = '"><script>alert(1)</script><a href="https://evil">'
    figures = replace(RICH, link='/x"><script>', new_errors=tuple(replace(row, title=evil, link="/" + evil) for row in RICH.new_errors))
    assert not Page(html_mail.render(figures, "it", SITE)).having("script")


def test_a_mail_that_would_be_cut_names_what_is_left_out(languages):
    days = tuple(Slot(EMPTY.since + n * DAY, EMPTY.since + (n + 1) * DAY, 100_000, 10_000, 1000, 1000, "/admin/jobs/list?" + "x=1&" * 60) for n in range(62))
    rows = tuple(replace(row, label="w w " * 25, link="/admin/jobs/usage/?" + "x=1&" * 90) for row in RICH.types)
    text = html_mail.render(replace(RICH, slots=days, slots_before=days, types=rows, slowest=rows, failing=rows), "en", SITE)
    assert len(text.encode()) < 102_400 and text.count("This part is in the PDF.") >= 1
    assert [title in text for title in ("Costs", "Capacity", "Alerts", "You get this report")] == [True] * 4 and not Page(text).open


@pytest.mark.parametrize("language", ["it", "en"])
@pytest.mark.parametrize("name", ALL)
def test_plain_text_keeps_to_its_width(languages, name, language):
    text = plain.render(ALL[name], language, SITE)
    for line in text.splitlines():
        assert columns(line) <= 78 or line.strip().startswith(SITE), line
        assert line == line.rstrip() or line == "-- "
    assert "\n\n\n" not in text and text.endswith("/admin/jobs/reports\n")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e]", text)


def test_plain_tables_have_columns_that_stand_under_each_other(languages):
    lines = plain.render(RICH, "en", SITE).splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("Figure "))
    ends = [[match.end() for match in re.finditer(r"\S+(?: \S+)*", line)] for line in lines[start:start + 7]]
    assert len({row[1] for row in ends}) == 1 and len({row[2] for row in ends}) == 1 and len({row[3] for row in ends}) == 1
    assert any(line.startswith("Mon 19 Oct (Mon 12 Oct)  100,000 (150,000)") for line in lines)


def test_a_table_that_is_too_wide_is_a_list(languages):
    text = plain.render(RICH, "en", SITE)
    assert "* ContentGeneration (label) (ContentGeneration)\n    Completed: 45,000; Failed: 7 (before: 3); Ended: 45,007 (before: 44,950);" in text
    assert NASTY not in text


def test_wide_letters_take_two_columns():
    assert [columns(text) for text in ("abc", "日本", "é", "e\u0301", "🛒", "")] == [3, 4, 1, 1, 2, 0]


def test_a_long_name_is_broken_at_its_seams_and_a_short_number_not_from_its_unit():
    assert html_parts.broken("ProcessBulkContentGeneration run") == "Process<wbr>Bulk<wbr>Content<wbr>Generation run"
    assert html_parts.broken("jobs.example.org/a_b") == "jobs.<wbr>example.<wbr>org/<wbr>a_<wbr>b" and html_parts.broken("short.name") == "short.name"
    assert html_parts.broken("x" * 25) == f"{'x' * 12}<wbr>{'x' * 12}<wbr>x" and html_parts.broken("<b>") == "&lt;b&gt;"
    numbers = Table("", (Head("p95"),), ((Cell("12,8 s"),), (Cell("1 min 18 s more"),)), "")
    assert "12,8\N{NO-BREAK SPACE}s" in html_parts.table(numbers) and "1 min 18 s more" in html_parts.table(numbers)
