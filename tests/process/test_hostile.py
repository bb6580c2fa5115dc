"""A job's own code is hostile input: whatever it raises, returns, prints, starts or stores, its claim ends in one written
outcome and no other job notices."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from pathlib import Path

import psutil
import pytest

from tests.hostile_jobs import EVIL, GOOD_COSTS, RAISES, RETURNS, STORES

FAILS = {  # what a person reads of each
    "retry words": "delay of RetryTask must be a number", "retry 1e18": "at most 31622400 seconds", "retry inf": "must be a finite number",
    "retry nan": "must be a finite number", "retry list": "must be a number, not list", "retry eta": "must be a datetime, not str",
    "retry far": "", "unspeakable": "Unspeakable", "huge": "RuntimeError: xxx", "surrogate": "half", "base": "BaseException: base",
    "generator": "GeneratorExit", "temporary": "delay of TemporaryError must be a number", "retry none": "RetryTask",
}


def marked(mark: str) -> list[int]:
    """Processes with `mark` among their arguments or, its end, as their name."""
    found = []
    for process in psutil.process_iter(["cmdline", "name", "status"]):
        named = mark in (process.info["cmdline"] or ()) or process.info["name"] == mark[-15:]
        if named and process.info["status"] != psutil.STATUS_ZOMBIE and (process.info["cmdline"] or [])[:1] != ["sh"]:
            found.append(process.pid)
    return found


def error_of(product, uuid: str) -> str:
    return product.one("SELECT error FROM failed_jobs WHERE uuid = ?", uuid) or ""


def lines_of(product, uuid: str) -> list[tuple]:
    return product.all("SELECT level, source, message FROM job_logs WHERE uuid = ? ORDER BY id", uuid)


def test_whatever_is_raised_returned_or_stored_ends_in_one_outcome(product):
    product.monitor()
    product.workers(1)
    raised = {kind: product.dispatch("HostileRaise", kind=kind)[0] for kind in RAISES}
    returned = {kind: product.dispatch("HostileReturn", kind=kind)[0] for kind in RETURNS}
    stored = {kind: product.dispatch("HostileStore", kind=kind)[0] for kind in STORES}
    (forged,), (good,), (last,) = product.dispatch("HostileForge"), product.dispatch("GoodCosts"), product.dispatch("TestNoop")
    waits = raised.pop("retry text")
    product.until(lambda: product.one("SELECT COUNT(*) FROM jobs WHERE uuid <> ?", waits) == 0, 100, "all but the one that waits ended")
    assert product.outcomes(last) == ["completed"]
    assert product.all("SELECT state, failures, attempts FROM jobs WHERE uuid = ?", waits) == [("scheduled", 0, 0)]
    for kind, words in FAILS.items():
        assert product.outcomes(raised[kind])[-1] == "failed" and words in error_of(product, raised[kind]), (kind, error_of(product, raised[kind]))
        assert len(product.outcomes(raised[kind])) == 2, kind
    assert product.outcomes(raised["endless"]) == ["retried", "timeout"]
    for kind, uuid in returned.items():
        status, result = product.all("SELECT status, result FROM job_history WHERE uuid = ?", uuid)[0]
        assert status == ("failed" if kind == "odd" else "completed"), (kind, error_of(product, uuid))
        assert kind == "odd" or (len(result.encode()) <= 65536 and json.loads(result)), kind
    assert max(run for (run,) in product.all("SELECT processing_time FROM job_metrics WHERE job_type = 'HostileReturn'")) < 10_000
    for kind, uuid in stored.items():
        error = error_of(product, uuid)
        assert product.outcomes(uuid) == ["failed"] and error.startswith(("TypeError", "ValueError")), (kind, error)
        assert "hostile_jobs.py" in product.one("SELECT exception FROM failed_jobs WHERE uuid = ?", uuid), "it stands in the job's own traceback"
    assert product.outcomes(forged) == ["failed"] and "could not be written" in error_of(product, forged)
    assert product.outcomes(good) == ["completed"]
    costs = [row[0] for row in product.all("SELECT cost_nano FROM job_costs WHERE uuid = ? ORDER BY id", good)]
    assert costs == [round(float(amount) * 10**9) for amount in GOOD_COSTS]
    assert set(product.finals().values()) == {1} and product.one("SELECT COUNT(*) FROM job_metrics WHERE status = 'lost'") == 0
    reasons = {row[0] for row in product.all("SELECT reason FROM worker_heartbeats WHERE status = 'stopped'")}
    assert reasons <= {"replaced: an outcome could not be written"}, "no worker was lost"


def test_a_job_that_asks_to_run_at_once_waits_a_second_and_ends_with_its_limit(product):
    product.monitor()
    product.workers(1)
    (now,), (past,) = product.dispatch("RetryAtOnce"), product.dispatch("RetryPast")
    start = time.monotonic()
    product.until(lambda: len(product.outcomes(now)) >= 3 and len(product.outcomes(past)) >= 3, 30, "three attempts each")
    took = time.monotonic() - start
    attempts = max(len(product.outcomes(now)), len(product.outcomes(past)))
    assert attempts <= took + 2, "a second between two attempts"
    from app.ledger.dialect import Connection

    with Connection(product.app.extensions["settings"].database_url).transaction() as tx:
        tx.execute("UPDATE jobs SET retry_until_ms = :now", now=tx.now())
    product.ended(10)
    assert product.outcomes(now)[-1] == "failed"
    assert json.loads(product.one("SELECT metadata FROM job_metrics WHERE uuid = ? AND status = 'failed'", now))["ended"] == "retry_until"


@pytest.mark.parametrize("end", ["timeout", "fail", "stop", "kill"])
def test_what_a_job_has_started_ends_with_it(product, end):
    product.monitor()
    product.workers(1)
    mark = f"mark-{os.getpid()}-{end}"
    (uuid,) = product.dispatch("StartsOthers", mark=mark, end="sleep" if end in ("stop", "kill") else end)
    if end in ("stop", "kill"):
        product.until(lambda: len(marked(mark)) == 5, 20, "five processes run")
    if end == "stop":
        from app.services.jobs import actions

        with product.app.app_context():
            actions.act("stop", uuid, "tester")
    if end == "kill":
        os.kill(product.worker_pids()[0], signal.SIGKILL)
        product.until(lambda: "lost" in product.outcomes(uuid), 20, "the loss is noticed")
        with product.app.app_context():
            from app.services.jobs import actions

            actions.cancel(uuid, "tester")
            actions.act("stop", uuid, "tester") if product.one("SELECT COUNT(*) FROM jobs") else None
    product.ended(30)
    product.until(lambda: not marked(mark), 10, f"{end}: nothing of it runs on: {marked(mark)}")
    assert product.outcomes(uuid)[-1] == {"timeout": "timeout", "fail": "failed"}.get(end, "cancelled")


def test_what_is_left_when_worker_and_consumer_are_killed_is_ended_by_the_monitor(product):
    product.monitor()
    consumer = product.workers(1)
    mark = f"mark-{os.getpid()}-all"
    product.dispatch("StartsOthers", mark=mark, end="sleep")
    product.until(lambda: len(marked(mark)) == 5, 20, "five processes run")
    consumer.kill()
    # the one started with setsid has dropped its environment, and everything above it is gone: it alone is out of reach
    product.until(lambda: len(marked(mark)) <= 1, 20, "what bears the worker's mark is ended")
    for pid in marked(mark):
        os.kill(pid, signal.SIGKILL)


def test_what_a_completed_job_leaves_running_is_said_and_ends_with_the_worker(product):
    product.monitor()
    consumer = product.workers(1)
    mark = f"mark-{os.getpid()}-left"
    (uuid,) = product.dispatch("StartsOthers", mark=mark, end="completed")
    product.ended(20)
    assert product.outcomes(uuid) == ["completed"]
    said = [message for _level, source, message in lines_of(product, uuid) if source == "worker"]
    assert len(said) == 1 and said[0].startswith("Left running") and said[0].count("python") >= 3
    (after,) = product.dispatch("TestFail")
    product.ended(20)
    assert len(marked(mark)) == 5 and not [1 for _, source, _ in lines_of(product, after) if source == "worker"], "a later job's end is not theirs"
    consumer.terminate()
    consumer.wait(20)
    product.until(lambda: not marked(mark), 10, "ended with the worker")


def test_pools_of_processes_work_and_a_forked_copy_of_the_worker_ends(product):
    product.monitor()
    product.workers(1)
    (pools,) = product.dispatch("UsesPools")
    (says,) = product.dispatch("ForksAndSays")
    forks = [product.dispatch("ForksOn", how=how)[0] for how in ("return", "raise", "exit")]
    product.ended(60)
    assert json.loads(product.one("SELECT result FROM job_history WHERE uuid = ?", pools)) == [285, 9, 14], error_of(product, pools)
    assert {text for *_, text in lines_of(product, says)} == {f"{what} {n}" for what in ("from process", "started") for n in range(8)}
    assert [product.outcomes(uuid) for uuid in forks] == [["completed"]] * 3
    pid = product.worker_pids()[0]
    copies = [child.pid for child in psutil.process_iter(["ppid", "cmdline"])
              if child.info["ppid"] == pid and any("huey" in part for part in child.info["cmdline"] or ())]
    assert not copies, "no copy answers for the worker"


def test_what_a_job_prints_warns_and_logs_is_on_its_page(product):
    product.workers(1)
    first, second = product.dispatch("Talks", 2)
    (aside,), (many,) = product.dispatch("TalksAside"), product.dispatch("Talks", lines=50_000)
    product.ended(60)
    for uuid in (first, second):
        lines = lines_of(product, uuid)
        assert ("INFO", "stdout", "printed 0") in lines and ("INFO", "stdout", "without a line break") in lines
        assert ("INFO", "myteam.jobs", "logged well") in lines and not any("not this" in text for *_, text in lines)
        assert any(level == "WARN" and source == "py.warnings" and "old ways" in text for level, source, text in lines), "each job's warning"
        assert any(level == "ERROR" and "ValueError: told" in text for level, _, text in lines)
        assert "hunter22" not in str(lines) and any(source == "stderr" for _, source, _ in lines)
    assert lines_of(product, aside) == []
    lines = lines_of(product, many)
    assert len(lines) == 1000 and lines[0][2] == "printed 0" and lines[199][2] == "printed 199" and any("caught" in text for *_, text in lines)
    assert "printed aside" in product.tail() or "printed aside" in Path(product.log.name).read_text()
    assert "hunter22" not in Path(product.log.name).read_text()


def test_a_line_of_a_silent_job_is_seen_while_it_runs(product):
    product.workers(1)
    (uuid,) = product.dispatch("SpeaksAndSleeps")
    product.until(lambda: any("second" in text for *_, text in lines_of(product, uuid)), 20, "the last line before a long silence")
    assert product.outcomes(uuid) == []


def test_no_job_notices_what_another_has_left_behind(product):
    product.monitor()
    product.workers(1)
    (before,), (mess,), (after,) = product.dispatch("LooksAround"), product.dispatch("LeavesAMess"), product.dispatch("LooksAround")
    (noop,) = product.dispatch("TestNoop")
    product.ended(30)
    seen = [json.loads(product.one("SELECT result FROM job_history WHERE uuid = ?", uuid)) for uuid in (before, after)]
    assert seen[0] == seen[1] and seen[1]["left"] is None and seen[1]["data"] is True
    assert [text for *_, text in lines_of(product, after)] == ["seen"]
    assert product.outcomes(mess) == product.outcomes(noop) == ["completed"]
    assert product.one("SELECT COUNT(*) FROM meta WHERE key = 'left open'") == 0, "a transaction left open is rolled back"
    said = " ".join(text for _, source, text in lines_of(product, mess) if source == "worker")
    assert "Threads left running" in said and "environment" in said and "open transaction" in said and "working folder" in said


def test_a_class_that_answers_nothing_about_itself_costs_no_worker(product):
    product.monitor()
    product.workers(1)
    evil = [product.dispatch("HostileClass", kind=kind)[0] for kind in EVIL]
    (noop,) = product.dispatch("TestNoop")
    product.ended(30)
    assert [product.outcomes(uuid) for uuid in evil] == [["failed"]] * 3 and all(error_of(product, uuid) for uuid in evil)
    assert product.outcomes(noop) == ["completed"] and product.one("SELECT COUNT(*) FROM worker_heartbeats") == 1


def test_no_exit_code_of_a_job_takes_the_place_of_its_worker_away(product):
    """A worker that leaves for good once said so by exit code 77 or 78."""
    product.monitor()
    product.workers(3)
    evil = [product.dispatch("EndsWorker", code=code)[0] for code in (0, 77, 78)]
    product.until(lambda: product.one("SELECT COUNT(*) FROM failed_jobs") == 3, 120, "poison after three workers each")
    assert {tuple(product.outcomes(uuid)) for uuid in evil} == {("lost", "lost", "lost", "failed")}
    (after,) = product.dispatch("TestNoop")
    product.ended(20)
    assert product.outcomes(after) == ["completed"]
    product.until(lambda: len(product.worker_pids()) == 3, 30, "each place has a worker again")


@pytest.mark.timeout(180)
def test_a_job_that_takes_the_files_of_its_worker_damages_nothing(product, tmp_path):
    """SQLite writes to descriptors by number: it wrote pages into a job's own files, and the database was lost."""
    product.monitor()
    product.workers(4)
    before = product.dispatch("TestEcho", 5, text="kept")
    product.ended(20)
    taking = [product.dispatch("TakesFiles", how=how, path=str(tmp_path / f"own-{how}"))[0] for how in ("close", "reuse", "replace", "session")]
    product.until(lambda: product.one("SELECT COUNT(*) FROM failed_jobs") == 4, 120, "poison after three workers each")
    for uuid in taking:
        assert product.outcomes(uuid) == ["lost", "lost", "lost", "failed"], lines_of(product, uuid)
    after = product.dispatch("TestEcho", 5, text="works")
    product.ended(20)
    assert product.finals() == dict.fromkeys([*before, *taking, *after], 1)
    assert product.one("PRAGMA integrity_check") == "ok"
    own = list(tmp_path.glob("own-*"))
    assert own and not any(b"SQLite" in path.read_bytes() for path in own), "no page went into its files"


