"""What a person does, in a real browser: look, start a job, retry, delete; on a phone; without JavaScript."""

from __future__ import annotations

import contextlib
import json
import re
import time
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import TimeoutError as PlaywrightTimeout, expect

from tests.e2e.acts import answer, told, within_form, within_row

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]
AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text()
PAGES = ("/admin/jobs/", "/admin/jobs/workers", "/admin/jobs/capacity/", "/admin/jobs/capacity/?period=7d", "/admin/jobs/queues", "/admin/jobs/queues/low", "/admin/jobs/errors/", "/admin/jobs/views/", "/admin/jobs/usage/", "/admin/jobs/usage/type/TestEcho", "/admin/jobs/recurring", "/admin/jobs/recurring/yearly", "/admin/jobs/schedules/new?type=TestForm", "/admin/jobs/log", "/admin/jobs/people/", "/account/", "/admin/jobs/alerts/", "/admin/jobs/alerts/rules/1", "/admin/jobs/alerts/rules/new", "/admin/jobs/generations/", "/admin/jobs/generations/templates", "/admin/jobs/costs/", "/admin/jobs/connections/", "/admin/jobs/connections/set?service=wordpress", "/admin/jobs/new/?type=TestForm", "/admin/jobs/contents", "/admin/jobs/job/{failed}", "/admin/jobs/job/{talked}")


def settle(page) -> None:
    """Wait until nothing is being loaded and nothing moves. A page of a busy site may ask again and again: for 5 s at most."""
    with contextlib.suppress(PlaywrightTimeout):
        page.wait_for_load_state("networkidle", timeout=5000)
    page.evaluate("Promise.all(document.getAnimations().map(a => a.finished.catch(() => null)))")


RULES = {"light": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"], "dark": ["color-contrast"]}  # a theme changes colours alone


def accessible(open_page, page, name: str, theme: str = "light") -> None:
    """axe finds nothing; the page is then loaded again, 360 px wide, with the policy watched."""
    open_page.measuring = True  # axe itself sets inline styles, which the policy refuses
    page.evaluate(AXE)
    found = page.evaluate("rules => axe.run({runOnly: rules}).then(r => r.violations.map(v => [v.id, v.nodes[0].html]))", RULES[theme])
    assert found == [], f"{name}: {json.dumps(found)[:1500]}"
    if theme == "light":
        page.set_viewport_size({"width": 360, "height": 800})
        page.reload()
    open_page.measuring = False


@pytest.mark.timeout(600)  # 28 pages, each looked at with axe: 30 s alone, 200 s when four others use the machine
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_is_accessible_and_does_not_scroll_sideways(open_page, site, theme):
    page = open_page("/admin/jobs/", theme=theme)
    for path in PAGES:
        page.goto(path.format(failed=site.failed, talked=site.talked))
        settle(page)
        accessible(open_page, page, path, theme)
        if theme == "dark":
            continue
        settle(page)
        wide = page.evaluate("[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > 361).map(e => e.outerHTML.slice(0, 120)).slice(0, 5)")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} scrolls sideways at 360 px: {wide}"
        page.set_viewport_size({"width": 1440, "height": 900})


def test_the_dashboard_follows_the_jobs_without_a_reload(open_page, site):
    page = open_page("/admin/jobs/", locale="en-GB")
    page.evaluate("window.stays = true")
    before = int(page.inner_text("#completed-jobs").replace(",", ""))
    site.dispatch("TestNoop", 3)
    expect(page.locator("#completed-jobs")).to_have_text(str(before + 3), timeout=20_000)
    assert page.evaluate("window.stays"), "no reload"
    assert "ago" in page.inner_text("#last-update") or "now" in page.inner_text("#last-update")


POLLS = {"/admin/jobs/": ("/admin/jobs/realtime-stats", 2), "/admin/jobs/log": ("/admin/jobs/realtime-stats", 0), "/admin/jobs/workers": ("/admin/jobs/workers", 0)}


