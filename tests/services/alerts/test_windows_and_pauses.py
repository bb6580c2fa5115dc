"""Windows without a gap, pauses that are too long, predicted ends that are too late; on both databases, by a given clock."""

from __future__ import annotations

import json
from datetime import datetime
from uuid import uuid4

import pytest
from flask_babel import force_locale

from app.extensions import db
from app.ledger import control
from app.services.alerts import texts
from app.services.alerts.snapshot import Rule
from app.services.forecast.estimate import Interval, JobForecast, QueueForecast
from app.services.forecast.forecaster import Forecaster
from app.services.jobs import queue_rates, queues, rollups
from app.services.stats import pauses
from app.support.clock import DAY_MS, HOUR_MS, MINUTE_MS, iso, stamp
from tests.services.alerts.test_alerts import Desk, judged
from tests.services.forecast.test_forecaster import history, plan, running, worker
from tests.sinks import until


@pytest.fixture
def desk(ledger):
    return Desk(ledger)


RULE = Rule(1, "failures", 1, 0, 0, 60, None, None, None, "warning", None, None, "*", 15)


def outcome(desk, at: int, status: str = "failed", job_type: str = "TestFail") -> None:
    """A row of an attempt that ended at `at` (ms), not counted by the rollups yet."""
    desk.ledger.change("INSERT INTO job_metrics (uuid, claim_no, round, status, job_type, queue, processing_time, attempts, completed_at) "
                       "VALUES (:u, 1, 1, :s, :t, 'default', 10, 1, :at)", u=str(uuid4()), s=status, t=job_type, at=stamp(at))


def count(desk) -> None:
    whole = "SELECT CAST(value AS BIGINT) - (SELECT COALESCE(MAX(id), 0) FROM job_metrics) FROM meta WHERE key = 'rollup_reach'"
    until(lambda: rollups.advance(desk.connection) >= 0 and desk.ledger.one(whole) == 0, 5)


def opened(desk) -> int:
    return desk.ledger.one("SELECT COUNT(*) FROM alerts")


@pytest.mark.parametrize("period_s", [60, 61.3])
@pytest.mark.parametrize("counted", [True, False])
def test_a_failure_in_any_second_is_told_exactly_once(desk, counted, period_s):
    """Windows of one minute, and checks that take a little longer than that to come."""
    desk.rule("failures", threshold=0, window_min=1, cooldown_min=0)
    desk.now += 20_500
    period = period_s / 60
    desk.check(period)
    seconds = range(0, 60, 1 if counted else 3)
    for told, second in enumerate(seconds, 1):
        outcome(desk, desk.now + second * 1000 + 1)
        for n in range(5):
            if counted or n == 3:
                count(desk)
            desk.check(period)
        assert (opened(desk), desk.open()) == (told, []), second
    facts = [json.loads(text) for (text,) in desk.connection.fetch_all("SELECT facts FROM alerts")]
    assert {(f["n"], f["minutes"]) for f in facts} == {(1, 1)}


@pytest.mark.parametrize("edge_ms", [-1, 0, 1])
@pytest.mark.parametrize("counted", [True, False])
def test_a_window_begins_exactly_so_many_minutes_ago(desk, counted, edge_ms):
    desk.now += 20_500
    outcome(desk, desk.now - 60 * MINUTE_MS + edge_ms)
    outcome(desk, desk.now - 30 * MINUTE_MS)
    outcome(desk, desk.now - 30 * MINUTE_MS, "completed")
    if counted:
        count(desk)
    look = desk.look()
    (found,) = judged(desk, "failures", look)
    assert look.values[1] == (1 if edge_ms < 0 else 2)
    since, until_ = (iso(ms).replace(":", "%3A") for ms in (look.since(RULE), look.now + 1))
    assert found.link == f"/admin/jobs/list?failed={since}..{until_}"


