"""At a glance: the dashboard fits on two screens and on a phone; keys and the palette work, and keep out of the way of typing."""

from __future__ import annotations

import time

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]
HEIGHT = "document.documentElement.scrollHeight"


def test_keys_move_search_and_find_and_do_nothing_while_somebody_types(open_page):
    page = open_page("/admin/jobs/list", locale="en-GB")
    page.keyboard.press("?")
    assert page.evaluate("document.getElementById('keys').open")
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("x")
    assert page.evaluate("document.activeElement.closest('tr') === document.querySelector('tbody tr') && document.querySelector('tbody .tick').checked")
    page.keyboard.press("x")
    page.keyboard.press("j")
    page.keyboard.press("k")
    assert page.evaluate("document.activeElement.closest('tr') === document.querySelector('tbody tr')")
    page.keyboard.press("/")
    page.keyboard.type("j?x")
    assert page.evaluate("document.activeElement.value") == "j?x" and page.locator("tbody .tick:checked").count() == 0
    page.keyboard.press("Control+k")
    page.keyboard.type("pause queue low")
    page.locator("#palette-list li[aria-selected=true]", has_text="queue low").wait_for()
    page.keyboard.press("Enter")
    page.wait_for_url("**/admin/jobs/queues#queue-low")
    page.route("**/palette.json*", lambda route: (time.sleep(0.4), route.continue_()))
    page.keyboard.press("Control+k")
    page.keyboard.type("workers")
    page.keyboard.press("Enter")  # before the answer
    page.wait_for_url("**/admin/jobs/workers")
    page.unroute_all(behavior="ignoreErrors")
    page.keyboard.press("?")
    page.locator("[data-keys-on]").uncheck()
    page.keyboard.press("Escape")
    page.reload()
    page.keyboard.press("?")
    assert not page.evaluate("document.getElementById('keys').open"), "switched off in this browser"


def test_the_dashboard_is_two_screens_and_nothing_sticks_out_on_a_phone(open_page, site):
    page = open_page("/admin/jobs/", locale="en-GB", width=1300)
    assert page.evaluate(HEIGHT) <= 1800
    for width in (390, 360):
        page = open_page("/admin/jobs/", width=width)
        assert page.evaluate("document.documentElement.scrollWidth") <= width and page.evaluate(HEIGHT) <= 2.8 * 844
    plain = open_page("/admin/jobs/palette?q=low", javascript=False)
    assert plain.locator("main .choices a").count() > 1
