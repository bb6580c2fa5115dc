"""Replays of days whose waits are known; the busy share; the command and the page on both databases."""

from __future__ import annotations

import json
import math
import random
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings, strategies as st

from app.extensions import db
from app.services.forecast import capacity
from app.services.forecast.capacity import Run, replay, staff, waits_of
from app.services.forecast.simulation import Limit
from app.services.stats import capacity as shown
from app.support.clock import DAY_MS, HOUR_MS, MINUTE_MS, stamp

ALL = ("high", "default", "low")
SINCE = 1_700_000_000_000


def run(ready: float, length: float, queue: str = "default", **more) -> Run:
    """A run that arrives `ready` ms after SINCE; when it really began does not matter for the replay."""
    return Run(queue, SINCE + ready, SINCE + max(ready, 0), length, **more)


def waits(runs: list[Run], n: int, limits=None, until: int = SINCE + DAY_MS) -> list[float]:
    return [wait for some in replay(runs, SINCE, until, [ALL] * n, limits) for wait in some]


def test_a_burst_waits_in_steps():
    burst = [run(0, 1000) for _ in range(6)]
    assert waits(burst, 1) == [0, 1000, 2000, 3000, 4000, 5000]
    assert waits(burst, 2) == [0, 0, 1000, 1000, 2000, 2000]
    assert waits(burst, 6) == [0] * 6


def test_one_long_job_blocks_one_worker_only():
    day = [run(0, HOUR_MS), *(run(MINUTE_MS * n, 1000) for n in range(1, 30))]
    assert waits(day, 1)[1] == HOUR_MS - MINUTE_MS
    assert waits(day, 2) == [0] * 30


def test_regular_arrivals_that_fit_never_wait():
    assert set(waits([run(1000 * n, 999) for n in range(500)], 1)) == {0}


def test_random_arrivals_wait_as_the_formula_of_pollaczek_says():
    """M/D/1 at 60 % of load: the mean wait is rho / (2 (1 - rho)) runs = 0.75."""
    dice, at, day = random.Random(7), 0.0, []
    for _ in range(40_000):
        at += dice.expovariate(0.6) * 1000
        day.append(run(at, 1000))
    found = waits(day, 1, until=SINCE + 10 * DAY_MS)
    assert sum(found) / len(found) / 1000 == pytest.approx(0.75, rel=0.06)


def test_what_was_there_before_is_in_the_way_and_not_measured():
    began = Run("default", SINCE - 5000, SINCE - 4000, 10_000)  # 6 s of it are left
    stood = Run("default", SINCE - 3000, SINCE + 6000, 2000)
    assert waits([began, stood, run(1000, 500)], 1) == [7000]
    assert waits([began, stood, run(1000, 500)], 2) == [1000]


def test_strict_queues_and_limits_hold_in_the_replay():
    assert waits([run(0, 1000), run(1, 1000, "low"), run(2, 1000, "high")], 1) == [0, 1999, 998]
    limited = [run(0, 1000, limit="Slow") for _ in range(4)]
    assert waits(limited, 4, {"Slow": Limit(1)}) == [0, 1000, 2000, 3000], "more workers do not help where a limit stands"


def test_like_runs_that_count_together_wait_as_they_would_apart():
    assert waits([run(0, 100, count=10)], 2) == pytest.approx([k * 400 / 9 for k in range(10)], abs=1)


def test_more_or_fewer_workers_serve_the_queues_of_most():
    today = [("high",), ALL, ALL]
    assert sorted(staff(today, 2)) == sorted([("high",), ALL])
    assert sorted(staff(today, 5)) == sorted([("high",), ALL, ALL, ALL, ALL])
    assert staff([ALL], 1) == [ALL]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 20_000), min_size=1, max_size=60), st.integers(1, 5000), st.integers(1, 6))
def test_more_workers_never_make_the_longest_wait_longer(arrivals, length, n):
    day = [run(at, length) for at in sorted(arrivals)]
    assert max(waits(day, n + 1)) <= max(waits(day, n)) + 1e-6
    assert all(w >= 0 and math.isfinite(w) for w in waits(day, n))


def test_the_figures_of_waits():
    assert waits_of([]) is None
    assert waits_of(range(100, 0, -1)) == capacity.Waits(50, 90, 100)


