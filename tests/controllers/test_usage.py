"""Pages of use: a made-up history counted by hand against every number, on both databases."""

from __future__ import annotations

import html
import re
import time

import pytest
from flask import request

from app.controllers import usage as pages
from app.controllers.job_list import read_filter
from app.ledger.rows import HISTORY, insert
from app.services.jobs import facts, listing
from app.services.people import accounts
from app.services.stats import longest_waits, machine, usage, usage_fill, usage_read, usage_window
from app.services.stats.usage_window import last, read
from app.support.clock import DAY_MS, HOUR_MS, MINUTE_MS, now_ms, stamp
from app.support.settings import settings
from tests.conftest import PASSWORD, sign_in
from tests.outcomes_of import outcomes_of
from tests.services.stats.test_usage_fill import metric

JSON = {"Accept": "application/json"}


def hour() -> int:
    """The running hour; a whole run of the tests crosses one."""
    return now_ms() // HOUR_MS * HOUR_MS


# uuid, type, tenant, worker, outcome, ms before the running hour (0: in it), run ms, wait ms, MB
JOBS = [("a1", "T", "acme", "w1", "completed", 0, 1000, 10, 100), ("a2", "T", "acme", "w1", "completed", HOUR_MS, 2000, 20, 200),
        ("a3", "T", "blu", "w2", "failed", 2 * HOUR_MS, 4000, 40, 50), ("a4", "T", "acme", "w2", "timeout", 23 * HOUR_MS, 9000, 400, 300),
        ("a5", "T", "acme", "w1", "completed", 24 * HOUR_MS, 500, 5, 900), ("a6", "T", "acme", "w1", "failed", 25 * HOUR_MS, 700, 7, 10),
        ("b1", "U", "blu", "w2", "completed", HOUR_MS, 16000, 0, 20), ("c1", "T", "acme", "w1", "cancelled", HOUR_MS, 0, 3, None)]


def finish(ledger, jobs=JOBS) -> None:
    for uuid, job_type, tenant, worker, status, back, run, wait, mb in sorted(jobs, key=lambda job: -job[5]):  # ids rise with the time
        at, key = hour() - back, f"{uuid:0<8}-0000-4000-8000-000000000000"
        metric(ledger, key, status, at, run, wait, mb and mb * 2**20, job_type=job_type, tenant_id=tenant, worker=worker)
        row = dict.fromkeys(HISTORY) | {"uuid": key, "job_type": job_type, "tenant_id": tenant, "queue": "low", "status": status, "payload": "{}", "attempts": 1, "tries": 1, "claim_no": 1,
                                        "round": 1, "created_ms": at, "finished_ms": at}
        ledger.change(insert("job_history", HISTORY), **row)


@pytest.fixture
def site(ledger):
    """A client signed in on a database with JOBS, counted and with facts; `client.ledger`. No test begins in the last 30 s
    of an hour."""
    if (left := hour() + HOUR_MS - now_ms()) < 30_000:
        time.sleep(left / 1000 + 0.1)
    with ledger.app.app_context():
        accounts.create_user("admin@example.org", "super-admin", PASSWORD)
    finish(ledger)
    metric(ledger, "a3000000-0000-4000-8000-000000000000", "retried", hour() - 2 * HOUR_MS, 300, 1, job_type="T", tenant_id="blu", worker="w2", claim_no=0 + 7)
    for nano, at, name in ((5 * 10**9, hour(), "T"), (2 * 10**9, hour() - 30 * HOUR_MS, "T"), (None, hour(), "T"), (7, hour(), "U")):
        ledger.change("INSERT INTO job_costs (uuid, job_type, tenant_id, at_ms, cost_nano, currency) VALUES ('x', :t, 'acme', :at, :n, 'USD')", t=name, at=at, n=nano)
    usage_fill.advance(ledger.connection)
    facts.advance(ledger.connection)
    client = sign_in(ledger.app, "admin@example.org")
    client.set_cookie("lang", "en")
    client.ledger = ledger
    return client


def plain(site, path: str) -> dict:
    return site.get(f"/admin/jobs/usage/{path}", headers=JSON).get_json()