def test_a_transaction_that_a_job_has_opened_by_itself_is_rolled_back(product):
    product.monitor()
    product.workers(2)
    (uuid,) = product.dispatch("KeepsTheLock", path=str(product.data_dir / "ainstein.sqlite3"))
    product.until(lambda: product.outcomes(uuid), 30, "its own settle is not held up for ever")
    after = product.dispatch("TestNoop", 5)
    product.ended(20)
    assert product.outcomes(uuid) == ["completed"] and all(product.outcomes(u) == ["completed"] for u in after)


def test_its_own_group_row_and_limits_are_a_jobs_own_affair(product):
    product.monitor()
    product.workers(2)
    (sleeps,) = product.dispatch("TestSleep", ms=12_000)
    product.until(lambda: product.one("SELECT COUNT(*) FROM jobs WHERE state = 'processing'"), 20, "another job runs")
    (group,), (row,), (limits,) = product.dispatch("KillsItsGroup"), product.dispatch("DeletesItsRow"), product.dispatch("LimitsItsFiles")
    product.ended(90)
    assert product.outcomes(group) == ["lost", "lost", "lost", "failed"], "poison, as for any that kills its worker"
    assert product.outcomes(sleeps) == ["completed"], "and nobody else's is lost with it"
    assert product.outcomes(row) == ["completed"] and product.outcomes(limits) == ["completed"]
    assert any("under the limit" in text for *_, text in lines_of(product, limits))


