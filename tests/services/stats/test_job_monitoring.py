"""What JobMonitoringService does to failed jobs and says of all, on both databases."""

from __future__ import annotations

import pytest

from app.services.audit import ActionRefused
from app.services.stats.job_monitoring import JobMonitoringService


@pytest.fixture
def service(ledger):
    with ledger.app.app_context():
        yield JobMonitoringService()


def fail(ledger, count: int) -> list[str]:
    uuids = [ledger.dispatch(tries=1) for _ in range(count)]
    for _ in uuids:
        ledger.settle(ledger.claim(), "failed", error="x")
    return uuids


def uuids_of(rows: list[dict]) -> list[str]:
    return [row["uuid"] for row in rows]


def test_jobs_by_status_are_what_waits_what_runs_and_what_failed(ledger, service):
    failed = fail(ledger, 2)
    running, waiting = ledger.dispatch(), ledger.dispatch(tenant_id="acme", queue="low")
    ledger.claim("w1", ("default",))
    found = service.get_jobs_by_status()
    assert sorted(found) == ["failed", "pending", "processing"]
    assert sorted((row["uuid"], row["state"]) for row in found["pending"]) == sorted([(running, "processing"), (waiting, "pending")])
    assert uuids_of(found["processing"]) == [running]
    assert uuids_of(found["failed"]) == failed[::-1], "the newest first"
    assert [(row["status"], row["error"], row["job_type"]) for row in found["failed"]] == [("failed", "x", "TestNoop")] * 2


def test_retry_all_failed_takes_those_up_to_the_id_and_says_how_many(ledger, service):
    first, second, third = fail(ledger, 3)
    upto = ledger.one("SELECT id FROM failed_jobs WHERE uuid = :u", u=second)
    assert (service.retry_all_failed("ada", upto), service.retry_all_failed("ada", upto)) == (2, 0)
    assert [ledger.row(uuid).state for uuid in (first, second)] == ["pending", "pending"] and ledger.row(third) is None
    assert service.retry_all_failed() == 1 and ledger.row(third).state == "pending"
    assert ledger.connection.fetch_all("SELECT actor, result FROM audit WHERE action = 'retry' ORDER BY id") == [
        ("ada", "2 of 2"), ("ada", "0 of 0"), ("service", "1 of 1")]


def test_a_deleted_failed_job_lies_in_the_bin_and_flush_puts_the_others_there(ledger, service):
    first, second, third = fail(ledger, 3)
    assert service.delete_failed_job(first, "ada") is True
    assert uuids_of(service.get_jobs_by_status()["failed"]) == [third, second]
    with pytest.raises(ActionRefused):
        service.delete_failed_job(first, "ada")
    assert service.flush_failed_jobs("ada", ledger.one("SELECT id FROM failed_jobs WHERE uuid = :u", u=second)) == 1
    assert service.flush_failed_jobs() == 1
    assert service.get_jobs_by_status()["failed"] == [] and service.flush_failed_jobs() == 0
    assert ledger.one("SELECT COUNT(*) FROM failed_jobs WHERE deleted_at IS NOT NULL") == 3, "in the bin, not gone"
