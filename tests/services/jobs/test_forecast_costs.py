"""What forecasts on pages cost: the number of statements does not grow with batches, rows and graphs, on both databases."""

from __future__ import annotations

import contextlib

import pytest
from sqlalchemy import event

from app import registry
from app.extensions import db
from app.services.forecast.forecaster import Forecaster
from app.services.jobs import batch_pages, batches, graph_walk, limits, lookup, queue_rates, why
from app.support.clock import now_ms, stamp

MINUTE = 60_000


@pytest.fixture
def jobs(ledger):
    """Types whose runs take a minute, and two workers."""
    with ledger.app.app_context():
        for name in ("TestEcho", "TestNoop"):
            for _ in range(8):
                ledger.dispatch(name)
                ledger.settle(ledger.claim(), run_ms=MINUTE)
        for n in range(2):
            ledger.change("INSERT INTO worker_heartbeats (worker_name, process_id, queue, status, started_at, last_heartbeat, worker_id, consumer_id, host) "
                          "VALUES (:n, 1, 'default', 'idle', :at, :at, :n, 'c', 'h')", n=f"w{n}", at=stamp(ledger.connection.now()))
        yield ledger


def plan(jobs) -> None:
    Forecaster(jobs.connection, queue_rates.rates).run()
    db.session.rollback()


@contextlib.contextmanager
def counted():
    said: list[str] = []

    def note(_connection, _cursor, statement, *_rest) -> None:
        said.append(statement)

    event.listen(db.engine, "before_cursor_execute", note)
    yield said
    event.remove(db.engine, "before_cursor_execute", note)


def make(count: int, chained: bool = False) -> None:
    """Batches of three members; chained ones wait for each other."""
    for n in range(count):
        with batches.batch(f"b{n}") as made:
            after = []
            for name in ("TestEcho", "TestNoop", "TestEcho"):
                after = [registry.find(name).with_options(batch=made, after=after if chained else []).dispatch()]
    db.session.commit()


@pytest.mark.parametrize("kind", ["lines", "graphs", "limits"])
def test_five_and_fifty_batches_cost_the_same_statements(jobs, kind):
    if kind == "limits":
        limits.change("TestEcho", "admin", concurrency=1, rate=(0, 0))
    numbers, started = [], []
    for more in (5, 45):
        make(more, chained=kind == "graphs")
        if kind == "limits":
            jobs.change("UPDATE jobs SET state = 'held', hold_code = 'limit' WHERE job_type = 'TestEcho' AND id % 2 = 0")
        plan(jobs)
        with counted() as asked:
            rows, _more = batch_pages.listing()
            ends = batch_pages.ends_of(rows, now_ms())
        with counted() as now:
            running, total = batch_pages.running()
        numbers.append(len(asked))
        started.append(len(now))
        assert len(rows) == total and len(running) == batch_pages.MOST_RUNNING and all(end and said.startswith("Ends at about ") for end, said in ends.values()), ends
    assert numbers[0] == numbers[1] <= 23  # graphs on PostgreSQL: rows and ends are two outlooks, each with exact places and two reads of the clock
    assert started[1] <= started[0] + 3  # one more counts the open ones, and the history has the same length
    for row in rows[::7]:
        alone = batch_pages.end_of(row, now_ms())[0]
        assert abs(alone.middle - ends[row.id][0].middle) < 5000, "the same as on the page of the batch"


def test_a_batch_that_needs_a_person_does_not_hide_the_end_of_another(jobs):
    make(2, chained=True)
    rows, _more = batch_pages.listing()
    db.session.rollback()
    first = jobs.one("SELECT uuid FROM jobs WHERE batch_id = :b AND state = 'pending'", b=rows[0].id)
    jobs.change("UPDATE jobs SET state = 'held', hold_code = 'person' WHERE uuid = :u", u=first)
    plan(jobs)
    ends = batch_pages.ends_of(rows, now_ms())
    assert ends[rows[0].id] == (None, "When it ends is not known: a person must do something first.") and ends[rows[1].id][0]


def test_the_pace_of_a_young_and_an_old_batch(jobs):
    make(2)
    rows, _more = batch_pages.listing()
    db.session.rollback()
    for _ in range(4):
        jobs.settle(jobs.claim())
    db.session.rollback()
    jobs.change("UPDATE job_batches SET created_ms = created_ms - 3600000 WHERE id = :b", b=rows[0].id)
    paces = {row.id: pace for row, pace in batch_pages.running()[0]}
    in_five = {row.id: jobs.one("SELECT COUNT(*) FROM job_history WHERE batch_id = :b", b=row.id) for row in rows}
    assert paces[rows[0].id].over_ms == 300_000 and paces[rows[0].id].a_minute == in_five[rows[0].id] / 5
    assert paces[rows[1].id].a_minute == in_five[rows[1].id] * MINUTE / paces[rows[1].id].over_ms and sum(in_five.values()) == 4
    db.session.rollback()
    jobs.change("UPDATE job_history SET finished_ms = finished_ms - 1800000 WHERE id = (SELECT MIN(id) FROM job_history WHERE batch_id = :b)", b=rows[0].id)
    db.session.rollback()
    assert {row.id: pace for row, pace in batch_pages.running()[0]}[rows[0].id].a_minute == (in_five[rows[0].id] - 1) / 5, "what ended before is not counted"


def test_a_waiting_job_reads_only_what_it_waits_for_and_at_most_300_of_it(jobs):
    """2,000 jobs that wait for the same one are not read; above 300 that it waits for itself, the begin is not known."""
    top = jobs.dispatch("TestNoop")
    registry.find("TestNoop").with_options(after=[top]).dispatch_many([{} for _ in range(1_000)])
    child = registry.find("TestNoop").with_options(after=[top]).dispatch()
    registry.find("TestNoop").with_options(after=[child]).dispatch_many([{} for _ in range(1_000)])
    db.session.commit()
    plan(jobs)
    with counted() as asked:
        found = why.one(child)
    assert found.begins and len(asked) < 30
    assert set(graph_walk.before([child], 300).nodes) == {top, child}
    many = registry.find("TestNoop").with_options(queue="low").dispatch_many([{} for _ in range(2_000)])
    last = registry.find("TestNoop").with_options(after=list(many)[:300]).dispatch()
    few = registry.find("TestNoop").with_options(after=list(many)[:299]).dispatch()
    db.session.commit()
    with counted() as asked:
        assert why.one(last).when == ["When it begins is not known: there are more jobs than are read."]
    assert len(asked) < 30
    assert not graph_walk.before([few], 300).cut and lookup.as_json(last)["begins"] is None


def test_graphs_past_the_bound_of_a_page_are_said_to_be_unread(jobs, monkeypatch):
    make(3, chained=True)
    plan(jobs)
    monkeypatch.setattr(batch_pages, "MOST_A_PAGE", 7)
    rows, _more = batch_pages.listing()
    ends = [batch_pages.ends_of(rows, now_ms())[row.id] for row in rows]
    assert ends[0][0] and ends[1][0] and ends[2] == (None, "When it ends is not known: there are more jobs than are read.")
    assert batch_pages.end_of(rows[2], now_ms())[0], "on the page of the batch it is read"
    assert batch_pages.ends_of([], now_ms()) == {}
