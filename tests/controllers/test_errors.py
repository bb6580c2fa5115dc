"""Failures by error: each number counts exactly the jobs of its link, and the two buttons change exactly these."""

from __future__ import annotations

import html
import re
from types import SimpleNamespace

import pytest
from flask import request

from app.controllers.job_list import read_filter
from app.extensions import db
from app.services.jobs import facts, listing
from app.services.people import accounts
from app.support.clock import DAY_MS, HOUR_MS, iso, now_ms, stamp
from tests.conftest import PASSWORD, sign_in

JSON = {"Accept": "application/json"}


@pytest.fixture
def site(ledger):
    """`fail(error, ...)` makes a failed job and returns its uuid; `read(address)` is the JSON of the page."""
    with ledger.app.app_context():
        accounts.create_user("admin@example.org", "super-admin", PASSWORD)
        db.session.remove()
    client = sign_in(ledger.app, "admin@example.org")
    client.set_cookie("lang", "en")

    def fail(error: str, ago: int = 0, name: str = "TestNoop", group: bool = True, **options) -> str:
        uuid = ledger.dispatch(name, **options)
        ledger.settle(ledger.claim(), "failed", error=error, retry=False)
        ledger.change("UPDATE job_history SET finished_ms = finished_ms - :ago WHERE uuid = :u", ago=ago, u=uuid)
        ledger.change("UPDATE job_metrics SET completed_at = :at WHERE uuid = :u", at=stamp(now_ms() - ago), u=uuid)
        if group:
            facts.advance(ledger.connection)
        return uuid

    return SimpleNamespace(
        ledger=ledger, client=client, fail=fail, page=lambda more="": html.unescape(client.get(f"/admin/jobs/errors/{more}").text),
        read=lambda more="": client.get(f"/admin/jobs/errors/{more}", headers=JSON).get_json(),
        post=lambda address, **form: client.post(f"/admin/jobs/errors/{address}", data=form | {"csrf_token": client.csrf}, headers=JSON))


def counted(site, page: str) -> dict[str, int]:
    """The number that stands in each link into the list, by its address; each is compared with the list."""
    found = {}
    for url, words in re.findall(r'<a [^>]*href="/admin/jobs/list\?([^"]+)"[^>]*>(.*?)</a>', page, re.S):
        if numbers := re.findall(r"\d[\d,]*", re.sub(r"<[^>]+>|svg.*", "", words)):
            found[url] = int(numbers[-1].replace(",", ""))
            with site.ledger.app.test_request_context(f"/?{url}"):
                assert listing.count(read_filter(request.args)) == (found[url], True), (url, words)
    return found


def fill(site) -> None:
    """Old ones first, as ids rise with the time of finishing."""
    site.fail("KeyError: 'a'", 40 * DAY_MS, tenant_id="old")
    site.fail("KeyError: 'b'", 5 * DAY_MS, tenant_id="acme")
    site.fail("order A-1 lost", 3 * HOUR_MS)
    for n in range(3):
        site.fail(f"KeyError: '{n}'", 2 * HOUR_MS, tenant_id=("acme", "lumen", "acme")[n])


def test_each_number_links_to_exactly_the_jobs_it_counts(site):
    fill(site)
    site.client.post(f"/admin/jobs/delete/{site.fail('order B-2 lost')}", data={"csrf_token": site.client.csrf, "_method": "DELETE"})
    for more, failed in ("", {3, 2}), ("?period=7d", {4, 2}), ("?period=all", {5, 2}), ("?period=30d&sort=first", {4, 2}):
        page = site.page(more)
        numbers = counted(site, page)
        assert {n for url, n in numbers.items() if "unsuccessful" in url and "tenant" not in url} == failed, more
        assert {n for url, n in numbers.items() if "undecided" in url} == failed - {2} | {1}, more
        assert any("tenant=acme" in url for url in numbers)
    assert [g["failed"] for g in site.read()["groups"]] == [3, 2]
    assert [g["title"] for g in site.read("?sort=last")["groups"]] == ["order … lost", "KeyError: …"]
    body = site.read("?period=all")
    group = body["groups"][0]
    assert (body["failed"], body["total"], group["tenants"], group["largest"][0]) == (7, 2, 3, {"tenant_id": "acme", "failed": 3})
    for row in body["groups"]:
        assert row["without_tenant"] + sum(one["failed"] for one in row["largest"]) == row["failed"], "no job is in no part"
    assert [row["without_tenant"] for row in body["groups"]] == [0, 2]
    site.fail("KeyError: '7'")
    assert "without tenant (1)" in site.page("?period=all") and site.read("?period=all")["groups"][0]["without_tenant"] == 1
    site.ledger.change("DELETE FROM job_facts WHERE error_group = :g AND tenant_id IS NULL", g=group["key"])
    assert sum(group["trend"]) == 5 and group["error"] == "KeyError: '2'" and len(group["trend"]) == 24
    one = site.read(f"?error={group['key']}&period=all")
    assert [g["key"] for g in one["groups"]] == [group["key"]] and "All groups" in site.page(f"?error={group['key']}")


