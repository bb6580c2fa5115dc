"""A made-up week and the one before it, across the end of summer time, counted by hand against every number of a report, on both databases."""

from __future__ import annotations

import csv
import io
from datetime import datetime
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest

from app.extensions import db
from app.ledger.rows import HISTORY, insert
from app.services.jobs import facts, queue_rates, rollups
from app.services.people import accounts
from app.services.reports import cost_rows, error_rows, figures, outcomes, report_csv, without_data
from app.services.reports.model import ReportFilter, Spread
from app.services.reports.periods import Window, last
from app.services.stats import usage_fill
from app.support.clock import DAY_MS, HOUR_MS, millis
from tests.conftest import PASSWORD, sign_in
from tests.services.stats.test_usage_fill import metric

ROME = ZoneInfo("Europe/Rome")
KEYS = {"x": "{}"}


def at(text: str, fold: int = 0) -> int:
    return millis(datetime.fromisoformat(f"2026-{text}").replace(tzinfo=ROME, fold=fold))


NOW = at("10-26 07:00")
SINCE, UNTIL, LOW = at("10-19"), at("10-26"), at("10-12")
# uuid, type, tenant, queue, outcome, created, ended, run ms, wait ms, error
JOBS = [
    ("a-out", "A", "acme", "low", "completed", at("10-11 20:00"), at("10-11 23:59:59.999"), 99, 9, None),
    ("p1", "A", "acme", "low", "completed", at("10-11 23:00"), at("10-12 00:00"), 100, 1, None),
    ("p2", "A", "blu", "low", "failed", at("10-14 10:00"), at("10-14 11:00"), 200, 2, "ValueError: no title"),
    ("p4", "B", "acme", "low", "cancelled", at("10-15 10:00"), at("10-15 11:00"), 0, None, None),
    ("p3", "B", "acme", "low", "completed", at("10-18 23:00"), at("10-18 23:59:59.999"), 300, 3, None),
    ("w1", "A", "acme", "low", "completed", at("10-18 23:30"), at("10-19 00:00"), 1000, 10, None),
    ("w2", "A", "acme", "low", "completed", at("10-19 08:00"), at("10-19 09:00"), 2000, 20, None),
    ("w3", "A", "blu", "high", "failed", at("10-20 09:00"), at("10-20 10:00"), 4000, 40, "ValueError: no title"),
    ("w4", "A", "blu", "low", "timeout", at("10-21 09:00"), at("10-21 12:00"), 9000, 80, "TimeoutError: slow site"),
    ("w7", "B", "acme", "low", "cancelled", at("10-22 07:00"), at("10-22 08:00"), 0, None, None),
    ("w9", "A", "acme", "low", "failed", at("10-23 09:00"), at("10-23 10:00"), 4000, 40, "ValueError: no title"),
    ("w5", "B", None, "low", "completed", at("10-25 02:00"), at("10-25 02:30"), 500, 0, None),
    ("w6", "B", "acme", "low", "completed", at("10-25 02:10"), at("10-25 02:30", fold=1), 700, 5, None),
    ("w8", "B", "acme", "high", "completed", at("10-24 09:00"), at("10-25 23:59:59.999"), 16000, 160, None),
    ("n1", "A", "acme", "low", "completed", at("10-25 22:00"), at("10-26 00:00"), 77, 7, None)]
ATTEMPTS = [("w8", "lost", at("10-24 10:00"), 20, 7), ("w8", "retried", at("10-24 11:00"), 30, 8), ("w8", "late", at("10-24 12:00"), 999, 7)]
COSTS = [("acme", "A", at("10-19"), 5, "USD"), ("acme", "A", at("10-25 23:59:59.999"), 1, "USD"), ("acme", "A", at("10-26"), 7, "USD"), ("acme", "B", at("10-18 12:00"), 3, "USD"),
         ("acme", "A", at("10-01"), 4, "USD"), ("acme", "A", at("09-30 23:59:59.999"), 50, "USD"), ("blu", "A", at("10-20"), None, "USD"), ("blu", "A", at("10-20"), 2, "EUR"),
         ("", "B", at("10-21"), 0.1, "USD")]
