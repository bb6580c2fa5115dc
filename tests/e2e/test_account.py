"""In a real browser: a second factor is set up and asked for; the link of an invitation opens without its token in any address."""

from __future__ import annotations

import pyotp
import pytest
from playwright.sync_api import expect

from app.services.people import invitations
from app.support.clock import now_ms
from tests.conftest import PASSWORD
from tests.e2e.test_pages import accessible, settle

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


def test_a_person_is_invited_sets_up_a_second_factor_and_signs_in_with_it(open_page, browser, site):
    with site.app.app_context():
        _view, link = invitations.invite("eve@example.org", "viewer", False)
    asked: list[str] = []
    context = browser.new_context(base_url=site.address, locale="en-GB", viewport={"width": 390, "height": 800})
    page = context.new_page()
    page.on("request", lambda request: asked.append(request.url + str(request.headers)))
    token = link.partition("#")[2]
    page.goto(f"/invitation#{token}")
    page.fill("[name=password]", PASSWORD)
    page.fill("[name=password_again]", PASSWORD)
    assert token not in page.url
    page.click("button[type=submit]")
    page.goto("/account/")
    expect(page.locator("h1")).to_have_text("Account")
    page.click("text=Set up")
    secret = page.inner_text("#totp-secret").replace(" ", "")
    settle(page)
    accessible(open_page, page, "set-up")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.fill("[name=own_password]", PASSWORD)
    page.fill("[name=passcode]", pyotp.TOTP(secret).now())
    page.click("text=Turn on")
    assert len(page.inner_text("#recovery-codes").split()) == 10
    page.click("text=I have kept them")
    expect(page.locator("#second-factor + .state")).to_be_visible()
    settle(page)
    accessible(open_page, page, "account with a second factor")
    page.goto("about:blank")  # else an answer on its way may set the cookie of the session again
    context.clear_cookies()
    page.goto("/login?next=/admin/jobs/workers")
    page.fill("[name=email]", "eve@example.org")
    page.fill("[name=password]", PASSWORD)
    page.keyboard.press("Enter")
    page.fill("[name=code]", pyotp.TOTP(secret).at(now_ms() // 1000 + 30))
    settle(page)
    accessible(open_page, page, "second page")
    page.fill("[name=code]", pyotp.TOTP(secret).at(now_ms() // 1000 + 30))
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{site.address}/admin/jobs/workers")
    log = (site.data_dir.parent / "product.log").read_text(errors="replace")
    assert "/login/code" in log and not any(hidden in text for hidden in (secret, token) for text in (*asked, log))
    context.close()


def test_without_scripts_the_link_is_copied_into_the_page(browser, site):
    with site.app.app_context():
        _view, link = invitations.invite("mia@example.org", "viewer", False)
    context = browser.new_context(base_url=site.address, locale="en-GB", java_script_enabled=False)
    page = context.new_page()
    page.goto(f"/invitation#{link.partition('#')[2]}")
    page.fill("[name=invitation]", link)
    page.click("button[type=submit]")
    page.fill("[name=password]", PASSWORD)
    page.fill("[name=password_again]", PASSWORD)
    page.click("button[type=submit]")
    page.goto("/account/")
    assert "mia@example.org" in page.content()
    context.close()