@pytest.mark.parametrize(("longest", "said"), [
    ({-1: 3000, 0: 0, 1: 0, 2: 0, 4: 0}, ["nobody waited", "With one fewer it would have been 3.0 s"]),
    ({-1: 900_000, 0: 840_000, 1: 500_000, 2: 180_000, 4: 100_000}, ["Two more workers would have cut the longest waiting from 14 min to 3 min", "One fewer would have done"]),
    ({0: 60_000, 1: 0, 2: 0, 4: 0}, ["One more worker would have cut the longest waiting from 1 min to 0 ms"]),
    ({0: 60_000, 1: 59_000, 2: 59_000, 4: 20_000}, ["Four more workers would have cut the longest waiting from 1 min to 20 s"]),
    ({0: 60_000, 1: 59_500, 2: 59_500, 4: 59_400}, ["would hardly have helped"]),
    ({}, ["No job arrived"]),
])
def test_what_is_said_of_a_day(app, longest, said):
    rows = [{"workers": 3 + n, "waits": {"longest_ms": ms}} for n, ms in longest.items()]
    with app.app_context():
        from flask_babel import force_locale

        with force_locale("en"):
            sentences = shown.verdict({"workers": 3, "rows": rows, "check": {"near": 0.8 if longest else None}})
            doubtful = shown.verdict({"workers": 3, "rows": rows, "check": {"near": 0.663}})
    assert not longest or doubtful == ["The replay does not match what was measured (66.3% of the runs), so nothing is claimed."]
    assert len(sentences) == len(said) and all(part in sentence for part, sentence in zip(said, sentences, strict=True))


def test_the_number_of_now_is_how_many_should_run_whether_frozen_or_not(ledger):
    number = lambda: capacity.today(ledger.connection, ("high", "low"), 4)  # noqa: E731
    assert number() == [("high", "low")] * 4
    beat = {"worker_name": "w", "worker_id": "w", "consumer_id": "c", "process_id": 1, "queue": "high, default", "status": "idle", "host": "h",
            "started_at": stamp(1), "last_heartbeat": stamp(1), "beat": 1, "stale": 0, "jobs_done": 0}
    ledger.change(f"INSERT INTO worker_heartbeats ({', '.join(beat)}) VALUES ({', '.join(':' + n for n in beat)})", **beat)
    assert number() == [("high", "default")]
    ledger.change("INSERT INTO consumers (consumer_id, host, process_id, queue, wanted, least, most, started_ms, beat_ms) VALUES ('c', 'h', 1, 'high', 3, 3, 3, 1, 1)")
    assert number() == [("high", "default")] * 3
    ledger.change("UPDATE worker_heartbeats SET stale = 1")
    assert number() == [("high", "low")] * 3


METRIC = """INSERT INTO job_metrics (job_type, status, processing_time, attempts, completed_at, created_at, uuid, round, claim_no, queue, worker,
 started_at, wait_ms) VALUES (:type, :status, :ms, 1, :end, :end, :uuid, 1, 1, :queue, :worker, :start, :wait)"""


def write(ledger, rows: list[tuple[int, int, int]], queue: str = "default", status: str = "completed", worker=None) -> None:
    """Outcomes of the past: (arrival, wait, run time) in ms; ids rise with the end."""
    for n, (at, wait, ms) in enumerate(sorted(rows, key=sum)):
        began = at + wait
        ledger.change(METRIC, type="TestNoop", status=status, ms=ms, end=stamp(began + ms), uuid=f"{queue}-{status}-{at}-{n}", queue=queue,
                      worker=worker or f"w{n}", start=stamp(began), wait=wait)


def test_a_day_on_record_is_replayed(ledger):
    now = ledger.connection.now()
    since = now - 2 * HOUR_MS
    write(ledger, [(since + MINUTE_MS, 10_000 * k, 10_000) for k in range(4)])  # one worker did them
    write(ledger, [(since + MINUTE_MS, 0, 10_000)], status="late")  # the same run as a lost one: counted once
    write(ledger, [(since - HOUR_MS, 0, 1000)])  # before
    study = capacity.study(ledger.connection, since, now, [ALL])
    assert (study["runs"], study["waiting"], study["unserved"], study["workers"], study["short_ms"]) == (4, 0, 0, 1, 0)
    longest = {row["workers"]: row["waits"]["longest_ms"] for row in study["rows"]}
    assert longest == {1: 30_000, 2: 10_000, 3: 10_000, 5: 0}
    assert study["check"]["near"] == 1 and study["check"]["measured"] == study["check"]["replayed"] and not study["check"]["known"]
    json.dumps(study)


