"""What people do while real workers run: rest, stop, kill, hard stop, pause; seen within seconds, nothing lost."""

from __future__ import annotations

import os
import threading
import time

import pytest

from app.services import operations, queues


@pytest.fixture
def told(product):
    """`told("quiet", worker_row_id)`."""
    def tell(command: str, worker: int) -> None:
        with product.app.app_context():
            operations.command_worker(worker, command, "ada")
    return tell


def start(product, workers: int) -> list[int]:
    product.monitor()
    product.workers(workers)
    product.until(lambda: len(product.worker_pids()) == workers, 20, "workers registered")
    return [r[0] for r in product.all("SELECT id FROM worker_heartbeats WHERE status <> 'stopped' ORDER BY id")]


def test_a_resting_worker_takes_no_job_until_resumed(product, told):
    (worker,) = start(product, 1)
    told("quiet", worker)
    time.sleep(2)
    product.dispatch("TestNoop", 3)
    time.sleep(1.5)
    assert product.one("SELECT COUNT(*) FROM jobs WHERE state = 'pending'") == 3
    told("resume", worker)
    product.ended(5)


def test_a_stopped_worker_is_not_replaced_and_a_restarted_one_is(product, told):
    first, second = start(product, 2)
    (uuid,) = product.dispatch("TestSleep", ms=1500)
    product.until(lambda: product.one("SELECT COUNT(*) FROM jobs WHERE state = 'processing'") == 1, 10)
    told("stop", first)
    told("stop", second)
    product.until(lambda: product.one("SELECT COUNT(*) FROM worker_heartbeats WHERE status = 'stopped'") == 2, 10, "both stopped")
    assert product.outcomes(uuid) == ["completed"], "the running job ended first"
    time.sleep(2.5)
    assert product.one("SELECT COUNT(*) FROM worker_heartbeats") == 2, "nobody took their place"
    product.workers(1)
    product.until(lambda: product.one("SELECT MAX(id) FROM worker_heartbeats WHERE status <> 'stopped'"), 20)
    third = product.one("SELECT MAX(id) FROM worker_heartbeats")
    told("restart", third)
    product.until(lambda: (product.one("SELECT MAX(id) FROM worker_heartbeats WHERE status <> 'stopped'") or 0) > third, 15, "another took its place")


def test_a_killed_worker_gives_its_job_to_another_without_a_crash_mark(product, told):
    start(product, 2)
    (uuid,) = product.dispatch("TestSleep", ms=2500)
    product.until(lambda: product.one("SELECT COUNT(*) FROM worker_heartbeats WHERE job_uuid = ?", uuid) == 1, 10, "shown on the workers page")
    told("kill", product.one("SELECT id FROM worker_heartbeats WHERE job_uuid = ?", uuid))
    product.until(lambda: product.outcomes(uuid) == ["lost"], 5, "taken from it")
    assert product.one("SELECT crashes FROM jobs") == 0
    product.ended()
    assert product.outcomes(uuid) == ["lost", "completed"]


def test_a_job_that_does_not_look_is_stopped_hard_and_counts_as_cancelled(product):
    start(product, 1)
    (uuid,) = product.dispatch("TestSleep", ms=60_000)
    product.until(lambda: product.one("SELECT state FROM jobs") == "processing", 10)
    pid = product.worker_pids()[0]
    with product.app.app_context():
        assert operations.cancel(uuid, "ada") == "asked"
        operations.act("stop", uuid, "ada")
    took = product.until(lambda: product.outcomes(uuid) == ["cancelled"], 6, "stopped")
    assert took < 6
    product.until(lambda: pid not in product.worker_pids() and len(product.worker_pids()) == 1, 10, "another worker took its place")
    (after,) = product.dispatch("TestNoop")
    product.until(lambda: product.outcomes(after) == ["completed"], 10)


def test_controls_pressed_by_two_at_once_while_four_workers_drain(product):
    start(product, 4)
    uuids = product.dispatch("TestSleep", 120, ms=20)
    troubles: list[Exception] = []

    def press(actor: str) -> None:
        actions = ("hold", "release", "top", "up", "down", "run now", "cancel")
        with product.app.app_context():
            for n, uuid in enumerate(uuids[::2]):
                try:
                    operations.act(actions[n % len(actions)], uuid, actor)
                except operations.Refused:
                    pass
                except Exception as error:
                    troubles.append(error)
                if n % 20 == 0:
                    queues.pause("default", actor)
                    queues.pause("type:TestSleep", actor, 1)
                if n % 20 == 10:
                    for name in ("default", "type:TestSleep"):
                        try:
                            queues.resume(name, actor)
                        except operations.Refused:
                            pass

    people = [threading.Thread(target=press, args=(f"person{n}",)) for n in range(2)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert not troubles
    with product.app.app_context():
        for name in ("default", "type:TestSleep"):
            try:
                queues.resume(name, "ada")
            except operations.Refused:
                pass
        for uuid in uuids:
            try:
                operations.act("release", uuid, "ada")
            except operations.Refused:
                pass
    product.ended()
    assert product.finals() == dict.fromkeys(uuids, 1)
    assert product.one("SELECT COUNT(*) FROM audit") > 60
    assert os.path.exists(product.data_dir)


def test_a_worker_over_its_memory_limit_is_replaced_between_jobs_and_says_so(product):
    product.env["WORKER_MEMORY_MB"] = "64"
    start(product, 1)
    (uuid,) = product.dispatch("TestHoard", mb=100)
    product.until(lambda: product.outcomes(uuid) == ["completed"], 15)
    product.until(lambda: "recycled" in (product.one("SELECT reason FROM worker_heartbeats WHERE status = 'stopped'") or ""), 10, "it says so")
    (after,) = product.dispatch("TestNoop")
    product.until(lambda: product.outcomes(after) == ["completed"], 15, "another worker took its place")
