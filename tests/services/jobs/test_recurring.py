"""Recurring jobs on both databases, by a clock that the test moves."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from app import registry
from app.extensions import db
from app.jobs import recurring as repeats
from app.services.audit import ActionRefused
from app.services.jobs import recurring
from app.support.clock import DAY_MS, HOUR_MS, MINUTE_MS, millis

ROME = ZoneInfo("Europe/Rome")


def at(text: str) -> int:
    return millis(datetime.fromisoformat(text).replace(tzinfo=ROME))


@pytest.fixture
def schedule(ledger, monkeypatch):
    """`schedule("*/5 * * * *")` declares one, looked at first at 10:02:30 on 24 March 2026."""
    monkeypatch.setattr(registry, "_schedules", {})

    def declare(cron: str, first: str = "2026-03-24 10:02:30", **options) -> None:
        repeats(cron, name="report", **options)(registry.find("TestNoop"))
        assert look(first) == 0

    def look(text: str) -> int:
        return recurring.run_due(ROME, at(text))

    declare.look = look
    with ledger.app.app_context():
        yield declare


def test_each_minute_runs_once_however_often_one_looks(ledger, schedule):
    schedule("*/5 * * * *")
    assert [schedule.look(f"2026-03-24 10:{t}") for t in ("04:59", "05:00", "05:00", "05:30", "06:00", "10:01", "10:59")] == [0, 1, 0, 0, 0, 1, 0]
    assert ledger.one("SELECT COUNT(*) FROM jobs WHERE created_by = 'recurring report'") == 2


def test_a_second_monitor_and_a_lost_look_repeat_nothing(ledger, schedule):
    schedule("*/5 * * * *")
    assert schedule.look("2026-03-24 10:05:01") == 1
    ledger.change("UPDATE recurring SET looked_ms = looked_ms - 300000")
    assert schedule.look("2026-03-24 10:05:40") == 0
    assert ledger.one("SELECT COUNT(*) FROM jobs") == 1


def test_a_clock_set_back_an_hour_runs_no_minute_again(ledger, schedule):
    schedule("*/5 * * * *")
    assert schedule.look("2026-03-24 10:05:01") == 1
    assert [schedule.look(f"2026-03-24 09:{m}:01") for m in ("06", "10", "55")] == [0, 0, 0]
    assert schedule.look("2026-03-24 10:05:20") == 0 and schedule.look("2026-03-24 10:10:01") == 1


def test_missed_minutes_are_shown_and_not_run(ledger, schedule):
    schedule("*/5 * * * *")
    assert schedule.look("2026-03-24 10:43:00") == 0
    (row,) = recurring.listing(ROME)
    assert row.missed_at.astimezone(ROME).strftime("%H:%M") == "10:40"
    assert schedule.look("2026-03-24 10:45:00") == 1


def test_missed_minutes_are_caught_up_once_when_so_declared(ledger, schedule):
    schedule("0 3 * * *", catch_up=True, queue="low", tenant_id="acme")
    assert schedule.look("2026-03-27 14:00:00") == 1
    assert schedule.look("2026-03-27 14:01:00") == 0
    assert ledger.connection.fetch_all("SELECT queue, tenant_id FROM jobs") == [("low", "acme")]
    assert schedule.look("2026-03-28 03:00:05") == 1


@pytest.mark.parametrize(("zone", "cron", "night", "runs"), [
    ("Europe/Rome", "30 2 * * *", "2026-03-29", ["03:00 CEST"]), ("Europe/Rome", "30 2 * * *", "2026-10-25", ["02:30 CEST"]),
    ("Europe/Rome", "0 * * * *", "2026-10-25", ["00:00 CEST", "01:00 CEST", "02:00 CEST", "02:00 CET", "03:00 CET", "04:00 CET"]),
    ("America/New_York", "30 1 * * *", "2026-11-01", ["01:30 EDT"]), ("America/New_York", "30 2 * * *", "2026-03-08", ["03:00 EDT"]),
    ("Australia/Lord_Howe", "45 1 * * *", "2026-04-05", ["01:45 +11"]), ("Australia/Lord_Howe", "15 2 * * *", "2026-10-04", ["02:30 +11"]),
    ("Asia/Kolkata", "30 2 * * *", "2026-10-25", ["02:30 IST"]),
])
def test_daylight_saving_neither_drops_nor_doubles_nor_misses_a_run(ledger, schedule, zone, cron, night, runs):
    zone = ZoneInfo(zone)
    start, seen = millis(datetime.fromisoformat(night).replace(tzinfo=zone)), []
    repeats(cron, name="report")(registry.find("TestNoop"))
    for minute in range(-1, 5 * 60 + 30):
        now = start + minute * MINUTE_MS + 7_000
        if recurring.run_due(zone, now):
            seen.append(datetime.fromtimestamp(now / 1000, zone).strftime("%H:%M %Z"))
        assert ledger.one("SELECT missed_ms FROM recurring") is None, minute
    assert seen == runs
    (row,) = recurring.listing(zone)
    assert row.next_at.tzinfo is zone


def test_after_the_clocks_were_set_back_the_next_run_is_in_the_future(schedule, monkeypatch):
    schedule("30 2 * * *")
    now = millis(datetime(2026, 10, 25, 2, 10, tzinfo=ROME, fold=1))
    monkeypatch.setattr(recurring, "now_ms", lambda: now)
    (row,) = recurring.listing(ROME)
    assert row.next_at.strftime("%d. %H:%M %Z") == "26. 02:30 CET"


@pytest.mark.parametrize("zone", ["Europe/Rome", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"])
def test_a_whole_year_has_each_daily_run_once_and_each_fifth_minute_of_real_time(zone):
    """Looked at each minute in the two days around a change of the clocks, else each 6 hours."""
    zone = ZoneInfo(zone)
    start, end = (millis(datetime(year, 1, 1, tzinfo=zone)) for year in (2026, 2027))
    offset = lambda at: datetime.fromtimestamp(at / 1000, zone).utcoffset()  # noqa: E731
    for cron, often in (("30 2 * * *", None), ("45 1 * * *", None), ("0 0 * * *", None), ("*/5 * * * *", 5)):
        found, looked = [], start - 1
        while looked < end - 1:
            changes = offset(looked - DAY_MS) != offset(looked + DAY_MS)
            until = min(looked + (MINUTE_MS if changes else 6 * HOUR_MS), end - 1)
            minutes = recurring.due(cron, zone, looked, until)
            assert all(looked < at <= until for at in minutes), "nothing that is over, which would be missed"
            found, looked = found + minutes, until
        if often:
            assert found == list(range(start, end, often * MINUTE_MS))
        else:
            days = [datetime.fromtimestamp(at / 1000, zone).date() for at in found]
            assert len(days) == len(set(days)) == 365, cron


def test_switched_off_it_rests_and_on_again_it_does_not_catch_up(ledger, schedule, monkeypatch):
    schedule("*/5 * * * *", catch_up=True)
    recurring.switch("report", False, "ada")
    assert schedule.look("2026-03-24 10:05:01") == 0
    monkeypatch.setattr(recurring, "now_ms", lambda: at("2026-03-24 12:02:00"))
    recurring.switch("report", True, "ada")
    assert schedule.look("2026-03-24 12:03:00") == 0 and schedule.look("2026-03-24 12:05:00") == 1
    assert ledger.one("SELECT COUNT(*) FROM audit") == 2


def test_run_now_stands_beside_the_schedule(ledger, schedule):
    schedule("*/5 * * * *")
    uuid = recurring.run_now("report", "ada")
    assert ledger.row(uuid).state == "pending" and schedule.look("2026-03-24 10:05:00") == 1
    with pytest.raises(ActionRefused):
        recurring.run_now("nothing", "ada")


def test_runs_are_forgotten_after_90_days(ledger, schedule, monkeypatch):
    schedule("*/5 * * * *")
    schedule.look("2026-03-24 10:05:00")
    for days, left in ((90, 1), (91, 0)):
        monkeypatch.setattr(recurring, "now_ms", lambda d=days: at("2026-03-24 10:05:00") + d * DAY_MS)
        recurring.sweep()
        assert ledger.one("SELECT COUNT(*) FROM recurring_runs") == left


@pytest.mark.parametrize("cron", ["61 * * * *", "* * * *", "", "@daily now"])
def test_a_bad_schedule_stops_the_start_with_a_sentence(cron, monkeypatch):
    monkeypatch.setattr(registry, "_schedules", {})
    with pytest.raises(ValueError, match="crontab"):
        repeats(cron)(registry.find("TestNoop"))


def only(ledger) -> dict[str, str]:
    return dict(ledger.connection.fetch_all("SELECT uuid, state FROM jobs ORDER BY id"))


@pytest.mark.parametrize("live_as", ["pending", "processing", "scheduled", "held", "waiting", "blocked"])
def test_a_run_is_left_out_while_an_earlier_one_is_live_in_any_state(ledger, schedule, live_as):
    schedule("*/5 * * * *", overlap="skip")
    assert schedule.look("2026-03-24 10:05:01") == 1
    (first,) = only(ledger)
    ledger.change("UPDATE jobs SET state = :s", s=live_as)
    assert [schedule.look(f"2026-03-24 10:{m}:01") for m in ("10", "15")] == [0, 0]
    (row,) = recurring.listing(ROME)
    assert (row.last_uuid, row.overlap, row.missed_at) == (first, "skip", None)
    assert row.skipped_at.astimezone(ROME).strftime("%H:%M") == "10:15" and list(only(ledger)) == [first]
    db.session.rollback()
    ledger.change("UPDATE jobs SET state = 'pending'")
    ledger.settle(ledger.claim(), "failed", retry=False)
    assert schedule.look("2026-03-24 10:20:01") == 1
    (row,) = recurring.listing(ROME)
    assert row.skipped_at is None and row.last_uuid != first


@pytest.mark.parametrize("end", ["completed", "failed", "cancelled"])
def test_a_run_waits_until_the_one_before_has_ended_in_any_way(ledger, schedule, end):
    schedule("*/5 * * * *", overlap="wait")
    assert [schedule.look(f"2026-03-24 10:{m}:01") for m in ("05", "10", "15")] == [1, 1, 1]
    first, second, third = only(ledger)
    assert list(only(ledger).values()) == ["pending", "held", "held"] and "run before" in ledger.row(second).reason
    job = ledger.claim()
    assert recurring.release_waiting(ledger.connection) == 0
    ledger.settle(job, "failed", delay=0.0)  # it waits for a retry: it has not ended
    assert ledger.row(first).state == "scheduled" and recurring.release_waiting(ledger.connection) == 0
    ledger.change("UPDATE jobs SET state = 'pending' WHERE uuid = :u", u=first)
    ledger.settle(ledger.claim(), end, retry=False)
    assert recurring.release_waiting(ledger.connection) == 1 and recurring.release_waiting(ledger.connection) == 0
    assert only(ledger) == {second: "pending", third: "held"}
    registry._schedules.clear()  # the next deploy has no such schedule
    assert recurring.release_waiting(ledger.connection) == 1 and only(ledger)[third] == "pending"


def test_runs_overlap_when_nothing_is_said_and_a_run_by_hand_counts_as_one(ledger, schedule):
    schedule("*/5 * * * *")
    assert [schedule.look(f"2026-03-24 10:{m}:01") for m in ("05", "10")] == [1, 1]
    assert set(only(ledger).values()) == {"pending"}
    ledger.change("DELETE FROM jobs")
    registry._schedules.clear()
    repeats("*/5 * * * *", name="report", overlap="skip")(registry.find("TestNoop"))
    by_hand = recurring.run_now("report", "ada")
    assert schedule.look("2026-03-24 10:15:01") == 0 and list(only(ledger)) == [by_hand]
    (row,) = recurring.listing(ROME)
    assert row.last_uuid == by_hand


def test_another_word_for_overlap_is_refused(ledger, schedule):
    with pytest.raises(ValueError, match="overlap is 'allow', 'skip', 'wait'"):
        schedule("*/5 * * * *", overlap="never")
