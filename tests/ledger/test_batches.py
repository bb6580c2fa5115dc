"""Batches on SQLite and PostgreSQL: join against close, what follows runs once, stop, pause, cancel, and the counts."""

from __future__ import annotations

import json
import threading

import pytest

from app import registry
from app.extensions import db
from app.jobs import JobContext, batch as batching
from app.ledger import batches, manual
from app.ledger.claimed_row import running
from app.ledger.dialect import Connection
from app.monitor.loop import Monitor
from app.services.audit import ActionRefused
from app.services.instance import retention
from app.services.jobs import batch_actions, batch_pages, lookup, queues
from app.services.jobs.batches import begin, follow_up
from app.support.clock import DAY_MS
from app.support.validation import ValidationError


@pytest.fixture
def monitor(ledger):
    monitor = Monitor(ledger.app)
    yield monitor
    monitor.connection.close()


def make(ledger, n: int = 3, **options) -> tuple[str, list[str]]:
    """A batch of `n` TestNoop jobs; returns its id and theirs."""
    with ledger.app.app_context():
        with batching("Import of March", tenant_id="acme", **options) as b:
            uuids = registry.find("TestNoop").with_options(batch=b, tries=1).dispatch_many([{"n": n} for n in range(n)])
        db.session.commit()
    return b.id, uuids


def kept(ledger, batch_id: str) -> tuple[int, int, int, list[str]]:
    """total_jobs, pending_jobs, failed_jobs, failed_job_ids."""
    *numbers, ids = ledger.connection.fetch_all("SELECT total_jobs, pending_jobs, failed_jobs, failed_job_ids FROM job_batches WHERE id = :b", b=batch_id)[0]
    return (*numbers, json.loads(ids))


def of(ledger, batch_id: str, column: str):
    return ledger.one(f"SELECT {column} FROM job_batches WHERE id = :b", b=batch_id)


def followers(ledger) -> int:
    return ledger.one("SELECT (SELECT COUNT(*) FROM jobs WHERE job_type = 'TestFollow') + (SELECT COUNT(*) FROM job_history WHERE job_type = 'TestFollow')")


def run(ledger, *statuses: str) -> None:
    for status in statuses:
        ledger.settle(ledger.claim(), status, error="x" if status == "failed" else None)


def act(ledger, batch_id: str, action: str, **options):
    with ledger.app.app_context():
        found = batch_pages.find(batch_id)
        done = (batch_actions.change_members if action in batch_actions.OF_MEMBERS else batch_actions.change)(found, action, "ada", **options)
        db.session.remove()
    return done


def audited(ledger) -> list[tuple]:
    return ledger.connection.fetch_all("SELECT action, subject, result FROM audit ORDER BY id")


def test_the_numbers_are_true_after_each_change(ledger, monitor):
    batch_id, uuids = make(ledger, 4)
    assert kept(ledger, batch_id) == (4, 4, 0, []), "in the transaction of the dispatch"
    run(ledger, "completed", "failed", "timeout")
    monitor.batches()
    assert kept(ledger, batch_id) == (4, 1, 2, uuids[1:3])
    assert act(ledger, batch_id, "retry") == (2, 2)
    run(ledger, "failed", "failed")
    monitor.batches()
    assert kept(ledger, batch_id)[:3] == (4, 1, 2)
    run(ledger, "completed")
    monitor.batches()
    assert kept(ledger, batch_id) == (4, 0, 2, [uuids[3], uuids[1]]), "a retried member stands behind the others"
    assert of(ledger, batch_id, "finished_at") == of(ledger, batch_id, "closed_ms") // 1000
    assert act(ledger, batch_id, "delete") == (2, 2)
    assert kept(ledger, batch_id) == (4, 0, 0, []), "of a batch that has ended, at once"
    with ledger.connection.transaction() as tx:
        ids = [row[0] for row in tx.fetch_all("SELECT id FROM failed_jobs")]
        assert manual.restore(tx, ids[:1]) == 1
    assert kept(ledger, batch_id)[:3] == (4, 0, 1)
    with ledger.connection.transaction() as tx:
        assert manual.to_bin(tx, ids) == 1 and manual.erase(tx, ids) == 2
    assert kept(ledger, batch_id) == (4, 0, 0, []), "erased members stay in the total"
    with ledger.app.app_context():
        page = batch_pages.one(batch_pages.find(batch_id[:8]))
    assert page.members == {"completed": 2, "undecided": 0} and page.no_longer_kept == 2
    assert audited(ledger) == [("retry", f"batch Import of March ({batch_id[:8]})", "2 of 2"), ("delete", f"batch Import of March ({batch_id[:8]})", "2 of 2")]


