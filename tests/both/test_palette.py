"""The palette finds pages, jobs, types, tenants, workers, queues, batches and actions, with and without JavaScript."""

from __future__ import annotations

import html
import re

JSON = {"Accept": "application/json"}


def ask(site, letters: str) -> list[dict[str, str]]:
    answer = site.client.get("/admin/jobs/palette.json", query_string={"q": letters}, headers=JSON)
    assert answer.status_code == 200 and len(answer.json["entries"]) <= 20
    return answer.json["entries"]


def test_a_few_letters_lead_to_everything_that_has_a_name(site):
    site.client.set_cookie("lang", "en")
    uuid = site.uuids["completed"]
    for letters, url in (
        (uuid[:6], f"/admin/jobs/job/{uuid}"), (uuid, f"/admin/jobs/job/{uuid}"), (uuid[:6].upper(), f"/admin/jobs/job/{uuid}"),
        ("actions log", "/admin/jobs/log"), ("testecho", "/admin/jobs/list?type=TestEcho"), ("acm", "/admin/jobs/list?tenant=acme"),
        ("low", "/admin/jobs/queues?queue=low"), ("pause queue low", "/admin/jobs/queues#queue-low"), (site.batches["ended"][:8], f"/admin/jobs/batches/{site.batches['ended']}"),
        ("nothing has this", "/admin/jobs/list?q=nothing+has+this"),
    ):
        assert url in [entry["url"] for entry in ask(site, letters)], (letters, ask(site, letters))
    assert 'id="queue-low"' in site.client.get("/admin/jobs/queues").text, "the action leads to its form"
    site.client.set_cookie("lang", "it")
    assert "/admin/jobs/queues#queue-low" in [e["url"] for e in ask(site, "pause queue low")] and "/admin/jobs/queues#queue-low" in [e["url"] for e in ask(site, "pausa coda low")]


def test_any_letters_are_answered_and_the_page_has_the_same(site):
    for letters in ("", " ", "%", "_", "'", '"', "\\", "ffff-", "x" * 5000, "è €", "0a0b", "a b c d"):
        entries = ask(site, letters)
        page = site.client.get("/admin/jobs/palette", query_string={"q": letters})
        links = [html.unescape(url) for url in re.findall(r'<li><a href="([^"]+)"><span class="title">', page.text)]
        assert page.status_code == 200 and links == [entry["url"] for entry in entries], letters
    assert site.client.get("/admin/jobs/palette.json?q=%00", headers=JSON).status_code == 400
    assert site.app.test_client().get("/admin/jobs/palette.json", headers=JSON).status_code == 401
