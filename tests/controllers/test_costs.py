"""Costs, budgets, generations and templates as people see and change them; sums against rows added up by hand."""

from __future__ import annotations

import csv
import html
import io
import json
import re

import pytest

from app.extensions import db
from app.ledger.dialect import SessionExecutor
from app.models import Generation, JobCost, PromptTemplate, TenantBudget
from app.services.content import generations, prices
from app.support.clock import DAY_MS, now_ms

EN = {"Accept-Language": "en"}


@pytest.fixture
def spent(app):
    with app.app_context():
        for n in range(40):
            db.session.add(JobCost(uuid=f"u{n}", job_type="ProcessContentGeneration", tenant_id=("acme", "lumen")[n % 2], model=("gpt-4o", "other")[n % 5 == 0],
                                   at_ms=now_ms() - (n % 4) * DAY_MS * (n > 20), tokens_in=100, tokens_cached=10, tokens_out=50,
                                   cost_nano=None if n % 5 == 0 else 1_000_000 * n, currency="USD"))
        db.session.commit()


def test_sums_by_tenant_type_model_and_day_equal_those_added_up_by_hand(admin, spent):
    from datetime import UTC, datetime, timedelta

    since = (datetime.now(UTC) - timedelta(days=10)).date()
    totals = admin.get(f"/admin/jobs/costs/?since={since}", headers={"Accept": "application/json"}).json["totals"]
    known = [1_000_000 * n for n in range(40) if n % 5]
    for group in ("tenant", "type", "model", "day"):
        assert sum(r["nano"] for r in totals[group]) == sum(known), group
        assert sum(r["requests"] for r in totals[group]) == 40 and sum(r["unknown"] for r in totals[group]) == 8
    acme = next(r for r in totals["tenant"] if r["key"] == "acme")
    assert acme["nano"] == sum(1_000_000 * n for n in range(0, 40, 2) if n % 5)
    rows = list(csv.DictReader(io.StringIO(admin.get(f"/admin/jobs/costs/costs.csv?since={since}").get_data(as_text=True).lstrip("\ufeff")), delimiter=";"))
    assert sum(float(r["cost"].replace(",", ".")) for r in rows if r["by"] == "tenant") == pytest.approx(sum(known) / 1e9)
    page = admin.get(f"/admin/jobs/costs/?since={since}", headers={"Accept-Language": "en"}).get_data(as_text=True)
    assert "of unknown cost" in page and "unknown</td>" in page
    assert "Cost: today" in admin.get("/admin/jobs/", headers={"Accept-Language": "en"}).get_data(as_text=True)


def test_the_page_of_costs_is_kept_fresh(admin, spent, app):
    page = admin.get("/admin/jobs/costs/", headers={"Accept-Language": "en"}).text
    url = html.unescape(re.search(r'data-url="(/admin/jobs/costs/days[^"]*)"', page)[1])
    assert 'data-url="/admin/jobs/costs/"' in page and len(admin.get(f"{url}&period=30d&bucket=day").json) > 0  # as charts.js asks
    with app.app_context():
        db.session.add(JobCost(uuid="new", job_type="T", tenant_id="newcomer", model="m", at_ms=now_ms(), tokens_in=1, tokens_cached=0, tokens_out=1, cost_nano=50 * 10**9, currency="USD"))
        db.session.commit()
    parts = admin.get("/admin/jobs/costs/", headers={"Accept": "application/json", "X-Partials": "costs_tables,costs_budgets"}).json["partials"]
    assert "newcomer" in parts["costs_tables"] and parts.keys() == {"costs_tables", "costs_budgets"}


@pytest.mark.parametrize("query", ["since=never", "since=2026-02-30", "since=2026-05-01&until=2026-04-01", "since=1900-01-01", "since=0001-01-01&until=0001-01-02",
                                   "since=2000-01-01&until=2026-01-01"])
def test_a_period_that_is_none_is_said(admin, query):
    for path in ("", "days", "costs.csv"):
        assert admin.get(f"/admin/jobs/costs/{path}?{query}").status_code == 400
    page = admin.get(f"/admin/jobs/costs/?{query}", headers={"Accept-Language": "en"}).text
    assert "cannot be read yet" in page and 'id="by-tenant"' not in page and "costs.csv" not in page and "Monthly budgets" in page


def test_a_budget_holds_and_lets_go(admin, spent):
    def budget(**fields):
        return admin.post("/admin/jobs/costs/budgets", data={"csrf_token": admin.csrf, "tenant": "acme", "currency": "USD"} | fields)

    for amount in ("0.001", "-1", "many", "1e9"):
        assert budget(amount=amount).status_code == 400
    assert budget(amount="0,01", hold="1").status_code == 303
    settings = admin.application.extensions["settings"]
    with admin.application.app_context():
        tx = SessionExecutor(db.session)
        assert generations.over_budget(tx, "acme", settings).startswith("The monthly budget of acme is spent (")
        assert generations.over_budget(tx, "lumen", settings) is None
    assert budget(amount="100").status_code == 303  # without hold it only warns
    with admin.application.app_context():
        assert generations.over_budget(SessionExecutor(db.session), "acme", settings) is None
    assert budget(amount="").status_code == 303
    with admin.application.app_context():
        assert db.session.query(TenantBudget).count() == 0