def test_the_same_members_failed_again_have_their_ids_written(ledger, monitor):
    """As many failed as before, but others: between two rounds of the monitor."""
    batch_id, uuids = make(ledger, 3)
    run(ledger, "failed")
    monitor.batches()
    act(ledger, batch_id, "retry")
    run(ledger, "failed")
    monitor.batches()
    assert kept(ledger, batch_id) == (3, 2, 1, [uuids[1]])


def test_a_member_that_fails_just_before_the_closing_is_counted(ledger, monitor, monkeypatch):
    batch_id, uuids = make(ledger, 1)
    before = batches._advance

    def late(*given):
        run(ledger, "failed")
        return before(*given)

    monkeypatch.setattr(batches, "_advance", late)
    monitor.batches()
    assert of(ledger, batch_id, "closed_ms") and kept(ledger, batch_id) == (1, 0, 1, uuids)


def test_who_joins_and_who_closes_at_once_agree(ledger, monitor):
    """A batch is never closed while a member is being added: the dispatch holds its row until it commits."""
    batch_id, _uuids = make(ledger, 1)
    run(ledger, "completed")
    held, go, result = threading.Event(), threading.Event(), []

    def add() -> None:
        with ledger.app.app_context():
            registry.find("TestNoop").with_options(batch=batch_id).dispatch()
            held.set()
            go.wait(10)
            db.session.commit()
            db.session.remove()

    def close() -> None:
        connection = Connection(ledger.app.extensions["settings"].database_url, wait_s=10)
        with connection.transaction() as tx:
            result.append(batches.close(tx, batch_id))
        connection.close()

    adding, closing = threading.Thread(target=add), threading.Thread(target=close)
    adding.start()
    held.wait(10)
    closing.start()
    closing.join(0.3)
    assert closing.is_alive(), "it waits for the dispatch"
    go.set()
    adding.join(10)
    closing.join(10)
    assert result == [0] and of(ledger, batch_id, "closed_ms") is None and kept(ledger, batch_id)[:2] == (2, 2)
    run(ledger, "completed")
    monitor.batches()
    assert of(ledger, batch_id, "closed_ms")
    with ledger.app.app_context(), pytest.raises(ValidationError):
        registry.find("TestNoop").with_options(batch=batch_id).dispatch()


def test_what_follows_runs_once_with_two_monitors_and_after_a_retry(ledger, monitor):
    batch_id, _uuids = make(ledger, 2, then=registry.find("TestFollow"))
    run(ledger, "failed", "completed")
    barrier, closed = threading.Barrier(2), []

    def look() -> None:
        other = Monitor(ledger.app)

        def then(batch_id: str, then_json: str) -> bool:
            with ledger.app.app_context():
                barrier.wait(10)
                return follow_up(batch_id, then_json)

        closed.append(batches.advance(other.connection, then))
        other.connection.close()

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(closed) == [0, 1] and followers(ledger) == 1
    then = of(ledger, batch_id, "then_uuid")
    assert json.loads(ledger.one("SELECT payload FROM jobs WHERE uuid = :u", u=then))["args"] == {"batch_id": batch_id}
    act(ledger, batch_id, "retry")
    assert of(ledger, batch_id, "closed_ms") is None
    run(ledger, "completed", "completed")
    monitor.batches()
    assert of(ledger, batch_id, "closed_ms") and followers(ledger) == 1 and of(ledger, batch_id, "then_uuid") == then


