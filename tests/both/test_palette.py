"""The palette finds pages, jobs, types, tenants, workers, queues, batches and actions, with and without JavaScript."""

from __future__ import annotations

import html
import re
from time import perf_counter

from app.extensions import db
from app.services.jobs import facts, palette
from app.support.clock import HOUR_MS, now_ms

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
        ("errors", "/admin/jobs/errors/"), ("pausa coda low", "/admin/jobs/queues#queue-low"), ("utenti", "/admin/jobs/people/"),
        ("nothing has this", "/admin/jobs/list?q=nothing+has+this"),
    ):
        assert url in [entry["url"] for entry in ask(site, letters)], (letters, ask(site, letters))
    assert 'id="queue-low"' in site.client.get("/admin/jobs/queues").text, "the action leads to its form"
    site.client.set_cookie("lang", "it")
    assert "/admin/jobs/queues#queue-low" in [e["url"] for e in ask(site, "pause queue low")] and "/admin/jobs/queues#queue-low" in [e["url"] for e in ask(site, "pausa coda low")]


def test_views_errors_and_the_mark_of_a_deploy_are_found_and_accents_do_not_matter(site):
    site.client.set_cookie("lang", "en")
    kept = {"csrf_token": site.client.csrf, "name": 'è <b>"x"</b> %', "tenant": "acme"}
    assert site.client.post("/admin/jobs/views/", data=kept, headers=JSON).status_code == 200
    facts.advance(site.ledger.connection)
    key, title = site.ledger.connection.fetch_all("SELECT error_group, title FROM error_groups ORDER BY last_ms DESC LIMIT 1")[0]
    site.ledger.change("UPDATE error_groups SET title = :t WHERE error_group = :k", t="KeyError: no caffè at all", k=key)
    for letters, url in (('E <B>"x"', "/admin/jobs/list?tenant=acme"), ("keyerror caffe", f"/admin/jobs/errors/?period=7d&error={key}"), ("mark a deploy", "/admin/jobs/errors/#deploys"),
                         ("segna rilascio", "/admin/jobs/errors/#deploys"), ("àcmé", "/admin/jobs/list?tenant=acme"), ("capacita", "/admin/jobs/capacity/")):
        assert url in [entry["url"] for entry in ask(site, letters)], (letters, ask(site, letters))
    assert "KeyError: no caffè at all" in site.client.get("/admin/jobs/palette?q=keyerror").text and "no caffè at all" in site.client.get(f"/admin/jobs/errors/?period=7d&error={key}").text
    site.ledger.change("UPDATE error_groups SET title = :t WHERE error_group = :k", t=title, k=key)


def test_any_letters_are_answered_and_the_page_has_the_same(site):
    for letters in ("", " ", "%", "_", "'", '"', "\\", "ffff-", "x" * 5000, "è €", "0a0b", "a b c d"):
        entries = ask(site, letters)
        page = site.client.get("/admin/jobs/palette", query_string={"q": letters})
        links = [html.unescape(url) for url in re.findall(r'<li><a href="([^"]+)"><span class="title">', page.text)]
        assert page.status_code == 200 and links == [entry["url"] for entry in entries], letters
    assert site.client.get("/admin/jobs/palette.json?q=%00", headers=JSON).status_code == 400
    assert site.app.test_client().get("/admin/jobs/palette.json", headers=JSON).status_code == 401


def test_letters_read_few_rows_of_a_tenant_with_many_hours(ledger):
    """4,000 tenants of 48 hours each: one look-up a tenant takes 24 ms on SQLite, 88 ms on PostgreSQL. Reading the hours took 143 ms and 31 ms,
    and more with each type and outcome; so on SQLite alone the time tells."""
    series = "(WITH RECURSIVE s(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n < 47) SELECT n FROM s) s"
    names = "(WITH RECURSIVE u(m) AS (SELECT 0 UNION ALL SELECT m + 1 FROM u WHERE m < 3999) SELECT m FROM u) u"
    hour = now_ms() // HOUR_MS * HOUR_MS
    ledger.change("INSERT INTO rollup_tenants (hour, job_type, tenant_id, status, count, time_ms, wait_ms) "
                  f"SELECT {hour} - n * {HOUR_MS}, 'A', 't' || m, 'completed', 1, 1, 1 FROM {series}, {names}")
    empty = "zeroblob(0)" if ledger.connection.sqlite else "decode('', 'hex')"
    ledger.change("INSERT INTO usage_hours (scope, name, hour, completed, failed, attempts, busy_ms, waits, runs, memory) "
                  f"SELECT 'tenant', 't' || m, {hour}, 1, 0, 1, 1, {empty}, {empty}, {empty} FROM {names}")
    ledger.dispatch(tenant_id="t12-live")
    took = []
    with ledger.app.test_request_context():
        for _ in range(3):
            begun = perf_counter()
            assert palette.found("t12").tenants[:3] == ["t12", "t12-live", "t120"]
            took.append(perf_counter() - begun)
        db.session.rollback()
    assert min(took) < (0.1 if ledger.connection.sqlite else 0.5)
