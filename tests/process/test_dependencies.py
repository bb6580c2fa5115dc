"""Jobs that dispatch others after themselves, or wait for those they dispatched, in real workers that are killed."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

from tests.process.product import Product
from tests.process.test_postgres import OnPostgres


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request, tmp_path):
    """The product on each database."""
    if request.param == "sqlite":
        running = Product(request.getfixturevalue("data_dir"))
    else:
        (tmp_path / "data").mkdir(mode=0o700)
        running = OnPostgres(tmp_path / "data", request.getfixturevalue("postgres").url)
    running.monitor()
    running.workers(2)
    yield running
    running.stop()


def kill_workers(product: Product, times: int, pause_s: float) -> None:
    for _ in range(times):
        product.until(lambda: product.one("SELECT COUNT(*) FROM jobs WHERE state = 'processing'") or not product.one("SELECT COUNT(*) FROM jobs"), 60, "a job runs")
        time.sleep(pause_s)
        for pid in product.worker_pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def result(product: Product, uuid: str):
    return json.loads(product.one("SELECT result FROM job_history WHERE uuid = ?", uuid) or "null")


def test_a_job_waits_for_those_it_dispatched_and_gets_their_results(either):
    uuids = [either.dispatch("TestSum", of=of)[0] for of in (1, 3, 10)]
    either.ended(60)
    assert [result(either, uuid) for uuid in uuids] == [0, 3, 45]
    assert all(either.outcomes(uuid) == ["completed"] for uuid in uuids), "a wait is no attempt"


def test_a_killed_job_that_waits_for_others_has_none_twice_and_none_missing(either):
    uuids = either.dispatch("TestSum", 6, of=4)
    kill_workers(either, 4, 0.05)
    either.ended(120)
    assert [result(either, uuid) for uuid in uuids] == [6] * 6
    assert either.all("SELECT child_uuid, COUNT(*) FROM job_edges GROUP BY child_uuid ORDER BY 1") == sorted((uuid, 4) for uuid in uuids)
    assert either.one("SELECT COUNT(*) FROM job_history WHERE job_type = 'TestEcho'") == 24
    assert set(either.finals().values()) == {1}


def test_a_killed_job_that_dispatched_others_after_itself_has_none_twice_and_none_missing(either, tmp_path):
    marks = tmp_path / "marks"
    parents = [either.dispatch("TestHeirs", path=str(marks), n=n, ms=400)[0] for n in range(6)]
    kill_workers(either, 4, 0.2)
    either.ended(120)
    assert {int(line) for line in marks.read_text().split()} == set(range(18))
    assert either.one("SELECT COUNT(*) FROM job_history WHERE job_type = 'TestMark'") == 18
    assert either.one("SELECT COUNT(*) FROM job_metrics WHERE status = 'lost'") >= 1
    early = ("SELECT COUNT(*) FROM job_edges e JOIN job_metrics c ON c.uuid = e.child_uuid JOIN job_metrics p ON p.uuid = e.parent_uuid "
             "AND p.status = 'completed' WHERE c.started_at < p.completed_at")
    assert either.one(early) == 0 and set(either.finals().values()) == {1}
    assert all(either.outcomes(uuid)[-1] == "completed" for uuid in parents)


def test_a_job_that_dispatches_others_after_itself_does_not_block_its_own_progress(either, tmp_path):
    """On PostgreSQL a lock on its own row would hold up each write of its context; SQLite has one writer, so it commits first."""
    uuid = either.dispatch("TestHeirs", path=str(tmp_path / "marks"), n=0, commit=not isinstance(either, OnPostgres))[0]
    either.ended(60)
    assert result(either, uuid) < 2000
    assert "could not be written" not in either.tail()
