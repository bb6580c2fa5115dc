"""Ticket stores that stand still: a dispatch waits 250 ms at most, once, and workers go on without tickets."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import psutil
import pytest

from app import queue
from app.config import load_settings
from app.queue import MAX_TICKETS, PUBLISH_WAIT_S, Tickets, build, ticket_folder
from tests.backends import free_port

MUCH = PUBLISH_WAIT_S + 0.35  # the bound, and what a busy machine adds


class Silent:
    """A server that takes connections and never answers, or, with `drip`, so slowly that no read is ever late."""

    def __init__(self, drip: bytes = b"") -> None:
        self.drip, self.over, self.accepted = drip, threading.Event(), 0
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.socket.accept()
                self.accepted += 1
                threading.Thread(target=self._hold, args=(client,), daemon=True).start()

    def _hold(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            while not self.over.wait(0.1):
                if self.drip:
                    client.sendall(self.drip)

    def close(self) -> None:
        self.over.set()
        self.socket.close()


@pytest.fixture
def redis_server(tmp_path):
    if not (program := shutil.which("redis-server")):
        pytest.skip("redis-server is not installed")
    port = free_port()
    server = subprocess.Popen([program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)], stdout=subprocess.DEVNULL)
    end = time.monotonic() + 10
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            break
        time.sleep(0.05)
    yield server, f"redis://127.0.0.1:{port}/0"
    server.send_signal(signal.SIGCONT)
    server.terminate()
    server.wait(10)


@contextlib.contextmanager
def stopped(*pids: int):
    try:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def store(data_dir, url: str, mixin: type | None = None) -> Tickets:
    settings = load_settings({"DATA_DIR": str(data_dir), "QUEUE_URL": url})
    return Tickets(settings, build(settings, lambda task: None, mixin), lambda: 1)


def took(function) -> float:
    start = time.monotonic()
    function()
    return time.monotonic() - start


def waits_once(tickets: Tickets) -> None:
    """1,000 tickets cost at most the bound, the next ones nothing, and a look at the store no more than the bound."""
    assert took(lambda: tickets.publish(["x"] * 1000)) < MUCH
    assert took(lambda: [tickets.publish(["x"]) for _ in range(100)]) < 0.2
    counts: list[int] = []
    assert took(lambda: counts.append(tickets.count())) < 2 * MUCH and counts == [-1]


@pytest.mark.parametrize("scheme", ["redis", "postgresql"])
@pytest.mark.parametrize("drip", [b"", b"$1000000\r\nx", b"N"])
def test_a_server_that_takes_the_connection_and_is_silent_costs_250_ms_once(data_dir, scheme, drip):
    server = Silent(drip)
    waits_once(store(data_dir, f"{scheme}://u:p@127.0.0.1:{server.port}/0"))
    assert server.accepted <= 3
    server.close()


def test_redis_that_is_stopped_costs_250_ms_once_and_is_used_again(data_dir, redis_server):
    server, url = redis_server
    tickets = store(data_dir, url)
    assert tickets.publish(["a", "b"]) == 2 and tickets.count() == 2
    with stopped(server.pid):
        waits_once(tickets)
    end = time.monotonic() + 10
    while tickets.count() < 0 and time.monotonic() < end:
        time.sleep(0.05)
    assert tickets.publish(["c"]) == 1 and tickets.publish(["x"] * 1000) >= 1
    tickets.huey.storage.flush_queue()


def test_postgresql_that_is_stopped_costs_250_ms_once_and_is_used_again(data_dir, postgres, postgres_url):
    tickets = store(data_dir, postgres_url)
    assert tickets.publish(["a"]) == 1 and tickets.count() >= 1
    server = psutil.Process(int((postgres.folder / "db" / "postmaster.pid").read_text().split()[0]))
    with stopped(server.pid, *(child.pid for child in server.children())):
        waits_once(tickets)
        fresh = store(data_dir, postgres_url)
        waits_once(fresh)
        reader = store(data_dir, postgres_url)
        with pytest.raises(TimeoutError):
            reader.take(reader.huey.storage.dequeue)
    end = time.monotonic() + 20
    while (tickets.count() < 0 or tickets.publish(["c"]) != 1) and time.monotonic() < end:
        time.sleep(0.05)
    assert tickets.count() >= 1
    tickets.huey.storage.flush_queue()


def test_each_job_has_a_ticket_at_a_server_whose_blocked_workers_need_one_each(data_dir, redis_server, postgres_url):
    for url in (redis_server[1], postgres_url):
        tickets = store(data_dir, url)
        assert tickets.publish(["a"] * 20) == 20 and tickets.room() == MAX_TICKETS
        tickets.huey.storage.flush_queue()


def test_idle_workers_that_find_no_ticket_begin_at_once(product, monkeypatch):
    monkeypatch.setattr(queue, "ENOUGH", 1)
    product.workers(3)
    product.until(lambda: product.one("SELECT COUNT(*) FROM worker_heartbeats WHERE status <> 'stopped'") == 3, 30, "three workers")
    with product.app.app_context():
        tickets = product.app.extensions["publisher"].tickets
    for _ in range(3):
        product.dispatch("TestSleep", ms=5000)
        assert tickets.count() <= 1
    running = "SELECT COUNT(*) FROM jobs WHERE state = 'processing'"
    product.until(lambda: product.one(running) == 3, 4, "each of three idle workers runs one")


def test_a_worker_still_waits_for_its_ticket_at_redis(data_dir, redis_server):
    _, url = redis_server
    tickets = store(data_dir, url, type("Reads", (), {}))
    assert 0.9 < took(tickets.huey.storage.dequeue) < 1.9  # the store's own wait, not an error of the line
    threading.Timer(0.3, lambda: store(data_dir, url).publish(["late"])).start()
    assert tickets.huey.storage.dequeue()


def test_jobs_run_while_redis_stands_still(product, redis_server):
    server, url = redis_server
    product.env["QUEUE_URL"] = url
    product.monitor()
    product.workers(2)
    product.dispatch("TestNoop", 5)
    product.ended(30)
    with stopped(server.pid):
        uuids = product.dispatch("TestNoop", 20)
        product.ended(30)
        product.until(lambda: "ticket store" in str(product.one("SELECT value FROM meta WHERE key = 'monitor'")), 20, "the monitor says so")
    assert all(product.finals()[uuid] == 1 for uuid in uuids)
    product.until(lambda: "ticket store" not in str(product.one("SELECT value FROM meta WHERE key = 'monitor'")), 20, "and when it is over")


USES_A_FILE = """
import contextlib, os, sqlite3, sys, threading
from app.config import load_settings
from app.queue import Tickets, build

