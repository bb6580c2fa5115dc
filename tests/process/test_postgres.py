"""Workers and monitor on PostgreSQL: any break of any connection is survived within seconds, and nothing ends twice."""

from __future__ import annotations

import os
import signal
import threading
import time

import psycopg
import pytest
from sqlalchemy import text

from app.extensions import db
from app.services.instance import migration
from tests.process.product import Product


class OnPostgres(Product):
    """The same product with its ledger on PostgreSQL; `all` asks there."""

    def __init__(self, data_dir, url: str) -> None:
        super().__init__(data_dir, settings={"DATABASE_URL": url})
        self.url = url
        with self.app.app_context():
            with db.engine.begin() as connection:
                connection.execute(text("DROP SCHEMA public CASCADE"))
                connection.execute(text("CREATE SCHEMA public"))
            migration.prepare(self.app.extensions["settings"])
            db.session.remove()

    def all(self, sql: str, *params) -> list[tuple]:
        with psycopg.connect(self.url, connect_timeout=5) as connection:
            return connection.execute(sql.replace("?", "%s"), params).fetchall()


@pytest.fixture
def on_postgres(tmp_path, postgres):
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    running = OnPostgres(folder, postgres.url)
    yield running
    running.stop()


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_workers_come_back_after_a_restart_of_the_server(on_postgres, postgres, mode):
    product = on_postgres
    product.monitor()
    product.workers(2)
    first = product.dispatch("TestSleep", 4, ms=10)
    product.ended(30)
    running = product.dispatch("TestSleep", 4, ms=3000)
    product.until(lambda: product.one("SELECT COUNT(*) FROM jobs WHERE state = 'processing'") == 2, 20, "two run")
    postgres.stop(mode, check=True)
    postgres.start()
    after = product.dispatch("TestSleep", 10, ms=10)
    took = product.until(lambda: product.one("SELECT COUNT(*) FROM job_history WHERE job_type = 'TestSleep'") == 18, 40, "all ended")
    assert product.finals() == dict.fromkeys([*first, *running, *after], 1)
    assert took < 30
    assert product.one("SELECT COUNT(*) FROM job_metrics WHERE status IN ('lost', 'late')") == 0, "no job that was done ran twice"


def test_connections_cut_at_any_statement_cost_no_outcome(on_postgres):
    product = on_postgres
    product.monitor()
    product.workers(2)
    product.until(lambda: len(product.worker_pids()) == 2, 20, "both run")
    uuids = product.dispatch("TestSleep", 150, ms=30)
    end = threading.Event()

    def cut() -> None:
        while not end.is_set():
            with psycopg.connect(product.url) as connection:
                connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND application_name = 'ainstein'")
            time.sleep(0.35)

    cutter = threading.Thread(target=cut)
    cutter.start()
    try:
        product.until(lambda: product.one("SELECT COUNT(*) FROM job_history") >= 60, 60, "work goes on while they are cut")
    finally:
        end.set()
        cutter.join()
    product.ended(40)
    assert product.finals() == dict.fromkeys(uuids, 1)
    assert product.one("SELECT COUNT(*) FROM job_history WHERE status = 'completed'") == 150


def test_hostile_values_end_in_one_outcome_here_too(on_postgres):
    product = on_postgres
    product.monitor()
    product.workers(1)
    (forged,), (surrogate,), (nul,) = product.dispatch("HostileForge"), product.dispatch("HostileReturn", kind="surrogate"), product.dispatch("Talks")
    product.ended(30)
    assert product.outcomes(forged) == ["failed"] and "could not be written" in product.one("SELECT error FROM failed_jobs WHERE uuid = ?", forged)
    assert product.outcomes(surrogate) == ["completed"] and product.outcomes(nul) == ["completed"]
    assert product.one("SELECT COUNT(*) FROM job_logs WHERE uuid = ?", nul) >= 5


def test_workers_of_another_folder_are_not_given_up_and_are_rescued_when_they_are_killed(on_postgres, tmp_path):
    product = on_postgres
    product.monitor()
    product.workers(1)
    other = dict(product.env)
    product.env["DATA_DIR"] = str(tmp_path / "other")
    (tmp_path / "other").mkdir(mode=0o700)
    product.workers(1)
    product.env = other
    product.until(lambda: len(product.worker_pids()) == 2, 20, "a worker in each folder")
    uuids = product.dispatch("TestSleep", 4, ms=4000)
    product.until(lambda: product.one("SELECT COUNT(*) FROM jobs WHERE state = 'processing'") == 2, 20, "both work")
    product.ended(40)
    assert product.finals() == dict.fromkeys(uuids, 1)
    assert product.one("SELECT COUNT(*) FROM job_metrics WHERE status = 'lost'") == 0, "none was buried alive"
    assert product.one("SELECT COUNT(*) FROM worker_heartbeats WHERE status <> 'stopped'") == 2
    product.dispatch("TestSleep", 2, ms=20_000)
    product.until(lambda: product.one("SELECT COUNT(*) FROM jobs WHERE state = 'processing'") == 2, 20, "both work")
    for pid in product.worker_pids():
        os.kill(pid, signal.SIGKILL)
    product.until(lambda: product.one("SELECT COUNT(*) FROM job_metrics WHERE status = 'lost'") == 2, 15, "proved by their processes")
