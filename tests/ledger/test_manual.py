"""What the monitor makes of workers and jobs that a person has told to end, on both databases and with the time given from outside."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from app.controllers import tree_forms
from app.execution.heartbeat import _REGISTER
from app.ledger import graph, manual, rescue, settle, worker_slots
from app.ledger.claim import show
from app.ledger.dialect import Connection
from app.ledger.manual import due_to_stop
from app.ledger.settle import Outcome
from app.monitor.worker_watch import MOST_GRACE_S, WorkerWatch
from app.services.audit import ActionRefused
from app.services.instance import retention
from app.services.jobs import actions, tree, worker_commands
from app.support.clock import DAY_MS, stamp
from app.support.process import boot_id, identity, namespace, start_ticks


@pytest.fixture
def consumer():
    """A consumer that lives."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield f"{boot_id()[:8]}-{namespace()}-{process.pid}-{start_ticks(process.pid)}-c1"
    process.kill()
    process.wait()


def worker(ledger, name: str, consumer: str) -> str:
    """A worker of this machine that has ended: there is no such process."""
    worker_id = f"{boot_id()[:8]}-{namespace()}-{2**22 + 1}-7-{name}"
    ledger.change(_REGISTER, name=name, pid=2**22 + 1, queue="default", at=stamp(ledger.connection.now()), w=worker_id, consumer=consumer, host="here", memory=1,
                  code="x", revision=None)
    return worker_id


def watch(ledger) -> WorkerWatch:
    return WorkerWatch(ledger.connection, ledger.app.extensions["settings"], lambda: 1000.0)


def test_workers_that_a_person_kills_speak_not_against_their_job(ledger, consumer):
    uuid = ledger.dispatch(tries=1)
    for n in range(4):
        worker_id = worker(ledger, f"w{n}", consumer)
        assert ledger.claim(worker_id).uuid == uuid
        with ledger.app.app_context():
            worker_commands.command_worker(ledger.one("SELECT id FROM worker_heartbeats WHERE worker_name = :n", n=f"w{n}"), "kill", "ada")
        assert watch(ledger).rescue() == 1  # the process is gone already: by another monitor, or in a round that broke off after the kill
        row = ledger.row(uuid)
        assert (row.state, row.crashes, row.failures) == ("pending", 0, 0), "ready at once"
    assert ledger.outcomes(uuid) == ["lost"] * 4
    reasons = {r[0] for r in ledger.connection.fetch_all("SELECT reason FROM worker_heartbeats")}
    assert reasons == {"killed by hand"}


def test_workers_that_die_by_themselves_do(ledger, consumer):
    uuid = ledger.dispatch(tries=1)
    for n in range(2):
        ledger.change("UPDATE jobs SET state = 'pending'")
        assert ledger.claim(worker(ledger, f"w{n}", consumer)).uuid == uuid
        assert watch(ledger).rescue() == 1 and ledger.row(uuid).crashes == n + 1


@pytest.mark.parametrize("over", [True, False])
def test_a_job_over_its_time_has_timed_out_whatever_its_worker_dies_of_and_its_next_attempt_has_not(ledger, consumer, over):
    uuid = ledger.dispatch(tries=3)
    job = ledger.claim(worker(ledger, "w", consumer))
    job.over_time = over
    with ledger.connection.transaction() as tx:
        show(tx, job.worker_id, job, 0)
    ledger.change("UPDATE jobs SET reason = 'other words'")
    watch(ledger).rescue()
    row = ledger.row(uuid)
    assert ledger.outcomes(uuid) == [("retried" if over else "lost")] and (row.failures, row.crashes) == ((1, 0) if over else (0, 1))
    ledger.change("UPDATE jobs SET available_ms = 1 WHERE state = 'scheduled'")
    rescue.promote(ledger.connection)
    assert not ledger.claim("w2").over_time


def test_a_job_asked_to_stop_is_cancelled_whatever_its_worker_dies_of(ledger, consumer):
    uuid = ledger.dispatch(tries=1)
    ledger.change("UPDATE jobs SET crashes = 2")
    ledger.claim(worker(ledger, "w", consumer))
    with ledger.app.app_context():
        assert actions.cancel(uuid, "ada") == "asked"
    watch(ledger).rescue()
    assert ledger.outcomes(uuid) == ["lost", "cancelled"]