def test_a_window_is_any_range_or_since_a_deploy(site):
    fill(site)
    now = now_ms()
    site.ledger.change("INSERT INTO deploys (at_ms, text, actor) VALUES (:at, 'Release 7', 'ann')", at=now - 150 * 60_000)
    page = site.page("?deploy=1")
    assert 3 in counted(site, page).values() and "since Release 7" in page and "new since the last deploy" not in page
    site.fail("a new kind")
    assert site.page("?deploy=1").count("new since the last deploy") == 1
    assert [g["is_new"] for g in site.read("?sort=first")["groups"]] == [True, False, False]
    between = f"?since={iso(now - 6 * DAY_MS)}&until={iso(now - DAY_MS)}"
    assert [g["failed"] for g in site.read(between)["groups"]] == [1] and list(counted(site, site.page(between)).values())[0] == 1
    assert site.read("?since=2020-01-01&until=2020-01-02")["groups"] == []


@pytest.mark.parametrize(("more", "word"), [("?since=yesterday", "2026-11-23"), ("?since=2026-02-30", "2026-11-23"), ("?until=x", "2026-11-23"),
                                            ("?since=2026-02-02&until=2026-02-01", "before the beginning"), ("?deploy=9", "no such deploy"), ("?deploy=x", "number")])
def test_a_bad_window_keeps_the_page_and_says_so(site, more, word):
    site.fail("x")
    answer = site.client.get(f"/admin/jobs/errors/{more}")
    assert 'class="t cards errors"' not in answer.text and "cannot be read yet" in answer.text, "no groups of another time"
    assert answer.status_code == 400 and word in answer.text and "<h1>Failures by error</h1>" in answer.text
    assert word in site.read(more)["error"]


def test_odd_addresses_answer(site):
    site.fail("x")
    for more in ("?from=-1", "?from=x", "?from=99999999999", "?sort=x", "?period=x", "?error=" + "x" * 500, "?from=50"):
        assert site.client.get(f"/admin/jobs/errors/{more}").status_code == 200, more


def test_retry_and_delete_change_the_jobs_of_the_group_up_to_the_click(site):
    fill(site)
    key = next(g["key"] for g in site.read()["groups"] if g["title"].startswith("KeyError"))
    page = site.client.get("/admin/jobs/errors/").text
    upto = re.search(r'name="upto" value="(\d+)"', page)[1]
    since = html.unescape(re.search(r'name="since" value="([^"]+)">', page.split(f'/{key}/retry')[1])[1])
    later = site.fail("KeyError: 'later'")
    asked = site.client.post(f"/admin/jobs/errors/{key}/retry", data={"csrf_token": site.client.csrf, "ask": "1", "upto": upto, "since": since})
    assert "Retry 3 failed jobs?" in asked.text and f'name="since" value="{since}"' in asked.text
    assert site.post(f"{key}/retry", upto=upto, since=since).get_json()["count"] == 3
    assert site.ledger.row(later) is None and site.ledger.one("SELECT COUNT(*) FROM jobs") == 3
    assert site.post(f"{key}/retry", upto=upto, since=since).get_json()["count"] == 0
    deleted = site.post(f"{key}/delete").get_json()
    assert deleted["count"] == 3 and deleted["undo"] == f"/admin/jobs/undo/{deleted['action']}"
    rows = site.ledger.connection.fetch_all("SELECT action, subject, result FROM audit WHERE subject LIKE 'failures%' ORDER BY id")
    assert rows == [("retry", "failures of Test Noop: KeyError: …", "3 of 3"), ("delete", "failures of Test Noop: KeyError: …", "3 of 3")]
    assert site.ledger.one("SELECT COUNT(*) FROM failed_jobs WHERE deleted_at IS NULL") == 1, "the other group waits on"


