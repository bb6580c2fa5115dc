"""Stored times are the database's, durations the process's own: a machine whose clock is wrong does no harm."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from app.execution.heartbeat import Heartbeat, worker_name
from app.monitor.loop import Monitor
from app.monitor.worker_watch import WorkerWatch
from app.support import clock
from app.support.process import has_ended, identity, lock_state

AHEAD_MS = 300_000


@pytest.fixture
def wrong_clock(ledger, monkeypatch):
    """This machine's clock is five minutes ahead of the database's (of its own, on SQLite, where they are one)."""
    if ledger.connection.sqlite:
        pytest.skip("SQLite's clock is this machine's")
    right = clock.wall_ms
    monkeypatch.setattr(clock, "wall_ms", lambda: right() + AHEAD_MS)
    yield right
    monkeypatch.undo()
    clock.follow(clock.wall_ms())


def test_now_is_the_databases_clock(ledger, wrong_clock):
    ledger.connection.now()
    assert abs(clock.now_ms() - wrong_clock()) < 2000, "once the database was asked, now is its time"


def test_a_session_asks_the_database_for_its_clock(ledger, wrong_clock, monkeypatch):
    from app.extensions import db
    from app.models import Job

    monkeypatch.setattr(clock, "_asked", float("-inf"))
    with ledger.app.app_context():
        db.session.query(Job).count()
        db.session.rollback()
    assert abs(clock.now_ms() - wrong_clock()) < 2000


def test_a_monitor_whose_clock_is_ahead_kills_nobody_early(ledger, wrong_clock):
    settings = ledger.app.extensions["settings"]
    uuid = ledger.dispatch("TestSleep", timeout=120)
    worker = identity(settings.data_dir / "workers")
    job = ledger.claim(worker)
    now = [0.0]
    watch = WorkerWatch(ledger.connection, settings, lambda: now[0])
    ledger.change(
        "INSERT INTO worker_heartbeats (worker_name, process_id, queue, status, started_at, last_heartbeat, worker_id, consumer_id, host, "
        "held_uuid, held_claim) VALUES ('w', 1, 'high', 'active', CURRENT_TIMESTAMP, CURRENT_TIMESTAMP, :w, '', 'h', :u, :k)",
        w=worker, u=job.uuid, k=job.claim_no,
    )
    for second in range(0, 60, 5):
        now[0] = float(second)
        assert watch.rescue() == 0
    assert ledger.row(uuid).state == "processing", "it has run for a minute, not for six"


def test_no_minute_of_a_schedule_is_skipped_by_a_clock_ahead(ledger, wrong_clock):
    with ledger.app.app_context():
        monitor = Monitor(ledger.app)
        monitor.recurring()
    assert abs(monitor._minute * 60_000 - wrong_clock()) < 61_000
    monitor.connection.close()


def test_two_workers_of_one_name_have_two_rows(ledger, tmp_path):
    """Containers with one host name and the same pids."""
    beats = []
    for _ in range(2):
        beat = Heartbeat(SimpleNamespace(worker="", current=None, done=0), identity(tmp_path), ledger.connection.url, ("high",), "", "code", None)
        beat.register()
        beat.register()  # again, as after a freeze: the same row
        beats.append(beat)
    rows = ledger.connection.fetch_all("SELECT worker_id, worker_name FROM worker_heartbeats ORDER BY id")
    assert [row[0] for row in rows] == [beat.row["w"] for beat in beats]
    assert rows[0][1] == worker_name() and rows[1][1].startswith(worker_name() + ".") and beats[1].lifecycle.worker == beats[1].row["name"] == rows[1][1]
    beats[1].end("over")
    third = Heartbeat(SimpleNamespace(worker="", current=None, done=0), identity(tmp_path), ledger.connection.url, (), "", "code", None)
    beats[0].end("over")
    third.register()
    names = dict(ledger.connection.fetch_all("SELECT worker_name, status FROM worker_heartbeats"))
    assert names[worker_name()] == "idle" and len(names) == 2, "a stopped row of that name gives way"


def test_a_missing_lock_proves_nothing_and_a_gone_process_does(tmp_path):
    mine = identity(tmp_path)
    assert lock_state(tmp_path / "none.lock") == "missing" and not has_ended(mine)
    parts = mine.split("-")
    assert has_ended("-".join([*parts[:3], "1", *parts[4:]])), "the pid is another process's now"
    assert has_ended("-".join([*parts[:2], "4194304", *parts[3:]]))
    assert not has_ended("-".join([parts[0], "1", *parts[2:]])), "another namespace: this process cannot know"