BUDGETS = [("acme", 10, "USD", 1), ("blu", 0, "EUR", 0), ("zed", 20, "USD", 0)]


def key(name: str) -> str:
    return f"{name:0<8}-0000-4000-8000-000000000000"


def fill(ledger) -> None:
    for name, status, ended, run, claim in ATTEMPTS:
        metric(ledger, key(name), status, ended, run, 1, job_type="B", tenant_id="acme", queue="high", claim_no=claim)
    for name, job_type, tenant, queue, status, created, ended, run, wait, error in JOBS:
        metric(ledger, key(name), status, ended, run, wait, job_type=job_type, tenant_id=tenant, queue=queue, claim_no=0 if wait is None else 9,
               started_at=None if wait is None else str(datetime(2026, 10, 1)))
        row = dict.fromkeys(HISTORY) | {"uuid": key(name), "job_type": job_type, "tenant_id": tenant, "queue": queue, "status": status, "payload": "{}", "attempts": 1, "tries": 1,
                                        "claim_no": 9, "round": 1, "created_ms": created, "finished_ms": ended, "error": error}
        ledger.change(insert("job_history", HISTORY), **row)
    for created, round_ in ((at("10-25 12:00"), 1), (at("10-25 12:00"), 2), (at("10-26"), 1)):
        uuid = ledger.dispatch()
        ledger.change("UPDATE jobs SET created_ms = :at, round = :r, job_type = 'B', tenant_id = 'blu', queue = 'low' WHERE uuid = :u", at=created, r=round_, u=uuid)
    for tenant, job_type, moment, amount, currency in COSTS:
        ledger.change("INSERT INTO job_costs (uuid, job_type, tenant_id, at_ms, cost_nano, currency) VALUES ('x', :t, :w, :at, :n, :c)",
                      t=job_type, w=tenant, at=moment, n=None if amount is None else int(amount * 10**9), c=currency)
    for tenant, amount, currency, hold in BUDGETS:
        ledger.change("INSERT INTO tenant_budgets (tenant_id, month_nano, currency, hold) VALUES (:w, :n, :c, :h)", w=tenant, n=amount * 10**9, c=currency, h=hold)
    for minute, samples, alive, busy in ((at("10-13 12:00"), 10, 10, 1), (at("10-20 09:00"), 10, 20, 15), (at("10-20 09:01"), 10, 20, 20), (at("10-20 10:00"), 10, 20, 5), (UNTIL, 1, 1, 1)):
        ledger.change("INSERT INTO worker_minutes (minute_ms, samples, wanted, alive, busy) VALUES (:m, :s, :s, :a, :b)", m=minute, s=samples, a=alive, b=busy)
    for minute, cpu, memory, free, oldest in ((at("10-13 12:00"), 100, 10, 900, 5000), (at("10-20 09:00"), 500, 40, 300, None), (at("10-21 09:00"), 975, 30, 400, 61_000), (UNTIL, 1000, 99, 1, 10**9)):
        ledger.change("INSERT INTO machine_minutes (minute_ms, cpu, memory, memory_total, disk_free, disk_total, oldest_ms) VALUES (:m, :c, :mem, 100, :f, 1000, :o)",
                      m=minute, c=cpu, mem=memory, f=free, o=oldest)
    for n, (opened, closed) in enumerate(((at("10-13"), at("10-14")), (at("10-19"), at("10-20")), (at("10-25 23:00"), None), (UNTIL, None))):
        ledger.change("INSERT INTO alerts (rule_id, kind, subject, severity, facts, opened_ms, seen_ms, closed_ms, tell_ms) VALUES (1, 'missed', :s, 'warning', :f, :o, :o, :c, :o)",
                      s=str(n), f='{"name": "nightly"}', o=opened, c=closed)
    for name, minute, why in (("nightly", at("10-14 03:00"), "missed"), ("nightly", at("10-19 00:00"), "missed"), ("nightly", at("10-25 03:00"), "missed"),
                              ("nightly", at("10-24 03:00"), "merged"), ("nightly", UNTIL, "missed")):
        ledger.change("INSERT INTO recurring_runs (name, minute_utc, created_ms, why) VALUES (:n, :m, :m, :w)", n=name, m=minute, w=why)


