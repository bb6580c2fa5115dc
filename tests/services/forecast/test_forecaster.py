"""The monitor's forecasts over real rows on both databases: what is learned, planned, said and judged."""

from __future__ import annotations

import json

import pytest

from app.services.forecast import outlook
from app.services.forecast.forecaster import Forecaster
from app.services.forecast.outlook import accuracy, of_job, of_jobs, of_queues
from app.services.jobs import limits, queue_rates, queues
from app.support.clock import stamp
from tests.ledger_fixture import Ledger

MINUTE, HOUR = 60_000, 3_600_000


@pytest.fixture
def future(ledger: Ledger) -> Forecaster:
    return Forecaster(ledger.connection, queue_rates.rates)


def worker(ledger: Ledger, name: str, queues: str = "high,default,low") -> None:
    at = stamp(ledger.connection.now())
    ledger.change("INSERT INTO worker_heartbeats (worker_name, process_id, queue, status, started_at, last_heartbeat, worker_id, consumer_id, host) "
                  "VALUES (:n, 1, :q, 'idle', :at, :at, :n, 'c', 'h')", n=name, q=queues, at=at)


def history(ledger: Ledger, name: str, runs: list[int], **options) -> None:
    """Jobs that have run for so many ms."""
    for run_ms in runs:
        ledger.dispatch(name, **options)
        ledger.settle(ledger.claim("gone"), run_ms=run_ms)


def running(ledger: Ledger, name: str, who: str, ran_ms: int = 0, **options) -> str:
    uuid = ledger.dispatch(name, queue="high", **options)
    assert ledger.claim(who).uuid == uuid
    ledger.change("UPDATE jobs SET reserved_ms = reserved_ms - :ms, timeout = 7200 WHERE uuid = :u", u=uuid, ms=ran_ms)
    return uuid


def plan(future: Forecaster) -> None:
    future.next_plan = future.next_flows = 0
    future.run()


def minutes(ledger: Ledger, interval) -> tuple[float, float, float]:
    now = ledger.connection.now()
    return tuple(round((ms - now) / MINUTE, 1) for ms in (interval.low, interval.middle, interval.high))