settings = load_settings({"DATA_DIR": sys.argv[1], "QUEUE_URL": "sqlite:"})
generation = 1
tickets = Tickets(settings, build(settings, lambda task: None), lambda: generation)
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
while True:
    if not tickets.publish(["x" * 100]):
        generation, tickets._away_until = generation + 1, 0.0  # what the monitor does
    else:
        with contextlib.suppress(sqlite3.Error):  # as a worker does
            tickets.huey.dequeue()
"""


def test_files_overwritten_under_processes_that_use_them_kill_none(data_dir):
    """SQLite maps a WAL's index into memory: whoever overwrites it ends each process that uses it with SIGBUS."""
    users = [subprocess.Popen([sys.executable, "-c", USES_A_FILE, str(data_dir)], stdin=subprocess.PIPE) for _ in range(2)]
    folder = ticket_folder(load_settings({"DATA_DIR": str(data_dir), "QUEUE_URL": "sqlite:"}))
    damaged: set[str] = set()
    end = time.monotonic() + 60
    while len(damaged) < 12 and time.monotonic() < end and all(user.poll() is None for user in users):
        for path in sorted(folder.glob("tickets-*")):
            with contextlib.suppress(FileNotFoundError):  # a journal comes and goes
                if path.name not in damaged and path.stat().st_size:
                    path.write_bytes(os.urandom(8192))
                    damaged.add(path.name)
        time.sleep(0.05)
    ends = [user.poll() for user in users]
    for user in users:
        user.stdin.close()
        user.wait(10)
    assert ends == [None] * 2, "a negative number is the signal that ended it"
    assert len(damaged) >= 12