def test_a_monitor_killed_before_its_commit_leaves_it_to_the_next(ledger, monitor):
    batch_id, _uuids = make(ledger, 1, then=registry.find("TestFollow"))
    run(ledger, "completed")

    def dies(batch_id: str, then_json: str) -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        batches.advance(monitor.connection, dies)
    assert followers(ledger) == 0 and of(ledger, batch_id, "closed_ms") is None
    monitor.batches()
    monitor.batches()
    assert followers(ledger) == 1


def test_one_that_cannot_be_followed_does_not_stop_the_others(ledger, monitor):
    first, _uuids = make(ledger, 1, then=registry.find("TestFollow"))
    second, _uuids = make(ledger, 1)
    run(ledger, "completed", "completed")
    ledger.change("UPDATE job_batches SET then_json = '{\"type\": \"Gone\", \"args\": {}, \"given\": {}}' WHERE id = :b", b=first)
    with pytest.raises(RuntimeError, match=f"{first}.*Gone"):
        monitor.batches()
    assert of(ledger, second, "closed_ms") and of(ledger, first, "closed_ms") is None
    with ledger.app.app_context():
        assert not batch_pages.find(first).then_known


def test_stop_after_a_failure_cancels_the_others_and_spares_what_a_person_retries(ledger, monitor):
    batch_id, uuids = make(ledger, 5, on_failure="stop", then=registry.find("TestFollow"))
    running = ledger.claim("w2")
    run(ledger, "failed")
    monitor.batches()
    assert ledger.one("SELECT COUNT(*) FROM jobs") == 1 and ledger.one("SELECT cancel_requested FROM jobs") == 1
    assert kept(ledger, batch_id)[0] == 5 and of(ledger, batch_id, "cancelled_at") and of(ledger, batch_id, "closed_ms") is None
    assert act(ledger, batch_id, "retry") == (1, 1)
    monitor.batches()
    assert ledger.row(uuids[1]).state == "pending", "a person's decision comes after the stop"
    run(ledger, "failed")
    ledger.settle(running, "cancelled")
    monitor.batches()
    assert of(ledger, batch_id, "closed_ms") and followers(ledger) == 0
    act(ledger, batch_id, "retry")
    monitor.batches()
    run(ledger, "completed")
    monitor.batches()
    assert of(ledger, batch_id, "closed_ms") and followers(ledger) == 0 and kept(ledger, batch_id) == (5, 0, 0, [])
    assert ledger.one("SELECT COUNT(*) FROM job_history WHERE status = 'cancelled'") == 4


def test_a_cancelled_batch_takes_no_members_and_nothing_follows(ledger, monitor):
    batch_id, _uuids = make(ledger, 3, then=registry.find("TestFollow"))
    running = ledger.claim()
    assert act(ledger, batch_id, "cancel") == (3, 3)
    with ledger.app.app_context(), pytest.raises(ValidationError):
        registry.find("TestNoop").with_options(batch=batch_id).dispatch()
    ledger.settle(running, "cancelled")
    monitor.batches()
    assert of(ledger, batch_id, "closed_ms") and followers(ledger) == 0 and kept(ledger, batch_id) == (3, 0, 0, [])
    assert [row[0] for row in audited(ledger)] == ["cancel"]


def test_a_cancel_keeps_what_else_the_options_say(ledger):
    with ledger.connection.transaction() as tx:
        batches.create(tx, "b-1", "b", None, "keep going", None, None)
        tx.execute("UPDATE job_batches SET options = :o", o='{"texts": 3}')
        assert batches.cancel(tx, "b-1") == 1
    assert json.loads(ledger.one("SELECT options FROM job_batches")) == {"texts": 3, batches.CANCEL_TO: 0}


