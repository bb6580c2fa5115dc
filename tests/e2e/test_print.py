"""On paper: every column is inside the page, and nothing that one presses is there."""

from __future__ import annotations

import io
import re

import pypdf
import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]
PAGES = ("/", "/list", "/job/{failed}", "/queues", "/errors/?period=all", "/costs/", "/usage/", "/alerts/", "/log", "/batches/", "/capacity/", "/reports/")
# Cells of a table that are not wholly inside the page as it is printed, and what must not be seen.
OUTSIDE = """() => [...document.querySelectorAll('.t :is(th, td), .mini :is(th, td), h1, h2, canvas')].filter((cell) => {
  const box = cell.getBoundingClientRect();
  return box.width && !cell.closest('.visually-hidden') && (box.right > innerWidth + 1 || box.left < -1 || cell.scrollWidth > cell.clientWidth + 24 && cell.clientWidth);
}).map((cell) => cell.textContent.trim().slice(0, 60))"""
# Panels that print a heading above nothing, and charts that do not stand within their panel.
EMPTY = """() => [...document.querySelectorAll('main .panel')].filter((panel) => panel.checkVisibility()).filter((panel) => {
  const frame = panel.getBoundingClientRect();
  if ([...panel.querySelectorAll('.chart > canvas')].some((chart) => chart.checkVisibility() && chart.getBoundingClientRect().bottom > frame.bottom)) return true;
  const rest = [...panel.children].filter((e) => e.tagName !== 'HEADER');
  return rest.length && !rest.some((e) => e.checkVisibility() && (e.innerText.trim() || e.querySelector('canvas, svg')));
}).map((panel) => panel.innerText.slice(0, 60))"""
PRESSED = "() => [...document.querySelectorAll('button, .button, input, select, textarea, nav, summary.say')].filter((e) => e.checkVisibility()).map((e) => e.outerHTML.slice(0, 80))"


@pytest.mark.parametrize("theme", ["dark"])
def test_pages_print_black_on_white_with_all_columns_and_no_buttons(open_page, site, theme):
    page = open_page("/admin/jobs/", theme=theme, locale="en-GB", width=1036)
    for path in PAGES:
        page.goto(f"/admin/jobs{path.format(failed=site.failed)}")
        page.emulate_media(media="screen")
        heads = [text.split("\n")[0] for text in page.locator(":is(.t:not(:has(td.do)) thead th, .t thead th:not(:last-child)):visible").all_inner_texts() if text.strip()]
        charts = page.locator("canvas:visible").count()
        buttons = {text for text in page.locator("main :is(.button, button):visible").all_inner_texts() if text.strip()}
        page.emulate_media(media="print")
        sheets = pypdf.PdfReader(io.BytesIO(page.pdf(prefer_css_page_size=True))).pages
        text = " ".join(sheet.extract_text() for sheet in sheets)
        words = re.sub(r"\s", "", text)
        assert "(Europe/Rome)" in text and "-" in text.split("(Europe/Rome)")[0][-18:], path
        assert sheets[0].mediabox.width > sheets[0].mediabox.height
        assert [h for h in heads if re.sub(r"\s", "", h) not in words and not h.startswith("Select every")] == [], path
        assert "Skip to content" not in text and "Sign out" not in text and "/admin/jobs" not in text.replace("flask", ""), path
        lines = {line.strip() for sheet in sheets for line in sheet.extract_text().split("\n")}
        assert not {"Retry", "Cancel the job", "Refresh", "New job", "Export CSV", "Edit and retry"} & buttons & lines, path
        assert page.evaluate(OUTSIDE) == [] and page.evaluate(PRESSED) == [], path
        assert page.evaluate(EMPTY) == [], path
        assert page.locator("canvas:visible").count() == charts, path
        assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_a_long_table_repeats_its_head_on_each_sheet(open_page, site):
    site.dispatch("TestNoop", count=50)
    site.quiet()
    page = open_page("/admin/jobs/list", locale="en-GB")
    sheets = pypdf.PdfReader(io.BytesIO(page.pdf(prefer_css_page_size=True))).pages
    assert len(sheets) > 1 and all("Attempts" in sheet.extract_text() for sheet in sheets[:-1])


@pytest.mark.parametrize("width", [1300, 1700])
def test_the_charts_of_the_dashboard_fill_their_panel_on_paper(open_page, site, width):
    page = open_page("/admin/jobs/", locale="en-GB", width=width)
    page.locator("#job-timeline-chart").wait_for()
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 1047, "height": 703})  # what A4 leaves between its margins
    assert page.evaluate("c => c.getBoundingClientRect().width / c.closest('.body').getBoundingClientRect().width", page.query_selector("#job-timeline-chart")) > .75
    texts = [sheet.extract_text() for sheet in pypdf.PdfReader(io.BytesIO(page.pdf(prefer_css_page_size=True))).pages]
    assert "Distribution by type" in next(text for text in texts if "Live batch" in text), "they stand side by side"
