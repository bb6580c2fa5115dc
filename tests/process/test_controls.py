"""What people do while real workers run: rest, stop, kill, hard stop, pause; seen within seconds, nothing lost."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections import Counter

import pytest

from app.services.audit import ActionRefused
from app.services.jobs import actions as job_actions, queues, worker_commands
from app.services.people import accounts
from tests.conftest import PASSWORD, sign_in
from tests.process.product import ROOT


@pytest.fixture
def told(product):
    """`told("quiet", worker_row_id)`."""
    def tell(command: str, worker: int) -> None:
        with product.app.app_context():
            worker_commands.command_worker(worker, command, "ada")
    return tell


def start(product, workers: int) -> list[int]:
    product.monitor()
    product.workers(workers)
    product.until(lambda: len(product.worker_pids()) == workers, 20, "workers registered")
    return [r[0] for r in product.all("SELECT id FROM worker_heartbeats WHERE status <> 'stopped' ORDER BY id")]


def test_a_resting_worker_takes_no_job_until_resumed(product, told):
    product.monitor()
    worker = product.serve("default")
    product.serve("low")
    told("quiet", worker)

    def rests() -> bool:
        (uuid,) = product.dispatch("TestNoop")
        product.clock("low", 5)
        return not product.outcomes(uuid)

    product.until(rests, 30, "it takes no more")
    product.dispatch("TestNoop", 2)
    product.clock("low")
    assert product.one("SELECT COUNT(*) FROM jobs WHERE state = 'pending'") == 3
    told("resume", worker)
    product.ended(20)


def test_a_stopped_worker_is_not_replaced_and_a_restarted_one_is(product, told):
    first, second = start(product, 2)
    product.serve("low")
    (uuid,) = product.dispatch("TestSleep", ms=1500)
    product.until(lambda: product.one("SELECT COUNT(*) FROM jobs WHERE state = 'processing'") == 1, 10)
    told("stop", first)
    told("stop", second)
    product.until(lambda: product.one("SELECT COUNT(*) FROM worker_heartbeats WHERE status = 'stopped'") == 2, 20, "both stopped")
    assert product.outcomes(uuid) == ["completed"], "the running job ended first"
    product.clock("low")
    assert product.one("SELECT COUNT(*) FROM worker_heartbeats WHERE queue <> 'low'") == 2, "nobody took their place"
    product.workers(1)
    product.until(lambda: len(alive(product)) == 2, 20, "the worker of low and a new one")
    third = max(alive(product))
    told("restart", third)
    product.until(lambda: max(alive(product)) > third, 20, "another took its place")


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
    product.until(lambda: len(alive(product)) == 1, 20, "one started again")
    with product.app.app_context():
        assert worker_commands.command_workers("start", "ada") == 1, "the other; the first is no longer empty"
        with pytest.raises(ActionRefused):
            worker_commands.command_worker(first, "start", "ada")
    product.until(lambda: len(alive(product)) == 2, 10, "both")
    with product.app.app_context():
        assert worker_commands.command_workers("start", "ada") == 0
    product.dispatch("TestNoop", 4)
    product.ended(10)
    product.clock("default")
    assert len(alive(product)) == 2, "each place is filled once"
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
        assert worker_commands.command_workers("start", "ada") == 0


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
    product.until(lambda: product.outcomes(uuid) == ["lost"], 15, "taken from it")
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
    product.until(lambda: product.outcomes(uuid) == ["cancelled"], 15, "stopped, long before the grace of 60 s ends")
    product.until(lambda: pid not in product.worker_pids() and len(product.worker_pids()) == 1, 10, "another worker took its place")
    (after,) = product.dispatch("TestNoop")
    product.until(lambda: product.outcomes(after) == ["completed"], 10)


def test_controls_pressed_by_two_at_once_while_four_workers_drain(product):
    start(product, 4)
    with product.app.app_context():
        queues.pause("low", "ada")
    kept = product.dispatch("TestNoop", 20, queue="low")  # they wait for certain: who presses second always comes too late
    uuids = product.dispatch("TestSleep", 120, ms=20)
    troubles: list[Exception] = []
    did: Counter[tuple[str, str]] = Counter()
    told: dict[tuple[str, str], list[str]] = {}

    def act(action: str, uuid: str, actor: str) -> None:
        try:
            job_actions.act(action, uuid, actor)
        except ActionRefused as error:
            told.setdefault((action, uuid), []).append(str(error))
        except Exception as error:
            troubles.append(error)
        else:
            did[action, uuid] += 1

    def resume(actor: str, *names: str) -> None:
        for name in names:
            with contextlib.suppress(ActionRefused):  # the other has resumed it
                queues.resume(name, actor)

    def press(actor: str) -> None:
        actions = ("hold", "release", "top", "up", "down", "run_now", "cancel")
        with product.app.app_context():
            for n, uuid in enumerate(uuids[::2]):
                act(actions[n % len(actions)], uuid, actor)
                if n % 3 == 0:
                    act("hold" if n % 2 else "cancel", kept[n // 3], actor)
                if n % 20 == 0:
                    queues.pause("default", actor)
                    queues.pause("type:TestSleep", actor, 1)
                if n % 20 == 10:
                    resume(actor, "default", "type:TestSleep")

    people = [threading.Thread(target=press, args=(f"person{n}",)) for n in range(2)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert not troubles
    for n, uuid in enumerate(kept):
        action, sentence = (
            ("hold", "The job changed meanwhile: it is now held.")
            if n % 2
            else ("cancel", "The job has ended: it is cancelled. Duplicate it to run it once more.")
        )
        pressed = action, uuid
        assert did[pressed] == 1 and told[pressed] == [sentence], "the second is told what changed"
    assert sum(did.values()) + sum(map(len, told.values())) == 2 * (len(uuids[::2]) + len(kept)), "each press was done or refused"
    assert product.one("SELECT COUNT(*) FROM audit WHERE subject IN (SELECT uuid FROM jobs UNION SELECT uuid FROM job_history)") == sum(did.values())
    with product.app.app_context():
        resume("ada", "default", "type:TestSleep", "low")
        for uuid in uuids + kept:
            act("release", uuid, "ada")
    product.ended()
    assert product.finals() == dict.fromkeys(uuids + kept, 1)


def test_a_worker_over_its_memory_limit_is_replaced_between_jobs_and_says_so(product):
    product.env["WORKER_MEMORY_MB"] = "64"
    start(product, 1)
    (uuid,) = product.dispatch("TestHoard", mb=100)
    product.until(lambda: product.outcomes(uuid) == ["completed"], 15)
    product.until(lambda: "recycled" in (product.one("SELECT reason FROM worker_heartbeats WHERE status = 'stopped'") or ""), 10, "it says so")
    (after,) = product.dispatch("TestNoop")
    product.until(lambda: product.outcomes(after) == ["completed"], 15, "another worker took its place")