def test_a_failure_that_is_written_late_or_while_no_monitor_runs_is_told(desk):
    desk.rule("failures", threshold=0, window_min=1, cooldown_min=0)
    desk.check()
    outcome(desk, desk.now - 8_000)  # its transaction ended after the check
    desk.check()
    assert opened(desk) == 1
    desk.check(), desk.check(), desk.check()
    outcome(desk, desk.now + 5 * MINUTE_MS)
    desk.check(30)
    assert opened(desk) == 2
    assert json.loads(desk.ledger.one("SELECT facts FROM alerts WHERE id = (SELECT MAX(id) FROM alerts)"))["minutes"] == 30
    desk.check(), desk.check(), desk.check()
    outcome(desk, desk.now + 5 * MINUTE_MS)  # a monitor that was away for long does not tell what is long over
    desk.check(3 * 60)
    assert opened(desk) == 2


def test_a_missed_run_and_a_lost_job_at_the_edge_of_the_window(desk):
    desk.ledger.change("INSERT INTO recurring (name, enabled, since_ms, looked_ms, missed_ms, missed_at_ms) VALUES ('yearly', 1, 0, 0, 5, :at)",
                       at=desk.now - 60 * MINUTE_MS)
    assert [f.subject for f in judged(desk, "missed")] == ["yearly"]
    outcome(desk, desk.now - 60 * MINUTE_MS + 500, "lost")
    assert [f.facts["n"] for f in judged(desk, "rescued")] == [1]
    assert judged(desk, "rescued", queue="high") == []


# ---- pauses --------------------------------------------------------------------------------------------------------


def paused(desk, name: str, minutes_ago: float, until: int | None = None, by: str | None = "ada", reason: str | None = None) -> None:
    with desk.connection.transaction() as tx:
        control.resume(tx, name)
        control.pause(tx, name, until, by, reason)
    desk.ledger.change("UPDATE queues SET paused_at = :at WHERE name = :n", at=desk.now - round(minutes_ago * MINUTE_MS), n=name)


def test_a_pause_is_told_after_an_hour_with_whoever_made_it(desk):
    for _ in range(3):
        desk.ledger.dispatch("TestNoop", queue="low")
    desk.ledger.dispatch("TestSleep")
    paused(desk, "low", 61, reason="prices @channel")
    paused(desk, "type:TestSleep", 61, until=desk.now + 30 * DAY_MS, by=None)
    paused(desk, "high", 60)
    control.sweep_types(desk.connection)
    look = desk.look()
    found = {f.subject: f for f in judged(desk, "paused", look, threshold=60)}
    assert set(found) == {"low", "type:TestSleep"} and look.values[1] == 61
    facts = found["low"].facts
    assert (facts["by"], facts["n"], facts["until_ms"], facts["since_ms"]) == ("ada", 3, None, desk.now - 61 * MINUTE_MS)
    assert found["type:TestSleep"].facts["n"] == 1
    with desk.ledger.app.app_context(), force_locale("en"):
        low, kind = (texts.sentence("paused", json.loads(json.dumps(found[name].facts))) for name in ("low", "type:TestSleep"))
    assert low.startswith("low: paused by ada for 1 h 1 min, threshold 1 h. It lasts until somebody resumes it. Reason: prices @\u200bchannel.")
    assert low.endswith(" 3 jobs wait because of it.")
    assert "paused by the platform" in kind and "It ends at" in kind and kind.endswith(" 1 job waits because of it.")


@pytest.mark.parametrize(("scope", "subjects"), [
    ({}, {"low", "high", "type:TestSleep"}), ({"queue": "low"}, {"low"}), ({"job_type": "TestSleep"}, {"type:TestSleep"}),
    ({"queue": "low", "job_type": "TestSleep"}, {"low", "type:TestSleep"}), ({"queue": "default"}, set()), ({"job_type": "low"}, set()),
])
def test_pauses_of_a_scope(desk, scope, subjects):
    for name in ("low", "high", "type:TestSleep"):
        paused(desk, name, 90)
    assert {f.subject for f in judged(desk, "paused", threshold=60, **scope)} == subjects


