"""Plans: which period is due when, and that it is written once with its mail, on both databases."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from app.ledger import counts
from app.ledger.dialect import Connection
from app.services.reports import due, due_times, plan_values
from app.services.reports.model import ReportFilter
from app.services.reports.periods import Window
from app.services.reports.stored import from_json
from app.support.clock import DAY_MS, HOUR_MS, millis
from tests.services.reports.made_up import EMPTY

ROME = ZoneInfo("Europe/Rome")


def at(text: str, zone=ROME) -> int:
    return millis(datetime.fromisoformat(text).replace(tzinfo=zone))


def days(window: Window) -> str:
    first, last = (datetime.fromtimestamp(ms / 1000, UTC).astimezone(ROME) for ms in (window.since, window.until))
    assert first.hour == last.hour == 0
    return f"{first:%Y-%m-%d}/{last:%Y-%m-%d}"


@pytest.mark.parametrize(("period", "day", "hour", "now", "expected"), [
    ("day", 1, 7, "2026-11-27T06:59", "2026-11-25/2026-11-26"), ("day", 1, 7, "2026-11-27T07:00", "2026-11-26/2026-11-27"),
    ("day", 1, 0, "2026-11-27T00:00", "2026-11-26/2026-11-27"), ("day", 1, 23, "2026-11-27T22:59", "2026-11-25/2026-11-26"),
    ("week", 1, 7, "2026-11-23T06:59", "2026-11-09/2026-11-16"), ("week", 1, 7, "2026-11-23T07:00", "2026-11-16/2026-11-23"),
    ("week", 3, 7, "2026-11-24T12:00", "2026-11-09/2026-11-16"), ("week", 3, 7, "2026-11-25T07:00", "2026-11-16/2026-11-23"),
    ("week", 7, 7, "2026-11-29T08:00", "2026-11-16/2026-11-23"), ("week", 7, 7, "2026-11-29T06:00", "2026-11-09/2026-11-16"),
    ("month", 1, 7, "2027-01-01T07:00", "2026-12-01/2027-01-01"), ("month", 28, 7, "2027-02-28T06:59", "2026-12-01/2027-01-01"),
    ("month", 28, 7, "2027-02-28T07:00", "2027-01-01/2027-02-01"),
    ("day", 1, 2, "2027-03-28T01:59", "2027-03-26/2027-03-27"), ("day", 1, 2, "2027-03-28T03:00", "2027-03-27/2027-03-28"),  # 02:00 does not exist
    ("day", 1, 2, "2026-10-25T02:00", "2026-10-24/2026-10-25"), ("day", 1, 1, "2026-10-26T00:59", "2026-10-24/2026-10-25"),  # 02:00 comes twice
])
def test_the_latest_period_that_is_due(period, day, hour, now, expected):
    assert days(due_times.due(period, day, hour, at(now), ROME)) == expected


@pytest.mark.parametrize(("period", "day"), [("day", 1), ("week", 1), ("week", 7), ("month", 1), ("month", 28)])
def test_walking_through_two_years_each_period_is_due_once_and_in_order(period, day):
    """Each hour of two years, with every change of the clocks."""
    now, seen = at("2026-01-01T00:00"), []
    while now < at("2028-01-01T00:00"):
        window = due_times.due(period, day, 2, now, ROME)
        if not seen or seen[-1] != window:
            assert not seen or seen[-1].until == window.since and due_times.following(seen[-1], ROME) == window
            seen.append(window)
        now += HOUR_MS
    assert len(seen) == {"day": 731, "week": 105, "month": 25}[period]


class Office:
    """The monitor's duty at a time that is given, with figures that are made up."""

    def __init__(self, ledger) -> None:
        self.ledger, self.now, self.broken = ledger, at("2026-11-24T09:00"), set()
        self.asked: list[tuple[Window, ReportFilter]] = []
        self.duty = self.another()

    def another(self) -> due.Reports:
        return due.Reports(self.ledger.app, lambda: self.now, self.collect)

    def collect(self, window: Window, limits: ReportFilter):
        assert not self.ledger.connection.inside
        self.asked.append((window, limits))
        if limits.tenant_id in self.broken:
            raise RuntimeError("no figures")
        return replace(EMPTY, since=window.since, until=window.until)

    def plan(self, name: str = "p", since: str = "2026-11-16T08:00", **columns) -> int:
        values = {"name": name, "target": "mail:ada@example.org", "period": "week", "day": 1, "hour": 7, "language": "it", "filter": "{}", "made_by": "cli:x",
                  "created_ms": self.now, "since_ms": at(since)} | columns
        self.ledger.change(f"INSERT INTO report_plans ({', '.join(values)}) VALUES ({', '.join(':' + n for n in values)})", **values)
        return self.ledger.one("SELECT MAX(id) FROM report_plans")

    def run(self, now: str = "") -> int:
        self.now = at(now) if now else self.now
        return self.duty.round(self.ledger.connection)

    def mails(self) -> list[tuple]:
        rows = self.ledger.connection.fetch_all("SELECT r.plan_id, r.from_ms, r.until_ms, m.body, m.target FROM mails m JOIN reports r ON r.id = m.report_id ORDER BY m.id")
        return [(plan, days(Window("", since, until)), int(body), target) for plan, since, until, body, target in rows]


