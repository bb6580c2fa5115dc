"""Limits on both databases: what is counted, what is held, what goes on, and when."""

from __future__ import annotations

import threading
import time

import pytest

from app import registry
from app.config import load_settings
from app.extensions import db
from app.jobs import job
from app.ledger import batches, claim as claiming, control, limit_keys, limits, manual, rescue
from app.ledger.dialect import Connection
from app.ledger.limits import Limit, Per
from app.monitor.loop import Monitor
from app.services.jobs import actions, batches as batching, limits as declared
from app.support.clock import MINUTE_MS
from tests.ledger_fixture import Ledger

PAIR, TYPE = Per("args.shop", "a"), Per()


def limited(ledger: Ledger, name: str = "TestNoop", concurrency: int = 0, rate: tuple[int, int] = (0, 0), per: Per = TYPE) -> None:
    with ledger.connection.transaction() as tx:
        limits.declare(tx, [(name, per, Limit(concurrency, *rate))], [])


def person(ledger: Ledger, name: str, **given) -> None:
    with ledger.app.app_context():
        declared.change(name, "ada", **given)


def states(ledger: Ledger) -> dict[str, int]:
    return dict(ledger.connection.fetch_all("SELECT COALESCE(hold_code, state), COUNT(*) FROM jobs GROUP BY 1"))


def keys(ledger: Ledger) -> list[str]:
    return [row[0] for row in ledger.connection.fetch_all("SELECT limit_key FROM jobs ORDER BY id")]


def test_what_runs_is_counted_and_the_rest_goes_on_one_by_one(ledger):
    limited(ledger, concurrency=2)
    uuids = [ledger.dispatch() for _ in range(6)]
    other = ledger.dispatch("TestEcho")
    first, second, third = (ledger.claim(w) for w in ("w1", "w2", "w3"))
    assert [first.uuid, second.uuid, third.uuid] == [*uuids[:2], other] and states(ledger) == {"processing": 3, "limit": 4}
    assert ledger.row(uuids[2]).reason == "Its type is limited to 2 at once." and ledger.row(uuids[2]).attempts == 0
    order = []
    while first:
        order.append(first.uuid)
        ledger.settle(first)
        first = ledger.claim("w1")
    assert order == [uuids[0], *uuids[2:]], "in their order, none is left"
    ledger.settle(second), ledger.settle(third)
    assert not states(ledger)


@pytest.mark.parametrize("end", ["rescue", "park", "stop", "cancel of the next"])
def test_a_place_becomes_free_however_its_holder_goes(ledger, end):
    limited(ledger, concurrency=1)
    uuids = [ledger.dispatch() for _ in range(3)]
    job = ledger.claim()
    assert ledger.claim("w2") is None
    if end == "rescue":
        rescue.rescue(ledger.connection, job, True, "gone", ledger.store)
    elif end == "park":
        from app.ledger.settle import Parked, settle

        settle(ledger.connection, job, Parked("held", "look", "person"), ledger.store)
    elif end == "stop":
        with ledger.connection.transaction() as tx:
            claiming.release(tx, job)
    else:
        ledger.settle(job)
        with ledger.connection.transaction() as tx:
            manual.cancel(tx, [r[0] for r in tx.fetch_all("SELECT id FROM jobs WHERE uuid = :u", u=uuids[1])])
        limits.sweep(ledger.connection)
    assert (found := ledger.claim("w2")) and ledger.claim("w3") is None
    assert found.uuid == {"park": uuids[1], "cancel of the next": uuids[2]}.get(end, uuids[0])


def test_a_paused_or_unserved_queue_takes_no_place_of_another(ledger):
    """A row that nobody can claim stands ready: the rows of other queues go on all the same."""
    limited(ledger, concurrency=1)
    ledger.dispatch(queue="high"), ledger.dispatch(queue="high")
    low = [ledger.dispatch(queue="low") for _ in range(3)]
    serves = ("default", "low")
    job = ledger.claim("w1", serves)
    assert job.uuid == low[0] and ledger.claim("w2", ("high", "default", "low")) is None and states(ledger) == {"processing": 1, "limit": 4}
    for expected in low[1:]:
        ledger.settle(job)
        limits.sweep(ledger.connection)
        job = ledger.claim("w1", serves)
        assert job is not None and job.uuid == expected