def test_a_worker_whose_outcome_was_refused_is_replaced(product):
    product.monitor()
    product.workers(1)
    product.dispatch("PatchesJson")
    costs, later = product.dispatch("GoodCosts", 1)[0], product.dispatch("GoodCosts", 3)
    product.ended()  # takes 24 s on an idle machine
    assert all(product.outcomes(u) == ["completed"] for u in later), "at most one other job notices"
    assert product.outcomes(costs)[-1] in ("failed", "completed")


def test_rows_that_another_program_has_written_stop_nobody(product):
    product.monitor()
    foreign = product.dispatch("TestNoop", 3)
    connection = sqlite3.connect(product.data_dir / "ainstein.sqlite3", timeout=10, isolation_level=None)
    for uuid, column, value in zip(foreign, ("available_ms", "timeout", "backoff"), ("soon", b"\xff", "x,y"), strict=True):
        connection.execute(f"UPDATE jobs SET {column} = ?, tries = 'three' WHERE uuid = ?", (value, uuid))
    connection.execute("UPDATE jobs SET payload = 'no json' WHERE uuid = ?", (foreign[2],))
    connection.execute("INSERT INTO worker_heartbeats (worker_name, process_id, queue, status, started_at, last_heartbeat, worker_id, consumer_id, host) "
                       "VALUES ('odd', 'pid', 'x', 'idle', 'a', 'b', x'ff00', '', 'h')")
    connection.execute("INSERT INTO job_metrics (uuid, claim_no, round, job_type, tenant_id, queue, status, processing_time, completed_at, attempts) "
                       "VALUES ('odd', 1, 1, x'ff', x'fe', 'default', 'completed', x'01', 'noon', 1)")
    connection.close()
    product.workers(1)
    after = product.dispatch("TestNoop", 5)
    product.until(lambda: all(product.outcomes(u) == ["completed"] for u in after), 30, "others run")
    product.until(lambda: all(product.outcomes(u) for u in foreign), 30, "and these end")
    assert set(product.finals().values()) == {1}
    (uuid,) = product.dispatch("TestSleep", ms=20_000)
    product.until(lambda: product.one("SELECT COUNT(*) FROM jobs WHERE state = 'processing'"), 20, "it runs")
    os.kill(product.one("SELECT h.process_id FROM worker_heartbeats h JOIN jobs j ON j.worker_id = h.worker_id"), signal.SIGKILL)
    product.until(lambda: product.outcomes(uuid) == ["lost"], 15, "the rescue looks past the odd row")
