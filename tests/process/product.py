"""A running product without the web: real consumers and a real monitor on one data folder."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import psutil

from tests.conftest import create_app, db, load_settings

ROOT = Path(__file__).resolve().parents[2]
FAST = ["-k", "process", "-g", "TERM", "-n", "-c", "1", "-d", "0.05", "-m", "0.2"]


class Product:
    """Starts and kills processes; reads the database from outside; dispatches through the real service."""

    def __init__(self, data_dir: Path, grace: int = 10, settings: dict[str, str] | None = None) -> None:
        self.data_dir, self.grace = data_dir, grace
        self.env = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "PYTHONPATH")} | {
            "DATA_DIR": str(data_dir), "JOB_MODULES": "tests.jobtypes", "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        }
        self.env |= settings or {}
        self.started: list[subprocess.Popen] = []
        self.app = create_app(load_settings({"DATA_DIR": str(data_dir)} | (settings or {})))
        self.log = open(data_dir.parent / "product.log", "ab")

    def start(self, *words: str) -> subprocess.Popen:
        process = subprocess.Popen([sys.executable, "-m", *words], env=self.env, cwd=ROOT, stdout=self.log, stderr=self.log)
        self.started.append(process)
        return process

    def workers(self, count: int = 2) -> subprocess.Popen:
        return self.start("huey.bin.huey_consumer", "app.worker.huey", "-w", str(count), *FAST, "-t", str(self.grace))

    def serve(self, queue: str) -> int:
        """A worker of its own for one queue, in a consumer of its own; the id of its row."""
        before, self.env = self.env, self.env | {"WORKER_QUEUES": queue}
        self.workers(1)
        self.env = before
        row = "SELECT MAX(id) FROM worker_heartbeats WHERE queue = ? AND status <> 'stopped'"
        self.until(lambda: self.one(row, queue), 30, f"a worker for {queue}")
        return self.one(row, queue)

    def clock(self, queue: str, ticks: int = 25) -> None:
        """As long as `ticks` jobs of 100 ms take one after the other in a queue that is worked on: on a loaded machine longer.

        For what must not happen in 2.5 s: a worker asks for work, and a consumer for its workers' health, in far less."""
        for _ in range(ticks):
            (uuid,) = self.dispatch("TestSleep", queue=queue, ms=100)
            self.until(lambda uuid=uuid: self.outcomes(uuid) == ["completed"], 30, f"a job in {queue}")

    def monitor(self) -> subprocess.Popen:
        return self.start("flask", "--app", "wsgi", "monitor")

    def dispatch(self, name: str, count: int = 1, queue: str | None = None, **args) -> list[str]:
        from app import registry

        with self.app.app_context():
            definition = registry.find(name).with_options(queue=queue) if queue else registry.find(name)
            uuids = [definition.dispatch(**args) for _ in range(count)]
            db.session.commit()
        return uuids

    def dispatch_many(self, name: str, many: list[dict], **options) -> list[str]:
        from app import registry

        with self.app.app_context():
            uuids = registry.find(name).with_options(**options).dispatch_many(many)
            db.session.commit()
        return uuids

    def all(self, sql: str, *params) -> list[tuple]:
        connection = sqlite3.connect(self.data_dir / "ainstein.sqlite3", timeout=10)
        try:
            return connection.execute(sql, params).fetchall()
        finally:
            connection.close()

    def one(self, sql: str, *params):
        rows = self.all(sql, *params)
        return rows[0][0] if rows else None

    def until(self, condition, seconds: float = 60, what: str = "") -> float:
        """Wait for a condition of the database; returns the seconds it took."""
        start = time.monotonic()
        while not condition():
            if time.monotonic() - start > seconds:
                raise AssertionError(f"not within {seconds} s: {what or condition}\n{self.tail()}")
            time.sleep(0.05)
        return time.monotonic() - start

    def ended(self, seconds: float = 60) -> None:
        self.until(lambda: self.one("SELECT COUNT(*) FROM jobs") == 0, seconds, "all jobs ended")

    def quiet(self, seconds: float = 60) -> None:
        """Wait until no job runs or begins within a minute; other tests of the same site leave later ones."""
        soon = "SELECT COUNT(*) FROM jobs WHERE state IN ('pending', 'processing') OR state = 'scheduled' AND available_ms < ?"
        self.until(lambda: self.one(soon, (time.time() + 60) * 1000) == 0, seconds, "no job is due")

    def worker_pids(self) -> list[int]:
        return [r[0] for r in self.all("SELECT process_id FROM worker_heartbeats WHERE status <> 'stopped'") if psutil.pid_exists(r[0])]

    def outcomes(self, uuid: str) -> list[str]:
        return [r[0] for r in self.all("SELECT status FROM job_metrics WHERE uuid = ? ORDER BY id", uuid)]

    def finals(self) -> dict[str, int]:
        """Final outcomes by uuid."""
        return dict(self.all("SELECT uuid, COUNT(*) FROM job_metrics WHERE status IN ('completed','failed','timeout','cancelled') GROUP BY uuid"))

    def tail(self) -> str:
        self.log.flush()
        return (self.data_dir.parent / "product.log").read_text(errors="replace")[-3000:]

    def stop(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self.started:
            try:
                process.wait(self.grace + 10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        with self.app.app_context():
            db.session.remove()
            db.engine.dispose()
        self.log.close()