def test_a_cancel_is_completed_by_the_monitor_when_its_process_ends(ledger, monitor):
    batch_id, _uuids = make(ledger, 3)
    with ledger.connection.transaction() as tx:
        assert batches.cancel(tx, batch_id) == 1 and batches.cancel(tx, batch_id) == 0
    monitor.batches()
    assert ledger.one("SELECT COUNT(*) FROM jobs") == 0 and of(ledger, batch_id, "closed_ms")


def test_pause_holds_members_of_every_waiting_state_and_resume_gives_them_back(ledger, monitor):
    with ledger.app.app_context():
        b = begin("Slow one")
        noop = registry.find("TestNoop")
        first = noop.with_options(batch=b).dispatch()
        child = noop.with_options(batch=b, after=[first]).dispatch()
        later = noop.with_options(batch=b, delay=3600).dispatch()
        mine = noop.with_options(batch=b).dispatch()
        db.session.commit()
    with ledger.app.app_context():
        from app.services.jobs import actions

        actions.act("hold", mine, "ada")
        db.session.remove()
    act(ledger, b.id, "pause")
    assert {ledger.row(u).state for u in (first, child, later, mine)} == {"held"} and ledger.claim() is None
    with ledger.app.app_context():
        noop.with_options(batch=b.id).dispatch()
        db.session.commit()
        assert batch_pages.one(batch_pages.find(b.id)).batch.state == "paused"
        db.session.remove()
    monitor.batches()
    assert ledger.claim() is None, "a member that joins meanwhile is held too"
    act(ledger, b.id, "resume")
    assert [ledger.row(u).state for u in (first, child, later, mine)] == ["pending", "waiting", "scheduled", "held"]
    monitor.batches()
    assert of(ledger, b.id, "closed_ms") is None
    assert [row[0] for row in audited(ledger)] == ["hold", "pause", "resume"]


def test_what_is_retried_in_a_paused_batch_waits_for_its_resume(ledger, monitor):
    batch_id, uuids = make(ledger, 2)
    run(ledger, "failed")
    act(ledger, batch_id, "pause")
    assert act(ledger, batch_id, "retry") == (1, 1) and ledger.row(uuids[0]).state == "held"
    assert ledger.claim() is None


def test_it_stays_open_until_it_is_sealed(ledger, monitor):
    with ledger.app.app_context():
        b = begin("Open", then=registry.find("TestFollow"))
        db.session.commit()
    monitor.batches()
    assert of(ledger, b.id, "closed_ms") is None
    ledger.change("UPDATE job_batches SET created_ms = created_ms - 3600001")
    with ledger.app.app_context():
        assert batch_pages.find(b.id).unsealed_long
        db.session.remove()
    act(ledger, b.id, "seal")
    monitor.batches()
    assert of(ledger, b.id, "closed_ms") and followers(ledger) == 1
    with ledger.app.app_context():
        assert not batch_pages.find(b.id).unsealed_long


def test_a_block_that_raises_writes_nothing(ledger):
    with ledger.app.app_context():
        with pytest.raises(KeyError), batching("Broken") as b:
            registry.find("TestNoop").with_options(batch=b).dispatch()
            raise KeyError
        db.session.rollback()
    assert ledger.one("SELECT COUNT(*) FROM job_batches") == 0 and ledger.one("SELECT COUNT(*) FROM jobs") == 0


def test_a_batch_that_a_job_begins_names_that_job(ledger):
    uuid = ledger.dispatch()
    job = ledger.claim()
    token = running.set(job)
    try:
        batch_id, _uuids = make(ledger, 1)
    finally:
        running.reset(token)
    assert of(ledger, batch_id, "created_by") == uuid


