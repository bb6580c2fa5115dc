"""Batches in a real browser: they move without a reload, the buttons ask, every page is accessible and fits a phone."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from app import registry
from app.extensions import db
from app.services.jobs import batch_actions, batch_pages
from app.services.jobs.batches import begin
from tests.e2e.acts import answer, told
from tests.e2e.test_pages import accessible, settle

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


def make(site, **numbers: int):
    with site.app.app_context():
        made = begin("Import of March", tenant_id="acme", then=registry.find("TestFollow"), created_by="ada@example.org")
        for name, n in numbers.items():
            registry.find(name).with_options(batch=made).dispatch_many([{}] * n)
        made.seal()
        db.session.commit()
    return made


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_pages_of_batches_are_accessible_and_fit_a_phone(open_page, site, theme):
    made = make(site, TestPermanent=2, TestNoop=3)
    site.quiet()
    with site.app.app_context():
        running = begin("Open", tenant_id="acme")
        registry.find("TestNoop").with_options(batch=running, delay=3600).dispatch_many([{}] * 2)
        db.session.commit()
    page = open_page("/admin/jobs/batches", theme=theme)
    for path in ("/admin/jobs/batches", f"/admin/jobs/batches/{made.id}", f"/admin/jobs/batches/{running.id}", f"/admin/jobs/list?batch={made.id}"):
        page.goto(path)
        settle(page)
        accessible(open_page, page, path)
        settle(page)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} scrolls sideways at 360 px"
        page.set_viewport_size({"width": 1440, "height": 900})
    with site.app.app_context():
        batch_actions.change_members(batch_pages.find(running.id), "cancel", "ada")
        db.session.remove()


def test_a_batch_moves_without_a_reload_and_its_failed_members_are_deleted(open_page, site):
    with site.app.app_context():
        made = begin("Slow one", tenant_id="acme")
        registry.find("TestSleep").with_options(batch=made, delay=4).dispatch(ms=1500)
        registry.find("TestPermanent").with_options(batch=made).dispatch()
        made.seal()
        db.session.commit()
    page = open_page(f"/admin/jobs/batches/{made.id}", locale="en-GB")
    page.evaluate("window.stays = true")
    expect(page.locator("main")).to_contain_text("2 of 2 ended", timeout=30_000)
    assert page.evaluate("window.stays"), "no reload"
    page.get_by_role("button", name="Delete the failed").click()
    answer(page, "Delete 1 failed job?", "Delete 1")
    told(page, "1 job deleted")
    expect(page.locator("main")).to_contain_text("No member waits for a decision.")


def test_without_javascript_the_rest_is_cancelled(open_page, site):
    with site.app.app_context():
        made = begin("Later")
        registry.find("TestNoop").with_options(batch=made, delay=3600).dispatch_many([{}] * 3)
        made.seal()
        db.session.commit()
    page = open_page(f"/admin/jobs/batches/{made.id}", locale="en-GB", javascript=False)
    page.get_by_role("button", name="Cancel the rest").click()
    answer(page, "Cancel 3 jobs?", "Cancel 3")
    told(page, "3 jobs cancelled or asked to stop")
