"""In a real browser: what one follows is shown once, whatever the number of tabs, and a click leads to it."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from app.extensions import db
from app.models import Notice, User
from app.support.clock import now_ms
from tests.conftest import PASSWORD
from tests.e2e.test_pages import accessible, settle

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]
SHOWN = """async () => { const worker = await navigator.serviceWorker.getRegistration('/static/js/');
 return worker ? (await worker.getNotifications()).map((n) => [n.title, n.data.link]) : [] }"""


def test_a_followed_job_is_told_once_to_all_tabs_and_opens(open_page, site):
    uuid = site.dispatch("TestSleep", ms=20_000)[0]  # the page of followed jobs is seen before it ends, also on a busy machine
    page = open_page(f"/admin/jobs/job/{uuid}", locale="en-GB")
    page.context.grant_permissions(["notifications"])
    other = page.context.new_page()
    other.goto("/account/#notices")
    expect(other.locator("[data-when=granted]")).to_be_visible()
    page.click("text=Tell me when it ends")
    expect(page.locator(".follow")).to_contain_text("You are told when it ends: in the browser")
    other.reload()
    expect(other.locator("section:has(#notices) tbody")).to_contain_text(uuid[:8])
    settle(page)
    accessible(open_page, page, "job that is followed")
    site.until(lambda: page.evaluate(SHOWN), 60, "the browser shows it")
    page.wait_for_timeout(1500)
    shown = page.evaluate(SHOWN)
    assert shown == [[f"Job completed: Test Sleep {uuid[:8]}", f"/admin/jobs/job/{uuid}"]]
    other.reload()
    other.wait_for_timeout(1000)
    assert page.evaluate(SHOWN) == shown and not page.locator(".toasts .flash").count()


def test_without_a_permission_the_page_shows_it(open_page, site):
    page = open_page("/admin/jobs/alerts/", locale="it-IT", width=390)
    page.evaluate("localStorage.clear()")
    page.reload()
    page.wait_for_function("() => Object.keys(localStorage).some((key) => key.startsWith('notices:'))")
    with site.app.app_context():
        who = db.session.query(User.id).filter_by(email="admin@example.org").scalar()
        db.session.add(Notice(user_id=who, kind="job", subject="x", title='["Job failed: %(name)s", {"name": "<b>x</b>"}]', body="", link="/admin/jobs/errors/?period=all", created_ms=now_ms()))
        db.session.commit()
    toast = page.locator(".toasts .flash")
    expect(toast).to_contain_text("Lavoro fallito: <b>x</b>", timeout=20_000)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    toast.locator("a").click()
    expect(page).to_have_url(f"{site.address}/admin/jobs/errors/?period=all")
    page.wait_for_timeout(500)
    expect(page.locator(".toasts .flash")).to_have_count(0)
    page.evaluate("localStorage.setItem(Object.keys(localStorage).find((key) => key.startsWith('notices:')), '0')")
    page.reload()
    expect(toast.first).to_be_visible()
    settle(page)
    accessible(open_page, page, "toast")


@pytest.mark.parametrize("language", ["it", "en"])
def test_a_mailed_link_opens_on_its_place_after_signing_in(browser, site, language):
    context = browser.new_context(base_url=site.address, locale="it-IT")
    page = context.new_page()
    place = "/admin/jobs/queues?queue=low#limits"
    page.goto(place)
    expect(page).to_have_url(f"{site.address}/login?next=/admin/jobs/queues?queue%3Dlow#limits")
    if language == "en":
        page.click("a[hreflang=en]")
        page.wait_for_selector("html[lang=en]")
    page.fill("[name=email]", "admin@example.org")
    page.fill("[name=password]", "wrong")
    page.keyboard.press("Enter")
    expect(page.locator(".form-error")).to_be_visible()
    page.fill("[name=password]", PASSWORD)
    page.keyboard.press("Enter")
    expect(page).to_have_url(site.address + place)
    context.close()