def test_a_pause_that_begins_anew_counts_anew_and_one_that_is_prolonged_does_not(desk):
    desk.ledger.change("INSERT INTO alert_rules (kind, enabled, threshold, minimum, window_min, severity, channels, cooldown_min) "
                       "VALUES ('paused', 1, 60, 0, 60, 'warning', '*', 0)")
    paused(desk, "low", 59)
    desk.check()
    assert desk.open() == []
    desk.check()
    assert desk.open() == ["paused"]
    with desk.connection.transaction() as tx:
        control.pause(tx, "low", desk.now + DAY_MS, "bob", None)  # longer, by another
    desk.check()
    assert desk.open() == ["paused"] and json.loads(desk.ledger.one("SELECT facts FROM alerts"))["by"] == "bob"
    paused(desk, "low", 0)
    desk.check(), desk.check()
    assert desk.open() == []
    desk.check(58.5)
    assert (opened(desk), desk.open()) == (2, ["paused"])


def test_a_paused_queue_that_grows_is_measured_and_told_by_its_pause(desk):
    for n in range(16):
        desk.ledger.change("INSERT INTO queue_minutes (minute_ms, queue, depth) VALUES (:m, 'default', :n)", m=desk.now - (15 - n) * MINUTE_MS, n=100 + n * 20)
    paused(desk, "default", 5)
    look = desk.look()
    assert judged(desk, "growing", look, threshold=1.5, minimum=100, window_min=15) == [] and look.values[1] == 4
    desk.ledger.change("UPDATE queues SET paused_at = NULL")
    assert judged(desk, "growing", threshold=1.5, minimum=100, window_min=15)


def test_the_sentence_of_a_paused_queue_whose_oldest_waits(desk):
    facts = {"queue": "low", "ms": 31 * MINUTE_MS, "limit": 30, "by": "ada <b>", "since_ms": desk.now}
    with desk.ledger.app.app_context(), force_locale("en"):
        since = texts._clock(desk.now)
        assert texts.sentence("oldest", facts) == f"low: the oldest job has waited for 31 min, threshold 30 min. ada ‹b› has paused it since {since}."
    with desk.ledger.app.app_context(), force_locale("it"):
        assert "paused" not in texts.sentence("oldest", facts)


def test_new_databases_have_the_rules_and_a_pause_view_is_the_same_row(ledger):
    assert ledger.one("SELECT COUNT(*) FROM alert_rules WHERE kind IN ('paused', 'late') AND enabled = 1") == 2
    with ledger.app.test_request_context(headers={"Accept-Language": "en"}):
        queues.pause("low", "ada", 15, "later")
        view = {q.name: q.pause for q in queues.queues()}["low"]
        assert (view.by, view.reason) == ("ada", "later") and isinstance(view.until, datetime)
        db.session.rollback()


# ---- predicted ends ------------------------------------------------------------------------------------------------


def queue_forecast(end: Interval | None) -> QueueForecast:
    return QueueForecast(end, None if end else "types", (), 2, 2, None, 50)


def test_a_predicted_end_that_is_too_late(desk):
    ledger, look = desk.ledger, desk.look()
    at = lambda hours: Interval(*(look.now + round(h * HOUR_MS) for h in (hours - 0.5, hours, hours + 0.5)))  # noqa: E731
    running, first, last = (ledger.dispatch("TestSleep") for _ in range(3))
    ledger.dispatch("TestNoop", queue="low")
    assert ledger.claim().uuid == running
    ends = {running: at(4.5), first: at(6), last: at(9)}
    look.queue_ends = lambda tx: ({"default": queue_forecast(at(5)), "low": queue_forecast(at(4)), "high": queue_forecast(None)}, 100)
    look.job_ends = lambda tx, uuids: {u: JobForecast(None, ends.get(u), None if u in ends else "types", None, None, None, None) for u in uuids}
    found = {f.subject: f for f in judged(desk, "late", look, threshold=240)}
    assert set(found) == {"queue default", "type TestSleep"} and look.values[1] == 300
    assert found["queue default"].facts == {"queue": "default", "left_ms": 5 * HOUR_MS, "low_ms": at(5).low, "at_ms": at(5).middle, "high_ms": at(5).high, "limit": 240}
    assert found["type TestSleep"].facts["left_ms"] == 4.5 * HOUR_MS, "without a type: the running ones"
    (found,) = judged(desk, "late", look, threshold=240, job_type="TestSleep")
    assert found.facts["left_ms"] == 9 * HOUR_MS and look.values[1] == 540, "with a type: its last ready one"
    assert found.link == "/admin/jobs/list?state=live&type=TestSleep"
    assert judged(desk, "late", look, threshold=540, job_type="TestSleep") == []
    assert judged(desk, "late", look, threshold=240, job_type="TestSleep", queue="low") == []
    assert [f.subject for f in judged(desk, "late", look, threshold=239, queue="low")] == ["queue low"]
    with ledger.app.app_context(), force_locale("en"):
        assert texts.sentence("late", found.facts).endswith(f"{texts._clock(at(9).high)}), threshold 4 h.")


