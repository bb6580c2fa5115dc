"""The list of jobs in a real browser: filter, tick, act on the ticked or on all; by keyboard; without JavaScript."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import expect

from tests.e2e.acts import answer, refresh, row, told, within_row
from tests.e2e.test_pages import AXE

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]
LIST = "/admin/jobs/list"


def fail(site, text: str, count: int = 1) -> list[str]:
    """Failed jobs whose error is `text`, so that a search finds these and no others."""
    uuids = site.dispatch("TestFail", count, text=text)
    site.until(lambda: site.one(f"SELECT COUNT(*) FROM failed_jobs WHERE uuid IN ({','.join('?' * count)})", *uuids) == count, what="all failed")
    return uuids


def in_bin(site, uuids: list[str]) -> int:
    return site.one(f"SELECT COUNT(*) FROM failed_jobs WHERE deleted_at IS NOT NULL AND uuid IN ({','.join('?' * len(uuids))})", *uuids)


def test_the_filter_finds_by_state_and_words_and_keeps_unknown_types(open_page, site):
    uuid = fail(site, "needle in hay")[0]
    page = open_page(LIST, locale="en-GB")
    page.select_option("[name=state]", "unsuccessful")
    page.fill("[name=q]", "needle")
    page.get_by_role("button", name="Filter", exact=True).click()
    expect(page).to_have_url(re.compile("state=unsuccessful.*q=needle|q=needle.*state=unsuccessful"))
    row(page, uuid).wait_for()
    assert page.locator("tbody tr").count() == 1
    assert page.inner_text("#count-sentence") == "1 job with these filters"
    assert "RuntimeError: needle in hay" in row(page, uuid).inner_text()
    page.select_option("[name=state]", "live")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Filter", exact=True).click()
    page.get_by_text("No job with these filters").wait_for()
    page.get_by_role("link", name="Clear filters").click()
    expect(page).to_have_url(re.compile(f"{LIST}$"))
    expect(page.locator("tbody tr").nth(1)).to_be_visible()
    assert page.evaluate("getComputedStyle(document.querySelector('td.pick')).display") == "table-cell"
    page.goto(f"{LIST}?q={'x' * 201}")
    page.get_by_text("This filter cannot be read yet").wait_for()
    page.goto(f"{LIST}?type=Gone&tenant=acme")
    page.get_by_text("No job has the type Gone.").wait_for()
    assert page.input_value("[name=type]") == "Gone" and page.input_value("[name=tenant]") == "acme"


def test_two_ticked_are_retried_after_a_question(open_page, site):
    uuids = fail(site, "tick two", 3)
    page = open_page(f"{LIST}?q=tick+two")
    assert not page.locator(".bulk").is_visible()
    for uuid in uuids[:2]:
        within_row(page, uuid).tick()
    expect(page.locator(".bulk .said")).to_have_text(re.compile("2 selezionati su 3"))
    assert page.locator(".bulk button[value=cancel]").is_disabled(), "nothing ticked runs or waits"
    page.locator(".bulk button[value=retry]").click()
    dialog = page.locator("dialog[open]")
    assert dialog.locator("h2").inner_text() == "Riprovare 2 lavori falliti?"
    dialog.get_by_role("button", name="Annulla").click()
    assert within_row(page, uuids[0]).ticked(), "nothing was sent"
    page.locator(".bulk button[value=retry]").click()
    answer(page, "Riprovare 2 lavori falliti?", "Riprova 2")
    told(page, "2 job reinseriti nella coda")
    assert "q=tick" in page.url, "back to the same list"
    site.quiet()


def test_all_that_match_are_frozen_as_seen_and_counted_by_the_server(open_page, site):
    uuids = fail(site, "pile of work", 51)
    page = open_page(f"{LIST}?q=pile&state=failed", locale="en-GB")
    page.locator("[data-page]").check()
    expect(page.locator(".bulk .said")).to_contain_text("50 selected of 51")
    page.get_by_role("button", name="Select all 51").click()
    top = page.input_value("[name=top]")
    late = fail(site, "pile of work, later")[0]
    refresh(page)
    row(page, late).wait_for()
    expect(page.locator(".bulk .said")).to_have_text(re.compile("All 51 selected"))
    assert page.input_value("[name=top]") == top and not within_row(page, late).ticked()
    page.locator(".bulk button[value=delete]").click()
    answer(page, "Delete 51 failed jobs?", "Delete 51")
    told(page, "51 jobs deleted")
    assert in_bin(site, uuids) == 51 and in_bin(site, [late]) == 0


def test_a_refresh_keeps_ticks_and_focus_also_of_rows_that_left_the_page(open_page, site):
    uuids = fail(site, "steady hand", 50)
    page = open_page(f"{LIST}?q=steady&state=unsuccessful", locale="en-GB")
    first, last = page.locator("tbody tr").first, page.locator("tbody tr").last
    gone = last.get_attribute("data-key")
    first.locator("input").focus()
    page.keyboard.press("Space")
    last.locator("input").check()
    first.locator("input").focus()
    key = first.get_attribute("data-key")
    fresh = fail(site, "steady hand, one more")[0]
    refresh(page)
    row(page, fresh).wait_for()
    assert within_row(page, key).ticked() and row(page, gone).count() == 0
    assert page.evaluate("document.activeElement.value") == key
    expect(page.locator(".bulk .said")).to_contain_text("2 selected of 50, 1 is no longer on this page")
    page.keyboard.press("Escape")
    expect(page.locator(".bulk")).to_be_hidden()
    within_row(page, fresh).tick()
    expect(page.locator(".bulk .said")).to_contain_text("1 selected of 51")
    assert page.locator("input[name=uuid]:checked, [type=hidden][name=uuid]").count() == 1
    assert set(uuids) >= {key, gone}


def test_without_javascript_the_bar_stands_there_and_the_server_asks(open_page, site):
    uuids = fail(site, "plain form", 3)
    page = open_page(f"{LIST}?q=plain+form", javascript=False, locale="en-GB")
    within_row(page, uuids[0]).tick()
    page.locator(".bulk button[value=delete]").click()
    expect(page.locator("h1")).to_have_text("Delete 1 failed job?")
    page.get_by_role("link", name="Cancel").click()
    expect(page).to_have_url(re.compile("q=plain"))  # the question leads back to the same list
    page.get_by_label("All that match (3), not only the selected").check()
    page.locator(".bulk button[value=delete]").click()
    answer(page, "Delete 3 failed jobs?", "Delete 3")
    told(page, "3 jobs deleted")
    assert in_bin(site, uuids) == 3


def test_the_keyboard_alone_is_enough(open_page, site):
    uuids = fail(site, "keys only", 2)
    page = open_page(f"{LIST}?q=keys+only", locale="en-GB")
    focus = "document.activeElement.matches('[data-page]')"
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate(focus):
            break
    assert page.evaluate(focus)
    page.keyboard.press("Space")
    page.keyboard.press("Enter")  # on a tick it must not press the first button
    assert page.locator("dialog[open]").count() == 0
    for _ in range(6):
        page.keyboard.press("Shift+Tab")
        if page.evaluate("document.activeElement.value === 'delete'"):
            break
    page.keyboard.press("Enter")
    assert page.inner_text("dialog[open] h2") == "Delete 2 failed jobs?"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    told(page, "2 jobs deleted")
    assert in_bin(site, uuids) == 2


def test_cancelling_offers_a_way_back_that_is_not_called_cancel(open_page, site):
    uuids = site.dispatch("TestSleep", 2, ms=20_000)
    page = open_page(f"{LIST}?type=TestSleep&state=live")
    page.locator("[data-page]").check()
    page.locator(".bulk button[value=cancel]").click()
    dialog = page.locator("dialog[open]")
    assert dialog.locator("h2").inner_text() == "Annullare 2 lavori?"
    assert dialog.locator("button").all_inner_texts() == ["Torna indietro", "Annulla 2"]
    answer(page, "Annullare 2 lavori?", "Annulla 2")
    told(page, "2 lavori annullati o invitati a fermarsi")
    assert page.evaluate("document.querySelector('main .head').getBoundingClientRect().top - document.querySelector('.flashes').getBoundingClientRect().bottom") >= 8
    site.quiet()
    assert site.one("SELECT COUNT(*) FROM job_history WHERE status = 'cancelled' AND uuid IN (?, ?)", *uuids) == 2


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_list_edit_and_duplicate_are_accessible_and_fit_a_phone(open_page, site, theme):
    uuid = fail(site, f"look at {theme}")[0]
    page = open_page(LIST, theme=theme)
    for path in (f"{LIST}?state=unsuccessful", f"{LIST}?q=nothing-at-all", f"/admin/jobs/new/edit/{uuid}", f"/admin/jobs/new/?like={uuid}"):
        page.goto(path)
        if page.locator("tbody .tick").count():
            page.locator("tbody .tick").first.check()
        page.evaluate(AXE)
        for width in (1440, 360):
            page.set_viewport_size({"width": width, "height": 900})
            open_page.measuring = True  # axe itself sets inline styles, which the policy refuses
            found = page.evaluate("axe.run().then(r => r.violations.map(v => [v.id, v.nodes[0].html]))")
            open_page.measuring = False
            assert found == [], f"{path} at {width}: {json.dumps(found)[:1500]}"
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} scrolls sideways at 360 px"