def test_the_monitor_counts_the_time_to_stop_by_its_own_grace(ledger):
    """A shell with another GRACE (60 by default) once kept jobs running a minute under GRACE=5; and 330 s of a server are not for this."""
    for grace, given in ((5, 5), (330, MOST_GRACE_S)):
        settings = replace(ledger.app.extensions["settings"], grace=grace)
        uuid = ledger.dispatch()
        ledger.claim("elsewhere")
        with ledger.app.app_context():
            actions.cancel(uuid, "ada")
        before = ledger.connection.now()
        WorkerWatch(ledger.connection, settings, lambda: 1000.0).rescue()
        at = ledger.one("SELECT stop_ms FROM jobs WHERE uuid = :u", u=uuid)
        assert before + given * 1000 <= at <= ledger.connection.now() + given * 1000
        assert due_to_stop(ledger.connection, 10**9) == set()
        ledger.change("UPDATE jobs SET stop_ms = 1")
        assert len(due_to_stop(ledger.connection, 10**9)) == 1
        ledger.change("DELETE FROM jobs")


def stopped(ledger, name: str, consumer: str, host: str = "here", code: str | None = worker_slots.EMPTY) -> int:
    worker(ledger, name, consumer)
    ledger.change("UPDATE worker_heartbeats SET status = 'stopped', stopped_ms = 1, stop_code = :c, host = :h WHERE worker_name = :n", c=code, h=host, n=name)
    return ledger.one("SELECT id FROM worker_heartbeats WHERE worker_name = :n", n=name)


def test_the_place_of_a_stopped_worker_is_filled_once_and_by_its_own_consumer(ledger, tmp_path):
    mine, other = worker_slots.Places(ledger.connection.url, identity(tmp_path)), worker_slots.Places(ledger.connection.url, "another-consumer-1-1")
    here = [stopped(ledger, n, mine.consumer_id) for n in ("a", "b")]
    recycled = stopped(ledger, "r", mine.consumer_id, code=None)
    dead = stopped(ledger, "d", f"{boot_id()[:8]}-{namespace()}-{2**22 + 1}-7-x")
    elsewhere, rebooted = stopped(ledger, "e", "0aaaaaaa-1-2-3-x", "elsewhere"), stopped(ledger, "f", "0aaaaaaa-1-2-3-x", socket.gethostname())
    with ledger.app.app_context():
        for row in (recycled, dead, rebooted):
            with pytest.raises(ActionRefused):
                worker_commands.command_worker(row, "start", "ada")
        for row in (here[0], here[0], elsewhere):
            worker_commands.command_worker(row, "start", "ada")
        other.look()
        mine.look()
        mine.look()
        assert (mine.asked(), mine.asked(), other.asked()) == (1, 0, 0)
        assert worker_commands.command_workers("start", "ada") == 1, "the second; one elsewhere was asked already"
        mine.look()
        assert mine.asked() == 1 and worker_commands.command_workers("start", "ada") == 0
    last = stopped(ledger, "z", mine.consumer_id)
    mine.end()
    assert ledger.one("SELECT stop_code FROM worker_heartbeats WHERE id = :id", id=last) == worker_slots.ENDED
    mine.connection.close()
    other.connection.close()


def test_all_are_told_but_those_that_end_already(ledger):
    for name in "abcd":
        worker(ledger, name, "c")
    ledger.change("UPDATE worker_heartbeats SET command = 'stop' WHERE worker_name = 'b'")
    ledger.change("UPDATE worker_heartbeats SET command = 'quiet' WHERE worker_name = 'c'")
    stopped(ledger, "s", "c")
    with ledger.app.app_context():
        assert worker_commands.command_workers("resume", "ada") == 1
        assert worker_commands.command_workers("restart", "ada") == 3 and worker_commands.command_workers("restart", "ada") == 0
    found = dict(ledger.connection.fetch_all("SELECT worker_name, command FROM worker_heartbeats"))
    assert found == {"a": "restart", "b": "stop", "c": "restart", "d": "restart", "s": None}