def account(ledger, name: str, role: str, **columns) -> None:
    values = {"email": f"{name}@example.org", "password_hash": "x", "role": role, "created_ms": 1} | columns
    ledger.change(f"INSERT INTO users ({', '.join(values)}) VALUES ({', '.join(':' + n for n in values)})", **values)


@pytest.fixture
def office(ledger) -> Office:
    return Office(ledger)


LAST_WEEK, WEEK_BEFORE = "2026-11-16/2026-11-23", "2026-11-09/2026-11-16"


def test_a_period_is_sent_once_whatever_restarts_and_whatever_the_clock_does(office):
    plan = office.plan(filter='{"tenant_id": "acme"}', language="en", since="2026-11-16T08:00")
    assert office.run() == 1 and office.mails() == [(plan, LAST_WEEK, 0, "mail:ada@example.org")]
    assert office.asked == [(due_times.due("week", 1, 7, office.now, ROME), ReportFilter(tenant_id="acme"))]
    for now in ("2026-11-24T09:01", "2026-11-29T23:59", "2026-11-20T09:00", "2026-11-10T09:00", "2026-11-25T09:00"):  # also set back
        office.duty = office.another()
        assert office.run(now) == 0, now
    assert office.run("2026-11-30T06:59") == 0 and office.run("2026-11-30T07:00") == 1
    assert [mail[1:3] for mail in office.mails()] == [(LAST_WEEK, 0), ("2026-11-23/2026-11-30", 0)]
    stored = from_json(office.ledger.one("SELECT figures FROM reports ORDER BY id"))
    assert days(Window("", stored.since, stored.until)) == LAST_WEEK


def test_two_monitors_at_once_write_one_report(office):
    office.plan()
    gate, made = threading.Barrier(2), []

    def collect(window, limits):
        gate.wait(20)  # both have found it due
        return office.collect(window, limits)

    def run() -> None:
        connection = Connection(office.ledger.app.extensions["settings"].database_url, wait_s=20)
        made.append(due.Reports(office.ledger.app, lambda: office.now, collect).round(connection))
        connection.close()

    threads = [threading.Thread(target=run) for _ in range(2)]
    [t.start() for t in threads], [t.join() for t in threads]
    assert sorted(made) == [0, 1] and len(office.mails()) == 1


def test_after_weeks_without_a_monitor_the_latest_is_sent_and_the_others_are_counted(office):
    office.plan(since="2026-10-26T08:00")  # after that week was due
    assert office.run() == 1 and [mail[1:3] for mail in office.mails()] == [(LAST_WEEK, 3)]
    assert office.run("2026-12-15T09:00") == 1 and [mail[1:3] for mail in office.mails()][1:] == [("2026-12-07/2026-12-14", 2)]


def test_a_new_plan_sends_nothing_that_was_due_before_it(office):
    office.plan(since="2026-11-24T08:00")
    assert office.run() == 0 and office.run("2026-11-30T07:00") == 1
    assert [mail[1:3] for mail in office.mails()] == [("2026-11-23/2026-11-30", 0)]


