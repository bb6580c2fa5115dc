"""Schedules of the page beside declared ones, on both databases, by a clock that the test moves."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from app import registry
from app.extensions import db
from app.jobs import recurring as repeats
from app.ledger import counts
from app.ledger.dialect import SessionExecutor
from app.services.jobs import queues, recurring, recurring_runs, schedules
from app.support.clock import MINUTE_MS, millis
from app.support.validation import ValidationError

ROME = ZoneInfo("Europe/Rome")
OPTIONS = {"cron": "*/5 * * * *", "queue": "low", "tenant_id": "acme", "overlap": "skip", "catch_up": False}


def at(text: str) -> int:
    return millis(datetime.fromisoformat(f"2026-03-24 {text}").replace(tzinfo=ROME))


@pytest.fixture
def made(ledger, monkeypatch):
    """A schedule "nightly" of TestEcho, made at 10:02:30; `made.look("10:05:01")` is a round of the monitor."""
    monkeypatch.setattr(registry, "_schedules", {})

    def clock(text: str) -> None:
        for module in (recurring, schedules, recurring_runs):
            monkeypatch.setattr(module, "now_ms", lambda: at(text))

    def look(text: str) -> int:
        clock(text)
        return recurring.run_due(ROME, at(text))

    with ledger.app.app_context():
        clock("10:02:30")
        schedules.make("nightly", registry.find("TestEcho"), {"text": "è"}, "ada", **OPTIONS)
        look.look, look.clock = look, clock
        yield look


def history() -> list[tuple[str, str]]:
    runs, _more = recurring_runs.history("nightly", None)
    db.session.rollback()
    return [(r.at.astimezone(ROME).strftime("%H:%M"), r.outcome) for r in runs]


def test_a_made_schedule_runs_once_a_minute_from_its_first_minute_on(ledger, made):
    assert [made(f"10:0{t}") for t in ("2:40", "5:00", "5:00", "5:30", "9:59")] == [0, 1, 0, 0, 0]
    assert ledger.connection.fetch_all("SELECT queue, tenant_id, created_by FROM jobs") == [("low", "acme", "recurring nightly")]
    ledger.change("UPDATE recurring SET looked_ms = looked_ms - 300000")
    assert made("10:09:59") == 0, "another monitor"
    assert made("10:10:00") == 0 and history() == [("10:10", "skipped"), ("10:05", "pending")], "the run before has not ended"


def test_each_missed_minute_has_a_row_and_no_job(ledger, made):
    assert made("10:05:00") == 1 and made("10:23:30") == 0
    assert history() == [("10:20", "missed"), ("10:15", "missed"), ("10:10", "missed"), ("10:05", "pending")]
    ledger.change("DELETE FROM jobs")
    assert made("10:31:00") == 1 and history()[:3] == [("10:30", "pending"), ("10:25", "missed"), ("10:20", "missed")]
    (view,) = recurring.listing(ROME)
    assert view.missed_at.astimezone(ROME).strftime("%H:%M") == "10:25" and len(view.runs) == 6


def test_missed_minutes_that_one_job_stands_for_say_so_and_alarm_nobody(ledger, made):
    plan = schedules.find("nightly")
    schedules.change(plan, plan.changed_ms, plan.given, "bob", **OPTIONS | {"catch_up": True})
    assert made("10:23:30") == 1
    assert history() == [("10:20", "pending"), ("10:15", "merged"), ("10:10", "merged"), ("10:05", "merged")]
    assert ledger.one("SELECT missed_ms FROM recurring") is None


@pytest.mark.parametrize(("column", "value"), [("job_type", "NoSuchType"), ("job_type", "DemoWork"), ("args", '{"no": 1}'), ("args", "["), ("queue", "nope"), ("tenant_id", "a b")])
def test_one_that_cannot_be_dispatched_is_missed_and_stops_no_other(ledger, made, column, value):
    schedules.make("other", registry.find("TestNoop"), {}, "ada", **OPTIONS)
    ledger.change(f"UPDATE schedules SET {column} = :v WHERE name = 'nightly'", v=value)
    assert made("10:05:00") == 1 and made("10:05:01") == 0
    assert history() == [("10:05", "broken")]
    view = next(v for v in recurring.listing(ROME) if v.name == "nightly")
    assert view.missed_at.astimezone(ROME).strftime("%H:%M") == "10:05"
    assert view.trouble or column in ("queue", "tenant_id")
    assert ledger.connection.fetch_all("SELECT job_type FROM jobs") == [("TestNoop",)]


def test_the_time_of_a_declared_one_changes_and_the_minutes_before_are_not_due(ledger, made):
    repeats("0 3 * * *", name="report")(registry.find("TestNoop"))
    assert made("10:02:40") == 0
    made.clock("11:00:00")
    schedules.retime(schedules.find("report"), 0, "*/10 * * * *", "ada")
    ledger.change("UPDATE schedules SET cron = '0 3 * * *' WHERE name = 'nightly'")
    assert made("11:00:30") == 0 and ledger.one("SELECT COUNT(*) FROM recurring_runs WHERE name = 'report'") == 0
    assert made("11:10:00") == 1
    plan = schedules.find("report")
    assert (plan.cron, plan.retimed, plan.changed_by) == ("*/10 * * * *", True, "ada")
    schedules.reset(plan, "bob")
    assert schedules.find("report").cron == "0 3 * * *" and made("11:20:00") == 0


def test_of_two_people_who_retime_or_reset_at_once_the_second_is_told(ledger, made):
    repeats("0 3 * * *", name="report")(registry.find("TestNoop"))
    plan = schedules.find("report")
    schedules.retime(plan, 0, "1 1 * * *", "ada")
    for cron in ("2 2 * * *", "0 3 * * *"):
        with pytest.raises(ValidationError, match="ada has changed"):
            schedules.retime(plan, 0, cron, "bob")
    old = schedules.find("report")
    schedules.reset(old, "ada")
    with pytest.raises(ValidationError, match="changed this schedule"):
        schedules.retime(old, old.changed_ms, "2 2 * * *", "bob")
    assert schedules.find("report").cron == "0 3 * * *"


@pytest.mark.parametrize("old", ["0 3 * * *", "* * * * *"])
def test_an_edit_that_commits_while_the_monitor_reads_loses_no_run(ledger, made, monkeypatch, old):
    plan, real, edits = schedules.find("nightly"), schedules.everything, [1]
    schedules.change(plan, plan.changed_ms, {"text": "x"}, "ada", **OPTIONS | {"cron": old, "overlap": "allow"})

    def everything(tx):
        found = real(tx)
        if edits and edits.pop():
            db.session.rollback()
            made.clock("10:10:59")
            plan = schedules.find("nightly")
            schedules.change(plan, plan.changed_ms, {"text": "new"}, "bob",
                             **OPTIONS | {"cron": "* * * * *", "queue": "high", "overlap": "allow"})
        return found

    monkeypatch.setattr(schedules, "everything", everything)
    made.clock("10:11:00")
    recurring.run_due(ROME, at("10:11:00"))
    assert made("10:11:01") + made("10:12:00") == (2 if old.startswith("0") else 1)
    assert [minute for minute, _ in history() if minute > "10:10"] == ["10:12", "10:11"]
    assert ledger.one("SELECT COUNT(*) FROM jobs WHERE queue = 'high' AND payload LIKE '%new%'") == 2, "as it is now"


def test_minutes_that_a_run_on_time_stands_for_are_merged_and_alarm_nobody(ledger, made):
    plan = schedules.find("nightly")
    schedules.change(plan, plan.changed_ms, plan.given, "bob", **OPTIONS | {"catch_up": True})
    assert made("10:15:20") == 1 and history() == [("10:15", "pending"), ("10:10", "merged"), ("10:05", "merged")]
    assert ledger.one("SELECT missed_at_ms FROM recurring") is None


def test_a_schedule_that_the_code_takes_over_runs_as_the_code_says(ledger, made):
    repeats("*/5 * * * *", name="nightly")(registry.find("TestNoop"))
    (plan,) = schedules.listed()
    assert plan.shadowed and plan.declared and plan.overlap == "allow"
    assert made("10:05:00") == 1 and ledger.connection.fetch_all("SELECT job_type FROM jobs") == [("TestNoop",)]
    with pytest.raises(schedules.ActionRefused):
        schedules.retime(plan, plan.changed_ms, "0 4 * * *", "ada")
    schedules.delete(plan, "ada")
    assert not schedules.find("nightly").shadowed and ledger.one("SELECT COUNT(*) FROM recurring") == 1


def test_a_waiting_run_is_released_when_its_schedule_is_deleted(ledger, made):
    plan = schedules.find("nightly")
    schedules.change(plan, plan.changed_ms, plan.given, "ada", **OPTIONS | {"overlap": "wait"})
    assert made("10:05:00") == made("10:10:00") == 1
    assert [s for (s,) in ledger.connection.fetch_all("SELECT state FROM jobs ORDER BY id")] == ["pending", "held"]
    assert recurring.release_waiting(ledger.connection) == 0
    schedules.delete(schedules.find("nightly"), "ada")
    assert recurring.release_waiting(ledger.connection) == 1 and [o for _, o in history()] == ["pending", "pending"]
    assert made("10:15:00") == 0


def test_a_name_is_taken_once_and_500_are_the_most(ledger, made):
    with pytest.raises(ValidationError, match="already"):
        schedules.make("nightly", registry.find("TestEcho"), {}, "ada", **OPTIONS)
    db.session.rollback()
    ledger.connection.execute_many("INSERT INTO schedules (name, cron, job_type, changed_by, changed_ms) VALUES (:n, '0 3 * * *', 'TestEcho', 'ada', 1)", [{"n": f"s{n}"} for n in range(499)])
    with pytest.raises(ValidationError, match="500"):
        schedules.make("more", registry.find("TestEcho"), {}, "ada", **OPTIONS)


def test_after_a_restore_nothing_runs_until_somebody_resumes(ledger, made):
    ledger.change("INSERT INTO meta (key, value, at_ms) VALUES ('paused_after_restore', '1', 0)")
    assert counts.paused_after_restore(SessionExecutor(db.session)) and made("10:05:00") == 0
    db.session.rollback()
    queues.resume_all("ada")
    assert ledger.one("SELECT looked_ms FROM recurring") > at("10:05:00"), "what was due meanwhile is not missed"


def test_duration_and_lateness_of_a_run_are_those_of_its_job(ledger, made):
    assert made("10:05:00") == 1
    job = ledger.claim()
    ledger.settle(job)
    ledger.change("UPDATE job_metrics SET started_at = '2026-03-24 09:07:00.000000'")
    ledger.change("INSERT INTO job_facts (id, uuid, job_type, status, finished_ms, attempts, lost, run_ms) SELECT id, uuid, job_type, status, finished_ms, 1, 0, 4200 FROM job_history")
    (run,) = recurring_runs.latest(["nightly"])["nightly"]
    assert (run.outcome, run.run_ms, run.late_ms, run.late) == ("completed", 4200, 2 * MINUTE_MS, True)


@pytest.mark.parametrize(("zone", "cron", "start", "told"), [
    ("Europe/Rome", "30 2 * * *", "2026-10-24 12:00", ["25 02:30 CEST", "26 02:30 CET"]), ("Europe/Rome", "30 2 * * *", "2026-03-28 12:00", ["29 03:00 CEST", "30 02:30 CEST"]),
    ("Europe/Rome", "0 * * * *", "2026-10-25 01:30", ["25 02:00 CEST", "25 02:00 CET", "25 03:00 CET"]),
])
def test_the_next_runs_are_right_over_changes_of_the_clocks(monkeypatch, zone, cron, start, told):
    zone = ZoneInfo(zone)
    monkeypatch.setattr(recurring, "now_ms", lambda: millis(datetime.fromisoformat(start).replace(tzinfo=zone)))
    assert [r.strftime("%d %H:%M %Z") for r in recurring.coming(cron, zone, len(told))] == told
    assert len(recurring.coming("0 0 29 2 *", zone)) == 10 and recurring.coming("x", zone) == []