def test_a_high_row_of_a_full_key_goes_before_ten_thousand_low_ones_and_other_keys_are_found_at_once(ledger):
    limited(ledger, "TestPair", 1, per=PAIR)
    with ledger.app.app_context():
        pair = registry.find("TestPair")
        pair.with_options(queue="low").dispatch_many([{"shop": "a"}] * 10_000)
        db.session.commit()
    running = ledger.claim("w1")
    other, high = ledger.dispatch("TestPair", "low", args={"shop": "b"}), ledger.dispatch("TestPair", "high", args={"shop": "a"})
    assert ledger.claim("w2").uuid == other
    assert states(ledger) == {"processing": 2, "limit": 10_000}
    ledger.settle(running)
    assert ledger.claim("w1").uuid == high


def test_many_full_keys_at_the_head_are_held_in_one_claim(ledger):
    limited(ledger, "TestNoop", rate=(1, 1_000_000), per=Per("tenant"))
    for n in range(30):
        for _ in range(2):
            ledger.dispatch("TestNoop", tenant_id=f"t{n}")
    wanted = set()
    for _ in range(30):
        job = ledger.claim()
        wanted.add(job.tenant_id)
        ledger.settle(job)
    assert len(wanted) == 30
    last = ledger.dispatch("TestEcho")
    assert ledger.claim().uuid == last and states(ledger) == {"rate": 30, "processing": 1}


def test_an_argument_that_is_not_given_counts_as_its_default(ledger):
    ledger.dispatch("TestPair"), ledger.dispatch("TestPair", args={"shop": "a"}), ledger.dispatch("TestPair", args={"shop": "b"})
    assert keys(ledger) == ["TestPair args.shop=a", "TestPair args.shop=a", "TestPair args.shop=b"]


def test_an_edit_gives_the_new_key_and_a_retry_keeps_the_old(ledger):
    uuid = ledger.dispatch("TestPair", args={"shop": "a"})
    ledger.settle(ledger.claim(), "failed")
    with ledger.app.app_context():
        actions.retry(uuid, "ada")
    assert keys(ledger) == ["TestPair args.shop=a"]
    ledger.settle(ledger.claim(), "failed")
    with ledger.app.app_context():
        actions.retry_edited(uuid, {"shop": "z"}, "ada")
    assert keys(ledger) == ["TestPair args.shop=z"]
    ledger.change("UPDATE jobs SET state = 'held', hold_code = 'limit'")
    with ledger.app.app_context():
        actions.retry_edited(uuid, {"shop": "y"}, "ada")
    assert keys(ledger) == ["TestPair args.shop=y"] and limits.sweep(ledger.connection) == 1 and ledger.claim().uuid == uuid


def test_a_limit_set_by_a_person_counts_what_stands_there_at_once_and_none_frees_it(ledger):
    uuids = [ledger.dispatch() for _ in range(5)]
    first, second = ledger.claim("w1"), ledger.claim("w2")
    person(ledger, "TestNoop", concurrency=2)
    assert keys(ledger) == ["TestNoop"] * 5
    assert ledger.claim("w3") is None and states(ledger) == {"processing": 2, "limit": 3}
    person(ledger, "TestNoop", concurrency=3)
    third = ledger.claim("w3")
    assert third.uuid == uuids[2] and ledger.claim("w4") is None
    person(ledger, "TestNoop", concurrency=1)
    ledger.settle(first), ledger.settle(second)
    assert ledger.claim("w1") is None, "two fewer, and one runs still"
    person(ledger, "TestNoop", concurrency=0)
    assert states(ledger) == {"processing": 1, "pending": 2} and ledger.claim("w1") and ledger.claim("w2")
    audits = ledger.connection.fetch_all("SELECT subject, result FROM audit WHERE action = 'set limit' ORDER BY id")
    assert audits[0] == ("TestNoop", "at once: 2; starts: as the code says") and audits[-1][1].startswith("at once: no limit")


def test_a_claim_gives_a_row_its_key_before_the_steps_reach_it(ledger):
    for _ in range(3):
        ledger.dispatch()
    running = ledger.claim("w1")
    with ledger.connection.transaction() as tx:
        limit_keys.set_by_person(tx, "TestNoop", "ada", 1, None, Per())
    assert keys(ledger) == ["TestNoop", None, None] and ledger.claim("w2") is None, "the first is counted, the next is keyed"
    ledger.settle(running)
    assert limits.sweep(ledger.connection) == 1 and ledger.claim("w2") and ledger.claim("w3") is None
    assert keys(ledger) == ["TestNoop"] * 2


