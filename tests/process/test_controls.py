"""What people do while real workers run: rest, stop, kill, hard stop, pause; seen within seconds, nothing lost."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

from app.services.audit import ActionRefused
from app.services.jobs import actions as job_actions
from app.services.jobs import queues
from app.services.people import accounts
from tests.conftest import PASSWORD, sign_in
from tests.process.product import ROOT


@pytest.fixture
def told(product):
    """`told("quiet", worker_row_id)`."""
    def tell(command: str, worker: int) -> None:
        with product.app.app_context():
            job_actions.command_worker(worker, command, "ada")
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


def alive(product) -> set[int]:
    return {r[0] for r in product.all("SELECT id FROM worker_heartbeats WHERE status <> 'stopped'")}


def test_stopped_workers_are_started_again_from_the_page_and_the_command_line(product, told):
    with product.app.app_context():
        accounts.create_user("admin@example.org", "super-admin", PASSWORD)
    first, second = start(product, 2)
    client = sign_in(product.app, "admin@example.org")
    told("stop", first)
    told("stop", second)
    product.until(lambda: not alive(product), 10, "both stopped")
    page = client.get("/admin/jobs/workers", headers={"Accept-Language": "en"}).get_data(as_text=True)
    assert page.count(">Start again</button>") == 2 and "Start all again" in page and "No worker runs." in page
    assert client.post(f"/admin/jobs/workers/{first}/start", data={"csrf_token": client.csrf}).status_code == 303
    took = product.until(lambda: len(alive(product)) == 1, 10, "one started again")
    with product.app.app_context():
        assert job_actions.command_workers("start", "ada") == 1, "the other; the first is no longer empty"
        with pytest.raises(ActionRefused):
            job_actions.command_worker(first, "start", "ada")
    product.until(lambda: len(alive(product)) == 2, 10, "both")
    with product.app.app_context():
        assert job_actions.command_workers("start", "ada") == 0
    product.dispatch("TestNoop", 4)
    product.ended(10)
    time.sleep(2.5)
    assert len(alive(product)) == 2 and took < 8, "each place is filled once"
    assert [r[0] for r in product.all("SELECT reason FROM worker_heartbeats WHERE status = 'stopped'")] == ["stopped by hand; started again"] * 2


def test_places_of_a_consumer_that_has_ended_stay_empty(product, told):
    (first,) = start(product, 1)
    told("stop", first)
    product.until(lambda: not alive(product), 10, "stopped")
    product.started[-1].terminate()
    product.until(lambda: "consumer ended" in product.one("SELECT reason FROM worker_heartbeats"), 15, "it says so")
    product.workers(1)
    (second,) = product.until(lambda: len(alive(product)) == 1, 20, "another consumer") and alive(product)
    told("stop", second)
    product.until(lambda: not alive(product), 10, "stopped")
    product.started[-1].kill()
    product.started[-1].wait()
    for worker in (first, second):
        with pytest.raises(ActionRefused):
            told("start", worker)
    with product.app.app_context():
        assert job_actions.command_workers("start", "ada") == 0


def test_all_workers_are_restarted_each_after_its_job(product, told):
    before = set(start(product, 3))
    (uuid,) = product.dispatch("TestSleep", ms=2000)
    product.until(lambda: product.one("SELECT COUNT(*) FROM jobs WHERE state = 'processing'") == 1, 10)
    said = subprocess.run([sys.executable, "-m", "flask", "--app", "wsgi", "workers", "restart", "all"], env=product.env, cwd=ROOT, capture_output=True, text=True)
    assert said.stdout == "3 workers: restart asked\n"
    product.until(lambda: len(alive(product) - before) == 3 and not alive(product) & before, 20, "three others")
    assert product.outcomes(uuid) == ["completed"]
    assert {r[0] for r in product.all("SELECT reason FROM worker_heartbeats WHERE status = 'stopped'")} == {"restarted by hand"}


def test_cancelling_a_job_that_does_not_look_takes_the_graces_of_the_instance(product):
    product.env["GRACE"] = "2"
    start(product, 1)
    (uuid,) = product.dispatch("TestSleep", ms=60_000)
    product.until(lambda: product.one("SELECT state FROM jobs") == "processing", 10)
    said = subprocess.run([sys.executable, "-m", "flask", "--app", "wsgi", "jobs", "cancel", uuid[:8]], env=product.env | {"GRACE": "60"}, cwd=ROOT,
                          capture_output=True, text=True)
    assert said.stdout == "asked to stop: it is running\n"
    took = product.until(lambda: product.outcomes(uuid) == ["cancelled"], 30, "stopped")
    print(f"cancelled {took:.1f} s after the command, GRACE=2 of the instance and 60 of the shell")
    (after,) = product.dispatch("TestNoop")
    took = product.until(lambda: product.outcomes(after) == ["completed"], 10)
    print(f"the next job {took:.1f} s after that")


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
        assert job_actions.cancel(uuid, "ada") == "asked"
        job_actions.act("stop", uuid, "ada")
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
        actions = ("hold", "release", "top", "up", "down", "run_now", "cancel")
        with product.app.app_context():
            for n, uuid in enumerate(uuids[::2]):
                try:
                    job_actions.act(actions[n % len(actions)], uuid, actor)
                except ActionRefused:
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
                        except ActionRefused:
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
            except ActionRefused:
                pass
        for uuid in uuids:
            try:
                job_actions.act("release", uuid, "ada")
            except ActionRefused:
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