def test_the_monitors_own_forecast_is_judged(desk):
    """One worker, thirty jobs of ten minutes behind a running one: the queue is empty in about five hours."""
    ledger = desk.ledger
    history(ledger, "TestNoop", [10 * MINUTE_MS + n for n in range(40)])
    worker(ledger, "w1")
    running(ledger, "TestNoop", "w1")
    for _ in range(30):
        ledger.dispatch("TestNoop")
    plan(Forecaster(ledger.connection, queue_rates.rates))
    desk.now = ledger.connection.now()
    (queue,) = judged(desk, "late", threshold=240)
    assert queue.subject == "queue default" and 4.5 * HOUR_MS < queue.facts["left_ms"] < 5.5 * HOUR_MS
    (kind,) = judged(desk, "late", threshold=240, job_type="TestNoop")
    assert kind.subject == "type TestNoop" and kind.facts["left_ms"] > queue.facts["left_ms"]
    assert kind.facts["low_ms"] < kind.facts["at_ms"] < kind.facts["high_ms"]
    assert judged(desk, "late", threshold=360) == judged(desk, "late", threshold=240, queue="low") == []
    paused(desk, "default", 0)
    plan(Forecaster(ledger.connection, queue_rates.rates))
    assert judged(desk, "late", threshold=0, queue="default") == [], "paused until somebody resumes it: no end is known"


def test_without_a_forecast_nothing_is_late(desk):
    desk.ledger.dispatch("TestSleep")
    desk.ledger.claim()
    for scope in ({}, {"job_type": "TestSleep"}, {"queue": "low"}):
        look = desk.look()
        assert judged(desk, "late", look, threshold=0, **scope) == [] and look.values[1] is None


BAD = ["x", "", b"\xff", 2**62, -5, 1.5, float("inf")]
only_sqlite = pytest.mark.parametrize("ledger", ["sqlite"], indirect=True)  # the other refuses such values


@only_sqlite
@pytest.mark.parametrize("column", ["paused_at", "paused_until", "paused_by", "reason"])
def test_a_pause_that_another_program_wrote_hides_no_other(desk, column):
    for bad in BAD:
        paused(desk, "low", 61, until=desk.now + DAY_MS)
        paused(desk, "type:TestSleep", 61)
        desk.ledger.change(f"UPDATE queues SET {column} = :v WHERE name = 'type:TestSleep'", v=bad)
        found = {f.subject: f for f in judged(desk, "paused", threshold=60)}
        assert set(found) == {"low", "type:TestSleep"}, bad
        control.sweep_types(desk.connection)
        with desk.ledger.app.test_request_context(headers={"Accept-Language": "en"}):
            for finding in found.values():
                assert texts.sentence("paused", json.loads(json.dumps(finding.facts))), bad
            assert {row.name for row in pauses.listing({})} == {"low", "type:TestSleep"}
            db.session.rollback()


