"""Live pages in a real browser: a change comes by the socket; without sockets the page asks; "Reconnecting" and back."""

from __future__ import annotations

import json
import re
from datetime import timedelta

import pytest
from flask_babel import force_locale
from playwright.sync_api import expect

from app.support import formatting
from app.support.clock import now_ms, when

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]
SOCKET = re.compile(r"/admin/jobs/live$")


def reload(page) -> list[dict]:
    """Load the page again and wait for the first message; the messages of its last socket."""
    told: list[dict] = []

    def opened(socket) -> None:
        told.clear()
        socket.on("framereceived", lambda frame: told.append(json.loads(frame)))

    page.on("websocket", opened)
    page.reload()
    for _ in range(200):
        if told:
            return told
        page.wait_for_timeout(100)
    raise AssertionError("no message")


def test_a_change_comes_by_the_socket_and_only_what_it_names_is_asked_for(open_page, site):
    page = open_page("/admin/jobs/", locale="en-GB")
    told = reload(page)
    asked: list[set[str]] = []
    page.on("request", lambda request: "/realtime-stats" in request.url and asked.append(set(request.headers["x-partials"].split(","))))
    page.evaluate("window.stays = true")
    page.wait_for_timeout(2500)  # the first message names all parts: what the page asks for then must not bring the change
    before = int(page.inner_text("#completed-jobs").replace(",", ""))
    site.dispatch("TestNoop", 2)
    expect(page.locator("#completed-jobs")).to_have_text(str(before + 2), timeout=20_000)
    assert page.evaluate("window.stays") and any("cards" in message["changed"] for message in told[1:])
    assert asked and all(names <= {*told[0]["changed"]} for names in asked)
    page.evaluate("document.body.append(Object.assign(document.createElement('time'), { id: 'aged', dateTime: new Date(Date.now() - 200000).toISOString() })); aged.dataset.age = ''")
    expect(page.locator("#aged")).to_have_text("3 min ago")
    page.evaluate("document.querySelector('[data-figure=\"alerts.open\"]').hidden = false; document.querySelector('[data-figure=\"alerts.open\"]').textContent = '77'")
    site.dispatch("TestPermanent")
    expect(page.locator("[data-figure='alerts.open']")).not_to_have_text("77", timeout=20_000)
    page.goto("/admin/jobs/log")
    told = reload(page)
    page.wait_for_timeout(6000)
    asked.clear()
    site.dispatch("TestNoop")
    site.quiet()
    page.wait_for_timeout(2500)
    assert not asked, "nothing on this page shows jobs that have completed"
    assert re.search("ago|now", page.inner_text("#last-update"))


def test_what_a_dropped_socket_leads_to(open_page, site):
    """Polling; "Reconnecting" when that fails too; and back to the socket, with everything asked for again."""
    page = open_page("/admin/jobs/", locale="en-GB")
    passes, sockets = [True], []

    def pass_on(socket) -> None:
        if passes[0]:
            socket.connect_to_server()
            sockets.append(socket)
        else:
            socket.close(code=1001)

    page.route_web_socket(SOCKET, pass_on)
    page.reload()
    state = page.locator(".live")
    page.wait_for_timeout(1500)
    passes[0] = False
    sockets[-1].close(code=1001)
    for _ in range(2):
        with page.expect_response(lambda answer: "/realtime-stats" in answer.url and answer.ok, timeout=20_000):
            pass
    expect(state).to_have_attribute("data-state", "fresh")
    page.route("**/realtime-stats", lambda route: route.abort())
    expect(page.locator("#last-update")).to_contain_text("Reconnecting…", timeout=20_000)
    page.unroute("**/realtime-stats")
    passes[0] = True
    before = len(sockets)
    page.evaluate("window.dispatchEvent(new Event('online'))")
    expect(state).to_have_attribute("data-state", "fresh", timeout=20_000)
    expect(page.locator("#last-update")).not_to_contain_text("Reconnecting…")
    page.wait_for_timeout(1000)
    assert len(sockets) == before + 1, "it came back at once, not after the pause between its tries"


def test_silence_is_told_before_any_request_fails(open_page):
    """A frozen server, and a network that is gone: what stands there is old, and the page says since when."""
    page = open_page("/admin/jobs/", locale="en-GB")
    messages = []

    def hold(socket) -> None:
        server = socket.connect_to_server()
        server.on_message(lambda text: messages.append(text) or (socket.send(text) if len(messages) < 2 else None))

    page.route_web_socket(SOCKET, hold)
    reload(page)
    page.route("**/realtime-stats", lambda route: None)
    expect(page.locator(".live")).to_have_attribute("data-state", "off", timeout=16_000)
    expect(page.locator("#last-update")).to_have_text(re.compile(r"^Reconnecting… \(updated \d+ seconds ago\)$"))
    page = open_page("/admin/jobs/", locale="en-GB")
    expect(page.locator(".live")).to_have_attribute("data-state", "fresh")
    page.context.set_offline(True)
    expect(page.locator(".live")).to_have_attribute("data-state", "off", timeout=1500)
    page.context.set_offline(False)
    expect(page.locator(".live")).to_have_attribute("data-state", "fresh", timeout=5000)


def test_the_script_writes_times_in_the_words_of_the_server(open_page, site):
    seconds = (5, 59, 60, 3599, 3600, 86399, 86400, 90000, 354_900, 2_591_760)
    for locale in ("en", "it"):
        page = open_page("/admin/jobs/log", locale=locale)
        with site.app.test_request_context(), force_locale(locale):
            wanted = [formatting.duration(s * 1000) for s in seconds]
            due = formatting.due(when(now_ms()) + timedelta(days=4, hours=2, minutes=30))
        script = "async ([url, all]) => { const { duration } = await import(url); return all.map((s) => duration(s * 1000)); }"
        url = page.evaluate("document.querySelector('script[type=module]').src").replace("app.js", "figures.js")
        assert page.evaluate(script, [url, seconds]) == wanted
        page.evaluate("document.body.append(Object.assign(document.createElement('time'), { id: 'due', dateTime: new Date(Date.now() + (4 * 24 + 2.5) * 3600000).toISOString() })); due.dataset.age = 'due'")
        expect(page.locator("#due")).to_have_text(due)


def test_another_tab_signs_out_and_the_page_says_so_at_once(open_page, site):
    page = open_page("/admin/jobs/workers", locale="en-GB")
    reload(page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    other = page.context.new_page()
    other.goto("/logout")
    other.click("form button[type=submit]")
    expect(page.locator("#last-update")).to_contain_text("Session ended", timeout=20_000)
    expect(page.locator("#last-update a")).to_have_attribute("href", re.compile("next=%2Fadmin%2Fjobs%2Fworkers"))