def test_every_figure_of_a_type_is_what_counting_by_hand_gives(site):
    found = plain(site, "type/T")
    now, before = found["now"], found["before"]
    assert (now["completed"], now["failed"], now["total"], now["success_rate"], now["attempts"]) == (2, 2, 4, 50.0, 6)
    assert now["busy_ms"] == 1000 + 2000 + 4000 + 9000 + 300 and now["share"] == pytest.approx(100 * 16300 / 32300)
    assert (before["completed"], before["failed"], before["busy_ms"], before["share"]) == (1, 1, 1200, 100.0)
    for figure, exact in (("run", (2000, 9000, 9000)), ("wait", (20, 400, 400)), ("memory", (100 * 2**20, 300 * 2**20, 300 * 2**20))):
        assert [now[figure][p] for p in ("p50", "p95", "p99")] == pytest.approx(exact, rel=now[figure]["error"]) and now[figure]["total"] == 4
    assert now["costs"] == [{"currency": "USD", "nano": 5 * 10**9, "unknown": 1}] and before["costs"][0]["nano"] == 2 * 10**9
    assert [(h["uuid"][:2], h["memory"] // 2**20, h["kept"]) for h in found["heaviest"]] == [("a4", 300, True), ("a2", 200, True), ("a1", 100, True)]
    bars = [(n, b["completed"], b["failed"]) for n, b in enumerate(found["bars"]) if b["completed"] or b["failed"]]
    assert bars == [(0, 0, 1), (21, 0, 1), (22, 1, 0), (23, 1, 0)] and len(found["bars"]) == len(found["box"]) == 24
    assert sum(bar["count"] for bar in found["runs"]) == sum(bar["count"] for bar in found["waits"]) == 4
    assert now["per_hour"] == pytest.approx(4 / ((now_ms() - hour() + 23 * HOUR_MS) / HOUR_MS), rel=0.01)


@pytest.mark.parametrize(("path", "totals", "busy"), [("tenant/acme", (2, 1), 12000), ("tenant/blu", (1, 1), 20300), ("worker/w1", (2, 0), 3000), ("worker/w2", (1, 2), 29300)])
def test_tenants_and_workers_have_the_same_figures(site, path, totals, busy):
    now = plain(site, path)["now"]
    assert (now["completed"], now["failed"]) == totals and now["busy_ms"] == busy and now["share"] == pytest.approx(100 * busy / 32300)


@pytest.mark.parametrize("path", ["type/T", "type/T?period=7d", "tenant/acme?period=30d", "worker/w2", "type/U", "?by=tenant", "?by=worker&period=7d", "type/T?period=1h"])
@pytest.mark.parametrize("by_hand", [False, True], ids=["tried once", "retried by hand"])
def test_each_number_and_bar_leads_to_exactly_the_jobs_that_it_counts(site, path, by_hand):
    if by_hand:
        try_again(site.ledger)
        usage_fill.advance(site.ledger.connection)
        facts.advance(site.ledger.connection)
    page = html.unescape(site.get(f"/admin/jobs/usage/{path}").text)
    links = re.findall(r'<a href="/admin/jobs/list\?([^"]+)"[^>]*>\s*([\d,]+)</a>', page)
    links += [(url, str(sum(map(int, re.findall(r"(?:completed|failed) (\d+)", title))))) for url, title in re.findall(
        r'<a href="/admin/jobs/list\?([^"]+)" tabindex="-1" aria-label="([^"]+: completed \d+, failed \d+)"', page)]
    spread = re.findall(r'<a href="/admin/jobs/list\?([^"]+(?:longer|waited)=[^"]+)" tabindex="-1" aria-label="[^"]+: (\d+)"', page)
    assert len(links) >= 2 and (spread or path.startswith("?") or "1h" in path)
    for url, n in links + spread:
        with site.ledger.app.test_request_context(f"/?{url}"):
            found, zone = listing.count(read_filter(request.args)), settings().timezone
            meant, rows = outcomes_of(site.ledger, request.args, zone), listing.page(read_filter(request.args)).rows
        assert found == (len(set(meant)) if meant is not None else int(n), True), (url, n)
        assert meant is None or len(meant) == int(n.replace(",", "")) and {row.uuid for row in rows} == set(meant), (url, n)


def try_again(ledger) -> None:
    """a3 had failed before, at another hour on another worker; d1 failed twice and waits again; e1 and f1 completed in
    the end, f1 elsewhere. Facts are of the last outcome only."""
    finish(ledger, [("e1", "T", "blu", "w2", "completed", 3 * HOUR_MS, 5000, 50, 1), ("f1", "T", "blu", "w1", "completed", HOUR_MS, 5000, 50, 1)])
    key = "{:0<8}-0000-4000-8000-000000000000".format
    for n, (uuid, at, run, wait, worker) in enumerate((
            ("a3", 4 * HOUR_MS, 30, 3, "w1"), ("d1", 5 * HOUR_MS, 70, 8, "w2"), ("d1", 2 * HOUR_MS, 4000, 40, "w2"), ("e1", 3 * HOUR_MS + 1, 30, 1, "w2"),
            ("f1", 0, 9000, 400, "w2"), ("d1", 0, 5, 0, "w1"))):
        metric(ledger, key(uuid), "failed", hour() - at, run, wait, 2**20 * n, job_type="T", tenant_id="blu", worker=worker, claim_no=50 + n, round=20 + n)
    uuid = ledger.dispatch("TestNoop")
    ledger.change("UPDATE jobs SET uuid = :new, job_type = 'T', tenant_id = 'blu' WHERE uuid = :u", new=key("d1"), u=uuid)


def test_the_table_of_all_sorts_and_counts(site):
    rows = {sort: [r["name"] for r in plain(site, f"?sort={sort}")["rows"]] for sort in usage.SORTS}
    assert rows == {"busy": ["T", "U"], "total": ["T", "U"], "failed": ["T", "U"], "p95": ["U", "T"], "wait": ["T", "U"], "name": ["T", "U"]}
    first = plain(site, "?by=tenant")["rows"][0]
    assert first | {"p95": 0, "error": 0} == {"name": "blu", "label": "blu", "total": 2, "failed": 1, "success_rate": 50.0, "busy_ms": 20300, "share": 100 * 20300 / 32300, "p95": 0, "error": 0, "colour": 1, "oldest_ms": None}
    assert first["p95"] == pytest.approx(16000, rel=0.021)
    assert plain(site, "?by=odd&sort=odd&period=odd")["by"] == "type"


def test_the_tables_tell_which_tenant_and_type_waits_longest(site, monkeypatch, tmp_path):
    long, short = (site.ledger.dispatch("TestEcho", tenant_id=name) for name in ("only-waits", "blu"))
    for uuid, minutes in ((long, 9), (short, 5)):
        site.ledger.change("UPDATE jobs SET available_ms = :at WHERE uuid = :u", at=now_ms() - minutes * MINUTE_MS, u=uuid)

    def told(by: str) -> dict:
        return {r["name"]: r["oldest_ms"] // MINUTE_MS for r in plain(site, f"?sort=wait&by={by}")["rows"] if r["oldest_ms"] is not None}

    assert list(told("tenant").items()) == [("only-waits", 9), ("blu", 5)] and told("type") == {"TestEcho": 9} and told("worker") == {}
    page = site.get("/admin/jobs/usage/?by=tenant").text
    assert re.search(r'href="/admin/jobs/list\?tenant=only-waits&amp;state=pending">9 min', page) and "It was counted" not in page
    site.ledger.dispatch("TestEcho", tenant_id="blank")
    site.ledger.change("UPDATE jobs SET tenant_id = '' WHERE tenant_id = 'blank'")  # as another program may write it
    assert site.get("/admin/jobs/usage/?by=tenant").status_code == 200 and len(told("tenant")) == 2
    monkeypatch.setattr(longest_waits, "MOST_READ", 1)
    assert told("tenant") == {}, "too many to be read, and the monitor has not counted them"
    machine.Sampler(site.ledger.connection, tmp_path).run()
    site.ledger.change("UPDATE meta SET at_ms = at_ms - 30000 WHERE key LIKE 'waiting_since%'")
    assert list(told("tenant").items()) == [("only-waits", 9), ("blu", 5)] and told("type") == {"TestEcho": 9}
    assert "It was counted 30." in site.get("/admin/jobs/usage/?by=tenant").text
    site.ledger.change("UPDATE meta SET value = '[7]' WHERE key LIKE 'waiting_since%'")
    assert told("tenant") == {}


def test_outcomes_that_the_monitor_has_not_counted_are_in_the_figures(site, monkeypatch):
    metric(site.ledger, "new", at=hour(), run=60_000, job_type="T", tenant_id="new", worker="w9")
    assert plain(site, "type/T")["now"]["completed"] == 3 and plain(site, "tenant/new")["now"]["busy_ms"] == 60_000
    assert plain(site, "tenant/new")["now"]["share"] == pytest.approx(100 * 60_000 / 92_300), "of all run time, with what is not counted yet"
    assert [r["total"] for r in plain(site, "")["rows"]] == [5, 1] and plain(site, "")["not_counted"] == 0
    metric(site.ledger, "newer", at=hour(), job_type="T")
    monkeypatch.setattr(usage_read, "MOST_TAIL", 1)
    monkeypatch.setattr(usage_read, "_TAIL", usage_read._TAIL.replace("LIMIT 20000", "LIMIT 1"))
    assert plain(site, "type/T")["not_counted"] == 1 and "not counted yet" in site.get("/admin/jobs/usage/type/T").text


def test_the_last_hour_is_read_from_raw_rows_to_the_minute(site, monkeypatch):
    now = now_ms()
    finish(site.ledger, [(f"m{n}", "V", "acme", "w1", "completed", hour() - (now - minutes * MINUTE_MS), 100, 1, 1) for n, minutes in enumerate((0, 30, 58, 61, 118, 121))])
    found = plain(site, "type/V?period=1h")
    assert (found["now"]["completed"], found["before"]["completed"], found["whole_hours"]) == (3, 2, False) and len(found["bars"]) == 12
    monkeypatch.setattr(usage_read, "MOST_RAW", 2)
    found = plain(site, "type/V?period=1h")
    assert found["whole_hours"] and found["now"]["completed"] in (3, 4), "too many rows: two whole hours"


def test_a_range_is_of_whole_hours_and_a_bad_one_is_told_beside_its_field(site):
    day = stamp(hour() - DAY_MS)[:10]
    found = plain(site, f"type/T?from={day}&until={day}")
    assert found["since"] < found["until"] and len(found["bars"]) in (23, 24, 25)
    for query, words in (("from=x", "A date is written"), ("until=2026-13-01", "A date is written"), ("from=2999-01-01", "begins before it ends"), ("from=2001-01-01", "kept for 400 days"),
                         ("from=0001-01-01", "kept for 400 days"), ("from=9999-12-31&until=9999-12-31", "begins before it ends"), (f"from={day}T10:00&until={day}T09:00", "begins before")):
        for path in ("type/T", ""):
            answer = site.get(f"/admin/jobs/usage/{path}?{query}")
            assert answer.status_code == 400 and 'class="wrong"' in answer.text and words in answer.text, query
            assert 'class="num' not in answer.text and "cannot be read yet" in answer.text, "no figures of another time"
            assert words in site.get(f"/admin/jobs/usage/{path}?{query}", headers=JSON).get_json()["error"]


def test_a_window_divides_into_at_most_sixty_bars_and_knows_the_one_before(site):
    now = hour() + 7 * MINUTE_MS + 12
    with site.ledger.app.app_context():
        zone = settings().timezone
    for period, ms in usage_window.PERIODS.items():
        window = last(period, now)
        assert window.until - window.since == ms and window.until > now >= window.until - HOUR_MS and len(window.bars) <= 60
        assert window.before.until == window.since and window.bars[0][0] == window.since and window.bars[-1][1] == window.until
    window, wrong = read("", stamp(hour() - 398 * DAY_MS)[:10], "", now, zone)
    assert not wrong and len(window.bars) <= 60 and window.until == hour() + HOUR_MS


def test_an_unknown_name_is_a_page_with_a_way_out(site):
    for path in ("type/Nothing", "tenant/no%2Fbody", "worker/w99", "tenant/a/b/c"):
        answer = site.get(f"/admin/jobs/usage/{path}")
        assert answer.status_code == 404 and "/admin/jobs/usage/?by=" in answer.text
        assert "is called" in site.get(f"/admin/jobs/usage/{path}", headers=JSON).get_json()["error"]
    assert site.get("/admin/jobs/usage/type/TestNoop").status_code == 200, "a known type without a job"


def test_what_waits_now_stands_beside_the_throughput(site):
    site.ledger.dispatch("TestNoop", tenant_id="acme")
    site.ledger.change("UPDATE jobs SET available_ms = available_ms - 600000")
    found = plain(site, "type/TestNoop")
    assert found["waiting"] == 1 and 600_000 <= found["oldest_ms"] < 660_000 and found["now"]["total"] == 0
    page = site.get("/admin/jobs/usage/tenant/acme").text
    assert "the oldest for 10 min" in page and "tenant=acme&amp;state=pending" in page
    assert plain(site, "worker/w1")["waiting"] is None


def test_the_box_has_the_time_axis_of_the_bars(site):
    for minutes, cpu, wal in ((0, 100, 5), (1, 900, 7), (90, 200, 1)):
        at = hour() - minutes * MINUTE_MS
        site.ledger.change("INSERT INTO machine_minutes VALUES (:m, :cpu, 10, 20, 30, 40, 50, :wal, 3, 4000)", m=at, cpu=cpu, wal=wal)
        site.ledger.change("INSERT INTO worker_minutes (minute_ms, samples, wanted, alive, busy) VALUES (:m, 2, 6, 6, 3)", m=at)
    box = plain(site, "type/T")["box"]
    assert [(n, b["cpu"], b["wal"]) for n, b in enumerate(box) if b["cpu"] is not None] == [(21, 20.0, 1), (22, 90.0, 7), (23, 10.0, 5)]
    assert box[23] == {"cpu": 10.0, "memory": 10, "memory_total": 20, "disk_used": 10, "disk_total": 40, "database": 50, "wal": 5, "ready": 3, "oldest_ms": 4000, "alive": 3.0, "busy": 1.5}
    site.ledger.change("INSERT INTO deploys (at_ms, text) VALUES (:at, 'Version 7')", at=hour() - HOUR_MS)
    page = site.get("/admin/jobs/usage/type/T").text
    assert "Version 7" in page and "list?deploy=1" in page


def test_a_stalled_queue_does_not_look_idle(site):
    site.ledger.change("DELETE FROM job_history")  # one of JOBS ended at the full hour, which may be a minute ago
    site.ledger.dispatch("TestNoop", queue="low")
    site.ledger.change("UPDATE jobs SET available_ms = available_ms - 3600000")
    for n in (1, 2):
        minute = now_ms() // MINUTE_MS * MINUTE_MS - n * MINUTE_MS
        site.ledger.change("INSERT INTO queue_minutes (minute_ms, queue, depth, oldest_ms) VALUES (:m, 'low', 1, :ms)", m=minute, ms=3_060_000 - n * MINUTE_MS)
        site.ledger.change("INSERT INTO job_minutes (minute_ms, job_type, queue, tenant_id, status, count, time_ms) VALUES (:m, 'T', 'low', '', 'completed', :n, 0)", m=minute, n=n + 4)
    page = site.get("/admin/jobs/queues").text
    assert "Nothing has ended here for 10 minutes." in page and "at most 50 min" in page and "at most 6 a minute" in page


def test_a_type_has_one_colour_on_every_page(site):
    types = {row["job_type"]: row["colour"] for row in site.get("/admin/jobs/metrics?group=type&period=30d").get_json()}
    rows = {row["name"]: row["colour"] for row in plain(site, "?period=30d")["rows"]}
    assert rows.keys() == {"T", "U"} and all(types.get(name, colour) == colour != 5 for name, colour in rows.items())
    page, home = site.get("/admin/jobs/usage/type/T").text, site.get("/admin/jobs/").text
    assert f'<rect class="k{rows["T"]}"' in page and f'swatch k{rows["T"]}' in page
    for name, colour in types.items():
        assert f'<span class="swatch k{colour}"></span>' in home and f"/usage/type/{name}" in home


def test_figures_that_take_too_long_say_so(site, monkeypatch):
    def slow(*_given):
        sql = "WITH RECURSIVE s(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n < 30000000) SELECT COUNT(*) FROM s"
        return usage_read.SessionExecutor(usage_read.db.session).fetch_all(sql)

    monkeypatch.setattr(pages, "READ_S", 0.2)
    monkeypatch.setattr(usage_read, "of_all", slow)
    monkeypatch.setattr(usage_read, "of_name", slow)
    for url in ("/admin/jobs/usage/", "/admin/jobs/usage/tenant/acme"):
        answer = site.get(url, headers=JSON)
        assert answer.status_code == 503 and "shorter period" in answer.json["error"]
        assert site.get(url).status_code == 503


def test_a_range_is_compared_with_the_same_hours_of_another_day(site):
    since, until = (stamp(at)[:19] + "Z" for at in (hour() - 25 * HOUR_MS, hour() - 22 * HOUR_MS))
    span = f"?from={stamp(hour())[:19]}Z&until={stamp(hour() + HOUR_MS)[:19]}Z".replace(" ", "T")
    day = plain(site, f"type/T{span}&compare=day")
    usual = plain(site, f"type/T{span}")
    assert usual["now"]["run"] == day["now"]["run"] and usual["before"]["total"] == 1, "a2 ended in the hour before"
    assert day["before"]["completed"] == 1 and day["before"]["failed"] == 0, "a5 ended 24 hours before"
    assert plain(site, f"type/T{span}&compare=week")["before"]["total"] == 0
    wide = plain(site, f"type/T?from={since}&until={until}&compare=day".replace(" ", "T"))
    assert (wide["now"]["total"], wide["before"]["total"]) == (3, 0), "a4, a5, a6"
    over = plain(site, "type/T?period=7d&compare=day")
    assert (over["now"]["total"], over["before"]["total"]) == (6, 2), "the weeks overlap: a5 and a6 lie in both"
    text = site.get("/admin/jobs/usage/type/T?period=1h&compare=week").text
    assert 'compare=day&amp;period=1h' in text and re.search(r'compare=week[^>]*aria-current="true"', text) and "Compared with " in text
    assert "compare=week" in re.search(r'href="([^"]*period=7d[^"]*)"', text)[1], "a link to a period keeps what is compared"


def test_a_range_that_is_not_of_whole_hours_says_what_is_shown_in_its_place(site):
    text = site.get("/admin/jobs/usage/type/T?from=2026-11-25T14:20&until=2026-11-25T14:40").text
    assert "Only whole hours are counted: 25 Nov, 14:00 to 25 Nov, 15:00 is shown." in text.replace("Nov 14", "Nov, 14").replace("Nov 15", "Nov, 15")
    assert 'name="from" value="2026-11-25T14:00"' in text and 'name="until" value="2026-11-25T15:00"' in text
    other = site.get("/admin/jobs/usage/type/T?since=2026-11-25T14:00&until=2026-11-25T15:00").text
    assert "Only whole hours" not in other and 'name="from" value="2026-11-25T14:00"' in other
    assert plain(site, "type/T?since=2026-11-25T14:00&until=2026-11-25T15:00")["until"] == plain(site, "type/T?from=2026-11-25T14:00&until=2026-11-25T15:00")["until"]
    assert "Only whole hours" not in site.get("/admin/jobs/usage/?by=type&from=2026-11-20&until=2026-11-21").text
    assert "Only whole hours" in site.get("/admin/jobs/usage/?by=type&from=2026-11-20T10:01").text


def test_the_bars_of_a_histogram_read_differently_when_they_are_close(site):
    finish(site.ledger, [(f"h{n:07}", "H", "acme", "w1", "completed", 0, 200 + n, 4000, 1) for n in range(40)])
    page = site.get("/admin/jobs/usage/type/H").text
    titles = re.findall(r'aria-label="([^":]+): \d+"', page)
    assert any(re.fullmatch(r"2\d\d ms – 2\d\d ms", title) for title in titles) and len(titles) == len(set(titles))
    assert all(low != high for title in titles if " – " in title for low, high in [title.split(" – ")])
    axis = re.findall(r'<div class="axis">((?:<span>[\d.]+ m?s</span>){3})</div>', page)
    assert axis and all(len(set(re.findall(r"<span>(.*?)<", labels))) == 3 for labels in axis[:1]), axis