def count(ledger) -> None:
    """What the monitor counts."""
    for module in (rollups, usage_fill, facts, queue_rates):
        module.advance(ledger.connection)


@pytest.fixture
def week(ledger, monkeypatch):
    """`report(filter)` of the made-up week as it was on Monday morning; `ledger`."""
    fill(ledger)
    ledger.change("UPDATE meta SET value = :h WHERE key = 'sent_since'", h=str(at("10-11")))
    monkeypatch.setattr(figures, "now_ms", lambda: NOW)
    monkeypatch.setattr(usage_fill, "first_hour", lambda now, days=0: 0)

    def report(window: Window | None = None, **only):
        with ledger.app.app_context():
            found = figures.collect(window or last("week", NOW, ROME), ReportFilter(**only))
            db.session.remove()
        assert figures.from_json(figures.to_json(found)) == found
        return found

    return SimpleNamespace(report=report, ledger=ledger)


def pair(figure) -> tuple:
    return figure.now, figure.before


def near(spread: Spread | None, p50: float, p95: float, p99: float, total: int) -> bool:
    return spread is not None and spread.error <= 0.0201 and spread.total == total and [spread.p50, spread.p95, spread.p99] == pytest.approx([p50, p95, p99], rel=0.0201)


@pytest.mark.parametrize("counted", [True, False], ids=["counted", "before the monitor counted"])
def test_every_number_of_a_week_is_that_counted_by_hand(week, counted):
    if counted:
        count(week.ledger)
    else:
        facts.advance(week.ledger.connection)  # groups of errors exist only when the monitor has made them
    r = week.report()
    assert (r.period, r.since, r.until, r.before_since, r.before_until, r.zone, r.made_ms) == ("week", SINCE, UNTIL, LOW, SINCE, "Europe/Rome", NOW)
    assert r.until - r.since == 169 * HOUR_MS and r.notes == ()
    assert pair(r.dispatched) == (10, 4) and pair(r.ended) == (8, 3) and pair(r.completed) == (5, 2) and pair(r.failed) == (3, 1)
    assert pair(r.success_rate) == pytest.approx((62.5, 66.6667), rel=1e-4) and r.success_rate.change == pytest.approx(-4.1667, rel=1e-3)
    assert pair(r.cancelled) == (1, 1) and pair(r.rescued) == (1, 0) and pair(r.missed) == (2, 1) and pair(r.alerts_opened) == (2, 1)
    assert [(s.completed, s.failed, s.cancelled, s.lost) for s in r.slots] == [(2, 0, 0, 0), (0, 1, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 1, 0, 0), (0, 0, 0, 1), (3, 0, 0, 0)]
    assert [(s.since, s.until) for s in r.slots] == [(at(f"10-{d}"), at(f"10-{d + 1}")) for d in range(19, 26)] and r.slots[6].until - r.slots[6].since == 25 * HOUR_MS
    assert [(s.completed, s.failed, s.cancelled, s.lost) for s in r.slots_before] == [(1, 0, 0, 0), (0, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 0), (0, 0, 0, 0), (1, 0, 0, 0)]
    assert near(r.run.now, 2000, 16000, 16000, 8) and near(r.run.before, 200, 300, 300, 3)
    assert near(r.wait.now, 20, 160, 160, 8) and near(r.wait.before, 2, 3, 3, 3)

    a, b = r.types
    assert (a.name, a.completed, a.failed, a.success_rate, a.before, a.failed_before, a.busy_ms) == ("A", 2, 3, 40.0, 2, 1, 20_000)
    assert (b.name, b.completed, b.failed, b.success_rate, b.before, b.failed_before, b.busy_ms) == ("B", 3, 0, 100.0, 1, 0, 17_250)
    assert near(a.run, 4000, 9000, 9000, 5) and near(a.wait, 40, 80, 80, 5) and near(a.run_before, 100, 200, 200, 2)
    assert near(b.run, 700, 16000, 16000, 3) and near(b.wait, 5, 160, 160, 3) and near(b.run_before, 300, 300, 300, 1)
    assert r.slowest == (b, a) and r.failing == (a,) and r.type_count == 2 and r.slowest_why == ""

    title, slow = r.frequent_errors
    assert (title.job_type, title.count, title.before, title.tenants, set(title.largest), title.is_new, title.first_ms) == ("A", 2, 1, 2, {("acme", 1), ("blu", 1)}, False, at("10-14 11:00"))
    assert (slow.count, slow.before, slow.tenants, slow.largest, slow.is_new, slow.first_ms) == (1, 0, 1, (("blu", 1),), True, at("10-21 12:00"))
    assert "no title" in title.title and r.new_errors == (slow,) and (r.error_count, r.new_error_count) == (2, 1)

    n = 10**9
    rows = {(c.tenant_id, c.currency): (c.nano, c.before, c.requests, c.unknown, c.month, c.budget, c.percent, c.hold) for c in r.costs.rows}
    assert rows == {("acme", "USD"): (6 * n, 3 * n, 2, 0, 13 * n, 10 * n, 130.0, True), ("blu", "EUR"): (2 * n, 0, 1, 0, 2 * n, 0, None, False),
                    ("blu", "USD"): (0, 0, 1, 1, 0, None, None, False), ("", "USD"): (n // 10, 0, 1, 0, n // 10, None, None, False),
                    ("zed", "USD"): (0, 0, 0, 0, 0, 20 * n, 0.0, False)}
    assert {t.currency: (t.nano, t.before, t.requests, t.unknown, t.month) for t in r.costs.totals} == {
        "USD": (61 * n // 10, 3 * n, 4, 1, 131 * n // 10), "EUR": (2 * n, 0, 1, 0, 2 * n)}
    assert (r.costs.tenants, r.costs.month_since, r.costs.why, r.costs.rows[0].tenant_id) == (4, at("10-01"), "", "acme")

    c = r.capacity
    assert pair(c.busy) == pytest.approx((200 / 3, 10.0)) and pair(c.workers) == (2.0, 1.0) and pair(c.oldest_wait) == (61_000, 5000) and pair(c.cpu) == (97.5, 10.0)
    assert pair(c.memory) == (40, 10) and pair(c.disk) == (700, 100) and (c.memory_total, c.disk_total) == (100, 1000)
    assert [(p.since, p.share) for p in c.peaks] == [(at("10-20 09:00"), 87.5), (at("10-20 10:00"), 25.0)]
    assert [(row.kind, row.opened_ms, row.closed_ms) for row in r.alerts] == [("missed", at("10-25 23:00"), None), ("missed", at("10-19"), at("10-20"))]


@pytest.mark.parametrize(("only", "counts", "sent", "runs", "types"), [
    ({"job_type": "A"}, ((2, 3, 0, 0), (1, 1, 0, 0)), (5, 2), (4000, 9000, 5), ["A"]),
    ({"tenant_id": "acme"}, ((4, 1, 1, 1), (2, 0, 1, 0)), (6, 3), (2000, 16000, 5), ["A", "B"]),
    ({"queue": "low"}, ((4, 2, 1, 0), (2, 1, 1, 0)), (8, 4), (1000, 9000, 6), ["A", "B"]),
    ({"queue": "high", "job_type": "B"}, ((1, 0, 0, 1), (0, 0, 0, 0)), (1, 0), (16000, 16000, 1), ["B"]),
    ({"job_type": "A", "tenant_id": "acme"}, ((2, 1, 0, 0), (1, 0, 0, 0)), (3, 1), (2000, 4000, 3), ["A"]),
    ({"job_type": "nothing"}, ((0, 0, 0, 0), (0, 0, 0, 0)), (0, 0), None, [])], ids=str)
def test_a_filter_limits_what_is_counted_and_the_rest_says_why(week, only, counts, sent, runs, types):
    count(week.ledger)
    r = week.report(**only)
    assert tuple(zip(*(pair(figure) for figure in (r.completed, r.failed, r.cancelled, r.rescued)), strict=True)) == counts
    assert pair(r.dispatched) == sent and [row.name for row in r.types] == types and "whole" in r.notes
    assert near(r.run.now, *runs[:2], runs[1], runs[2]) if runs else (r.run.now, r.run.why) == (None, "never")
    assert (r.missed.now, r.missed.why) == (None, "filter")
    if "queue" in only:
        assert r.costs.why == "queue" and not r.costs.rows and r.errors_why == "queue" and r.error_count is None
    if only == {"tenant_id": "acme"}:
        assert r.slowest == () and r.slowest_why == "tenant" and r.types[0].run is None and r.types[0].completed == 2
        assert [(e.count, e.before) for e in r.frequent_errors] == [(1, 0)] and [c.nano for c in r.costs.rows] == [6 * 10**9] and r.costs.rows[0].budget == 10**10
    if only == {"job_type": "A"}:
        assert r.costs.rows[0].budget is None and r.costs.rows[0].before == 0 and r.error_count == 2


def test_what_is_deleted_or_was_never_counted_is_not_known_and_says_so(week, monkeypatch):
    count(week.ledger)
    week.ledger.change("DELETE FROM usage_hours WHERE hour < :h", h=SINCE)
    week.ledger.change("UPDATE meta SET value = :h WHERE key = 'sent_since'", h=str(SINCE))
    r = week.report()
    assert near(r.run.now, 2000, 16000, 16000, 8) and (r.run.before, r.run.why_before) == (None, "usage") and r.types[0].run_before is None
    assert (r.dispatched.now, r.dispatched.before, r.dispatched.why_before) == (10, None, "sent") and r.dispatched.change is None
    monkeypatch.setattr(outcomes, "MOST_RAW", 4)
    r = week.report(queue="low")
    assert (r.completed.now, r.completed.why, r.run.now, r.run.why, near(r.run.before, 200, 300, 300, 3)) == (4, "", None, "many", True)
    monkeypatch.setattr(figures, "now_ms", lambda: NOW + 30 * DAY_MS)
    r = week.report()
    assert (r.capacity.busy.before, r.capacity.busy.why_before, r.capacity.peaks) == (None, "kept", ()), "a part of it may be deleted"
    r = week.report(queue="low")
    assert (r.ended.now, r.ended.why, r.run.why) == (None, "kept", "kept")
    monkeypatch.setattr(figures, "now_ms", lambda: NOW + 100 * DAY_MS)
    r = week.report()
    assert (r.errors_why, r.error_count, r.alerts_opened.why) == ("failures", None, "failures") and r.completed.now == 5


def test_an_empty_database_has_a_report(ledger, monkeypatch):
    monkeypatch.setattr(figures, "now_ms", lambda: NOW)
    with ledger.app.app_context():
        for period in ("day", "week", "month"):
            r = figures.collect(last(period, NOW, ROME))
            assert pair(r.ended) == (0, 0) == pair(r.dispatched) and (r.success_rate.now, r.success_rate.why) == (None, "never") and r.run.why == "never"
            assert r.capacity.busy.why == ("samples" if period != "month" else "kept") and r.types == () and len(r.slots) == {"day": 25, "week": 7, "month": 30}[period]


def test_links_count_what_they_stand_beside(week):
    count(week.ledger)
    with week.ledger.app.app_context():
        accounts.create_user("admin@example.org", "super-admin", PASSWORD)
    client = sign_in(week.ledger.app, "admin@example.org")

    def listed(link: str) -> int:
        return len(client.get(link, headers={"Accept": "application/json"}).get_json()["jobs"])

    for only in ({}, {"queue": "low"}, {"tenant_id": "acme", "job_type": "A"}):
        r = week.report(**only)
        for figure in (r.ended, r.completed, r.failed, r.cancelled, r.rescued):
            assert listed(figure.link) == figure.now, figure
        assert [listed(slot.link) for slot in r.slots] == [slot.completed + slot.failed for slot in r.slots]
        assert [listed(row.failed_link) for row in r.types] == [row.failed for row in r.types]
    r = week.report()
    assert [listed(row.link) for row in r.frequent_errors] == [2, 1]
    pages = {row.link for row in (*r.types, *r.costs.rows, *r.costs.totals, *r.alerts)} | {r.link, r.missed.link, r.alerts_opened.link}
    assert {client.get(link).status_code for link in pages - {r.missed.link}} == {200}
    use = client.get(r.types[0].link, headers={"Accept": "application/json"}).get_json()["now"]
    assert (use["completed"], use["failed"]) == (2, 3)


def test_collecting_only_reads_and_holds_no_transaction(week):
    count(week.ledger)
    with week.ledger.app.app_context():
        begun = []
        from sqlalchemy import event
        event.listen(db.engine, "begin", lambda connection: begun.append(1))
        figures.collect(last("week", NOW, ROME))
        assert not db.session().in_transaction() and len(begun) >= 6
        if week.ledger.store == "sqlite":
            week.ledger.connection.wait_s = 0.0
            week.ledger.change("UPDATE meta SET value = value")


ORDINARY = {
    "rollup_types": {"hour": SINCE, "job_type": "T", "status": "completed", "count": 1, "time_ms": 1, "wait_ms": 1}, "rollup_sent": {"hour": SINCE, "job_type": "T", "tenant_id": "w", "queue": "low", "sent": 1},
    "usage_hours": {"scope": "type", "name": "T", "hour": SINCE, "completed": 1, "failed": 1, "attempts": 1, "busy_ms": 1, "waits": None, "runs": b"x", "heaviest": "[]"},
    "job_facts": {"id": 1, "uuid": "u", "job_type": "T", "tenant_id": "w", "status": "failed", "finished_ms": SINCE, "attempts": 1, "error_group": "g"},
    "error_groups": {"error_group": "g", "job_type": "T", "title": "t", "error": "e", "first_ms": SINCE, "last_ms": SINCE},
    "job_costs": {"uuid": "u", "job_type": "T", "tenant_id": "w", "at_ms": SINCE, "cost_nano": 1, "currency": "USD"}, "tenant_budgets": {"tenant_id": "w", "month_nano": 1, "currency": "USD", "hold": 1},
    "worker_minutes": {"minute_ms": SINCE, "samples": 1, "wanted": 1, "alive": 1, "busy": 1},
    "machine_minutes": {"minute_ms": SINCE, "cpu": 1, "memory": 1, "memory_total": 1, "disk_free": 1, "disk_total": 2, "oldest_ms": 1},
    "alerts": {"rule_id": 1, "kind": "disk", "subject": "s", "severity": "critical", "facts": "{}", "opened_ms": SINCE, "seen_ms": 1, "closed_ms": 1, "tell_ms": 1},
    "recurring_runs": {"name": "n", "minute_utc": SINCE, "created_ms": 1, "why": "missed"}}

ROWIDS = {("worker_minutes", "minute_ms"), ("machine_minutes", "minute_ms")}  # SQLite takes only whole numbers there


@pytest.mark.parametrize("odd", ["abc", "", -1.5, 1e308, float("inf"), b"\xff\0", 2**63 - 1, -(2**63), "9" * 400], ids=lambda v: repr(v)[:12])
def test_rows_of_other_programs_stop_no_report(tmp_path, monkeypatch, odd):
    from app.ledger.dialect import Connection
    from tests.conftest import create_app, load_settings
    from tests.ledger_fixture import prepare_empty
    app = create_app(load_settings({"DATA_DIR": str(tmp_path)}))
    monkeypatch.setattr(figures, "now_ms", lambda: NOW)
    with app.app_context():
        prepare_empty(app.extensions["settings"])
        connection = Connection(app.extensions["settings"].database_url)
        with connection.transaction() as tx:
            tx.execute("UPDATE meta SET value = '0' WHERE key = 'sent_since'")
            for table, row in ORDINARY.items():
                for n, column in enumerate((None, *(c for c in row if c != "id" and (table, c) not in ROWIDS))):
                    values = {name: f"{value}{n}" if isinstance(value, str) and name in ("name", "job_type", "tenant_id", "error_group") else value + n * HOUR_MS
                              if name in ("hour", "minute_ms", "minute_utc") else n if name == "id" else value for name, value in row.items()}
                    tx.execute(f"INSERT OR IGNORE INTO {table} ({', '.join(row)}) VALUES ({', '.join(':' + name for name in row)})", **values | ({column: odd} if column else {}))
        connection.close()
        for only in (ReportFilter(), ReportFilter(job_type="T0"), ReportFilter(tenant_id="w0"), ReportFilter(queue="low")):
            for window in (last("week", NOW, ROME), Window("", SINCE, NOW)):
                found = figures.collect(window, only)
                assert figures.from_json(figures.to_json(found)) == found
        db.session.remove()
        db.engine.dispose()


@pytest.mark.parametrize("most", [1000, 1])
@pytest.mark.parametrize("only", [{}, {"tenant_id": "acme"}], ids=["all", "acme"])
def test_the_sums_of_the_csvs_are_those_of_the_report(week, monkeypatch, only, most):
    """All rows of the period, though the tables show one each; beyond the cap a last row has what is left."""
    metric(week.ledger, key("z1"), "failed", at("10-22 10:00"), 10, 1, job_type="C", tenant_id="acme", queue="low", claim_no=9)
    week.ledger.change(insert("job_history", HISTORY), **dict.fromkeys(HISTORY) | {
        "uuid": key("z1"), "job_type": "C", "tenant_id": "acme", "queue": "low", "status": "failed", "payload": "{}", "attempts": 1, "tries": 1, "claim_no": 9, "round": 1,
        "created_ms": at("10-22 09:00"), "finished_ms": at("10-22 10:00"), "error": "KeyError: x"})
    count(week.ledger)
    for module in (figures, error_rows, cost_rows):
        monkeypatch.setattr(module, "MOST_ROWS", 1)
        monkeypatch.setattr(module, "MOST_KINDS", most)
    r = week.report(**only)
    tables = {name: list(csv.DictReader(io.StringIO(text.lstrip("\ufeff")), delimiter=";")) for name, text in report_csv.files(r).items()}
    assert len(r.types) == len(r.frequent_errors) == len(r.costs.rows) == 1 < r.type_count

    def total(name: str, column: str) -> float:
        return sum(float(row[column].replace(",", ".") or 0) for row in tables[name])

    assert (total("types.csv", "completed"), total("types.csv", "failed")) == (r.completed.now, r.failed.now) == (total("days.csv", "completed"), total("days.csv", "failed"))
    assert (total("errors.csv", "failed"), total("errors.csv", "failed_before")) == pair(r.failed) and total("types.csv", "total_before") == r.ended.before
    for column, field, unit in (("cost", "nano", 1e9), ("cost_before", "before", 1e9), ("requests", "requests", 1), ("month_to_date", "month", 1e9)):
        assert total("costs.csv", column) == pytest.approx(sum(getattr(one, field) for one in r.costs.totals) / unit)
    for name, n in (("types.csv", r.type_count), ("errors.csv", r.error_count), ("costs.csv", 1 if only else 5)):
        firsts = [next(iter(row.values())) for row in tables[name]]
        named = [first for first in firsts if first != "(others)"]
        assert len(named) == n if most > 1 else (firsts[-1] == "(others)") == (len(named) < n), (name, firsts)
    hidden = without_data.hide(r)
    assert all(row.title.startswith("– ") for row in (*hidden.frequent_errors, *hidden.new_errors, *hidden.more_errors))