def test_what_a_replay_leaves_out_is_counted(ledger):
    now = ledger.connection.now()
    write(ledger, [(now - HOUR_MS, 0, 1000)], queue="low")
    write(ledger, [(now - HOUR_MS, 0, 1000)], queue="high")
    ledger.dispatch("TestNoop")
    study = capacity.study(ledger.connection, now - 2 * HOUR_MS, ledger.connection.now() + 1, [("high",)])
    assert (study["runs"], study["unserved"], study["waiting"]) == (1, 1, 1)


def test_jobs_of_a_group_keep_one_worker_together(ledger):
    now = ledger.connection.now()
    write(ledger, [(now - HOUR_MS, 0, 4000)] * 4, worker="w1")
    runs, _ = capacity.read(ledger.connection, now - 2 * HOUR_MS, {})
    assert [run.run_ms for run in runs] == [1000] * 4


def test_limits_of_types_and_tenants_are_replayed(ledger):
    now = ledger.connection.now()
    write(ledger, [(now - HOUR_MS, 0, 10_000)] * 3)
    ledger.change("INSERT INTO job_limits (job_type, per, rate_per, is_keyed, concurrency) VALUES ('TestNoop', 'tenant', '', 1, 1)")
    study = capacity.study(ledger.connection, now - 2 * HOUR_MS, now, [ALL] * 4)
    assert {row["waits"]["longest_ms"] for row in study["rows"]} == {20_000}


def test_a_large_day_counts_short_jobs_by_the_second(ledger, monkeypatch):
    now = ledger.connection.now()
    since = now - 2 * HOUR_MS
    dice = random.Random(3)
    write(ledger, [(since + dice.randrange(60_000), 0, dice.choice((50, 150, 2500))) for _ in range(300)])
    exact = capacity.study(ledger.connection, since, now, [ALL] * 2)
    monkeypatch.setattr(capacity, "MOST", 100)
    monkeypatch.setattr(capacity, "PAGE", 77)
    rough = capacity.study(ledger.connection, since, now, [ALL] * 2)
    assert (rough["short_ms"], rough["runs"]) == (1000, 300)
    for one, other in zip(exact["rows"], rough["rows"], strict=True):
        assert other["waits"]["longest_ms"] == pytest.approx(one["waits"]["longest_ms"], abs=2500)


