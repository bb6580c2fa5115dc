"""Real consumers and a real monitor: what is killed is found again, what hangs is ended, nothing runs twice to an end."""

from __future__ import annotations

import contextlib
import os
import random
import signal

import psutil
import pytest

from app.config import ROOT
from app.support.revision import revision


def test_kill_9_of_workers_loses_nothing_and_each_job_ends_once(product):
    product.monitor()
    consumer = product.workers(3)
    uuids = product.dispatch("TestSleep", 60, ms=150)
    chance = random.Random(7)
    for _ in range(6):
        product.until(lambda: product.one("SELECT COUNT(*) FROM jobs WHERE state = 'processing'") and product.worker_pids(), 20, "a job runs")
        with contextlib.suppress(ProcessLookupError, IndexError):  # it has ended since its row was read
            os.kill(chance.choice(product.worker_pids()), signal.SIGKILL)
    consumer.kill()
    product.workers(3)
    product.ended()
    assert product.finals() == dict.fromkeys(uuids, 1)
    assert product.one("SELECT COUNT(*) FROM job_metrics WHERE status = 'lost'") >= 1, "a rescue is shown"
    assert product.one("SELECT COUNT(*) FROM job_history WHERE status = 'completed'") >= 57


def test_a_killed_worker_is_noticed_at_once_and_its_job_runs_again(product):
    product.monitor()
    product.workers(2)
    (uuid,) = product.dispatch("TestSleep", ms=3000)
    product.until(lambda: product.one("SELECT process_id FROM worker_heartbeats WHERE job_uuid = ?", uuid), 20, "the job runs and is shown")
    assert product.all("SELECT DISTINCT revision FROM worker_heartbeats") == [(revision(ROOT),)]
    os.kill(product.one("SELECT process_id FROM worker_heartbeats WHERE job_uuid = ?", uuid), signal.SIGKILL)
    took = product.until(lambda: product.outcomes(uuid) == ["lost"], 15, "rescued")
    product.until(lambda: product.one("SELECT state FROM jobs") == "processing", 15, "runs again")
    product.ended()
    assert product.outcomes(uuid) == ["lost", "completed"] and took < 15


def test_a_job_that_kills_its_worker_three_times_is_failed_as_poison(product):
    product.monitor()
    product.workers(1)
    (uuid,) = product.dispatch("TestSuicide")
    product.until(lambda: product.one("SELECT crashes FROM jobs") == 2, 30, "two crashes")
    assert product.all("SELECT state FROM jobs") == [("scheduled",)], "from the second crash it waits"
    product.until(lambda: product.one("SELECT COUNT(*) FROM failed_jobs") == 1, 60, "poison")
    assert product.outcomes(uuid) == ["lost", "lost", "lost", "failed"]
    assert "3 times" in product.one("SELECT error FROM failed_jobs")


def test_a_swallowed_timeout_a_sys_exit_and_a_failure_end_as_such(product):
    product.monitor()
    product.workers(2)
    swallow, leave, fail, permanent = (product.dispatch(name)[0] for name in ("TestSwallow", "TestExit", "TestFail", "TestPermanent"))
    product.ended()
    assert product.outcomes(swallow) == ["timeout"]
    assert product.outcomes(leave) == ["failed"]
    assert product.outcomes(fail) == ["retried", "failed"]
    assert product.outcomes(permanent) == ["failed"]
    assert product.one("SELECT error FROM failed_jobs WHERE uuid = ?", permanent) == "The file has no column title."
    assert len(product.worker_pids()) == 2, "no worker died of it"


def test_each_final_failure_leaves_one_line_in_the_log_of_the_workers(product):
    product.env["LOG_FORMAT"] = "text"
    product.workers(1)
    (fail,) = product.dispatch("TestFail", text="first\nline two with sk-aaaaaaaaaaaaaaaa in it")
    (done,), (late,) = product.dispatch("TestNoop"), product.dispatch("TestSwallow")
    product.ended()
    lines = [line for line in product.tail().splitlines() if " WARNING " in line and "job " in line]
    assert len(lines) == 2 and done not in product.tail(), "the attempt that is tried again is none"
    ours = next(line for line in lines if fail in line)
    assert all(word in ours for word in ("TestFail", "tenant -", "failed: ", "first", "line two")) and "sk-aaaa" not in ours, ours
    assert "timeout" in next(line for line in lines if late in line)