def test_a_page_without_a_socket_asks_once_in_five_seconds(open_page, site):
    """A proxy drops WebSockets. Besides the poll only the two charts of the dashboard ask for their rows."""
    pages, asked, answered = {path: open_page(path) for path in POLLS}, {path: [] for path in POLLS}, {path: [] for path in POLLS}
    for path, page in pages.items():
        page.route_web_socket(re.compile("/admin/jobs/live"), lambda socket: socket.close())
        page.reload()
        page.on("request", lambda request, path=path: request.resource_type == "fetch" and asked[path].append(urlsplit(request.url).path))
        page.on("response", lambda answer, path=path: urlsplit(answer.url).path == POLLS[path][0] and answer.ok and answered[path].append(time.monotonic()))
    stop = time.monotonic() + 30
    while any(len(times) < 3 for times in answered.values()) and time.monotonic() < stop:
        page.wait_for_timeout(100)
    for path, (address, others) in POLLS.items():
        begins = answered[path]
        assert len(begins) >= 3 and all(4.5 < second - first < 8 for first, second in pairwise(begins)), (path, begins)
        times = asked[path].count(address)
        assert times in (len(begins), len(begins) + 1) and asked[path].count("/admin/jobs/metrics") in range(others * (times - 1), others * times + 1)
        assert set(asked[path]) <= {address, "/admin/jobs/metrics", "/admin/jobs/notices/"} and asked[path].count("/admin/jobs/notices/") <= 3, "each 15 s"


def test_a_failed_job_is_retried_and_deleted_from_the_dashboard(open_page, site):
    uuid = site.dispatch("TestPermanent")[0]
    site.quiet()
    page = open_page("/admin/jobs/")
    within_row(page, uuid).press("Riprova")
    told(page, "Job reinserito nella coda")
    site.quiet()
    page.goto("/admin/jobs/")
    within_row(page, uuid).press("Elimina")
    answer(page, "Eliminare questo lavoro?", "Elimina")
    told(page, "Job eliminato")


def test_everything_works_without_javascript(open_page, site):
    uuid = site.dispatch("TestPermanent")[0]
    site.quiet()
    page = open_page("/admin/jobs/", javascript=False)
    within_row(page, uuid).press("Elimina")
    answer(page, "Eliminare questo lavoro?", "Elimina")
    told(page, "Job eliminato")
    page.goto("/admin/jobs/new/?type=TestForm")
    within_form(page).fill("Text", "hello").fill("Number", "7").choose("Kind", "a").press("Avvia il lavoro")
    assert "/admin/jobs/job/" in page.url and "hello" in page.content()


@pytest.mark.parametrize("javascript", [True, False])
def test_a_csv_file_is_imported_from_the_form_after_its_preview(open_page, site, javascript):
    page = open_page("/admin/jobs/new/?type=ProcessCsvImport", locale="en-GB", javascript=javascript)
    page.set_input_files("[name=path]", str(Path(__file__).parents[1] / "data" / "packages.csv"))
    within_form(page).fill("Tenant", "acme").press("Show the preview")
    page.wait_for_url("**/admin/jobs/new/preview/*")
    assert "200 rows, 0 rejected" in page.inner_text("main") and page.locator("table.peek tbody tr").count() == 5
    page.select_option("[name=map-title]", label="section")
    within_form(page).press("Show with these choices")
    expect(page.get_by_role("columnheader", name="section")).to_contain_text("→ title")
    page.select_option("[name=map-title]", label="title")
    within_form(page).press("Start the import")
    page.wait_for_url("**/admin/jobs/job/*")
    site.quiet()
    page.reload()
    assert '"inserted"' in page.content() and '"encoding": "UTF-8"' in page.content()
    page.goto("/admin/jobs/contents")
    assert page.locator("tbody tr").count() >= 50


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_preview_of_an_import_is_accessible_and_does_not_scroll_sideways(open_page, site, tmp_path, theme):
    files = {"good.csv": "reference;title;body;note\na;Città;x;1\nb;;x;2\nc;C\na;A;x;" + "y" * 300, "unsure.csv": "reference;title;body\n1;Dvořák;x\n", "bad.csv": "x;y\n1;2\n"}
    page = open_page("/admin/jobs/", theme=theme)
    for name, text in files.items():
        (tmp_path / name).write_bytes(text.encode("cp1250" if name == "unsure.csv" else "utf-8"))
        page.goto("/admin/jobs/new/?type=ProcessCsvImport")
        page.set_input_files("[name=path]", str(tmp_path / name))
        page.click("main form[method=post] button[type=submit]")
        page.wait_for_url("**/admin/jobs/new/preview/*")
        accessible(open_page, page, name)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
        page.set_viewport_size({"width": 1440, "height": 900})


