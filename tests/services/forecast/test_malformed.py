"""SQLite lets another program write text and bytes into integer columns: no such row stops the forecast or a page."""

from __future__ import annotations

import json

import pytest

from app import registry
from app.extensions import db
from app.ledger.dialect import Connection
from app.services.forecast.forecaster import Forecaster
from app.services.jobs import queue_rates
from app.support.clock import now_ms, stamp

VALUES = ["x", "", b"\xff", 2**62, float("inf")]
BAD = pytest.mark.parametrize("bad", VALUES, ids=repr)
MODELS = ['{"kinds": {"": []}}', '{"kinds": {"": [-5, -5]}}', '{"kinds": {"s1": [5]}}', '{"kinds": {"": [5]}, "sides": ["x", 1]}',
          '{"kinds": {"": [5]}, "loss": {"60": "x"}}', '{"kinds": {"": [5]}, "count": "x"}', '{"kinds": [1]}', "[1]", "x"]
FACTS = [{"serving": None}, {"serving": {"default": "x"}}, {"marks": {"default": [1]}}, {"last_start": {"default": "x"}}, {"clear": {"default": ["x", 0, 0]}},
         {"busy_of": None}, {"doubt": None}, {"at_ms": "x"}, {"ready": {"default": []}}, {"free": {"default": "x"}}, {"sides": {"begin default": [1]}}]


@pytest.fixture
def connection(app):
    connection = Connection(app.extensions["settings"].database_url)
    yield connection
    connection.close()


def change(connection, sql: str, **values) -> None:
    with connection.transaction() as tx:
        tx.execute(sql, **values)


def dispatch(app) -> str:
    with app.app_context():
        uuid = registry.find("TestNoop").dispatch()
        db.session.commit()
    return uuid


def worker(connection) -> None:
    change(connection, "INSERT INTO worker_heartbeats (worker_name, process_id, queue, status, started_at, last_heartbeat, worker_id, consumer_id, host) "
                       "VALUES ('w1', 1, 'high,default,low', 'idle', :at, :at, 'w1', 'c', 'h')", at=stamp(now_ms()))


def plan_twice(connection) -> None:
    future = Forecaster(connection, queue_rates.rates)
    for _ in range(2):
        future.next_plan = 0
        future.run()


@pytest.mark.parametrize("state", ["pending", "scheduled", "processing"])
def test_a_job(app, connection, state):
    worker(connection)
    for column in ("rank", "available_ms", "timeout", "reserved_ms", "queue", "job_type", "tenant_id", "limit_key", "progress_done", "payload"):
        for bad in VALUES:
            change(connection, "DELETE FROM jobs")
            change(connection, f"UPDATE jobs SET state = :s, worker_id = 'w1', reserved_ms = {now_ms()}, {column} = :bad WHERE uuid = :u",
                   s=state, bad=bad, u=dispatch(app))
            plan_twice(connection)


@BAD
@pytest.mark.parametrize("column", ["processing_time", "started_at", "completed_at", "job_type", "tenant_id", "queue", "wait_ms"])
def test_an_outcome(app, connection, column, bad):
    worker(connection)
    for _ in range(12):
        uuid = dispatch(app)
        change(connection, "INSERT INTO job_metrics (uuid, claim_no, status, job_type, queue, processing_time, started_at, completed_at, wait_ms, worker, "
                           "attempts, round) VALUES (:u, 1, 'completed', 'TestNoop', 'default', 1000, :at, :at, 5, 'w', 1, 1)", u=uuid, at=stamp(now_ms()))
        change(connection, f"UPDATE job_metrics SET {column} = :bad WHERE uuid = :u", bad=bad, u=uuid)
    plan_twice(connection)


@BAD
@pytest.mark.parametrize("column", ["paused_at", "paused_until"])
def test_a_pause(app, connection, column, bad):
    worker(connection)
    dispatch(app)
    change(connection, "INSERT INTO queues (name, paused_at) VALUES ('default', 1) ON CONFLICT (name) DO UPDATE SET paused_at = 1")
    change(connection, f"UPDATE queues SET {column} = :bad WHERE name = 'default'", bad=bad)
    plan_twice(connection)


@BAD
@pytest.mark.parametrize("column", ["made_ms", "end_low_ms", "end_high_ms", "learn", "queue", "job_type", "finished_ms"])
def test_a_prediction_that_has_ended_goes_and_the_others_are_judged(app, connection, column, bad):
    now = now_ms()
    for uuid in (damaged := dispatch(app), sound := dispatch(app)):
        change(connection, "INSERT INTO predictions (uuid, job_type, queue, made_ms, begin_low_ms, begin_ms, begin_high_ms, end_low_ms, end_ms, end_high_ms, learn) "
                           "VALUES (:u, 'TestNoop', 'default', :now, :now, :now, :now, :now, :now, :now + 9, '[[1, 2, 3], [4, 5, 6]]')", u=uuid, now=now)
        change(connection, "INSERT INTO job_history (uuid, job_type, queue, status, payload, attempts, tries, claim_no, round, created_ms, finished_ms) "
                           "VALUES (:u, 'TestNoop', 'default', 'completed', '{}', 1, 1, 1, 1, 1, :at)", u=uuid, at=now + 5)
    table = "job_history" if column == "finished_ms" else "predictions"
    change(connection, f"UPDATE {table} SET {column} = :bad WHERE uuid = :u", bad=bad, u=damaged)
    plan_twice(connection)
    assert dict(connection.fetch_all("SELECT uuid, inside FROM predictions"))[sound] == 1


@pytest.mark.parametrize("model", MODELS)
def test_a_model(app, admin, connection, model):
    change(connection, "INSERT INTO run_time_models (job_type, model, learned, at_ms) VALUES ('TestNoop', :m, :m, 1)", m=model)
    worker(connection)
    uuid = dispatch(app)
    plan_twice(connection)
    for page in (f"/admin/jobs/job/{uuid}", "/admin/jobs/list", "/admin/jobs/queues"):
        assert admin.get(page).status_code == 200


@pytest.mark.parametrize("changed", FACTS, ids=lambda changed: json.dumps(changed)[:40])
def test_a_fact(app, admin, connection, changed):
    worker(connection)
    uuid = dispatch(app)
    plan_twice(connection)
    stored = json.loads(connection.fetch_all("SELECT value FROM meta WHERE key = 'forecast'")[0][0])
    change(connection, "UPDATE meta SET value = :v WHERE key = 'forecast'", v=json.dumps(stored | changed))
    for page in (f"/admin/jobs/job/{uuid}", "/admin/jobs/list", "/admin/jobs/queues", "/admin/jobs/"):
        assert admin.get(page).status_code == 200
