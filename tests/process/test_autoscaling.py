"""A real consumer whose number of workers follows the load; the times of the rules are short (tests/scaled.py)."""

from __future__ import annotations

import os
import signal

import pytest

from app import registry
from app.extensions import db
from app.services.jobs import worker_commands
from tests.process.product import FAST, Product

MOST = 3


@pytest.fixture
def product(data_dir):
    running = Product(data_dir, settings={"WORKERS": "1", "WORKERS_MIN": "1", "WORKERS_MAX": str(MOST)})
    running.monitor()
    yield running
    running.stop()


def consumer(product):
    started = product.start("huey.bin.huey_consumer", "tests.scaled.huey", "-w", "1", *FAST, "-t", "10")
    product.until(lambda: alive(product) == 1, 30, "the first worker")
    return started


def alive(product) -> int:
    return product.one("SELECT COUNT(*) FROM worker_heartbeats WHERE status <> 'stopped'")


def wanted(product) -> int | None:
    return product.one("SELECT wanted FROM consumers")


def log(product) -> list[str]:
    return [row[0] for row in product.all("SELECT action FROM audit WHERE actor = 'autoscaling' ORDER BY id")]


def load(product, jobs: int = 200, ms: int = 100) -> None:
    product.dispatch_many("TestSleep", [{"ms": ms}] * jobs)


def test_workers_follow_a_load_that_rises_and_falls_and_a_long_job_keeps_its_worker(product):
    consumer(product)
    with product.app.app_context():
        long = registry.find("TestSleep").with_options(queue="high", timeout=90).dispatch(ms=45_000)
        db.session.commit()
    product.until(lambda: product.one("SELECT COUNT(*) FROM jobs WHERE state = 'processing'") == 1, 20, "the long job runs")
    keeper = product.one("SELECT worker_id FROM jobs WHERE uuid = ?", long)
    load(product, 260)
    product.until(lambda: alive(product) == MOST and wanted(product) == MOST, 40, "two more workers")
    product.until(lambda: product.one("SELECT COUNT(*) FROM jobs") == 1, 60, "all but the long one")
    product.until(lambda: alive(product) == 1, 40, "the two are retired")
    product.until(lambda: wanted(product) == 1, 10, "the row says so")
    assert product.one("SELECT worker_id FROM worker_heartbeats WHERE status <> 'stopped'") == keeper
    assert product.outcomes(long) == [], "and its job still runs"
    assert log(product) == ["worker started", "worker started", "no worker started", "worker retired", "worker retired"]
    reasons = {row for row in product.all("SELECT reason, stop_code FROM worker_heartbeats WHERE status = 'stopped'")}
    assert reasons == {("retired: autoscaling needs fewer workers", "retired")}
    assert product.one("SELECT COUNT(*) FROM job_metrics WHERE status <> 'completed'") == 0, "nothing was handed back"
    product.clock("default", 20)
    assert alive(product) == 1, "nobody took the places"
    assert product.outcomes(long) == [] or product.outcomes(long) == ["completed"]


def test_a_persons_stop_and_start_stay_what_they_are(product):
    consumer(product)
    load(product, 500)
    product.until(lambda: alive(product) == MOST, 40, "as many as may be")
    first = product.one("SELECT MIN(id) FROM worker_heartbeats WHERE status <> 'stopped'")
    with product.app.app_context():
        worker_commands.command_worker(first, "stop", "ada")
    product.until(lambda: alive(product) == MOST - 1 and wanted(product) == MOST - 1, 20, "one stopped")
    assert product.one("SELECT stop_code FROM worker_heartbeats WHERE id = ?", first) == "empty"
    left = product.one("SELECT COUNT(*) FROM jobs")
    product.until(lambda: product.one("SELECT COUNT(*) FROM jobs") < left - 60, 30)
    assert alive(product) == MOST - 1, "the load is there, but the place is a person's"
    with product.app.app_context():
        worker_commands.command_worker(first, "start", "ada")
    product.until(lambda: alive(product) == MOST, 20, "started again")
    product.ended(60)
    product.until(lambda: alive(product) == 1, 40, "and down to the least")
    assert log(product).count("worker retired") == 2


def test_workers_that_die_are_replaced_and_a_killed_consumer_leaves_no_more_than_its_row(product):
    parent = consumer(product)
    load(product, 600)
    product.until(lambda: alive(product) == MOST, 40, "as many as may be")
    before = set(product.worker_pids())
    os.kill(min(before), signal.SIGKILL)
    product.until(lambda: len(before & set(product.worker_pids())) == 2 and len(product.worker_pids()) == MOST, 30, "another in its place")
    assert wanted(product) == MOST
    parent.kill()
    parent.wait()
    product.until(lambda: not product.worker_pids(), 30, "its workers went with it")
    assert product.one("SELECT COUNT(*) FROM consumers") == 1, "it did not end by itself"
    consumer_after = product.start("huey.bin.huey_consumer", "tests.scaled.huey", "-w", "1", *FAST, "-t", "10")
    product.until(lambda: product.one("SELECT MIN(process_id) FROM consumers") == consumer_after.pid, 30, "the row of the new one alone")
    product.ended(90)
    consumer_after.terminate()
    consumer_after.wait(30)
    assert product.one("SELECT COUNT(*) FROM consumers") == 0
    assert set(product.finals().values()) == {1} and len(product.finals()) == 600