def test_busy_shares_by_hour(ledger, monkeypatch):
    now = 1_700_000_000_000 // HOUR_MS * HOUR_MS + 5 * MINUTE_MS
    monkeypatch.setattr(shown, "now_ms", lambda: now)
    for at, busy, alive in ((now - HOUR_MS, 60, 60), (now - HOUR_MS + MINUTE_MS, 0, 60), (now, 20, 40), (now - DAY_MS - HOUR_MS, 60, 60)):
        ledger.change("INSERT INTO worker_minutes (minute_ms, samples, wanted, alive, busy) VALUES (:m, 20, 60, :alive, :busy)",
                      m=at // MINUTE_MS * MINUTE_MS, busy=busy, alive=alive)
    with ledger.app.test_request_context(headers={"Accept-Language": "en"}):
        day, week = shown.busy_hours("24h"), shown.busy_hours("7d")
        told = shown.peaks(day)
        assert shown.peaks(shown.busy_hours("24h")[:3]) is None
        db.session.rollback()
    assert len(day) == len(week) == 24
    assert [(h.share, h.total) for h in day[-2:]] == [(50, 40), (50, 20)] and {h.share for h in day[:-2]} == {None}
    assert (day[-1].busy, day[-1].alive, day[-1].wanted) == (1, 2, 3)
    two_days = next(h for h in week if h.label == day[-2].label)
    assert (two_days.share, two_days.highest, two_days.total) == (66.7, 100, 60)
    assert day[-2].label in told and "No hour was over 80%" in told


def test_the_command_stores_what_the_page_shows(ledger):
    now = ledger.connection.now()
    write(ledger, [(now - HOUR_MS, 10_000 * k, 10_000) for k in range(4)])
    runner = ledger.app.test_cli_runner()
    out = runner.invoke(args=["capacity"])
    assert out.exit_code == 0 and "Last 24 hours: 4 runs." in out.output, out.output
    with ledger.app.app_context():
        assert shown.last_replay() is None, "a look stores nothing"
        db.session.rollback()
    out = runner.invoke(args=["capacity", "--store", "--json", "--hours", "2"])
    found = json.loads(out.output)
    with ledger.app.app_context():
        kept = shown.last_replay()
        db.session.rollback()
    assert kept == found | {"age_ms": kept["age_ms"]} and found["hours"] == 2 and found["last"]["runs"] == 4
    assert runner.invoke(args=["capacity", "--hours", "0"]).exit_code == 2


def test_yesterday_is_the_day_of_the_time_zone(ledger):
    found = capacity.whole(ledger.connection, [ALL], ZoneInfo("Europe/Rome"))
    assert found["yesterday"]["until_ms"] - found["yesterday"]["since_ms"] in (23 * HOUR_MS, DAY_MS, 25 * HOUR_MS)
    assert found["yesterday"]["until_ms"] <= found["at_ms"] < found["yesterday"]["until_ms"] + 25 * HOUR_MS


def test_times_of_another_form_are_left_out(ledger):
    now = ledger.connection.now()
    write(ledger, [(now - HOUR_MS, 0, 1000)])
    if ledger.store == "sqlite":
        write(ledger, [(now - HOUR_MS, 0, 1000)], queue="low")
        ledger.change("UPDATE job_metrics SET started_at = 'noon' WHERE queue = 'low'")
    assert len(capacity.read(ledger.connection, now - 2 * HOUR_MS, {})[0]) == 1


@pytest.mark.parametrize("ledger", ["sqlite"], indirect=True)
def test_a_row_of_another_program_is_left_out_and_the_others_are_replayed(ledger):
    """Two good runs that one worker did, beside one row with a bad value; a type with a limit."""
    now = ledger.connection.now()
    ledger.change("INSERT INTO job_limits (job_type, per, rate_per, is_keyed, concurrency) VALUES ('TestNoop', 'tenant', '', 1, 9)")
    write(ledger, [(now - HOUR_MS, 0, 1000), (now - HOUR_MS, 1000, 1000), (now - HOUR_MS, 5000, 1000)])
    ledger.change("INSERT INTO worker_minutes VALUES (:m, 20, 20, 20, 20)", m=(now - HOUR_MS) // MINUTE_MS * MINUTE_MS)
    ledger.change("INSERT INTO worker_heartbeats (worker_name, worker_id, process_id, queue, status, consumer_id, host, started_at, last_heartbeat) "
                  "VALUES ('w', 'w', 1, 'default', 'idle', 'c', 'here', CURRENT_TIMESTAMP, CURRENT_TIMESTAMP)")
    ledger.dispatch("TestNoop")
    ledger.claim("w1")

    def studied() -> dict:
        workers = capacity.today(ledger.connection, ALL, 1)
        found = capacity.whole(ledger.connection, workers, ZoneInfo("UTC"))["last"]
        json.dumps(found)
        with ledger.app.test_request_context():
            shown.busy_hours(), shown.busy_hours("7d")
            db.session.rollback()
        return found

    assert studied()["runs"] == 4
    left_out = {"wait_ms": ("x", "", b"\xff", float("inf")), "started_at": ("x", b"\xff", 5), "completed_at": ("x", b"\xff"), "reserved_ms": ("x", "", b"\xff", None),
                "available_ms": ("x", "", b"\xff", float("inf"))}
    for table, row, columns in (
            ("job_metrics", "(SELECT MAX(rowid) FROM job_metrics)", ("wait_ms", "started_at", "completed_at", "queue", "job_type", "tenant_id", "worker", "status")),
            ("jobs", "rowid", ("reserved_ms", "available_ms", "queue", "job_type", "tenant_id")),
            ("job_limits", "rowid", ("concurrency", "rate_count", "rate_ms", "set_concurrency", "per", "job_type")),
            ("worker_minutes", "rowid", ("minute_ms", "samples", "wanted", "alive", "busy")), ("worker_heartbeats", "rowid", ("queue", "stale"))):
        for column in columns:
            kept = ledger.one(f"SELECT {column} FROM {table} WHERE rowid = {row}")
            nullable = not ledger.one(f"SELECT [notnull] FROM pragma_table_info('{table}') WHERE name = '{column}'")
            for bad in ["x", "", b"\xff", 2**62, -5, 1.5, float("inf"), *([None] if nullable else [])]:
                ledger.change(f"UPDATE {table} SET {column} = :v WHERE rowid = {row}", v=bad)
                found = studied()
                if table == "job_metrics" or table == "jobs":
                    assert found["runs"] + found["unserved"] >= 3 and (bad not in left_out.get(column, ()) or found["runs"] == 3), (table, column, bad)
            ledger.change(f"UPDATE {table} SET {column} = :v WHERE rowid = {row}", v=kept)
    assert studied()["runs"] == 4
