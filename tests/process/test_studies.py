"""The monitor's hourly study in a process of its own: one at a time, given up, ended with the monitor."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from app.ledger import counts
from app.monitor import studies
from app.monitor.loop import Monitor
from app.monitor.studies import Studies
from app.support.clock import HOUR_MS


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def started(ledger, tmp_path, monkeypatch):
    """`started(command)`: Studies whose first study has begun, and its clock."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv("DATABASE_URL", ledger.app.extensions["settings"].database_url if ledger.store == "postgresql" else "")
    made = []

    def start(*command: str) -> tuple[Studies, Clock]:
        clock = Clock()
        made.append(one := Studies(clock, command or studies.COMMAND))
        one.run(ledger.connection)
        one.begin()
        one.run(ledger.connection)
        assert one.child is None, "not in the first minute"
        clock.now += studies.FIRST_S
        one.run(ledger.connection)
        return one, clock

    yield start
    for one in made:
        one.stop()


def end(one: Studies, connection) -> None:
    """Until its process has ended and was looked at."""
    one.child.wait(60)
    one.run(connection)


def test_a_study_writes_its_fact_and_the_next_comes_an_hour_later(ledger, started):
    one, clock = started()
    first = one.child
    one.run(ledger.connection)
    assert one.child is first, "one at a time"
    end(one, ledger.connection)
    kept, age = counts.load(ledger.connection, "capacity")
    assert kept["last"]["runs"] == 0 and age < 60_000 and one.child is None
    clock.now += studies.EVERY_S - 5
    one.run(ledger.connection)
    assert one.child is None
    ledger.change("UPDATE meta SET at_ms = at_ms - :hour WHERE key = 'capacity'", hour=HOUR_MS)
    clock.now += 5
    one.run(ledger.connection)
    assert one.child is not None


def test_a_fresh_fact_of_another_monitor_is_enough(ledger, started):
    with ledger.connection.transaction() as tx:
        counts.save(tx, "capacity", {})
    one, _ = started()
    assert one.child is None


def test_what_went_wrong_stays_the_error_of_the_duty_until_a_study_succeeds(ledger, started):
    one, clock = started(sys.executable, "-c", "import sys; sys.exit('no memory is left')")
    one.child.wait(60)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="ended with 1: no memory is left"):
            one.run(ledger.connection)
    one.command, clock.now = (sys.executable, "-c", ""), clock.now + studies.EVERY_S
    with pytest.raises(RuntimeError):
        one.run(ledger.connection)
    end(one, ledger.connection)
    one.run(ledger.connection)


def test_one_that_takes_too_long_is_killed(ledger, started):
    one, clock = started(sys.executable, "-c", "import time; time.sleep(600)")
    child = one.child
    clock.now += studies.KILL_S - 1
    one.run(ledger.connection)
    clock.now += 1
    with pytest.raises(RuntimeError, match="took longer than 300 s"):
        one.run(ledger.connection)
    assert child.returncode == -9 and one.child is None


def test_a_study_gives_way_and_ends_with_its_monitor(tmp_path):
    """The monitor here is a process that starts the real command, looks at its priority and dies without a word."""
    code = ("import subprocess, sys, time, os\n"
            "child = subprocess.Popen([sys.executable, '-c', 'import time; from app.cli import capacity as c; "
            "c.give_way(); print(1, flush=True); time.sleep(600)'], stdout=subprocess.PIPE, env=os.environ | {'AINSTEIN_STUDY_OF': str(os.getpid())})\n"
            "child.stdout.readline()\n"
            "print(child.pid, os.getpriority(os.PRIO_PROCESS, child.pid), flush=True)\n"
            "os._exit(1)\n")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=os.environ | {"PYTHONPATH": os.getcwd()})
    pid, priority = done.stdout.split()
    assert priority == "19"
    for _ in range(100):
        if not os.path.exists(f"/proc/{pid}") or "Z" in open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0]:
            return
        time.sleep(0.1)
    raise AssertionError("the study outlived its monitor")


def test_a_single_round_starts_no_study(ledger):
    monitor = Monitor(ledger.app)
    monitor.round()
    assert monitor.studies.child is None
    monitor.connection.close()