def test_move_and_the_pace_of_a_batch(ledger, monitor):
    batch_id, _uuids = make(ledger, 6)
    assert act(ledger, batch_id, "move", queue="low") == (6, 6) and act(ledger, batch_id, "move", queue="low") == (0, 6)
    with ledger.app.app_context():
        page = batch_pages.one(batch_pages.find(batch_id))
        assert (page.pace.a_minute, page.pace.left_ms) == (0, None), "nothing ended: no forecast"
        db.session.remove()
    ledger.change("UPDATE job_batches SET created_ms = created_ms - 60000")
    run(ledger, "completed", "failed", "completed", "completed")
    with ledger.app.app_context():
        page = batch_pages.one(batch_pages.find(batch_id))
        assert 3.5 < page.pace.a_minute <= 4 and 29_000 < page.pace.left_ms < 35_000
        ((row, pace),), total = batch_pages.running()
        assert (row.id, total) == (batch_id, 1) and pace.a_minute
        db.session.remove()
    act(ledger, batch_id, "pause")
    with ledger.app.app_context():
        assert batch_pages.one(batch_pages.find(batch_id)).pace.left_ms is None


def test_a_cost_is_the_sum_of_its_members(ledger, monitor):
    batch_id, uuids = make(ledger, 2)
    ledger.settle(ledger.claim(), details={"costs": [{"nano": 7, "currency": "EUR"}, {"nano": None, "currency": "EUR"}]})
    ledger.settle(ledger.claim(), details={"costs": [{"nano": 5, "currency": "EUR"}, {"nano": 3, "currency": "USD"}]})
    ledger.dispatch()
    ledger.settle(ledger.claim(), details={"costs": [{"nano": 1000, "currency": "EUR"}]})
    with ledger.app.app_context():
        assert batch_pages.one(batch_pages.find(batch_id)).costs == [("EUR", 12, 1), ("USD", 3, 0)]


def test_the_list_has_open_ones_first_and_pages_by_key(ledger, monitor):
    made = [make(ledger, 1)[0] for _ in range(5)]
    run(ledger, "completed", "completed")
    monitor.batches()
    with ledger.app.app_context():
        whole = [b.id for b in batch_pages.listing()[0]]
        assert set(whole[:3]) == set(made[2:]) and set(whole[3:]) == set(made[:2])
        paged, before, more = [], "", True
        while more:
            rows, more = batch_pages.listing(before=before, size=2)
            paged += [b.id for b in rows]
            before = rows[-1].key
        assert paged == whole
        assert batch_pages.listing(q="of march")[0] and not batch_pages.listing(q="%")[0]
        for bad in ("x", "1", "1." + "9" * 30 + ".a", "1.².a", "2.5.a"):
            with pytest.raises(ValidationError):
                batch_pages.listing(before=bad)


def test_an_old_batch_goes_with_the_last_of_its_members(ledger, monitor):
    first, _uuids = make(ledger, 1)
    second, _uuids = make(ledger, 1)
    run(ledger, "completed", "completed")
    monitor.batches()
    ledger.change("UPDATE job_batches SET closed_ms = closed_ms - :days", days=91 * DAY_MS)
    ledger.change("DELETE FROM job_history WHERE batch_id = :b", b=first)
    retention.delete_old(ledger.connection)
    assert ledger.connection.fetch_all("SELECT id FROM job_batches") == [(second,)]


# ---- at the one moment where it matters ------------------------------------------------------------------------------


def test_a_member_that_is_retried_while_the_batch_closes_opens_it_again(ledger, monitor):
    if ledger.connection.sqlite:
        pytest.skip("one writer at a time")
    batch_id, _uuids = make(ledger, 1, then=registry.find("TestFollow"))
    run(ledger, "failed")
    failed, other = ledger.one("SELECT id FROM failed_jobs"), Connection(ledger.connection.url)
    closes = threading.Thread(target=monitor.batches)
    with other.transaction() as tx:
        manual.requeue(tx, [failed], ())
        closes.start()
        closes.join(1)
        assert closes.is_alive(), "it waits for the retry"
    closes.join(10)
    other.close()
    assert of(ledger, batch_id, "closed_ms") is None and followers(ledger) == 0


