"""Titles, references and sentences without a blank stay within their page, on a desk and on a phone."""

from __future__ import annotations

import pytest

from app import registry
from app.extensions import db
from app.models import SyncLink
from app.services.instance import deploys
from app.services.jobs import saved_views, schedules
from app.services.jobs.job_filter import JobFilter
from app.support.clock import now_ms
from app.support.messages import Message
from tests.syncing import action, connect, content, link

TITLE, REFERENCE, NAME = "Supercalifragilistico" * 15, "REF" * 23, "x" * 80
WIDE = """() => [document.documentElement, ...document.querySelectorAll(".tw")].map(
  e => [e.className || e.tagName, e.scrollWidth, e.clientWidth]).filter(([, scroll, client]) => scroll > client + 1)"""


@pytest.fixture(scope="module")
def pages(site):
    with site.app.app_context():
        connect()
        number = content(REFERENCE, title=TITLE, slug="s" * 200)
        content("short", title="Una sedia comoda")
        refused = link(number, "refused", url=f"https://there.test/{REFERENCE}")
        conflict = link(number, "conflict", "prestashop", base={"title": "old"}, ours={"title": TITLE}, theirs={"title": TITLE[::-1]})
        uuid = registry.find("ProcessWordPressSync").with_options(tenant_id="acme", delay=3600).dispatch(references=[REFERENCE])
        action(number, "refused", Message("%(n)s of %(total)s contents were refused. %(first)s: %(why)s", n=1, total=1, first=REFERENCE, why=TITLE), uuid, url=f"https://there.test/{REFERENCE}",
               at_ms=now_ms())  # or the monitor of the site deletes it as an old one
        db.session.get(SyncLink, refused).uuid = uuid
        db.session.commit()
        noop = registry.find("TestNoop")
        schedules.make(NAME, noop, {}, "admin@example.org", cron="0 3 1 1 *", queue=None, tenant_id=NAME[:64], overlap="skip", catch_up=False)
        saved_views.create("y" * 60, JobFilter.read({"tenant": NAME[:64], "worker": NAME}, None), True, "admin@example.org")
        registry.find("TestNoop").with_options(tenant_id=NAME[:64], delay=3600).dispatch()
        deploys.mark(NAME, "admin@example.org")
    return {"list": "/contents/", "content": f"/contents/{number}", "conflict": f"/contents/links/{conflict}", "job": f"/job/{uuid}", "actions": f"/contents/syncs/{uuid}"} | {
        path: path for path in ("/log", "/recurring", f"/recurring/{NAME}", f"/schedules/edit/{NAME}", "/list", f"/list?tenant={NAME[:64]}&worker={NAME}", f"/usage/tenant/{NAME[:64]}",
                                "/queues/default", "/errors/", f"/list?q={NAME}", "/log?actor=" + NAME, "/costs/", "/batches/", "/alerts/", "/workers", "/")}


@pytest.mark.parametrize("width", [1300, 390])
def test_nothing_is_wider_than_its_page(pages, open_page, width):
    found, page = {}, open_page("/admin/jobs/log", width=width)
    for name, path in pages.items():
        page.goto(f"/admin/jobs{path}")
        assert name == path or REFERENCE in page.content()
        wide = page.evaluate(WIDE)
        if wide := [one for one in wide if name != path or not one[0].startswith("tw")]:  # tables of figures scroll in their box
            found[name] = wide
        if name == "list":
            row = page.locator("tr", has_text="short").first
            assert row.locator("th, td").filter(has_text="sedia comoda").bounding_box()["width"] > 150
    assert found == {}