def test_templates_are_checked_saved_replaced_and_deleted(admin):
    def save(**fields):
        return admin.post("/admin/jobs/generations/templates", data={"csrf_token": admin.csrf, "name": "long", "body": "Write: {prompt}"} | fields)

    assert save(body="no place for it").status_code == 400
    assert save(name="<x>").status_code == 400
    assert save(tenant="a b").status_code == 400
    assert save().status_code == 303 and save(body="Other: {prompt}").status_code == 303 and save(tenant="acme").status_code == 303
    with admin.application.app_context():
        assert [(t.tenant_id, t.body) for t in db.session.query(PromptTemplate).order_by(PromptTemplate.id)] == [("", "Other: {prompt}"), ("acme", "Write: {prompt}")]
        tx = SessionExecutor(db.session)
        assert generations.fill(tx, "acme", "long", "{title} {prompt}", None) == "Write: {title} {prompt}"  # a value is never filled again
        assert generations.fill(tx, "else", "long", "p", None) == "Other: p"
        assert generations.fill(tx, "else", "none", "p", None) is None
    assert admin.post("/admin/jobs/generations/templates/1/delete", data={"csrf_token": admin.csrf}).status_code == 303
    assert admin.post("/admin/jobs/generations/templates/1/delete", data={"csrf_token": admin.csrf}).status_code == 404


def test_generations_are_listed_searched_and_shown(admin):
    with admin.application.app_context():
        for n in range(60):
            db.session.add(Generation(uuid=f"{n:08d}-0000-4000-8000-000000000000", prompt=f"About <b>{n}</b>", model="gpt-4o", status="answered", text="the text",
                                      asks=1, created_ms=now_ms(), tenant_id="acme"))
        db.session.commit()
    first = admin.get("/admin/jobs/generations/", headers={"Accept": "application/json"}).json
    assert len(first["generations"]) == 50 and len(admin.get(first["older"], headers={"Accept": "application/json"}).json["generations"]) == 10
    found = admin.get("/admin/jobs/generations/?q=About+<b>7<", headers={"Accept": "application/json"}).json["generations"]
    assert len(found) == 1
    text = admin.get(f"/admin/jobs/generations/{found[0]['uuid']}").get_data(as_text=True)
    assert "the text" in text and "<b>7</b>" not in text
    for path in ("nonsense", "00000000-0000-4000-8000-00000000ffff"):
        assert admin.get(f"/admin/jobs/generations/{path}").status_code == 404
    assert admin.get("/admin/jobs/generations/?before=x&tenant=" + "x" * 500).status_code == 200


@pytest.mark.parametrize(("model", "day", "nano"), [
    ("m", "2026-01-15", 90 * 1000 + 10 * 500 + 50 * 2000), ("m", "2026-02-15", 90 * 2000 + 10 * 1000 + 50 * 4000), ("m-2026-01-02", "2026-01-15", 195_000),
    ("m", "2025-12-31", None), ("other", "2026-02-15", None),
])
def test_the_price_of_a_model_counts_from_its_day(tmp_path, model, day, nano):
    from datetime import UTC, datetime

    table = tmp_path / "prices.csv"
    table.write_text("model,currency,input,cached,output,valid_from\nm,EUR,1,0.5,2,2026-01-01\nm,EUR,2,1,4,2026-02-01\n")
    at = int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() * 1000)
    assert prices.cost(table, model, (100, 10, 50), at)[0] == nano


@pytest.mark.parametrize("line", ["m,EUR,x,1,1,2026-01-01", "m,EURO,1,1,1,2026-01-01", "m,EUR,1,1,-1,2026-01-01", "m,EUR,1,1,1,soon", "m,EUR,1"])
def test_a_bad_price_table_says_which_line(tmp_path, line):
    table = tmp_path / "prices.csv"
    table.write_text(f"model,currency,input,cached,output,valid_from\n{line}\n")
    with pytest.raises(prices.BadPrices, match="line 2"):
        prices.cost(table, "m", (1, 0, 1), 0)


def test_each_currency_has_a_chart_of_its_own(admin):
    """Two on one day: no column of one on the axis of the other; half cents round up and the parts agree with the sum."""
    with admin.application.app_context():
        for n, (tenant, nano, currency) in enumerate((("a", 9_000_000_000, "USD"), ("b", 2_000_000_000, "USD"), ("acme", 1_255_000_000, "USD"), ("a", 3_330_000_000, "EUR"))):
            db.session.add(JobCost(uuid=f"u{n}", job_type="T", tenant_id=tenant, model="m", at_ms=now_ms(), cost_nano=nano, currency=currency, tokens_in=0, tokens_cached=0, tokens_out=0))
        db.session.commit()
    days = admin.get("/admin/jobs/costs/days", headers=EN).json
    assert sorted((row["cost"], row["currency"], row["shown"]) for row in days) == [(3.33, "EUR", "3.33 EUR"), (12.255, "USD", "12.255 USD")]
    assert [row["cost"] for row in admin.get("/admin/jobs/costs/days?currency=EUR").json] == [3.33] and admin.get("/admin/jobs/costs/days?currency=GBP").json == []
    page = admin.get("/admin/jobs/costs/", headers=EN).get_data(as_text=True)
    assert page.count("<canvas") == 2 and page.index("Cost EUR</h") < page.index("Cost USD</h")
    for one in page.split('x-data="charts"')[1:]:
        rows = json.loads(html.unescape(re.search(r'data-rows="([^"]*)"', one)[1]))
        address = html.unescape(re.search(r'data-url="([^"]*)"', one)[1])
        assert len(rows) == 1 and admin.get(address, headers=EN).json == rows and rows[0]["shown"].endswith(rows[0]["currency"])
    assert all(text in page for text in ("9.00 USD", "2.00 USD", "1.255 USD", "12.255 USD", "3.33 EUR"))