@only_sqlite
def test_a_pause_whose_name_is_bytes_is_one_like_others(desk):
    paused(desk, "low", 61)
    desk.ledger.change("INSERT INTO queues (name, paused_at) VALUES (:n, 1)", n=b"type:TestSleep")
    control.sweep_types(desk.connection)
    assert {f.subject for f in judged(desk, "paused", threshold=60)} == {"low", "type:TestSleep"}


@only_sqlite
@pytest.mark.parametrize("bad", BAD, ids=repr)
def test_figures_by_the_minute_that_another_program_wrote_are_left_out(desk, bad):
    outcome(desk, desk.now - 1000, status="completed")
    desk.ended(3, "completed", ms=100, ago=1)
    for n, column in enumerate(("minute_ms", "count", "time_ms")):
        row = {"minute_ms": desk.now - MINUTE_MS, "job_type": f"odd{n}", "queue": "default", "tenant_id": "", "status": "completed", "count": 2, "time_ms": 0}
        desk.ledger.change("INSERT INTO job_minutes VALUES (:minute_ms, :job_type, :queue, :tenant_id, :status, :count, :time_ms)", **row | {column: bad})
    desk.ledger.change("UPDATE job_metrics SET processing_time = :v", v=bad)
    look = desk.look()
    rule = Rule(**vars(RULE) | {"kind": "slow"})
    (ended,) = look.ended(rule, "completed")
    assert ended.count == 4 + 2 + 2 * (bad == 1.5), "an outcome whose time is none is one; half an outcome is read as two"
    assert 300 <= ended.time_ms <= 303
    assert {row.job_type for row in look.ended(rule, "completed", by_type=True)} >= {"TestFail", "odd2"}


@only_sqlite
@pytest.mark.parametrize("column", ["minute_ms", "depth"])
def test_a_depth_that_another_program_wrote_is_left_out(desk, column):
    for n in range(61):
        desk.ledger.change("INSERT INTO queue_minutes (minute_ms, queue, depth) VALUES (:m, 'low', :d)", m=desk.now - (60 - n) * MINUTE_MS, d=10 + 10 * n)
    for bad in ("x", "", b"\xff", float("inf"), 2**62)[:5 if column == "minute_ms" else 4]:
        row = {"minute_ms": desk.now - 30 * MINUTE_MS + 5, "depth": 1} | {column: bad}
        desk.ledger.change("INSERT INTO queue_minutes (minute_ms, queue, depth) VALUES (:minute_ms, 'low', :depth)", **row)
        (found,) = judged(desk, "growing", threshold=3)
        assert (found.facts["before"], found.facts["n"]) == (10, 610), bad
        desk.ledger.change("DELETE FROM queue_minutes WHERE minute_ms = :m", m=row["minute_ms"])


@only_sqlite
@pytest.mark.parametrize("column", ["uuid", "job_type", "queue", "reserved_ms", "timeout", "progress_done", "available_ms"])
def test_a_job_that_another_program_wrote_hides_no_predicted_end(desk, column):
    ledger = desk.ledger
    history(ledger, "TestNoop", [10 * MINUTE_MS + n for n in range(40)])
    for name in ("w1", "w2"):
        worker(ledger, name)
        running(ledger, "TestNoop", name)
    for _ in range(30):
        ledger.dispatch("TestNoop")
    plan(Forecaster(ledger.connection, queue_rates.rates))
    desk.now = ledger.connection.now()
    for state in ("processing", "pending"):
        (row,) = ledger.connection.fetch_all(f"SELECT id, {column} FROM jobs WHERE state = :s ORDER BY id DESC LIMIT 1", s=state)
        for bad in BAD:
            ledger.change(f"UPDATE jobs SET {column} = :v WHERE id = :id", v=bad, id=row[0])
            assert [f.subject for f in judged(desk, "late", threshold=60)][0] == "queue default", bad
            for scope in ({"job_type": "TestNoop"}, {}, {"queue": "low"}):
                assert json.dumps([f.facts for f in judged(desk, "late", threshold=0, **scope)]), bad
        ledger.change(f"UPDATE jobs SET {column} = :v WHERE id = :id", v=row[1], id=row[0])