def test_empty_places_are_kept_longer_than_other_stopped_workers(ledger):
    by_hand, recycled = stopped(ledger, "a", "c"), stopped(ledger, "b", "c", code=None)
    ledger.change("UPDATE worker_heartbeats SET stopped_ms = :at", at=ledger.connection.now() - 2 * DAY_MS)
    retention.delete_old(ledger.connection)
    assert [r[0] for r in ledger.connection.fetch_all("SELECT id FROM worker_heartbeats")] == [by_hand] != [recycled]


def test_a_cancel_of_a_tree_and_the_settle_of_its_parent_never_wait_for_each_other(ledger, monkeypatch):
    if ledger.connection.sqlite:
        pytest.skip("one writer at a time")
    parent = ledger.dispatch()
    ledger.dispatch(after=[parent])
    job, errors, inside = ledger.claim(), [], threading.Event()
    ids = [row[0] for row in ledger.connection.fetch_all("SELECT id FROM jobs ORDER BY id")]
    release, other = graph.release_children, Connection(ledger.connection.url)

    def slow(tx, parents):
        inside.set()
        time.sleep(0.5)  # the other transaction takes its locks meanwhile
        return release(tx, parents)

    def settles():
        try:
            ledger.settle(job)
        except Exception as error:
            errors.append(error)

    monkeypatch.setattr(graph, "release_children", slow)
    thread = threading.Thread(target=settles)
    thread.start()
    inside.wait(10)
    with other.transaction() as tx:
        manual.cancel(tx, ids)
    thread.join(10)
    other.close()
    assert not errors and ledger.outcomes(parent) == ["completed"]



def test_the_settle_of_a_group_and_a_cancel_of_its_jobs_never_wait_for_each_other(ledger, monkeypatch):
    """The failed one has the lower id and is written after the completed ones; the untouched one is handed back last."""
    if ledger.connection.sqlite:
        pytest.skip("one writer at a time")
    uuids = [ledger.dispatch() for _ in range(4)]
    jobs, errors, inside = [replace(ledger.claim(f"w{n}"), worker_id="w") for n in range(4)], [], threading.Event()
    ledger.change("UPDATE jobs SET worker_id = 'w'")
    together, other = settle._completed_together, Connection(ledger.connection.url)

    def slow(*given):
        done = together(*given)
        inside.set()
        time.sleep(0.5)  # the other transaction takes its locks meanwhile
        return done

    def settles():
        try:
            ended = [(jobs[0], Outcome("failed", retry=False)), (jobs[2], Outcome("completed")), (jobs[3], Outcome("completed"))]
            settle.settle_group(ledger.connection, ended, ledger.store, untouched=[jobs[1]])
        except Exception as error:
            errors.append(error)

    monkeypatch.setattr(settle, "_completed_together", slow)
    thread = threading.Thread(target=settles)
    thread.start()
    inside.wait(10)
    with other.transaction() as tx:
        done = manual.cancel(tx, [job.id for job in jobs])
    thread.join(10)
    other.close()
    assert not errors and [ledger.outcomes(uuid) for uuid in uuids] == [["failed"], ["cancelled"], ["completed"], ["completed"]]
    assert done == (1, 0), "the one that was handed back"


def test_a_large_tree_is_counted_up_to_a_bound(ledger, monkeypatch):
    monkeypatch.setattr(tree, "MOST_COUNTED", 3)
    top = ledger.dispatch()
    below = [ledger.dispatch(after=[top]) for _ in range(3)]
    with ledger.app.test_request_context("/", headers={"Accept-Language": "en"}):
        assert tree.below([top]) == 3 and tree_forms.question([top]).told == "3 jobs wait for it, directly or through others."
    ledger.dispatch(after=below)
    ledger.dispatch(after=below)
    with ledger.app.test_request_context("/", headers={"Accept-Language": "en"}):
        assert tree.below([top]) == 4 and tree_forms.question([top]).told == "More than 3 jobs wait, directly or through others."
        ids = [row[0] for row in ledger.connection.fetch_all("SELECT id FROM jobs WHERE state = 'waiting' ORDER BY id LIMIT 3")]
        assert tree.below([top], ids) == 2, "those that are chosen too are not counted"
    read = graph.descendants_up_to(ledger.connection, [top], 2)
    assert len(read) == 2
