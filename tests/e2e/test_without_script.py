"""Without JavaScript: the page says when it was loaded, tables stand for charts, and only what works is offered."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


def test_a_page_without_a_script_is_whole_and_says_when_it_was_loaded(open_page, site):
    page = open_page("/admin/jobs/", locale="en-GB", javascript=False)
    assert re.fullmatch(r"Updated \d\d:\d\d:\d\d", page.inner_text("#last-update").strip())
    expect(page.locator(".live .dot")).to_be_hidden()
    expect(page.locator(".needs-js:has(.chart)")).to_be_hidden()
    rows = page.locator(".needs-js + details.twin tbody tr")
    box, last = page.locator("details.twin .tw").first.bounding_box(), rows.last.bounding_box()
    assert rows.count() == 24 and last["y"] + last["height"] <= box["y"] + box["height"] + 1
    assert page.locator("[data-whole] tr:visible").count() == 0, "the types stand once"


def test_following_in_the_browser_is_offered_only_with_a_script(open_page, site):
    uuid = site.dispatch_many("TestNoop", [{}], delay=600)[0]
    path = f"/admin/jobs/job/{uuid}"
    page = open_page(path, locale="en-GB", javascript=False)
    assert page.locator("form.follow:visible option[value=browser]").count() == 0
    expect(page.locator("form.follow:visible")).to_contain_text("In the browser: needs JavaScript.")
    page = open_page(path, locale="en-GB")
    assert page.locator("form.follow:visible option[value=browser]").count() == 1


@pytest.mark.parametrize("javascript", [True, False])
def test_the_form_of_a_plan_shows_the_fields_of_what_is_chosen(open_page, javascript):
    page = open_page("/admin/jobs/reports/new", javascript=javascript)
    for period, shown in (("day", []), ("week", ["#f-weekday"]), ("month", ["#f-monthday"])):
        page.select_option("#f-period", period)
        assert [name for name in ("#f-weekday", "#f-monthday") if page.is_visible(name)] == shown
    assert not page.is_visible("#f-address")
    page.select_option("#f-to", "other")
    assert page.is_visible("#f-address")
    page.fill("input[name=name]", "A plan")
    page.fill("#f-address", "wrong")
    page.click("form.body button[type=submit]")
    expect(page.locator("#e-address")).to_be_visible()