def test_a_failure_between_two_looks_of_the_monitor_stops_what_would_follow(ledger, monitor):
    make(ledger, 1, then=registry.find("TestFollow"), on_failure="stop")
    job, look = ledger.claim(), monitor.connection.fetch_all

    def late(sql, **values):
        rows = look(sql, **values)
        if sql == batches._FAILED_MEMBER and ledger.one("SELECT COUNT(*) FROM jobs"):
            ledger.settle(job, "failed", error="x", retry=False)
        return rows

    monitor.connection.fetch_all = late
    monitor.batches()
    assert followers(ledger) == 0


def test_a_cancel_just_before_the_end_stops_what_would_follow(ledger, monitor):
    batch_id, _uuids = make(ledger, 1, then=registry.find("TestFollow"))
    run(ledger, "completed")

    def then(of_batch, then_json):
        with ledger.connection.transaction() as tx:
            assert batches.cancel(tx, of_batch)
        with ledger.app.app_context():
            return follow_up(of_batch, then_json)

    batches.advance(monitor.connection, then)
    assert followers(ledger) == 0 and of(ledger, batch_id, "closed_ms") is None


def test_a_refused_dispatch_does_not_count_in_its_batch(ledger):
    with ledger.app.app_context(), batching("b") as made:
        with pytest.raises(ValidationError):
            registry.find("TestNoop").with_options(batch=made, after=["00000000-0000-8000-8000-000000000001"]).dispatch()
        db.session.commit()
    assert of(ledger, made.id, "total_jobs") == 0


@pytest.mark.parametrize("options", [{"then": "TestFollow"}, {"then": print}, {"then_args": {"path": "x"}}])
def test_what_follows_is_a_job_type(ledger, options):
    with ledger.app.app_context(), pytest.raises(ValidationError, match="then"):
        begin("b", **options)


def test_a_row_of_another_program_is_left_as_it_is(ledger, monitor):
    ledger.change("INSERT INTO job_batches (id, name, total_jobs, pending_jobs, failed_jobs, failed_job_ids, created_at, finished_at) "
                  "VALUES ('old', 'x', 9, 0, 2, '[1, 2]', 1, 2)")
    monitor.batches()
    assert ledger.connection.fetch_all("SELECT total_jobs, failed_jobs, failed_job_ids FROM job_batches") == [(9, 2, "[1, 2]")]



@pytest.mark.parametrize("name", ["two\nlines", "a\u202eb", "a\tb", "a\x00b", "\x1b[31m", "a\u2066b", "a\u200fb"])
def test_a_name_is_one_line_that_shows_as_it_is(ledger, name):
    with ledger.app.app_context():
        with pytest.raises(ValidationError, match="one line|NUL"):
            begin(name)
        with pytest.raises(ValidationError, match="one line|NUL"):
            queues.pause("low", "ada", reason=name)
        begin("Über «März» – 100 % 🎉")
        db.session.rollback()
    assert ledger.one("SELECT COUNT(*) FROM job_batches") == 0


def test_a_held_member_says_for_what_it_waits_besides(ledger):
    with ledger.app.app_context():
        top = registry.find("TestNoop").with_options(delay=60).dispatch()
        with batching("Pause") as b:
            uuid = registry.find("TestNoop").with_options(batch=b, after=[top]).dispatch()
        db.session.commit()
        batch_actions.change(batch_pages.find(b.id), "pause", "ada")
        assert lookup.find(uuid).error == f"Its batch is paused. Waits for Test Noop {top[:8]}, which is scheduled."
        batch_actions.change(batch_pages.find(b.id), "resume", "ada")
        assert lookup.find(uuid).error == f"Waits for Test Noop {top[:8]}, which is scheduled"
        with pytest.raises(ActionRefused, match="has failed and waits for a decision"):
            batch_actions.change_members(batch_pages.find(b.id), "retry", "ada")


def test_a_job_that_waits_for_itself_is_told_so(ledger):
    uuid = ledger.dispatch()
    job = ledger.claim()
    with ledger.app.app_context(), pytest.raises(ValueError, match="a job cannot wait for itself"):
        JobContext(job, ledger.connection).wait_for([uuid])
