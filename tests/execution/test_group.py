"""Groups of short jobs, on both databases: each row has its own outcome, whatever happens to the others."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from huey.exceptions import CancelExecution

from app.execution.group import RUNS
from app.execution.job_context import JobContext
from app.execution.lifecycle import Lifecycle
from app.ledger import limits, manual, rescue
from app.ledger.claimed_row import running
from app.ledger.settle import NOT_BEGUN, Outcome, settle


@pytest.fixture
def worker(ledger):
    """A worker that has seen enough short runs of TestNoop; its clock stands still but for `worker.clock`."""
    made = Lifecycle(ledger.connection, ("high", "default", "low"), ledger.store, group_size=8)
    made.start("w1", "host_1", lambda: False, lambda: True)
    made.clock = 0.0
    made.group.clock = lambda: made.clock
    for _ in range(RUNS):
        made.group._note("TestNoop", 1.0)
    return made


def take(worker):
    task = SimpleNamespace()
    worker.ticket_taken(task)
    return task


def end(worker, task, status="completed", **outcome):
    task.attempt.outcome = Outcome(status, **outcome)
    worker.job_ran(task, None, None)


def states(ledger):
    return dict(ledger.connection.fetch_all("SELECT state, COUNT(*) FROM jobs GROUP BY state"))


def test_short_rows_are_claimed_together_and_settled_in_one_transaction(ledger, worker):
    uuids = [ledger.dispatch() for _ in range(10)]
    for n in range(8):
        task = take(worker)
        assert states(ledger)["processing"] == 8
        assert [ledger.outcomes(u) for u in uuids[:n]] == [[]] * n, "nothing is written while the group goes on"
        assert task.attempt.claim.uuid == uuids[n], "in the order of the queue"
        end(worker, task, run_ms=n)
    assert [ledger.outcomes(u) for u in uuids[:8]] == [["completed"]] * 8
    assert ledger.one("SELECT COUNT(*) FROM job_history") == 8 and states(ledger) == {"processing": 2}
    assert ledger.one("SELECT SUM(processing_time) FROM job_metrics") == 28, "each has its own figures"


def test_only_rows_that_may_run_twice_are_in_a_group(ledger, worker):
    ledger.dispatch()
    for change in ("crashes = 1", "alone = 1", "durable = 1", "limit_key = 'x'", "has_children = 1"):
        uuid = ledger.dispatch()
        ledger.change(f"UPDATE jobs SET {change} WHERE uuid = :u", u=uuid)
    ledger.dispatch("TestEcho")
    for claimed in range(1, 8):
        task = take(worker)
        assert states(ledger)["processing"] == 1, f"row {claimed} is by itself"
        end(worker, task)


def test_the_order_of_the_queue_is_kept(ledger, worker):
    uuids = [ledger.dispatch(), ledger.dispatch("TestEcho"), ledger.dispatch()]
    end(worker, task := take(worker))
    assert task.attempt is None and worker.prefetched.uuid == uuids[1]


def test_a_group_is_no_more_than_the_share_of_a_worker(ledger, worker):
    worker.group.workers = 4
    for _ in range(9):
        ledger.dispatch()
    take(worker)
    assert states(ledger) == {"processing": 3, "pending": 6}, "one, and a quarter of the eight that are left"


def test_a_type_is_out_after_one_long_run_and_with_group_false(worker):
    assert "TestNoop" in worker.group.grouping.types
    worker.group._note("TestNoop", 6.0)
    assert worker.group.grouping is None
    for _ in range(RUNS):
        worker.group._note("TestAlone", 0.1)
    assert worker.group.grouping is None, "@job(group=False)"


def test_a_slow_job_holds_up_neither_outcomes_nor_rows(ledger, worker):
    uuids = [ledger.dispatch() for _ in range(5)]
    end(worker, take(worker))
    slow = take(worker)
    worker.watch._look()
    assert ledger.outcomes(uuids[0]) == [], "nothing is due yet"
    worker.clock += 0.03
    worker.watch._look()
    assert ledger.outcomes(uuids[0]) == ["completed"] and states(ledger) == {"processing": 4}
    worker.clock += 0.03
    worker.watch._look()
    assert states(ledger) == {"processing": 1, "pending": 3} and worker.prefetched is None
    assert ledger.one("SELECT SUM(attempts) FROM jobs") == 1, "uncounted"
    end(worker, slow)
    assert ledger.outcomes(uuids[1]) == ["completed"] and worker.current.uuid == uuids[2]


def test_a_group_that_follows_a_long_job_is_not_handed_back_before_it_begins(ledger, worker):
    for _ in range(3):
        ledger.dispatch()
    ledger.change("UPDATE jobs SET durable = 1 WHERE id = (SELECT MIN(id) FROM jobs)")
    first = take(worker)
    worker.clock += 10
    end(worker, first)
    worker.group._note("TestNoop", 1.0)
    worker.watch._look()
    assert worker.prefetched is not None


def test_outcomes_are_written_after_twenty_ms_although_the_group_goes_on(ledger, worker):
    uuids = [ledger.dispatch() for _ in range(5)]
    end(worker, take(worker))
    task = take(worker)
    worker.clock += 0.03
    end(worker, task)
    assert [ledger.outcomes(u) for u in uuids[:3]] == [["completed"], ["completed"], []]
    assert states(ledger) == {"processing": 3}


def test_a_row_whose_cancel_was_requested_does_not_begin(ledger, worker):
    uuids = [ledger.dispatch() for _ in range(3)]
    end(worker, take(worker))
    ids = [r[0] for r in ledger.connection.fetch_all("SELECT id FROM jobs ORDER BY id")]
    with ledger.connection.transaction() as tx:
        manual.cancel(tx, ids[1:2])
    worker.clock += 0.01
    task = take(worker)
    assert task.attempt.claim.uuid == uuids[2]
    end(worker, task)
    assert ledger.outcomes(uuids[1]) == ["cancelled"]
    assert ledger.one("SELECT error FROM job_history WHERE uuid = :u", u=uuids[1]) == NOT_BEGUN


def test_a_row_cancelled_while_it_is_handed_back_is_cancelled(ledger, worker):
    uuids = [ledger.dispatch() for _ in range(3)]
    task = take(worker)
    ledger.change("UPDATE jobs SET cancel_requested = 1 WHERE uuid = :u", u=uuids[2])
    worker.release_prefetched()
    assert (ledger.row(uuids[1]).state, ledger.outcomes(uuids[2])) == ("pending", ["cancelled"])
    assert task.attempt.claim.uuid == uuids[0] and ledger.row(uuids[0]).state == "processing"


def test_killed_in_a_group_all_come_back_uncounted_and_then_run_alone(ledger, worker):
    uuids = [ledger.dispatch() for _ in range(3)]
    end(worker, take(worker))
    rows = rescue.claims_of(ledger.connection, "w1", "host_1")
    assert len(rows) == 3, "the one that ended was not written"
    for row in rows:
        rescue.rescue(ledger.connection, row, crash=True, why="killed", store=ledger.store, grouped=True)
    found = [ledger.row(u) for u in uuids]
    assert [(r.state, r.crashes) for r in found] == [("pending", 0)] * 3
    assert [ledger.outcomes(u) for u in uuids] == [["lost"]] * 3
    worker.group.ended.clear()
    worker.group.waiting.clear()
    for uuid in uuids:
        task = take(worker)
        assert task.attempt.claim.uuid == uuid and states(ledger)["processing"] == 1
        end(worker, task)


def test_a_late_one_changes_nothing_and_the_others_are_written(ledger, worker):
    uuids = [ledger.dispatch() for _ in range(3)]
    tasks = []
    for _ in range(2):
        tasks.append(take(worker))
        end(worker, tasks[-1])
    row = next(r for r in rescue.claims_of(ledger.connection, "w1") if r.uuid == uuids[0])
    rescue.rescue(ledger.connection, row, False, "gone", ledger.store)
    end(worker, take(worker))
    assert [ledger.outcomes(u) for u in uuids] == [["lost", "late"], ["completed"], ["completed"]]


def test_an_outcome_that_cannot_be_stored_fails_alone(ledger, worker):
    uuids = [ledger.dispatch() for _ in range(3)]
    end(worker, take(worker))
    end(worker, take(worker), result="a\ud800b")
    end(worker, take(worker))
    assert [ledger.outcomes(u) for u in uuids] == [["completed"], ["failed"], ["completed"]]
    assert worker.broken, "its process is replaced"


def test_failures_and_retries_in_a_group_are_their_own(ledger, worker):
    uuids = [ledger.dispatch(tries=n) for n in (1, 2, 1)]
    end(worker, take(worker), "failed", error="x")
    end(worker, take(worker), "failed", error="x")
    end(worker, take(worker))
    assert [ledger.outcomes(u) for u in uuids] == [["failed"], ["retried"], ["completed"]]
    assert ledger.one("SELECT COUNT(*) FROM failed_jobs") == 1


def test_an_ambiguous_commit_is_written_once(ledger, worker):
    uuids = [ledger.dispatch() for _ in range(2)]
    first = take(worker)
    job = first.attempt.claim
    end(worker, first)
    settle(ledger.connection, job, Outcome("completed"), ledger.store)  # as if the commit had come through unseen
    end(worker, take(worker))
    assert [ledger.outcomes(u) for u in uuids] == [["completed"], ["completed"]]


def test_an_empty_ledger_refuses_and_keeps_nothing(ledger, worker):
    with pytest.raises(CancelExecution):
        take(worker)
    assert worker.prefetched is None and worker.group.claims() == []


def test_the_watch_does_not_miss_a_group_that_begins_as_it_falls_asleep(ledger, worker):
    for _ in range(5):
        ledger.dispatch()
    worker.watch.wake = lambda: None  # a moment ago it was still awake
    worker.group.clock = time.monotonic
    take(worker)
    worker.watch.start()
    end_at = time.monotonic() + 5
    while states(ledger) != {"processing": 1, "pending": 4} and time.monotonic() < end_at:
        time.sleep(0.02)
    assert states(ledger) == {"processing": 1, "pending": 4}


def test_a_prefetched_row_keeps_the_start_that_its_claim_has_taken(ledger, worker):
    with ledger.connection.transaction() as tx:
        limits.limit_keys.set_by_person(tx, "TestEcho", "ada", None, (1, 60_000), limits.Per())
    ledger.dispatch(), ledger.dispatch("TestEcho")
    end(worker, take(worker))
    worker.clock += 0.004
    task = take(worker)
    ctx = JobContext(task.attempt.claim, ledger.connection)
    with ledger.connection.transaction() as tx:
        assert ctx.take_start(tx), "its own"
    assert ledger.one("SELECT COUNT(*) FROM rate_starts") == 1


def test_a_timeout_that_the_monitor_writes_keeps_the_mark_of_a_parent(ledger):
    parent = ledger.dispatch(tries=3)
    job = ledger.claim()
    token = running.set(job)
    child = ledger.dispatch(after=[parent])
    running.reset(token)
    fresh = rescue.claims_of(ledger.connection, "w1")[0]
    assert settle(ledger.connection, fresh, Outcome("timeout", error="x"), ledger.store) == "retried"
    ledger.change("UPDATE jobs SET state = 'pending' WHERE uuid = :u", u=parent)
    ledger.settle(ledger.claim())
    assert ledger.row(child).state == "pending"

