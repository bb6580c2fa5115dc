"""The metrics as CSV: the numbers of the pages, cells that run nothing, sentences for nonsense; on both databases."""

from __future__ import annotations

import csv
import io
import re

import pytest

from app.services.jobs import rollups
from app.support.clock import DAY_MS, HOUR_MS, now_ms
from tests.controllers.test_usage import JSON, hour, site  # noqa: F401
from tests.services.stats.test_usage_fill import metric

PATH = "/admin/jobs/metrics.csv"


@pytest.fixture
def page(site):  # noqa: F811
    """Those of the pages of use, with a type that is a formula, and one that only costs."""
    metric(site.ledger, "evil", at=hour() - 3 * HOUR_MS, job_type='=HYPERLINK("http://x")', tenant_id="blu")
    site.ledger.change("INSERT INTO job_costs (uuid, job_type, tenant_id, at_ms, cost_nano, currency) VALUES ('x', 'T', 'acme', :at, 1500000000, 'EUR')", at=hour() - HOUR_MS)
    site.ledger.change("INSERT INTO job_costs (uuid, job_type, tenant_id, at_ms, cost_nano, currency) VALUES ('x', 'Paid', 'acme', :at, 1, 'USD')", at=hour() - HOUR_MS)
    rollups.advance(site.ledger.connection)
    return site


def rows(page, query: str = "") -> list[dict]:
    answer = page.get(f"{PATH}?{query}")
    assert answer.status_code == 200 and answer.content_type == "text/csv; charset=utf-8" and answer.is_streamed
    assert re.fullmatch(r'attachment; filename="metrics-\d{4}-\d\d-\d\d-\d{4}-\d\d-\d\d\.csv"', answer.headers["Content-Disposition"])
    return list(csv.DictReader(io.StringIO(answer.get_data(as_text=True).removeprefix("\ufeff")), delimiter=";"))


def total(found: list[dict], column: str) -> int:
    return sum(int(row[column] or 0) for row in found)


def dec(text: str) -> float | None:
    return float(text.replace(",", ".")) if text else None


def test_the_numbers_are_those_of_the_pages(page):
    index = page.get("/admin/jobs/usage/?period=24h", headers=JSON).get_json()
    found = rows(page, "period=24h")
    for row in index["rows"]:
        mine = [r for r in found if r["type"].removeprefix("'") == row["name"]]
        assert (total(mine, "total"), total(mine, "failed")) == (row["total"], row["failed"]), row
    hours = page.get("/admin/jobs/metrics?period=24h", headers=JSON).get_json()
    assert [h["total"] for h in hours if h["total"]] == list({r["time"]: total([x for x in found if x["time"] == r["time"]], "total") for r in found if r["total"] and r["total"] != "0"}.values())
    for period in ("7d", "30d"):
        days = {d["date"]: d for d in page.get(f"/admin/jobs/metrics?period={period}", headers=JSON).get_json() if d["total"]}
        mine = rows(page, f"period={period}")
        assert {row["time"]: total([r for r in mine if r["time"] == row["time"]], "total") for row in mine if total([row], "total")} == {name: day["total"] for name, day in days.items()}
    one = page.get("/admin/jobs/usage/type/T?period=24h", headers=JSON).get_json()
    link = re.search(r'href="(/admin/jobs/metrics\.csv\?[^"]*job_type=T[^"]*)"', page.get("/admin/jobs/usage/type/T?period=24h").get_data(as_text=True))[1].replace("&amp;", "&")
    mine = rows(page, link.partition("?")[2] + "&bucket=hour")
    bars = {bar["since"][:13]: bar for bar in one["bars"] if bar["completed"] + bar["failed"]}
    assert len(bars) == 4 and total(mine, "completed") == one["now"]["completed"] == 2 and total(mine, "failed") == 2
    assert sorted(dec(row["run_p95_ms"]) for row in mine if row["run_p95_ms"]) == pytest.approx(sorted(bar["run_p95"] for bar in bars.values()), abs=0.01)
    assert sorted(dec(row["wait_p95_ms"]) for row in mine if row["wait_p95_ms"]) == pytest.approx(sorted(bar["wait_p95"] for bar in bars.values()), abs=0.01)