def test_place_begin_and_end_behind_two_busy_workers(ledger, future):
    """Two workers run jobs of an hour, half done; the queue's four jobs of a minute wait for them."""
    history(ledger, "TestNoop", [MINUTE + n for n in range(40)])
    history(ledger, "TestSleep", [HOUR + n * 1000 for n in range(40)])
    worker(ledger, "w1")
    worker(ledger, "w2")
    busy = [running(ledger, "TestSleep", who, HOUR // 2) for who in ("w1", "w2")]
    waiting = [ledger.dispatch("TestNoop") for _ in range(4)]
    plan(future)
    tx = ledger.connection
    first, *_, last = (of_job(tx, uuid) for uuid in waiting)
    assert (first.place, last.place) == (1, 4)
    assert minutes(ledger, first.begin)[1] == pytest.approx(30.3, abs=0.5)  # not "in 27 s"
    assert minutes(ledger, last.begin)[1] == pytest.approx(31.3, abs=0.5)
    assert last.begin.low < last.begin.middle < last.begin.high and last.end.middle - last.begin.middle == pytest.approx(MINUTE, abs=1500)
    forecast, age = of_queues(tx)
    default = forecast["default"]
    assert (default.workers, default.busy) == (2, 2) and age < 5000
    assert minutes(ledger, default.empty)[1] == pytest.approx(31.3, abs=0.5)
    assert default.still_ms == pytest.approx(HOUR // 2, abs=5000)  # does not move: 2 of 2 workers busy for half an hour
    end = of_job(tx, busy[0])
    assert minutes(ledger, end.end)[1] == pytest.approx(30.3, abs=0.5) and end.longer_than == 0
    many = of_jobs(tx, [*waiting, *busy])
    assert [many[uuid].place for uuid in waiting] == [1, 2, 3, 4] and many[busy[0]].place is None


def test_what_changes_after_the_plan_does_not_shift_the_times(ledger, future):
    """Rows that have begun since the plan leave the line; rows that came since stand behind it."""
    history(ledger, "TestNoop", [MINUTE] * 40)
    worker(ledger, "w1")
    worker(ledger, "w2")
    waiting = [ledger.dispatch("TestNoop") for _ in range(20)]
    plan(future)
    tx, last = ledger.connection, of_job(ledger.connection, waiting[-1])
    assert minutes(ledger, last.begin)[1] == pytest.approx(9, abs=0.1)
    for who in ("w1", "w2"):
        ledger.claim(who)
    behind = [ledger.dispatch("TestNoop") for _ in range(4)]
    same = of_job(tx, waiting[-1])
    assert same.place == 18 and same.begin.middle == pytest.approx(last.begin.middle, abs=2)
    assert of_jobs(tx, [waiting[-1]])[waiting[-1]].begin.middle == same.begin.middle
    assert minutes(ledger, of_job(tx, behind[-1]).begin)[1] == pytest.approx(11, abs=0.6)
    listed = of_jobs(tx, behind)[behind[-1]]  # a list has the same place, and a begin behind those of the plan
    assert listed.place == of_job(tx, behind[-1]).place == 22 and minutes(ledger, listed.begin)[1] == pytest.approx(9.5, abs=0.6)


def test_a_list_has_the_places_of_the_pages_with_a_forecast_and_without(ledger, future):
    """Also of jobs that a plan counts together, of two queues, and after others were moved to the top."""
    history(ledger, "TestNoop", [MINUTE] * 10)
    uuids = [ledger.dispatch("TestNoop", queue=("low", "default")[n % 7 == 0]) for n in range(60)]
    ledger.change("UPDATE jobs SET rank = 3 WHERE uuid IN (:a, :b)", a=uuids[50], b=uuids[56])
    for planned in (False, True):
        if planned:
            worker(ledger, "w1")
            plan(future)
        many = of_jobs(ledger.connection, uuids)
        assert {u: many[u].place for u in uuids} == {u: of_job(ledger.connection, u).place for u in uuids}
        assert sorted(many[u].place for n, u in enumerate(uuids) if n % 7) == list(range(1, 52))
        assert (many[uuids[50]].place, many[uuids[56]].place, many[uuids[1]].place) == (1, 1, 2)


def test_a_hundred_jobs_that_come_after_the_plan_of_an_empty_queue(ledger, future):
    history(ledger, "TestNoop", [MINUTE] * 40)
    worker(ledger, "w1")
    worker(ledger, "w2")
    plan(future)
    uuids = [ledger.dispatch("TestNoop") for _ in range(100)]
    tx = ledger.connection
    assert [minutes(ledger, of_job(tx, uuids[n]).begin)[1] for n in (0, 1, 99)] == pytest.approx([0, 0, 49], abs=0.1)


def test_a_job_that_is_far_over_its_kind_says_so(ledger, future):
    history(ledger, "TestNoop", [1000 + n for n in range(40)])
    worker(ledger, "w1")
    uuid = running(ledger, "TestNoop", "w1", 10 * MINUTE)
    plan(future)
    tx, behind = ledger.connection, ledger.dispatch("TestNoop")
    plan(future)
    found = of_job(tx, uuid)
    assert (found.longer_than, found.end, found.why) == (1.0, None, "longer")  # nothing is guessed
    assert (of_job(tx, behind).begin, of_job(tx, behind).why, of_queues(tx)[0]["default"].why) == (None, "stuck", "stuck")
    worker(ledger, "w2")
    plan(future)
    queue = of_queues(tx)[0]["default"]  # the other worker goes on; the first one is left out, which is said
    assert minutes(ledger, of_job(tx, behind).begin)[1] == pytest.approx(0, abs=0.1) and (queue.blind, queue.why) == (1, None)


def test_behind_a_stuck_job_the_jobs_before_still_take_their_time(ledger, future):
    """When the stuck job ends nobody knows, but the six jobs of a minute before it take three minutes at least."""
    history(ledger, "TestNoop", [MINUTE] * 40 + [2 * HOUR])
    worker(ledger, "w1")
    running(ledger, "TestNoop", "w1", HOUR // 2)
    for _ in range(7):
        last = ledger.dispatch("TestNoop")
    plan(future)
    found = of_job(ledger.connection, last).begin
    assert 2.9 <= minutes(ledger, found)[0] < minutes(ledger, found)[1]


def test_progress_counts_more_than_history(ledger, future):
    history(ledger, "TestNoop", [1000] * 20)
    worker(ledger, "w1")
    uuid = running(ledger, "TestNoop", "w1", 10 * MINUTE)
    ledger.change("UPDATE jobs SET progress_done = 25, progress_total = 100 WHERE uuid = :u", u=uuid)
    assert minutes(ledger, of_job(ledger.connection, uuid).end)[1] == pytest.approx(30, abs=0.2)


def test_what_is_not_known_is_said(ledger, future):
    tx, uuid = ledger.connection, ledger.dispatch("TestNoop")
    assert of_job(tx, uuid).why == "monitor" and of_queues(tx) == ({}, None)
    plan(future)
    assert of_job(tx, uuid).why == "workers" and of_queues(tx)[0]["default"].why == "workers"
    worker(ledger, "w1")
    plan(future)
    known = of_job(tx, uuid)
    assert (known.why, known.end) == ("types", None) and known.begin is not None  # it begins at once; its run is not known
    behind = ledger.dispatch("TestNoop")
    plan(future)
    assert of_job(tx, behind).why == "types" and of_job(tx, behind).begin is None
    queue = of_queues(tx)[0]["default"]
    assert (queue.empty, queue.why, queue.names) == (None, "types", ("TestNoop",))


def test_the_last_row_of_a_new_type_does_not_hide_when_the_queue_is_empty(ledger, future):
    """Ten jobs of a minute, then one whose type never ran: it begins in ten minutes, and then the queue is empty."""
    history(ledger, "TestNoop", [MINUTE] * 40)
    worker(ledger, "w1")
    for _ in range(10):
        ledger.dispatch("TestNoop")
    last = ledger.dispatch("TestSleep")
    plan(future)
    assert minutes(ledger, of_job(ledger.connection, last).begin)[1] == pytest.approx(10, abs=0.1)
    assert minutes(ledger, of_queues(ledger.connection)[0]["default"].empty)[1] == pytest.approx(10, abs=0.2)


def test_pauses(ledger, future):
    history(ledger, "TestNoop", [1000] * 20)
    worker(ledger, "w1")
    uuid, tx = ledger.dispatch("TestNoop"), ledger.connection
    with ledger.app.app_context():
        queues.pause("default", "ops@example.org", 30, "stock-taking")
    plan(future)
    assert minutes(ledger, of_job(tx, uuid).begin)[1] == pytest.approx(30, abs=0.2)
    assert minutes(ledger, of_job(tx, uuid).begin)[0] == pytest.approx(30, abs=0.2), "not before it is resumed"
    with ledger.app.app_context():
        queues.pause("default", "ops@example.org", None, None)
    plan(future)
    assert (of_job(tx, uuid).begin, of_job(tx, uuid).why, of_queues(tx)[0]["default"].why) == (None, "paused", "paused")


def test_a_limit_holds_the_others_back_but_no_other_type(ledger, future):
    """Ten jobs of a minute, two at once, on four workers: the last begins in four minutes; another type at once."""
    history(ledger, "TestNoop", [MINUTE] * 20)
    history(ledger, "TestSleep", [1000] * 20)
    for n in range(4):
        worker(ledger, f"w{n}")
    with ledger.app.app_context():
        limits.change("TestNoop", "admin", concurrency=2, rate=(0, 0))
    limited = [ledger.dispatch("TestNoop") for _ in range(10)]
    other = ledger.dispatch("TestSleep")
    plan(future)
    tx = ledger.connection
    assert minutes(ledger, of_job(tx, limited[-1]).begin)[1] == pytest.approx(4, abs=0.1)
    assert minutes(ledger, of_job(tx, other).begin)[1] == pytest.approx(0, abs=0.1)


def test_scheduled_and_waiting_and_held(ledger, future):
    history(ledger, "TestNoop", [1000] * 20)
    worker(ledger, "w1")
    later = ledger.dispatch("TestNoop", delay=600)
    child = ledger.dispatch("TestNoop", after=[later])
    plan(future)
    tx = ledger.connection
    assert minutes(ledger, of_job(tx, later).begin)[1] == pytest.approx(10, abs=0.2)
    assert of_job(tx, child).why == "parents" and of_job(tx, child).begin is None


def test_turns_of_tenants(ledger, future):
    """Three tenants wait before the fourth; a tenant's own jobs are no turn."""
    uuids = [ledger.dispatch("ProcessContentGeneration", tenant_id=tenant, args={"prompt": "p"}) for tenant in "aabbc"]
    new = ledger.dispatch("ProcessContentGeneration", tenant_id="d", args={"prompt": "p"})
    found = of_job(ledger.connection, new)
    assert (found.turns, found.place) == (3, 4) and of_job(ledger.connection, uuids[1]).turns == 3


def test_predictions_are_written_down_and_judged(ledger, future):
    history(ledger, "TestNoop", [200] * 30)
    worker(ledger, "w1")
    uuids = [ledger.dispatch("TestNoop") for _ in range(3)]
    for _ in range(12):
        plan(future)
    assert ledger.one("SELECT COUNT(*) FROM predictions WHERE ended_ms IS NULL") == 3
    for _ in uuids:
        ledger.settle(ledger.claim("w1"), run_ms=5)
    ledger.change("UPDATE job_history SET finished_ms = (SELECT end_ms FROM predictions p WHERE p.uuid = job_history.uuid) "
                  "WHERE uuid IN (SELECT uuid FROM predictions)")
    ledger.change("UPDATE job_history SET finished_ms = finished_ms + 3600000 WHERE uuid = :u", u=uuids[0])  # an hour late
    plan(future)
    seen = accuracy(ledger.connection)
    assert (seen.checked, seen.inside) == (3, 2) and 0 < seen.share < 1 and seen.error_ms is not None
    assert future.calibration.errors["end TestNoop"]
    plan(future)
    assert accuracy(ledger.connection) == seen and accuracy(ledger.connection, "TestSleep").checked == 0


def test_models_survive_the_monitor_and_a_damaged_one_begins_anew(ledger, future):
    history(ledger, "TestNoop", [7000] * 30)
    plan(future)
    other = Forecaster(ledger.connection, queue_rates.rates)
    assert other._model("TestNoop").estimate(None, 100).run.middle == 7000
    ledger.change("UPDATE run_time_models SET model = '[1]'")
    assert outlook.models(ledger.connection)("TestNoop") is None
    ledger.change("UPDATE meta SET value = '{\"ready\": 1}' WHERE key = 'forecast'")
    assert of_queues(ledger.connection) == ({}, None)


def test_a_hundred_thousand_rows_stand_in_some_hundred_groups(ledger, future):
    history(ledger, "TestNoop", [1000] * 20)
    worker(ledger, "w1")
    uuid = ledger.dispatch("TestNoop")
    columns = [name for (name,) in _columns(ledger) if name not in ("id", "uuid")]
    ledger.change(f"INSERT INTO jobs (uuid, {', '.join(columns)}) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
                  f"WHERE i < 20000) SELECT 'u' || n.i, {', '.join('j.' + name for name in columns)} FROM n, jobs j WHERE j.uuid = :u", u=uuid)
    plan(future)
    stored = ledger.one("SELECT LENGTH(value) FROM meta WHERE key = 'forecast'")
    assert stored < 60_000
    last = of_job(ledger.connection, "u20000")
    assert last.place == 20001 and minutes(ledger, last.begin)[1] == pytest.approx(20_000 / 60, rel=0.01)


def _columns(ledger: Ledger) -> list[tuple]:
    if ledger.store == "sqlite":
        return ledger.connection.fetch_all("SELECT name FROM pragma_table_info('jobs')")
    return ledger.connection.fetch_all("SELECT column_name FROM information_schema.columns WHERE table_name = 'jobs'")


def test_a_table_that_was_learned_is_read_and_forgotten_when_it_helps_no_more(ledger, future):
    history(ledger, "TestNoop", [1000] * 10)
    future.run()
    for table in ({"tenants": [], "cells": {}}, None):
        ledger.change("UPDATE run_time_models SET learned = :table", table=table and json.dumps(table))
        history(ledger, "TestNoop", [1000])
        future.next_save = 0
        future.run()
        assert future._model("TestNoop").learned == table


def test_plans_go_by_the_monotonic_clock(ledger):
    """A wall clock that jumps changes nothing; a plan that takes long comes seldom, but within the time that pages allow."""
    now, planned = [100.0], []
    future = Forecaster(ledger.connection, queue_rates.rates, lambda: now[0])
    future.plan = lambda: planned.append(now[0]) or now.__setitem__(0, now[0] + 9)
    for _ in range(60):
        future.run()
        now[0] += 1
    assert [later - earlier for earlier, later in zip(planned, planned[1:], strict=False)] == [20] * (len(planned) - 1) and len(planned) >= 3


def asked(tx, uuids: list[str], exact: bool = False) -> list[str]:
    """The statements that a call reads with."""
    said: list[str] = []

    class Counted:
        now = staticmethod(tx.now)

        @staticmethod
        def fetch_all(statement, **values):
            said.append(statement)
            return tx.fetch_all(statement, **values)

    assert len(of_jobs(Counted(), uuids, exact)) == len(set(uuids))
    return said


def test_rows_of_limits_and_types_cost_the_same_statements_for_any_number(ledger, future):
    """Their places among the rows of their keys are counted once for all of them, and are those of the row alone."""
    names = ("TestEcho", "TestNoop", "TestSleep")
    for name in names:
        history(ledger, name, [MINUTE] * 10)
        with ledger.app.app_context():
            limits.change(name, "admin", concurrency=1, rate=(0, 0))
    for n in range(3):
        worker(ledger, f"w{n}")
    uuids = [ledger.dispatch(names[n % 3]) for n in range(200)]
    ledger.change("UPDATE jobs SET state = 'held', hold_code = 'limit' WHERE id > 90")
    plan(future)
    tx = ledger.connection
    assert len(asked(tx, uuids[:2])) == len(asked(tx, uuids)) == len(asked(tx, uuids[100:102])) + 1  # held ones have no place
    many = of_jobs(tx, uuids)
    for n in (0, 1, 59, 61, 199):
        alone = of_job(tx, uuids[n])
        assert minutes(ledger, many[uuids[n]].begin)[1] == minutes(ledger, alone.begin)[1] and alone.begin
    assert minutes(ledger, many[uuids[199]].begin)[1] > minutes(ledger, many[uuids[100]].begin)[1] > 20
