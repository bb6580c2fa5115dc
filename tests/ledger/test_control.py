"""What people steer, on both databases: pauses, holds, order, stops; each at once, twice, and beside workers that claim."""

from __future__ import annotations

import pytest

from app.extensions import db
from app.ledger import claim as claiming, control, manual, rescue
from app.services.audit import ActionRefused
from app.services.jobs import actions, queues
from app.support.validation import ValidationError


@pytest.fixture
def steered(ledger):
    with ledger.app.app_context():
        yield ledger
        db.session.rollback()


def order(ledger, queue="default") -> list[str]:
    db.session.rollback()
    uuids = [r.uuid for r in queues.next_jobs(queue, 300)]
    db.session.rollback()
    return uuids


def act(ledger, action, uuid, **options):
    actions.act(action, uuid, "ada", **options)


def test_a_paused_queue_hands_out_nothing_and_spins_nobody(steered):
    uuid = steered.dispatch(queue="high")
    low = steered.dispatch(queue="low")
    queues.pause("high", "ada", 15, "migration")
    queues.pause("high", "bob")  # twice: the first time stands, the later words count
    assert steered.claim().uuid == low
    assert steered.claim("w2") is None
    assert not claiming.is_ready(steered.connection, claiming.ready_statement(("high", "default", "low")))
    queues.resume("high", "ada")
    with pytest.raises(ActionRefused):
        queues.resume("high", "ada")
    assert steered.claim().uuid == uuid


def test_a_pause_of_minutes_ends_by_itself(steered):
    steered.dispatch()
    queues.pause("default", "ada", 15)
    steered.change("UPDATE queues SET paused_until = 1")
    with steered.connection.transaction() as tx:
        assert control.resume_due(tx) == 1
    assert steered.claim() is not None


def test_a_paused_type_is_held_in_every_queue_also_when_sent_or_rescued_later(steered):
    first = [steered.dispatch("TestEcho", queue=q) for q in ("high", "default", "low")]
    held = steered.dispatch("TestEcho")
    act(steered, "hold", held)
    other = steered.dispatch("TestNoop", queue="low")
    running = steered.claim()
    assert running.uuid == first[0]
    queues.pause("type:TestEcho", "ada")
    later = steered.dispatch("TestEcho", queue="high")
    with steered.connection.transaction() as tx:
        claiming.release(tx, running)
    assert steered.claim("w2").uuid == other and steered.claim("w3") is None  # the guard holds before the sweep
    assert control.sweep_types(steered.connection) == 2
    assert {steered.row(u).state for u in (*first, later)} == {"held"}
    steered.change("UPDATE jobs SET reason = 'other words'")  # a sentence is for people
    queues.resume("type:TestEcho", "ada")
    assert [steered.claim(f"x{n}").uuid for n in range(4)] == [first[0], later, first[1], first[2]]
    assert steered.row(held).state == "held"  # held by a person: not the pause's to free


def test_holding_releasing_delaying_and_moving_one(steered):
    uuid = steered.dispatch(delay=50)
    act(steered, "hold", uuid)
    assert rescue.promote(steered.connection) == 0 and steered.claim() is None
    with pytest.raises(ActionRefused):
        act(steered, "hold", uuid)
    act(steered, "release", uuid)
    assert steered.row(uuid).state == "scheduled"
    act(steered, "run_now", uuid)
    act(steered, "move", uuid, queue="low")
    assert (steered.row(uuid).state, steered.row(uuid).queue) == ("pending", "low")
    act(steered, "delay", uuid, seconds=60)
    assert steered.claim() is None
    act(steered, "run_now", uuid)
    assert steered.claim().uuid == uuid
    for action, options in (("hold", {}), ("move", {"queue": "high"}), ("top", {}), ("up", {}), ("delay", {"seconds": 1})):
        with pytest.raises(ActionRefused, match="processing"):
            act(steered, action, uuid, **options)


def test_to_the_top_and_one_place_up_and_down(steered):
    a, b, c, d, e = (steered.dispatch() for _ in range(5))
    steered.dispatch(queue="high")
    act(steered, "top", d)
    assert order(steered) == [d, a, b, c, e]
    act(steered, "up", c)
    assert order(steered) == [d, a, c, b, e]
    act(steered, "down", d)
    assert order(steered) == [a, d, c, b, e]
    act(steered, "down", b)
    assert order(steered) == [a, d, c, e, b]
    act(steered, "top", b)
    assert order(steered) == [b, a, d, c, e]
    for action, uuid in (("up", b), ("down", e)):
        with pytest.raises(ActionRefused):
            act(steered, action, uuid)
    late = steered.dispatch()
    assert order(steered)[-1] == late
    taken = [steered.claim(f"w{n}", ("default",)).uuid for n in range(6)]
    assert taken == [b, a, d, c, e, late]


def test_a_running_job_is_asked_and_then_stopped(steered):
    uuid = steered.dispatch()
    job = steered.claim()
    assert actions.cancel(uuid, "ada") == "asked"
    assert steered.one("SELECT stop_ms FROM jobs WHERE uuid = :u", u=uuid) is None, "the monitor sets it"
    assert manual.due_to_stop(steered.connection, 5000) == set() == manual.due_to_stop(steered.connection, 0), "once, by the first look"
    asked = steered.one("SELECT stop_ms FROM jobs WHERE uuid = :u", u=uuid)
    assert 0 < asked - steered.connection.now() <= 5000
    act(steered, "stop", uuid)
    assert steered.one("SELECT stop_ms FROM jobs WHERE uuid = :u", u=uuid) <= steered.connection.now()
    assert len(manual.due_to_stop(steered.connection, 5000)) == 1
    assert actions.cancel(uuid, "bob") == "asked"  # a later, softer wish does not undo it
    assert steered.one("SELECT stop_ms FROM jobs WHERE uuid = :u", u=uuid) <= steered.connection.now()
    assert steered.settle(job, "failed", error="x") == "cancelled" and steered.outcomes(uuid) == ["cancelled"]


def test_the_bin_gives_back_and_forgets_for_good(steered):
    uuid = steered.dispatch(tries=1)
    steered.settle(steered.claim(), "failed", error="x")
    with pytest.raises(ActionRefused):
        act(steered, "restore", uuid)
    actions.delete_failed(uuid, "ada")
    with pytest.raises(ActionRefused):
        actions.retry(uuid, "ada")
    act(steered, "restore", uuid)
    actions.retry(uuid, "ada")
    steered.settle(steered.claim(), "failed", error="y")
    with pytest.raises(ActionRefused):
        act(steered, "erase", uuid)  # only out of the bin
    actions.delete_failed(uuid, "ada")
    act(steered, "erase", uuid)
    assert steered.one("SELECT COUNT(*) FROM failed_jobs") == steered.one("SELECT COUNT(*) FROM job_history") == 0
    assert steered.one("SELECT COUNT(*) FROM job_metrics") == 2
    assert steered.one("SELECT COUNT(*) FROM audit") == 5


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "a", "999999", "٣", "until 00:00", "2020-01-01 08:00", "1h\n2m"])
def test_minutes_of_a_pause_are_checked(text, context):
    with pytest.raises(ValidationError):
        queues.parse_pause(text)


def test_unknown_names_are_refused(steered):
    for name in ("", "urgent", "type:", "type:Nope"):
        with pytest.raises(ActionRefused):
            queues.pause(name, "ada")
    assert manual.run_now(steered.connection, []) == 0