def test_a_deploy_may_change_what_a_limit_counts(ledger):
    limited(ledger, "TestPair", 1, per=PAIR)
    for shop in "aabb":
        ledger.dispatch("TestPair", args={"shop": shop}, tenant_id="t")
    assert ledger.claim("w1") and ledger.claim("w2") and ledger.claim("w3") is None
    limited(ledger, "TestPair", 1, per=Per("tenant"))
    assert keys(ledger)[0] == "TestPair tenant=t" == keys(ledger)[2], "what runs counts at once"
    limits.sweep(ledger.connection)
    assert set(keys(ledger)) == {"TestPair tenant=t"} and ledger.claim("w3") is None
    with ledger.connection.transaction() as tx:  # the next release has no limit at all
        limits.declare(tx, [], ["TestPair"])
    limits.sweep(ledger.connection)
    assert ledger.claim("w3") and ledger.claim("w4")


def test_an_unknown_argument_is_refused_where_it_is_declared():
    with pytest.raises(ValueError, match="per='args.shopp' names an argument that the function does not take; it takes shop"):
        @job("TestTypo", concurrency=1, per="args.shopp")
        def typo(shop: str = "") -> None:
            return None
    assert registry.find("TestTypo") is None


# ---- rates ---------------------------------------------------------------------------------------------------------------


def starts(ledger: Ledger) -> int:
    return ledger.one("SELECT COUNT(*) FROM rate_starts")


def run(ledger: Ledger, most: int = 100) -> int:
    for n in range(most):
        if (job := ledger.claim()) is None:
            return n
        ledger.settle(job)
    return most


def age(ledger: Ledger, ms: int) -> None:
    ledger.change("UPDATE rate_starts SET at_ms = at_ms - :ms", ms=ms)


def test_starts_that_no_rate_counts_are_forgotten_each_minute(ledger, monkeypatch):
    monkeypatch.setattr(limits, "MOST_FORGOTTEN", 2)
    limited(ledger, rate=(3, MINUTE_MS))
    kind = ledger.one("SELECT job_type FROM job_limits WHERE rate_ms IS NOT NULL OR set_rate_ms IS NOT NULL")
    now = ledger.connection.now()
    for key, at in ((kind, now - 70_000), (f"{kind} tenant=a", now - 61_000), (f"{kind} tenant=b", now - 61_000), (f"{kind} tenant=c", now - 61_000),
                    (kind, now - 30_000), (f"{kind} tenant=a", now), (f"{kind}Other", now - 70_000)):
        ledger.change("INSERT INTO rate_starts (limit_key, at_ms) VALUES (:key, :at)", key=key, at=at)
    monitor = Monitor(ledger.app)
    monitor.minute()
    monitor.connection.close()
    kept = ledger.connection.fetch_all("SELECT limit_key, at_ms FROM rate_starts ORDER BY at_ms")
    assert kept == [(f"{kind}Other", now - 70_000), (kind, now - 30_000), (f"{kind} tenant=a", now)]
    assert sorted(limits.started(ledger.connection, kind, MINUTE_MS)) == [(kind, 1), (f"{kind} tenant=a", 1)]


def test_a_rate_holds_back_until_its_time_has_passed(ledger):
    limited(ledger, rate=(3, MINUTE_MS))
    for _ in range(8):
        ledger.dispatch()
    assert run(ledger) == 3 and states(ledger) == {"rate": 5}
    assert limits.sweep(ledger.connection) == 0
    age(ledger, MINUTE_MS)
    assert limits.sweep(ledger.connection) == 3 and run(ledger) == 3
    age(ledger, MINUTE_MS + 1)
    limits.sweep(ledger.connection)
    assert run(ledger) == 2 and not states(ledger)