def test_a_plan_that_fails_or_is_damaged_stops_no_other_and_is_tried_again(office):
    ids = [office.plan(filter='{"tenant_id": "bad"}'), office.plan(period="fortnight"), office.plan(filter="[", name="x"), office.plan(hour=99), office.plan(target="pigeon:ada"), office.plan()]
    office.broken = {"bad"}
    assert office.run() == 2  # a filter that is no JSON object limits nothing, and so does none
    assert [mail[0] for mail in office.mails()] == [ids[2], ids[5]]
    assert set(office.duty.failures) == {ids[0]}  # of damaged rows the page says that they are
    assert counts.load(office.ledger.connection, due.FACT)[0][str(ids[0])]["why"] == "RuntimeError: no figures"
    asked = len(office.asked)
    assert office.run() == 0 and len(office.asked) == asked  # not before its time
    office.duty.failures[ids[0]].next_ms += DAY_MS  # by a clock that was ahead
    assert office.run() == 0 and len(office.asked) == asked + 1
    office.broken, office.now = set(), office.now + 121_000
    assert office.run() == 1 and ids[0] not in office.duty.failures
    assert office.duty.trouble() == [] and counts.load(office.ledger.connection, due.FACT)[0] == {}


def test_a_plan_that_changes_while_its_figures_are_read_is_read_anew(office):
    plan = office.plan()
    collect = office.duty.collect

    def meanwhile(window, limits):
        office.ledger.change("UPDATE report_plans SET target = 'mail:bob@example.org'")
        return collect(window, limits)

    office.duty.collect = meanwhile
    assert office.run() == 0
    office.duty.collect = collect
    assert office.run() == 1 and office.mails() == [(plan, LAST_WEEK, 0, "mail:bob@example.org")]


def test_days_that_became_weeks_are_sent_as_weeks(office):
    plan = office.plan(period="day", since="2026-11-22T00:00")
    assert office.run("2026-11-23T07:00") == 1 and office.run("2026-11-24T07:00") == 1 and office.run("2026-11-29T07:00") == 1
    office.ledger.change("UPDATE report_plans SET period = 'week'")
    assert office.run("2026-11-30T07:00") == 1 and office.mails()[-1][:2] == (plan, "2026-11-23/2026-11-30")


def test_another_time_zone_sends_no_day_twice(office):
    office.plan(period="day", since="2026-11-20T00:00")
    assert office.run("2026-11-24T09:00") == 1
    office.duty.settings = replace(office.duty.settings, timezone=ZoneInfo("America/New_York"))
    assert office.run("2026-11-24T18:00") == 0
    assert office.run("2026-11-25T18:00") == 1


def test_who_cannot_sign_in_gets_no_more_reports_to_their_own_address(office):
    office.plan(made_by="ada@example.org")
    assert office.run() == 0  # no such account
    office.ledger.change("INSERT INTO users (email, password_hash, role, created_ms) VALUES ('ada@example.org', 'x', 'viewer', 1)")
    office.ledger.change("UPDATE users SET disabled_ms = 1")
    assert office.run() == 0
    office.ledger.change("UPDATE users SET disabled_ms = NULL")
    assert office.run() == 1


@pytest.mark.parametrize("target", ["mail:private@elsewhere.example", "channel:team"])
@pytest.mark.parametrize("change", ["disabled_ms = 1", "role = 'operator'", "role = 'nothing of ours'"])
def test_a_plan_to_a_channel_or_outside_rests_unless_its_maker_still_manages(office, target, change):
    account(office.ledger, "gone", "super-admin")
    office.plan(target=target, made_by="gone@example.org")
    office.plan(target=target, made_by="cli:root")
    office.plan(target=target, made_by="nobody@example.org")
    office.ledger.change(f"UPDATE users SET {change}")
    assert office.run() == 1 and [mail[0] for mail in office.mails()] == [2]
    office.ledger.change("UPDATE users SET disabled_ms = NULL, role = 'super-admin'")
    assert office.run() == 1 and [mail[0] for mail in office.mails()] == [2, 1]