def test_costs_success_rate_and_mean_are_in_the_row(page):
    found = rows(page, "job_type=T&bucket=hour")
    newest = found[-1]
    assert (newest["completed"], newest["success_rate"], newest["mean_run_ms"], newest["cost"], newest["currency"], newest["requests_of_unknown_cost"]) == ("1", "100,0", "1000,0", "5,000000000", "USD", "1")
    assert ("1,500000000", "EUR") in [(row["cost"], row["currency"]) for row in found]
    assert [(row["type"], row["total"], dec(row["cost"])) for row in rows(page) if row["type"] == "Paid"] == [("Paid", "0", 1e-9)]
    acme = rows(page, "tenant_id=acme&period=30d")
    assert {row["tenant"] for row in acme} == {"acme"} and total(acme, "total") == 5 and not any(row["run_p95_ms"] for row in acme)


def test_the_mean_run_time_is_of_the_jobs_of_its_row(page):
    """Of completed and failed ones, as the quantiles beside it, also where all of a tenant's jobs failed."""
    for n, (status, run, tenant) in enumerate((("completed", 4000, "blu"), ("failed", 1000, "acme"), ("failed", 1000, "acme"), ("timeout", 9000, "acme"))):
        metric(page.ledger, f"slow{n}", status, hour() - HOUR_MS, run, job_type="Slow", tenant_id=tenant)
    rollups.advance(page.ledger.connection)
    for query, mean, failed in (("", "3750,0", "3"), ("&tenant_id=acme", "3666,67", "3"), ("&tenant_id=blu", "4000,0", "0")):
        (row,) = rows(page, f"job_type=Slow{query}")
        assert (row["mean_run_ms"], row["failed"]) == (mean, failed), query


def test_a_cell_never_runs_as_a_formula(page):
    assert "'=HYPERLINK(\"http://x\")" in [row["type"] for row in rows(page)]


@pytest.mark.parametrize("query", ["period=1y", "period=1h", "bucket=minute", "job_type=Nothing", "tenant_id=nobody", "tenant_id=a%20b", "from=never", "from=2026-02-30", "until=0001-01-01", "from=2999-01-01",
                                   "from=2026-11-02&until=2026-11-01", "period=7d&from=2026-11-02", "from=2001-01-01", "job_type=%00", "when=now"])
def test_nonsense_is_a_sentence(page, query):
    answer = page.get(f"{PATH}?{query}", headers=JSON)
    assert answer.status_code == 400 and answer.get_json()["error"].endswith((".", "?")), answer.get_data(as_text=True)
    assert page.get(f"{PATH}?{query}").status_code == 400


def test_the_dashboard_and_the_pages_of_use_link_to_it(page):
    assert f'href="{PATH}?period=7d"' in page.get("/admin/jobs/?period=7d").get_data(as_text=True)
    for path in ("usage/", "usage/type/T", "usage/tenant/acme"):
        assert f"{PATH}?from=" in page.get(f"/admin/jobs/{path}").get_data(as_text=True)
    assert PATH not in page.get("/admin/jobs/usage/worker/w1").get_data(as_text=True)


def test_a_long_period_is_read_in_parts(page, monkeypatch):
    from app.services.reports import outcomes
    spans = []
    counted = outcomes.counts
    monkeypatch.setattr(outcomes, "counts", lambda bounds, only: spans.append(bounds[-1] - bounds[0]) or counted(bounds, only))
    found = rows(page, "period=30d&bucket=hour")
    assert len(spans) == 30 and max(spans) <= DAY_MS + HOUR_MS and total(found, "total") == total(rows(page, "period=30d"), "total")
    assert len(spans) == 35 and max(spans) <= 7 * DAY_MS + HOUR_MS and now_ms()