def test_a_lowered_rate_counts_the_starts_of_before(ledger):
    limited(ledger, rate=(6, MINUTE_MS))
    for _ in range(12):
        ledger.dispatch()
    assert run(ledger) == 6
    ledger.change("UPDATE rate_starts SET at_ms = at_ms - 70000 WHERE id = (SELECT MIN(id) FROM rate_starts)")
    limited(ledger, rate=(3, MINUTE_MS))
    limits.sweep(ledger.connection)
    assert run(ledger) == 0, "five starts lie in the last minute"


def test_a_clock_set_back_holds_a_key_for_one_window_at_most(ledger):
    limited(ledger, rate=(2, MINUTE_MS))
    for _ in range(5):
        ledger.dispatch()
    assert run(ledger) == 2
    age(ledger, -3_600_000)  # as after a clock that was set back an hour
    limits.sweep(ledger.connection)
    ledger.change("UPDATE jobs SET state = 'pending', hold_code = NULL")
    assert run(ledger) == 0
    age(ledger, MINUTE_MS + 1)
    limits.sweep(ledger.connection)
    assert run(ledger) == 2


def test_a_start_counts_from_the_request_and_is_given_back_without_one(ledger):
    limited(ledger, rate=(2, MINUTE_MS))
    for _ in range(3):
        ledger.dispatch()
    job = ledger.claim()
    with ledger.connection.transaction() as tx:
        at = limits.start_now(tx, job, job.reserved_ms)
        assert at >= job.reserved_ms and tx.fetch_all("SELECT at_ms FROM rate_starts") == [(at,)]
        assert limits.start_now(tx, job, at) >= at and limits.start_now(tx, job, None) and not limits.start_now(tx, job, None)
    ledger.settle(job)
    assert ledger.claim() is None and starts(ledger) == 2, "its second request took the other start"
    ledger.change("DELETE FROM rate_starts")
    limits.sweep(ledger.connection)
    job = ledger.claim()
    with ledger.connection.transaction() as tx:
        limits.give_back(tx, job)
    assert starts(ledger) == 0


def test_a_rate_of_a_setting(ledger):
    content = registry.find("ProcessContentGeneration")
    settings = load_settings({"OPENAI_RPM": "60", "DATA_DIR": str(ledger.app.extensions["settings"].data_dir)})
    assert declared.declared(content.options, settings) == Limit(4, 60, MINUTE_MS, whole_type=1)
    assert [declared.rate_text(*registry.parse_rate(t)) for t in ("60/m", "5/s", "100/30m", "90/90s", "1/d")] == ["60/m", "5/s", "100/30m", "90/90s", "1/d"]


# ---- several workers -----------------------------------------------------------------------------------------------------


def test_workers_at_once_pass_no_limit_lose_no_place_and_never_wait_for_each_other(ledger):
    """Six workers, two keys: each settles a job of one key and claims one of the other."""
    limited(ledger, "TestPair", 2, per=PAIR)
    with ledger.app.app_context():
        registry.find("TestPair").dispatch_many([{"shop": "ab"[n % 2]} for n in range(160)])
        db.session.commit()
    url, troubles, most = ledger.app.extensions["settings"].database_url, [], {"a": 0, "b": 0}
    lock, now = threading.Lock(), {"a": 0, "b": 0}
    done: list[str] = []

    def work(name: str) -> None:
        from app.ledger.settle import Outcome, settle_group

        connection, sql, quiet = Connection(url), claiming.claim_statement(("high", "default", "low")), 0
        try:
            found = None
            while len(done) < 160 and quiet < 400:
                found = found or claiming.claim(connection, sql, name, name)
                if found is None:
                    quiet += 1
                    time.sleep(0.005)
                    continue
                shop, quiet = found.limit_key[-1], 0
                with lock:
                    now[shop] += 1
                    most[shop] = max(most[shop], now[shop])
                time.sleep(0.001)
                with lock:
                    now[shop] -= 1
                job = found
                _, claims = settle_group(connection, [(job, Outcome("completed"))], ledger.store, sql)
                found = claims[0] if claims else None
                done.append(job.uuid)
        except Exception as error:
            troubles.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not troubles and len(set(done)) == 160 == len(done), (troubles, len(done), states(ledger))
    assert max(most.values()) <= 2