def test_bad_actions_are_refused(site):
    key = site.fail("x") and site.read()["groups"][0]["key"]
    assert site.post("nothing/retry").status_code == 404 and site.post(f"{key}/cancel").status_code == 404
    for form in ({"upto": "x"}, {"since": "x"}, {"deploy": "77"}):
        answer = site.post(f"{key}/retry", **form)
        assert answer.status_code == 400 and answer.get_json()["error"], form
    assert site.client.post(f"/admin/jobs/errors/{key}/retry").status_code == 400, "no token"


def test_rows_without_history_and_without_facts_are_not_hidden(site):
    site.fail("grouped")
    site.fail("not yet", group=False)
    site.ledger.change("INSERT INTO failed_jobs (uuid, connection, queue, payload, exception) VALUES ('foreign 1', 'database', 'x', '{}', 'boom')")
    body, page = site.read(), site.page()
    assert (body["failed"], body["behind"], body["foreign"]) == (1, 1, 1)
    assert "1 failure of the last moments is not grouped yet" in page and '/admin/jobs/job/foreign%201"' in page
    site.ledger.change("UPDATE failed_jobs SET deleted_at = 5 WHERE uuid = 'foreign 1'")
    assert site.read()["foreign"] == 0


def test_the_dashboard_and_the_page_of_a_job_lead_to_the_group(site):
    fill(site)
    uuid = site.fail("KeyError: 'z'")
    for address in ("/admin/jobs/", f"/admin/jobs/job/{uuid}"):
        page = html.unescape(site.client.get(address).text)
        assert 6 in [n for url, n in counted(site, page).items() if "error=" in url], address
    assert f"/errors/?error={site.read()['groups'][0]['key']}&period=all" in page


def test_an_attempt_shows_the_version_it_ran_on(site):
    site.ledger.change("INSERT INTO worker_heartbeats (worker_name, process_id, queue, status, started_at, last_heartbeat, worker_id, consumer_id, host, "
                       "code_version, revision) VALUES ('w1', 1, 'low', 'idle', '2026-01-01', '2026-01-01', 'w1', 'c', 'h', 'abc', :r)", r="e" * 40)
    uuid = site.fail("x")
    assert ">eeeeeee</span>" in site.client.get(f"/admin/jobs/job/{uuid}").text
    assert site.client.get(f"/admin/jobs/job/{uuid}", headers=JSON).get_json()["attempts"][0]["code_version"] == "e" * 40 + ".abc"


def test_a_deploy_is_marked_on_the_page_and_drawn_on_the_charts(site):
    site.fail("x")
    assert site.post("deploys", text="Checkout 4").get_json() == {"ok": True, "count": 1}
    bad = site.client.post("/admin/jobs/errors/deploys", data={"csrf_token": site.client.csrf, "text": "a\tb" + "x" * 300})
    assert bad.status_code == 400 and "in one line" in bad.text and 'value="a' in bad.text
    assert "Checkout 4" in site.page() and site.read()["deploys"][0]["text"] == "Checkout 4"
    for address in ("/admin/jobs/", "/admin/jobs/?period=7d", "/admin/jobs/capacity/"):
        page = html.unescape(site.client.get(address).text)
        twin = page.split("data-twin")[1].split("</tbody>")[0]
        assert "Checkout 4" in twin and '"place"' in page.split('data-rows="')[1].split("data-series")[0], address
    for address in ("metrics", "capacity/hours", "metrics?period=30d"):
        rows = site.client.get(f"/admin/jobs/{address}", headers=JSON).get_json()
        assert [d["text"] for d in rows[-1]["deploys"]] == ["Checkout 4"] and rows[0]["deploys"] == [], address
    assert "deploys" not in site.client.get("/admin/jobs/metrics?group=type", headers=JSON).get_json()[0]


def test_pages_of_groups_hold_fifty(site):
    for n in range(52):
        site.fail("kind " + "ghjklmno"[n % 8] * (n + 1))
    first, second = site.read(), site.read("?from=50")
    assert (len(first["groups"]), len(second["groups"]), second["total"]) == (50, 2, 52)
    assert not {g["key"] for g in first["groups"]} & {g["key"] for g in second["groups"]} and "from=50" in site.page()
