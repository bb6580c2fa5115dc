"""The specification's scopes and aggregates of outcomes and workers, on both databases."""

from __future__ import annotations

import pytest

from app.extensions import db
from app.ledger import rescue
from app.models import JobMetric, WorkerHeartbeat, job_metric
from app.services.jobs import rollups
from app.support.clock import DAY_MS, millis, now_ms, stamp


@pytest.fixture
def outcomes(ledger):
    """Attempts by name: two completed, one failed at its second try, one timeout, one cancelled, one lost; one completed and one
    failed a minute more than 24 hours ago."""
    uuids = {}

    def attempt(name: str, status: str, job_type: str = "TestNoop", tenant: str | None = None, run_ms: int = 0, **options) -> None:
        if name not in uuids:
            uuids[name] = ledger.dispatch(job_type, tenant_id=tenant, **options)
        ledger.settle(ledger.claim(), status, run_ms=run_ms, error=None if status == "completed" else "x")

    attempt("quick", "completed", tenant="acme", run_ms=100)
    attempt("slow", "completed", run_ms=400)
    attempt("fails", "failed", "TestFail", "acme", run_ms=7, tries=2, backoff=(0,))
    ledger.change("UPDATE jobs SET state = 'pending'")
    attempt("fails", "failed", "TestFail", "acme", run_ms=7)
    attempt("late", "timeout", "TestFail", tries=1, run_ms=9000)
    attempt("ended", "cancelled")
    attempt("old", "completed", tenant="acme", run_ms=5000)
    attempt("broken", "failed", tries=1)
    for name in ("old", "broken"):
        ledger.change("UPDATE job_metrics SET completed_at = :at WHERE uuid = :u", at=stamp(now_ms() - DAY_MS - 60_000), u=uuids[name])
    uuids["lost"] = ledger.dispatch(tries=1)
    rescue.rescue(ledger.connection, ledger.claim(), crash=False, why="gone", store=ledger.store)
    names = {uuid: name for name, uuid in uuids.items()}

    def found(scope) -> list[str]:
        return sorted(f"{names[m.uuid]} {m.status}" for m in db.session.scalars(scope))

    with ledger.app.app_context():
        yield found


def test_each_scope_selects_its_outcomes_and_no_others(outcomes):
    assert outcomes(JobMetric.completed()) == ["old completed", "quick completed", "slow completed"]
    assert outcomes(JobMetric.failed()) == ["broken failed", "fails failed", "late timeout"], "final failures: the first attempt of `fails` is none"
    assert outcomes(JobMetric.by_type("TestFail")) == ["fails failed", "fails retried", "late timeout"]
    assert outcomes(JobMetric.by_tenant("acme")) == ["fails failed", "fails retried", "old completed", "quick completed"]
    assert outcomes(JobMetric.last_24_hours()) == ["fails failed", "late timeout", "quick completed", "slow completed"]
    assert outcomes(JobMetric.by_type("Nothing")) == outcomes(JobMetric.by_tenant("nobody")) == []


@pytest.mark.parametrize("counted", [False, True])
def test_the_aggregates_are_those_of_24_hours_counted_by_the_monitor_or_not(ledger, outcomes, counted):
    if counted:
        assert rollups.advance(ledger.connection)
    assert JobMetric.get_success_rate() == 50.0
    assert (JobMetric.get_success_rate("TestNoop"), JobMetric.get_success_rate("TestFail")) == (100.0, 0.0)
    assert JobMetric.get_average_processing_time() == JobMetric.get_average_processing_time("TestNoop") == 250.0
    assert JobMetric.get_average_processing_time("TestFail") is JobMetric.get_success_rate("Nothing") is None
    assert JobMetric.get_failures_by_type() == {"TestFail": 2}


def test_a_failure_of_this_millisecond_counts(outcomes, monkeypatch):
    last = db.session.scalar(db.select(JobMetric.completed_at).where(JobMetric.status == "timeout"))
    monkeypatch.setattr(job_metric, "now_ms", lambda: millis(last))
    assert JobMetric.get_failures_by_type() == {"TestFail": 2}


def test_active_workers_are_the_alive_ones_and_stale_is_what_the_monitor_wrote(ledger):
    with ledger.app.app_context():
        for name, status, stale in (("c_idle", "idle", 0), ("a_busy", "active", 0), ("stale", "idle", 1), ("stopped", "stopped", 0), ("both", "stopped", 1)):
            db.session.add(WorkerHeartbeat(
                worker_name=name, process_id=1, queue="low", status=status, stale=stale, started_at=db.func.now(),
                last_heartbeat=db.func.now(), worker_id=name, consumer_id="c", host="h"))
        db.session.commit()
        assert [w.worker_name for w in WorkerHeartbeat.get_active_workers()] == ["a_busy", "c_idle"], "by name"
        assert [w.worker_name for w in db.session.scalars(db.select(WorkerHeartbeat)) if w.is_stale] == ["stale"]