def test_sigterm_hands_unfinished_jobs_back_uncounted(product):
    product.grace = 1
    product.monitor()
    consumer = product.workers(1)
    begun = product.data_dir / "begun"
    (uuid,) = product.dispatch("TestMark", path=str(begun), n=1, ms=20_000)
    product.until(begun.exists, 20, "the job runs")
    consumer.terminate()
    consumer.wait(20)
    product.until(lambda: product.one("SELECT state FROM jobs") == "pending", 15, "handed back")
    assert product.all("SELECT attempts, crashes FROM jobs") == [(0, 0)]
    assert product.outcomes(uuid) == ["released"]


def test_children_end_with_their_consumer(product):
    consumer = product.workers(2)
    product.until(lambda: len(product.worker_pids()) == 2, 20, "workers up")
    children = psutil.Process(consumer.pid).children(recursive=True)
    assert len(children) == 3, "two workers and Huey's scheduler"
    consumer.kill()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive


def test_the_peak_memory_of_each_job_is_its_own(product):
    product.workers(1)
    big, small = product.dispatch("TestMemory", mb=80)[0], None
    product.ended()
    small = product.dispatch("TestNoop")[0]
    product.ended()
    used = {u: m for u, m in product.all("SELECT uuid, memory_used FROM job_metrics")}
    assert used[big] - used[small] > 60 * 2**20


def test_jobs_without_tickets_and_without_a_monitor_still_run(product):
    """Delays are promoted by an idle worker when the monitor is late, lost tickets cost one poll."""
    from app import registry
    from tests.conftest import db

    with product.app.app_context():
        uuid = registry.find("TestNoop").with_options(delay=1).dispatch()
        db.session.commit()
    product.workers(1)
    product.until(lambda: product.outcomes(uuid) == ["completed"], 30, "ran without a monitor")


def test_a_frozen_worker_that_finishes_late_changes_nothing(product):
    product.workers(1)
    (uuid,) = product.dispatch("TestSleep", ms=1500)
    product.until(lambda: product.one("SELECT state FROM jobs") == "processing", 20, "the job runs")
    (pid,) = product.worker_pids()
    os.kill(pid, signal.SIGSTOP)
    try:
        from app.ledger.dialect import Connection
        from app.ledger.rescue import claims_of, rescue

        connection = Connection(product.app.extensions["settings"].database_url)
        (job,) = claims_of(connection, product.one("SELECT worker_id FROM jobs"))
        assert rescue(connection, job, False, "frozen", "sqlite") == "pending"
        product.workers(1)
        product.until(lambda: "completed" in product.outcomes(uuid), 30, "done elsewhere")
    finally:
        os.kill(pid, signal.SIGCONT)
    product.until(lambda: "late" in product.outcomes(uuid), 20, "the late one is noted")
    assert sorted(product.outcomes(uuid)) == ["completed", "late", "lost"]
    assert product.finals() == {uuid: 1}


@pytest.mark.parametrize("damage", ["deleted", "garbage"])
def test_a_damaged_ticket_file_is_replaced_and_jobs_go_on(product, damage):
    product.monitor()
    product.workers(2)
    product.dispatch("TestNoop", 5)
    product.ended()
    for path in (product.data_dir / "tickets").glob("tickets-*"):
        path.unlink() if damage == "deleted" else path.write_bytes(os.urandom(8192))
    uuids = product.dispatch("TestNoop", 20)
    product.ended(60)
    assert all(product.outcomes(u) == ["completed"] for u in uuids)


def test_a_job_that_interrupts_itself_or_outlives_its_alarm_ends_once(product):
    product.monitor()
    product.workers(2)
    expected = {"interrupt": "failed", "sigint": "failed", "swallow and raise": "timeout", "alarm off": "timeout",
                "surrogate": "completed", "nan": "completed", "not json": "completed"}
    uuids = {kind: product.dispatch("TestWeird", kind=kind)[0] for kind in expected}
    product.ended()
    assert {kind: product.outcomes(uuid) for kind, uuid in uuids.items()} == {kind: [status] for kind, status in expected.items()}
    results = {kind: product.one("SELECT result FROM job_history WHERE uuid = ?", uuid) for kind, uuid in uuids.items()}
    assert (results["surrogate"], results["nan"], results["not json"]) == ('"a\ufffdb"', '"nan"', '[1, 2]')


def test_jobs_run_while_the_ticket_store_is_away_and_the_log_stays_short(product):
    product.env["QUEUE_URL"] = "redis://127.0.0.1:1/0"
    product.monitor()
    product.workers(2)
    uuids = product.dispatch("TestNoop", 20)
    product.ended(30)
    assert product.finals() == dict.fromkeys(uuids, 1)
    product.clock("default")
    assert product.tail().count("\n") < 40, "one line when it begins, not one at each attempt"
