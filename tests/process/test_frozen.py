"""Frozen workers, and a job that holds the interpreter, with real processes. The monitor's own time runs 6 times as fast, so that its 120 s
take 20 s; a beat of a worker that lives comes each 10 s, so none is ever silent for 120 of those seconds."""

from __future__ import annotations

import os
import signal
import threading
import time

import psutil
import pytest

from app.ledger import workforce
from app.ledger.dialect import Connection
from app.monitor.consumer_watch import ConsumerWatch
from app.monitor.worker_watch import WorkerWatch


class FastMonitor(threading.Thread):
    """Both watches, each fifth of a second."""

    def __init__(self, product) -> None:
        super().__init__(daemon=True)
        settings = product.app.extensions["settings"]
        self.connection, self.end = Connection(settings.database_url), threading.Event()
        self.workers = WorkerWatch(self.connection, settings, lambda: time.monotonic() * 6)
        self.consumers = ConsumerWatch(self.workers)

    def run(self) -> None:
        while not self.end.wait(0.2):
            self.workers.rescue()
            self.consumers.look()
        self.connection.close()


@pytest.fixture
def fast(product):
    product.grace = 1
    monitor = FastMonitor(product)
    monitor.start()
    yield monitor
    monitor.end.set()
    monitor.join()


def seen(product) -> workforce.Workforce:
    connection = Connection(product.app.extensions["settings"].database_url)
    try:
        return workforce.look(connection)
    finally:
        connection.close()


def running(product, consumer, wanted: int = 2) -> list[int]:
    """The pids of the workers of a consumer, whose row says how many should run."""
    product.until(lambda: len(product.worker_pids()) == wanted, 30, "workers up")
    identity = product.one("SELECT consumer_id FROM worker_heartbeats WHERE status <> 'stopped'")
    with product.app.app_context():
        from sqlalchemy import text

        from app.extensions import db

        db.session.execute(text("DELETE FROM consumers"))
        db.session.execute(text("INSERT INTO consumers (consumer_id, host, process_id, queue, wanted, least, most, started_ms, beat_ms) "
                                "VALUES (:c, 'box', :p, 'q', :n, :n, :n, 1, 1)"), {"c": identity, "p": consumer.pid, "n": wanted})
        db.session.commit()
    return product.worker_pids()


def replaced(product, frozen: list[int]) -> bool:
    return not any(psutil.pid_exists(pid) for pid in frozen) and len(product.worker_pids()) == 2


def test_one_and_then_both_of_two_workers_freeze_and_are_replaced(product, fast):
    consumer = product.workers(2)
    pids = running(product, consumer)
    begun = product.data_dir / "begun"
    (uuid,) = product.dispatch_many("TestMark", [{"path": str(begun), "n": 1, "ms": 20_000}], timeout=3600)
    product.until(lambda: product.one("SELECT state FROM jobs") == "processing" and begun.exists(), 20, "the job runs")
    holder = product.one("SELECT w.process_id FROM worker_heartbeats w JOIN jobs j ON j.worker_id = w.worker_id")
    os.kill(holder, signal.SIGSTOP)
    product.until(lambda: seen(product).stale == 1, 30, "marked")
    found = seen(product)
    assert (found.expected, found.active, found.missing) == (2, 1, 0) and found.troubles[0].uuid == uuid and "frozen" in found.troubles[0].why
    product.until(lambda: replaced(product, [holder]), 60, "killed and replaced")
    assert product.outcomes(uuid) == ["lost"] and product.one("SELECT crashes FROM jobs") == 0
    product.until(lambda: product.one("SELECT state FROM jobs") == "processing", 20, "it runs again")
    pids = product.worker_pids()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    product.until(lambda: replaced(product, pids), 60, "both killed and replaced")
    product.until(lambda: product.outcomes(uuid) == ["lost", "lost", "completed"], 60, "the job has its outcome")
    assert "unresponsive" not in {t.kind for t in seen(product).troubles}


def test_a_job_that_holds_the_interpreter_is_seen_at_once_and_is_not_killed(product, fast):
    consumer = product.workers(2)
    running(product, consumer)
    (uuid,) = product.dispatch("TestHold")
    product.until(lambda: seen(product).busy == 1, 3, "busy")
    pid = product.one("SELECT w.process_id FROM worker_heartbeats w JOIN jobs j ON j.worker_id = w.worker_id")
    product.until(lambda: ("busy, not reporting", uuid) in [(t.why, t.uuid) for t in seen(product).troubles], 60, "silent")
    product.until(lambda: seen(product).stale == 1, 60, "silent for long")
    time.sleep(3)
    found = seen(product)
    assert psutil.pid_exists(pid) and ("unresponsive", uuid) in [(t.kind, t.uuid) for t in found.troubles], "its CPU time advances"
    assert (found.expected, found.missing, found.active) == (2, 0, 1)


def test_a_frozen_consumer_is_killed_with_its_workers(product, fast):
    consumer = product.workers(2)
    pids = running(product, consumer)
    consumer.send_signal(signal.SIGSTOP)
    product.until(lambda: "frozen" in (product.one("SELECT reason FROM consumers") or ""), 30, "marked")
    assert consumer.poll() is None
    product.until(lambda: consumer.poll() is not None, 60, "killed")
    product.until(lambda: not any(psutil.pid_exists(pid) for pid in pids), 10, "its workers end with it")
    product.until(lambda: "has ended" in (product.one("SELECT reason FROM consumers") or ""), 60, "what should run is not forgotten")
    assert seen(product).missing == 2 and seen(product).troubles[0].count == 2
    product.workers(2)
    product.until(lambda: len(product.worker_pids()) == 2, 30, "as a supervisor would")