def test_a_plan_for_somebody_rests_when_that_account_may_not_read_whoever_made_it(office):
    account(office.ledger, "eva", "super-admin")
    account(office.ledger, "bob", "user")
    account(office.ledger, "ada", "operator", disabled_ms=1)
    for name in ("Bob", "Ada", "Eva"):  # addresses are compared in any case
        office.plan(target=f"mail:{name}@example.org", made_by="eva@example.org")
        office.plan(target=f"mail:{name}@example.org")
    assert office.run() == 2 and {mail[3] for mail in office.mails()} == {"mail:Eva@example.org"}
    office.ledger.change("UPDATE users SET role = 'viewer' WHERE role = 'super-admin'")  # it gets what an account of its own may get
    assert office.run("2026-11-30T07:00") == 2


@pytest.mark.parametrize(("period", "ahead", "rounds"), [("day", 400, 30), ("day", 1, 4), ("day", 5, 9), ("week", 7, 21), ("week", 30, 60), ("month", 20, 70)])
def test_a_clock_that_was_ahead_for_a_round_stops_no_report(office, period, ahead, rounds):
    office.plan(period=period, since="2026-11-24T09:00")
    office.now = (start := at("2026-11-24T09:00")) + ahead * DAY_MS
    early = office.run()
    expected = {due_times.due(period, 1, 7, start + n * DAY_MS, ROME) for n in range(1, rounds + 1)}
    expected = {(w.since, w.until) for w in expected if w.until >= start}
    written = 0
    for n in range(1, rounds * 4 + 2):
        office.now = start - 2 * HOUR_MS + n * DAY_MS // 4  # also at 7, when it is due
        written += office.run()
    assert early == 1 and written == len(expected) > 0
    rows = office.ledger.connection.fetch_all("SELECT from_ms, until_ms FROM reports WHERE ahead = 0")
    assert expected <= {tuple(row) for row in rows} and len(rows) == len(set(map(tuple, rows)))
    assert office.ledger.one("SELECT COUNT(*) - COUNT(DISTINCT report_id) FROM mails") == 0, "the mail of that round goes"


def test_a_clock_that_was_behind_sends_nothing_twice(office):
    office.plan(period="day", since="2026-11-23T00:00")
    assert office.run() == 1
    for now in ("2026-11-24T08:00", "2026-11-23T08:00", "2026-01-01T00:00", "2026-11-24T09:01", "2026-11-24T23:00"):
        assert office.run(now) == (now == "2026-11-23T08:00"), now  # a day that was left out comes late
    assert office.run("2026-11-25T07:00") == 1


def test_nothing_is_written_while_a_restore_has_paused(office):
    office.plan()
    with office.ledger.connection.transaction() as tx:
        counts.save(tx, counts.AFTER_RESTORE, {"at": 1})
    assert office.run() == 0 and office.mails() == []


def test_switched_off_is_not_sent(office):
    office.plan(enabled=0)
    assert office.run() == 0


@pytest.mark.parametrize("change", [{"day": 0}, {"day": 8}, {"day": 2**62}, {"hour": -1}, {"language": "de"}, {"target": "mail:x"}, {"target": "mail:a@b\nBcc: c@d"}, {"target": "channel:a b"},
                                    {"filter": '{"queue": 7}'}, {"filter": '{"other": "x"}'}, {"period": "day", "day": 2}])
def test_a_damaged_row_is_none(change):
    row = {"id": 1, "name": "n", "target": "channel:a", "period": "week", "day": 1, "hour": 7, "language": "it", "filter": "{}", "enabled": 1, "made_by": "cli:x", "created_ms": 1, "since_ms": 1}
    assert plan_values.read(list(row.values())).target == "channel:a"
    with pytest.raises(plan_values.Damaged):
        plan_values.read(list((row | change).values()))


def test_time_of_a_day(office):
    assert due_times.sent_at(Window("day", at("2026-11-23T00:00"), at("2026-11-24T00:00")), 1, 7, ROME) == at("2026-11-24T07:00")
    assert due_times.skipped(Window("day", at("2026-11-23T00:00"), at("2026-11-24T00:00")), -DAY_MS * 10**6, ROME) == 500
