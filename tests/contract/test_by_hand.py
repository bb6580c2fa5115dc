"""What the monitor makes of workers and jobs that a person has told to end, on both databases and with the time given from outside."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from app.clock import stamp
from app.heartbeat import _REGISTER
from app.ledger.people import due_to_stop
from app.process import boot_id, namespace
from app.services import operations
from app.watch import MOST_GRACE_S, Watch

HOLD = """import sys, time; from pathlib import Path; from app.process import hold_lock; hold_lock(Path(sys.argv[1])); print("held", flush=True); time.sleep(600)"""


@pytest.fixture
def consumer(ledger):
    """A consumer that lives: a process of its own holds its lock."""
    path = ledger.app.extensions["settings"].data_dir / "workers" / "c1.lock"
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, cwd=Path(__file__).resolve().parents[2])
    assert process.stdout.readline() == b"held\n"
    yield "c1"
    process.kill()
    process.wait()
    process.stdout.close()


def worker(ledger, name: str, consumer: str) -> str:
    """A worker of this machine that has ended: its lock is free."""
    worker_id = f"{boot_id()[:8]}-{namespace()}-{2**22 + 1}-7-{name}"
    folder = ledger.app.extensions["settings"].data_dir / "workers"
    folder.mkdir(exist_ok=True)
    (folder / f"{worker_id}.lock").touch()
    ledger.change(_REGISTER, name=name, pid=2**22 + 1, queue="default", at=stamp(ledger.connection.now()), w=worker_id, consumer=consumer, host="here", memory=1,
                  code="x")
    return worker_id


def watch(ledger) -> Watch:
    return Watch(ledger.connection, ledger.app.extensions["settings"], lambda: 1000.0)


def test_workers_that_a_person_kills_speak_not_against_their_job(ledger, consumer):
    uuid = ledger.dispatch(tries=1)
    for n in range(4):
        worker_id = worker(ledger, f"w{n}", consumer)
        assert ledger.claim(worker_id).uuid == uuid
        with ledger.app.app_context():
            operations.command_worker(ledger.one("SELECT id FROM worker_heartbeats WHERE worker_name = :n", n=f"w{n}"), "kill", "ada")
        assert watch(ledger).rescue() == 1  # the process is gone already: by another monitor, or in a round that broke off after the kill
        row = ledger.row(uuid)
        assert (row.state, row.crashes, row.failures) == ("pending", 0, 0), "ready at once"
    assert ledger.outcomes(uuid) == ["lost"] * 4
    reasons = {r[0] for r in ledger.connection.all("SELECT reason FROM worker_heartbeats")}
    assert reasons == {"killed by hand"}


def test_workers_that_die_by_themselves_do(ledger, consumer):
    uuid = ledger.dispatch(tries=1)
    for n in range(2):
        ledger.change("UPDATE jobs SET state = 'pending'")
        assert ledger.claim(worker(ledger, f"w{n}", consumer)).uuid == uuid
        assert watch(ledger).rescue() == 1 and ledger.row(uuid).crashes == n + 1


def test_a_job_asked_to_stop_is_cancelled_whatever_its_worker_dies_of(ledger, consumer):
    uuid = ledger.dispatch(tries=1)
    ledger.change("UPDATE jobs SET crashes = 2")
    ledger.claim(worker(ledger, "w", consumer))
    with ledger.app.app_context():
        assert operations.cancel(uuid, "ada") == "asked"
    watch(ledger).rescue()
    assert ledger.outcomes(uuid) == ["lost", "cancelled"]


def test_the_monitor_counts_the_time_to_stop_by_its_own_grace(ledger):
    """A shell with another GRACE (60 by default) once kept jobs running a minute under GRACE=5; and 330 s of a server are not for this."""
    for grace, given in ((5, 5), (330, MOST_GRACE_S)):
        settings = replace(ledger.app.extensions["settings"], grace=grace)
        uuid = ledger.dispatch()
        ledger.claim("elsewhere")
        with ledger.app.app_context():
            operations.cancel(uuid, "ada")
        before = ledger.connection.now()
        Watch(ledger.connection, settings, lambda: 1000.0).rescue()
        at = ledger.one("SELECT stop_ms FROM jobs WHERE uuid = :u", u=uuid)
        assert before + given * 1000 <= at <= ledger.connection.now() + given * 1000
        assert due_to_stop(ledger.connection, 10**9) == set()
        ledger.change("UPDATE jobs SET stop_ms = 1")
        assert len(due_to_stop(ledger.connection, 10**9)) == 1
        ledger.change("DELETE FROM jobs")