def test_a_person_holds_what_a_limit_holds(ledger):
    limited(ledger, concurrency=1)
    uuids = [ledger.dispatch() for _ in range(2)]
    job = ledger.claim()
    ledger.claim("w2")
    with ledger.connection.transaction() as tx:
        assert control.hold(tx, [r[0] for r in tx.fetch_all("SELECT id FROM jobs WHERE uuid = :u", u=uuids[1])], "ada") == 1
    ledger.settle(job)
    assert limits.sweep(ledger.connection) == 0 and ledger.claim() is None and states(ledger) == {"person": 1}


def test_a_rate_of_the_whole_type_counts_over_tenants(ledger):
    with ledger.connection.transaction() as tx:
        limits.declare(tx, [("TestNoop", limits.Per("tenant"), limits.Limit(5, 2, 60_000, whole_type=1))], [])
    for tenant in ("a", "b", "c"):
        uuid = ledger.dispatch(tenant_id=tenant)
        ledger.change("UPDATE jobs SET limit_key = :key WHERE uuid = :u", key=f"TestNoop tenant={tenant}", u=uuid)
    assert [ledger.claim("w1").tenant_id, ledger.claim("w2").tenant_id, ledger.claim("w3")] == ["a", "b", None]
    assert ledger.connection.fetch_all("SELECT tenant_id, hold_code, reason FROM jobs WHERE state = 'held'") == [
        ("c", "rate", "Its type is limited to 2 starts in 60 s.")]
    assert limits.Sweep(ledger.connection).run() == 0
    ledger.change("UPDATE rate_starts SET at_ms = at_ms - 61000")
    assert limits.Sweep(ledger.connection).run() == 1 and ledger.claim("w3").tenant_id == "c"


def test_a_place_that_becomes_free_while_another_worker_holds_a_row_back_is_not_lost(ledger):
    limited(ledger, concurrency=1)
    ledger.dispatch()
    second = ledger.dispatch()
    first = ledger.claim()
    other = Connection(ledger.app.extensions["settings"].database_url)
    settles = threading.Thread(target=ledger.settle, args=(first,))
    with other.transaction() as tx:
        assert claiming.claim_in(tx, claiming.claim_statement(("default",)), "w2", "w2") == (None, True)
        settles.start()
        settles.join(0.3)
        assert settles.is_alive(), "it waits for the key"
    settles.join(10)
    other.close()
    assert ledger.row(second).state == "pending"


def test_two_workers_that_leave_each_others_key_never_wait_for_each_other(ledger):
    """Each settles a job of one key and claims one of the other key, at the same moment."""
    limited(ledger, "TestPair", 2, per=PAIR)
    url, troubles = ledger.app.extensions["settings"].database_url, []
    from app.ledger.settle import Outcome, settle_group

    def swap(job, queue: str, barrier: threading.Barrier) -> None:
        connection, sql = Connection(url), claiming.claim_statement((queue,))
        try:
            assert connection.fetch_all("SELECT 1")
            barrier.wait(10)
            assert settle_group(connection, [(job, Outcome("completed"))], ledger.store, sql)[1]
        except Exception as error:
            troubles.append(error)
        finally:
            connection.close()

    for _ in range(15):
        held = []
        for queue, shop in (("high", "a"), ("low", "b")):
            ledger.dispatch("TestPair", queue, args={"shop": shop})
            held.append((ledger.claim(queue, (queue,)), queue))
        ledger.dispatch("TestPair", "high", args={"shop": "b"}), ledger.dispatch("TestPair", "low", args={"shop": "a"})
        barrier = threading.Barrier(2)
        threads = [threading.Thread(target=swap, args=(*pair, barrier)) for pair in held]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert not troubles, troubles
        ledger.change("DELETE FROM jobs")


def test_a_paused_batch_runs_no_member_that_a_limit_held(ledger):
    limited(ledger, concurrency=1)
    with ledger.app.app_context():
        made = batching.begin("the one")
        registry.find("TestNoop").with_options(batch=made).dispatch_many([{}] * 4)
        made.seal()
        db.session.commit()
    job = ledger.claim()
    assert ledger.claim("w2") is None and states(ledger) == {"processing": 1, "limit": 3}
    for on in (True, False):
        with ledger.connection.transaction() as tx:
            batches.pause(tx, made.id, on)
        batches.sweep_paused(ledger.connection)
        if on:
            ledger.settle(job)
            limits.sweep(ledger.connection)
            assert ledger.claim() is None and states(ledger) == {"batch": 3}
    assert run(ledger) == 3