def test_signing_out_ends_the_other_tab_with_words(open_page, site):
    page = open_page("/admin/jobs/", locale="en-GB")
    other = page.context.new_page()
    other.goto("/logout")
    other.click("form button[type=submit]")
    expect(page.locator("#last-update")).to_contain_text("Sign in again", timeout=20_000)


@pytest.mark.parametrize("javascript", [True, False])
def test_a_queue_is_paused_with_a_reason_a_job_moved_to_the_top_and_all_resumed(open_page, site, javascript):
    page = open_page("/admin/jobs/queues", locale="en-GB", javascript=javascript)
    low = within_row(page, "low")
    low.fill("Length of the pause of low", "1h").fill("Why low is paused", "price list migration").press("Pause", key="Enter")
    low.sees("price list migration")
    with site.app.app_context():
        from app import registry
        from app.extensions import db

        uuids = [registry.find("TestNoop").with_options(queue="low").dispatch() for _ in range(3)]
        db.session.commit()
    page.goto(f"/admin/jobs/job/{uuids[0]}")
    panel = page.get_by_role("region", name="Why and when")
    expect(panel).to_contain_text("The queue low is paused by")
    expect(panel).to_contain_text("«price list migration»")
    if javascript:
        size = page.viewport_size
        accessible(open_page, page, "why a job waits")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.set_viewport_size(size)
    page.goto("/admin/jobs/queues?queue=low")
    within_row(page, uuids[2]).press(f"Move {uuids[2][:8]} to the top", key="Enter")
    expect(page.locator("#next-title")).to_be_visible()
    page.goto("/admin/jobs/queues?queue=low")
    first = page.locator("section:has(#next-title) tbody tr").first
    expect(first.locator(f"a[href$='{uuids[2]}']")).to_be_visible()
    within_row(page, "low").press("Resume", key="Enter")
    site.quiet()
    page.goto("/admin/jobs/log")
    expect(page.get_by_text("Resumed the queue low").first).to_be_visible()
    page.goto("/admin/jobs/recurring")
    expect(page.get_by_text("yearly", exact=True)).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_forms_with_errors_are_accessible_and_fit_a_phone(open_page, site, theme):
    page = open_page("/admin/jobs/alerts/rules/1", theme=theme, locale="en-GB")
    form = within_form(page).fill("Threshold", "many").fill("In the last minutes", "0").fill("Quiet from", "22:00").press("Save")
    form.sees("A whole number from 1 to 1440.")
    assert page.get_by_label("Threshold").input_value() == "many"
    assert page.get_by_label("Threshold").get_attribute("aria-describedby") == "e-threshold"
    accessible(open_page, page, "rule")
    page.goto("/admin/jobs/costs/")
    within_form(page).fill("Tenant", "acme").fill("Amount a month", "many").press("Save").sees("An amount is written like 50 or 49.90.")
    assert page.get_by_label("Tenant").input_value() == "acme"
    accessible(open_page, page, "costs")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "scrolls sideways at 360 px"
    page.goto("/admin/jobs/queues")
    within_row(page, "low").fill("Length of the pause of low", "400d").fill("Why low is paused", "price list").press("Pause").sees("That is more than 366 days ahead.")
    assert page.get_by_label("Why low is paused").input_value() == "price list"
    accessible(open_page, page, "queues")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "scrolls sideways at 360 px"
