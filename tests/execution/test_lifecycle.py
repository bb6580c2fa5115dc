"""`Lifecycle` as Huey calls it, with rows of both databases: one claim, one attempt, one written outcome."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from huey.exceptions import CancelExecution

from app.execution.lifecycle import Lifecycle
from app.ledger import rescue
from app.ledger.settle import Outcome, Parked, settle


@pytest.fixture
def worker(ledger):
    """A lifecycle that has not started, and the ledger below it."""
    return Lifecycle(ledger.connection, ("default",), ledger.store)


def start(worker: Lifecycle, stopping: bool = False, may_prefetch: bool = True) -> None:
    worker.start("w1", "host_1", lambda: stopping, lambda: may_prefetch)


def test_nothing_is_claimed_before_the_start(ledger, worker):
    uuid, task = ledger.dispatch(), SimpleNamespace()
    assert not worker.work_ready()
    with pytest.raises(CancelExecution):
        worker.ticket_taken(task)
    assert task.attempt is None and ledger.row(uuid).state == "pending"
    start(worker)
    assert worker.work_ready()
    worker.ticket_taken(task)
    assert task.attempt.claim.uuid == uuid and task.timeout == task.attempt.claim.timeout
    assert ledger.row(uuid).worker_id == "w1" and task.attempt.claim.worker == "host_1"


def test_a_settle_takes_the_next_row_along_and_a_stop_gives_it_back(ledger, worker):
    first, second = ledger.dispatch(), ledger.dispatch()
    start(worker)
    task = SimpleNamespace()
    worker.ticket_taken(task)
    task.attempt.outcome = Outcome("completed")
    worker.job_ran(task, None, None)
    assert (ledger.outcomes(first), task.attempt, worker.done) == (["completed"], None, 1)
    assert worker.prefetched.uuid == second == worker.current.uuid
    worker.release_prefetched()
    row = ledger.row(second)
    assert (row.state, row.attempts, worker.current) == ("pending", 0, None)


def test_a_worker_that_may_not_prefetch_settles_alone(ledger, worker):
    ledger.dispatch(), ledger.dispatch()
    start(worker, may_prefetch=False)
    task = SimpleNamespace()
    worker.ticket_taken(task)
    worker.job_ran(task, None, ValueError("Huey could not run it"))
    assert worker.prefetched is None and worker.done == 1


def test_a_parked_row_that_is_no_longer_ours_changes_nothing(ledger, worker):
    uuid, task = ledger.dispatch(), SimpleNamespace()
    start(worker)
    worker.ticket_taken(task)
    rescue.rescue(ledger.connection, task.attempt.claim, False, "gone", ledger.store)
    task.attempt.outcome = Parked("held", "Wait.")
    worker.job_ran(task, None, None)
    row = ledger.row(uuid)
    assert (row.reason, ledger.outcomes(uuid), task.attempt) == (None, ["lost", "late"], None)


def test_a_parked_row_that_the_monitor_has_ended_stays_ended(ledger, worker, caplog):
    uuid, task = ledger.dispatch(tries=1), SimpleNamespace()
    start(worker)
    worker.ticket_taken(task)
    assert settle(ledger.connection, task.attempt.claim, Outcome("timeout", error="too long"), ledger.store) == "timeout"
    task.attempt.outcome = Parked("held", "Wait for the budget.")
    worker.job_ran(task, None, None)
    assert (ledger.outcomes(uuid), worker.done, task.attempt) == (["timeout"], 1, None)
    assert "timeout: Wait for the budget." in caplog.text
