"""The ledger's rules, on every database: claim, settle, release, rescue, promote, people."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from app.extensions import db
from app.ledger import claim as claiming, manual, rescue, settle as settling
from app.ledger.dialect import Connection
from app.ledger.settle import Outcome, Parked, settle
from app.services.audit import ActionRefused
from app.services.jobs import actions, rollups


def test_the_best_ready_row_is_claimed_by_band_then_rank_then_age(ledger):
    low, first, second, high = (ledger.dispatch(queue=q) for q in ("low", "default", "default", "high"))
    ledger.change("UPDATE jobs SET rank = 1 WHERE uuid = :u", u=second)
    assert [ledger.claim(f"w{n}").uuid for n in range(4)] == [high, second, first, low]
    assert ledger.claim("w9") is None


def test_a_worker_bound_to_queues_claims_only_theirs(ledger):
    ledger.dispatch(queue="high")
    assert ledger.claim(queues=("low",)) is None
    assert ledger.claim(queues=("high",)) is not None


def test_a_paused_queue_is_skipped_and_is_not_ready(ledger):
    uuid = ledger.dispatch(queue="high")
    ledger.change("INSERT INTO queues (name, paused_at) VALUES ('high', 1)")
    ready = claiming.ready_statement(("high", "default"))
    assert ledger.claim() is None and not claiming.is_ready(ledger.connection, ready)
    ledger.change("UPDATE queues SET paused_at = NULL")
    assert claiming.is_ready(ledger.connection, ready) and ledger.claim().uuid == uuid


def test_a_final_outcome_is_written_whole_and_once(ledger):
    uuid = ledger.dispatch(tenant_id="acme")
    job = ledger.claim()
    assert ledger.settle(job, result="7", run_ms=12, memory_peak=99) == "completed"
    assert ledger.row(uuid) is None
    assert ledger.outcomes(uuid) == ["completed"]
    assert ledger.one("SELECT result FROM job_history WHERE uuid = :u", u=uuid) == "7"
    assert rollups.advance(ledger.connection) == 1
    assert ledger.one("SELECT SUM(count) FROM rollup_types") == ledger.one("SELECT SUM(count) FROM rollup_tenants") == 1
    assert ledger.settle(job) == "completed", "an ambiguous commit that is tried again finds its own outcome"
    assert ledger.outcomes(uuid) == ["completed"]
    assert rollups.advance(ledger.connection) == 0


def test_each_outcome_is_counted_once_whatever_order_they_are_committed_in(ledger):
    first, second = (ledger.dispatch() for _ in range(2))
    slow, quick = ledger.claim("w1"), ledger.claim("w2")
    if ledger.store == "sqlite":  # one writer at a time: nothing can be committed out of order
        ledger.settle(slow)
        ledger.settle(quick)
    else:
        other = Connection(ledger.connection.url)
        with other.transaction() as tx:
            settling.metric(tx, slow, "completed", tx.now(), Outcome("completed"))  # the smaller id, committed last
            ledger.settle(quick)
            assert rollups.advance(ledger.connection) == 0, "an id below may still come"
            assert sum(ledger.totals()) == 1, "figures do not wait for it"
        other.close()
    assert ledger.totals() == (2, 0)
    assert rollups.advance(ledger.connection) == 2 and rollups.advance(ledger.connection) == 0
    assert ledger.totals() == (2, 0)
    assert rollups.rebuild(ledger.connection, 1) >= 24 and ledger.totals() == (2, 0)
    assert {first, second} == {slow.uuid, quick.uuid}


def test_of_two_monitors_one_counts(ledger):
    for n in range(40):
        ledger.dispatch(tenant_id=f"t{n % 3}", tries=1)
        ledger.settle(ledger.claim(), "failed" if n % 4 else "completed", run_ms=n)
    others = [Connection(ledger.connection.url) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        counted = list(pool.map(rollups.advance, others))
    for other in others:
        other.close()
    assert sum(counted) == 40 and ledger.one("SELECT SUM(count) FROM rollup_types") == ledger.one("SELECT SUM(count) FROM job_minutes") == 40
    assert ledger.totals() == (10, 30)


def test_a_late_finisher_changes_nothing_and_is_noted(ledger):
    uuid = ledger.dispatch()
    late = ledger.claim("w1")
    assert rescue.rescue(ledger.connection, late, False, "frozen", ledger.store) == "pending"
    again = ledger.claim("w2")
    assert again.claim_no == late.claim_no + 1
    assert ledger.settle(late) == "late"
    assert ledger.row(uuid).state == "processing" and ledger.row(uuid).worker_id == "w2"
    assert ledger.settle(again) == "completed"
    assert ledger.settle(late) == "late"
    assert sorted(ledger.outcomes(uuid)) == ["completed", "late", "lost"]


def test_a_failure_waits_its_backoff_and_the_last_try_is_final(ledger):
    uuid = ledger.dispatch(tries=2, backoff=(60,))
    assert ledger.settle(ledger.claim(), "failed", error="x") == "retried"
    row = ledger.row(uuid)
    assert (row.state, row.failures, row.attempts) == ("scheduled", 1, 1)
    assert 55_000 < row.available_ms - ledger.connection.now() <= 60_000
    ledger.change("UPDATE jobs SET available_ms = 0")
    assert rescue.promote(ledger.connection) == 1
    assert ledger.settle(ledger.claim(), "failed", error="y", traceback="T") == "failed"
    assert ledger.one("SELECT exception FROM failed_jobs WHERE uuid = :u", u=uuid) == "T"
    assert ledger.outcomes(uuid) == ["retried", "failed"]


def test_a_cancel_asked_while_it_ran_beats_the_retry(ledger):
    uuid = ledger.dispatch(tries=3)
    job = ledger.claim()
    with ledger.connection.transaction() as tx:
        assert manual.cancel(tx, [ledger.one("SELECT id FROM jobs WHERE uuid = :u", u=uuid)]) == (0, 1)
    assert ledger.settle(job, "failed", error="x") == "cancelled"
    assert ledger.row(uuid) is None and ledger.outcomes(uuid) == ["cancelled"]


def test_a_released_job_counts_nothing_and_keeps_its_place(ledger):
    first, second = ledger.dispatch(), ledger.dispatch()
    job = ledger.claim()
    with ledger.connection.transaction() as tx:
        assert claiming.release(tx, job)
    row = ledger.row(first)
    assert (row.state, row.attempts, row.crashes) == ("pending", 0, 0)
    assert ledger.claim("w2").uuid == first and ledger.claim("w3").uuid == second


def test_a_claim_releases_what_this_worker_still_held(ledger):
    first = ledger.dispatch()
    ledger.claim("w1")
    ledger.dispatch(queue="high")
    assert ledger.claim("w1").queue == "high"
    assert ledger.row(first).state == "pending"


def test_a_lost_attempt_uses_no_try_and_the_third_crash_is_poison(ledger):
    uuid = ledger.dispatch(tries=1)
    assert rescue.rescue(ledger.connection, ledger.claim(), True, "w1 died", ledger.store) == "pending"
    assert ledger.row(uuid).crashes == 1
    assert rescue.rescue(ledger.connection, ledger.claim(), True, "w1 died", ledger.store) == "scheduled"
    ledger.change("UPDATE jobs SET available_ms = 0")
    rescue.promote(ledger.connection)
    assert rescue.rescue(ledger.connection, ledger.claim(), True, "w1 died", ledger.store) == "failed"
    assert ledger.outcomes(uuid) == ["lost", "lost", "lost", "failed"]
    assert "3 times" in ledger.one("SELECT error FROM failed_jobs WHERE uuid = :u", u=uuid)


def test_a_loss_with_the_whole_consumer_is_no_crash(ledger):
    uuid = ledger.dispatch()
    for _ in range(5):
        assert rescue.rescue(ledger.connection, ledger.claim(), False, "power", ledger.store) == "pending"
    assert ledger.row(uuid).crashes == 0


def test_two_rescues_at_once_free_it_once(ledger):
    ledger.dispatch()
    job = ledger.claim()
    assert rescue.rescue(ledger.connection, job, True, "died", ledger.store) == "pending"
    assert rescue.rescue(ledger.connection, job, True, "died", ledger.store) is None


def test_retry_by_hand_keeps_uuid_and_history_and_starts_at_attempt_one(ledger):
    uuid = ledger.dispatch(tries=1)
    ledger.settle(ledger.claim(), "failed", error="x")
    with ledger.app.app_context():
        actions.retry(uuid, "ada")
    row = ledger.row(uuid)
    assert (row.state, row.attempts, row.failures, row.round, row.claim_no) == ("pending", 0, 0, 2, 1)
    job = ledger.claim()
    assert (job.attempts, job.claim_no) == (1, 2)
    assert ledger.settle(job) == "completed"
    assert ledger.outcomes(uuid) == ["failed", "completed"]
    with ledger.app.app_context(), pytest.raises(ActionRefused, match="now completed"):
        actions.retry(uuid, "ada")
    assert ledger.one("SELECT COUNT(*) FROM audit WHERE action = 'retry'") == 1


def test_cancel_before_any_claim_has_an_outcome_with_claim_zero(ledger):
    uuid = ledger.dispatch()
    with ledger.app.app_context():
        assert actions.cancel(uuid, "ada") == "cancelled"
    assert ledger.one("SELECT claim_no FROM job_metrics WHERE uuid = :u AND status = 'cancelled'", u=uuid) == 0
    assert ledger.claim() is None


def test_the_database_itself_refuses_a_second_final_outcome(ledger):
    uuid = ledger.dispatch()
    ledger.settle(ledger.claim())
    columns = "job_type, status, processing_time, attempts, completed_at, uuid, round, claim_no, queue"
    with pytest.raises(Exception, match="(?i)unique"):
        ledger.change(f"INSERT INTO job_metrics ({columns}) SELECT job_type, 'failed', 1, 1, completed_at, uuid, round, 9, queue FROM job_metrics")
    assert ledger.outcomes(uuid) == ["completed"]


def test_the_fence_rises_for_ever_and_ids_never_come_again(ledger):
    uuid, fences, ids = ledger.dispatch(tries=2, backoff=(0,)), [], []

    def settled(status: str, **outcome) -> str:
        job = ledger.claim()
        fences.append((job.round, job.claim_no))
        ids.append(job.id)
        return ledger.settle(job, status, **outcome)

    assert settled("failed", error="x", delay=1.0) == "retried"
    ledger.change("UPDATE jobs SET state = 'pending'")
    assert settled("failed", error="x", retry=False) == "failed"
    with ledger.app.app_context():
        actions.retry(uuid, "ada")
    assert settled("completed") == "completed"
    assert fences == [(1, 1), (1, 2), (2, 3)], "also over a retry by hand"
    ledger.dispatch()
    assert settled("completed") == "completed"
    assert ids[0] == ids[1] < ids[2] < ids[3], "though no row was left"


def test_retry_all_takes_what_was_shown_and_no_more(ledger):
    uuids = [ledger.dispatch(tries=1) for _ in range(3)]
    for _ in uuids:
        ledger.settle(ledger.claim(), "failed", error="x")
    upto = ledger.one("SELECT MAX(id) FROM failed_jobs")
    later = ledger.dispatch(tries=1)
    ledger.settle(ledger.claim(), "failed", error="x")
    with ledger.app.app_context():
        assert actions.retry_all("ada", upto) == 3
        assert actions.retry_all("ada", upto) == 0
    assert [ledger.claim(f"w{n}").uuid for n in range(3)] == uuids
    assert ledger.row(later) is None
    with ledger.app.app_context():
        assert actions.delete_all("ada") == 1


def test_a_job_exists_exactly_if_its_transaction_was_committed(ledger):
    from app import registry

    with ledger.app.app_context():
        job = registry.find("TestNoop")
        job.dispatch()
        db.session.rollback()
        with db.session.begin_nested() as savepoint:
            job.dispatch()
            savepoint.rollback()
        kept = job.dispatch()
        db.session.commit()
    assert [r[0] for r in ledger.connection.fetch_all("SELECT uuid FROM jobs")] == [kept]


def test_the_outcome_of_a_durable_job_survives_a_power_cut(ledger):
    """SQLite writes each commit through only with synchronous=FULL; PostgreSQL always does."""
    statements: list[str] = []
    for durable in (0, 1):
        ledger.dispatch()
        ledger.change("UPDATE jobs SET durable = :d", d=durable)
        job = ledger.claim()
        if ledger.connection.sqlite:
            ledger.connection.raw.set_trace_callback(statements.append)
        assert ledger.settle(job) == "completed"
        if ledger.connection.sqlite:
            ledger.connection.raw.set_trace_callback(None)
            assert (statements[0] == "PRAGMA synchronous=FULL", statements[-1] == "PRAGMA synchronous=NORMAL") == (durable, durable)
            statements.clear()
        else:
            assert ledger.one("SHOW synchronous_commit") == "on"


def test_a_blocked_one_waits_with_its_sentence(ledger):
    uuid = ledger.dispatch()
    job = ledger.claim()
    assert settle(ledger.connection, job, Parked("blocked", "No such type."), ledger.store) == "blocked"
    row = ledger.row(uuid)
    assert (row.state, row.attempts, row.reason) == ("blocked", 0, "No such type.")
    assert rescue.unblock(ledger.connection, [uuid]) == 1
    assert ledger.settle(ledger.claim(), "completed") == "completed"


def test_tenants_take_turns_also_after_a_retry_of_all(ledger):
    from app.services.jobs import actions

    def ranks(tenant):
        return [r[0] for r in ledger.connection.fetch_all("SELECT rank FROM jobs WHERE tenant_id = :t ORDER BY id", t=tenant)]

    for _ in range(5):
        ledger.dispatch("ProcessContentGeneration", tenant_id="big", tries=1, args={"prompt": "x"})
    for _ in range(5):
        ledger.settle(ledger.claim(), "failed", error="x", retry=False)
    with ledger.app.app_context():
        assert actions.retry_all("ada") == 5
    assert ranks("big") == [-1, -2, -3, -4, -5]
    ledger.claim()
    ledger.dispatch("ProcessContentGeneration", tenant_id="small", args={"prompt": "x"})
    assert ranks("small") == [-2]  # beside the head, behind nobody's backlog
    order = [ledger.claim(f"w{n}").tenant_id for n in range(2, 6)]
    assert order == ["big", "small", "big", "big"]


def test_a_foreign_row_with_bytes_that_are_no_text_stops_no_claim(ledger):
    if not ledger.connection.sqlite:
        pytest.skip("PostgreSQL takes no such bytes")
    first, second = ledger.dispatch(), ledger.dispatch()
    ledger.change("UPDATE jobs SET tenant_id = CAST(x'ff41' AS TEXT), created_by = CAST(x'80' AS TEXT) WHERE uuid = :u", u=first)
    with pytest.raises(ledger.connection.raw.OperationalError):
        ledger.claim()  # the first look; from then on this connection takes them
    assert [ledger.claim().uuid, ledger.claim("w2").uuid] == [first, second]


def test_a_job_that_is_lost_again_and_again_ends(ledger):
    """As one that kills its consumer, whose losses count as nobody's crash."""
    uuid = ledger.dispatch()
    for n in range(1, rescue.MAX_LOST + 1):
        state = rescue.rescue(ledger.connection, ledger.claim(f"w{n}"), crash=False, why="the process is gone", store=ledger.store)
        assert state == ("failed" if n == rescue.MAX_LOST else "pending")
    assert ledger.outcomes(uuid) == ["lost"] * rescue.MAX_LOST + ["failed"]
    assert "lost 20 times" in ledger.one("SELECT error FROM failed_jobs WHERE uuid = :u", u=uuid)


def test_a_delayed_job_may_be_tried_again_for_as_long_as_any_other(ledger):
    """`retry_until` counts from when the job is ready: after a delay of two days its first failure was final."""
    late, soon = ledger.dispatch("TestNoop", delay=2 * 86_400), ledger.dispatch("TestNoop")
    rows = dict(ledger.connection.fetch_all("SELECT uuid, retry_until_ms - available_ms FROM jobs"))
    assert rows == {late: 86_400_000, soon: 86_400_000}
