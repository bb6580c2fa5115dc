"""The graph and the question for the tree in a real browser: pointer, keyboard, phone, no JavaScript, print."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from app import registry
from app.extensions import db
from app.models import Job
from app.services.jobs import actions
from tests.e2e.test_pages import accessible, settle

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


@pytest.fixture
def diamond(site):
    """A job with a delay, two after it, one after both; what is left of them is cancelled."""
    with site.app.app_context():
        echo = registry.find("TestEcho")
        top = echo.with_options(delay=3600).dispatch(text="top")
        left, right = (echo.with_options(after=[top]).dispatch(text=t) for t in ("left", "right"))
        end = echo.with_options(after=[left, right]).dispatch(text="end")
        db.session.commit()
        yield [top, left, right, end]
        actions.in_steps("the test", "cancel", "all", list(db.session.scalars(db.select(Job.id).where(Job.uuid.in_([top, left, right, end])))))
        db.session.remove()


def test_the_graph_is_accessible_live_and_works_by_keyboard(open_page, site, diamond):
    page = open_page(f"/admin/jobs/job/{diamond[3]}/graph", locale="en-GB")
    nodes = page.locator("svg.graph a.node")
    expect(nodes).to_have_count(4)
    nodes.first.focus()
    assert page.evaluate("getComputedStyle(document.activeElement.querySelector('.box')).strokeWidth") in ("1px", "2.5px", "3.5px")
    page.keyboard.press("Tab")
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("getComputedStyle(document.activeElement.querySelector('.box')).strokeWidth") == "3.5px", "the focus is seen"
    page.keyboard.press("Enter")
    expect(page.locator("#why")).to_contain_text(f"Test Echo {diamond[0][:8]}")
    expect(page.locator("#why")).to_contain_text("It is scheduled for")
    width = page.locator("svg.graph").bounding_box()["width"]
    page.get_by_role("link", name="200%").click()
    assert page.locator("svg.graph").bounding_box()["width"] > width * 1.5
    site.app.test_cli_runner().invoke(args=["jobs", "cancel", diamond[0]])
    expect(page.locator("svg.graph a.node").first).to_contain_text("Cancelled", timeout=20_000)
    for theme in ("light", "dark"):
        page = open_page(f"/admin/jobs/job/{diamond[3]}/graph", theme=theme)
        settle(page)
        accessible(open_page, page, f"graph {theme}")
        settle(page)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("javascript", [True, False])
def test_a_person_is_told_how_many_wait_and_chooses(open_page, site, diamond, javascript):
    page = open_page(f"/admin/jobs/job/{diamond[0]}", locale="en-GB", javascript=javascript)
    page.get_by_role("button", name="Cancel the job").click()
    place = page.get_by_role("dialog") if javascript else page.locator("main")
    expect(place).to_contain_text("3 jobs wait for it, directly or through others.")
    expect(place.get_by_label("Leave them waiting")).to_be_checked()
    place.get_by_label("Let them run without it").check()
    place.get_by_role("button", name="Cancel the job").click()
    page.wait_for_load_state()
    site.until(lambda: all(site.outcomes(uuid) == ["completed"] for uuid in diamond[1:]), 20, "they run without it")
    assert site.outcomes(diamond[0]) == ["cancelled"]


def test_the_graph_fits_a_printed_page(open_page, diamond):
    page = open_page(f"/admin/jobs/job/{diamond[3]}/graph?zoom=200")
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 700, "height": 900})
    assert page.locator("svg.graph").bounding_box()["width"] <= 700
    assert page.evaluate("getComputedStyle(document.querySelector('.graph .box')).fill") == "rgb(255, 255, 255)"
    assert not page.locator(".segments").first.is_visible()
