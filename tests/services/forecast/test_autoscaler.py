"""What autoscaling reads and writes, on both databases; the workers are rows."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from app.ledger import control
from app.ledger.consumer_row import ConsumerRow
from app.ledger.worker_slots import MORE, Places
from app.services import audit
from app.services.forecast import outlook
from app.services.forecast.autoscaler import ROUND_S, Autoscaler
from app.services.forecast.estimate import Interval, QueueForecast
from app.services.forecast.scaling import Pace
from app.support.process import identity


class Site:
    """A consumer with rows of workers; its clock goes on by a round at each step."""

    def __init__(self, ledger, folder, least: int = 1, most: int = 3, running: int = 1) -> None:
        self.ledger, self.now = ledger, 0.0
        self.places = Places(ledger.connection.url, identity(folder), running)
        settings = replace(ledger.app.extensions["settings"], workers_min=least, workers_max=most, worker_queues=("high", "default"))
        self.row = ConsumerRow(self.places.connection, self.places.consumer_id, os.getpid(), settings.worker_queues, least, most)
        self.row.keep(running)
        self.scaler = Autoscaler(self.places, self.row, settings, Pace(calm_s=20, start_gap_s=4, retire_gap_s=6, saturated=2), lambda: self.now)
        for n in range(running):
            self.worker(f"w{n}")

    def worker(self, name: str, **columns) -> None:
        values = {"worker_name": name, "worker_id": name, "process_id": 1, "queue": "high,default", "status": "idle", "consumer_id": self.places.consumer_id,
                  "host": "here", "beat": 0, "stale": 0, "jobs_done": 0} | columns
        times = "started_at last_heartbeat".split()
        self.ledger.change(f"INSERT INTO worker_heartbeats ({', '.join([*values, *times])}) VALUES ({', '.join(f':{name}' for name in values)}, "
                           "CURRENT_TIMESTAMP, CURRENT_TIMESTAMP)", **values)

    def steps(self, n: int) -> None:
        for _ in range(n):
            self.now += ROUND_S
            self.scaler.step()

    def log(self) -> list[tuple[str, str, str]]:
        with self.ledger.app.app_context():
            return [(row.action, row.subject, row.result) for row in reversed(audit.log(wanted=audit.LogFilter("autoscaling"))[0])]

    def commands(self) -> dict[str, str]:
        return dict(self.ledger.connection.fetch_all("SELECT worker_name, command FROM worker_heartbeats WHERE command IS NOT NULL"))

    def close(self) -> None:
        self.places.connection.close()


@pytest.fixture
def site(ledger, tmp_path):
    made = []

    def make(**options):
        made.append(Site(ledger, tmp_path, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def fill(ledger, n: int, **options) -> None:
    for _ in range(n):
        ledger.dispatch(**options)


def test_more_than_100_that_it_may_take_start_one(ledger, site):
    s = site()
    fill(ledger, 100)
    fill(ledger, 3, queue="low")
    s.steps(2)
    assert s.log() == [], "100 are not more than 100, and nobody of this consumer serves low"
    fill(ledger, 1, queue="high")
    s.steps(1)
    ((action, subject, why),) = s.log()
    assert (action, why) == ("worker started", "101 jobs wait, more than 100") and subject.endswith(": 1 → 2")
    assert (s.places.asked(), s.places.asked(MORE), s.places.asked(MORE)) == (0, 1, 0)
    ((note, at),) = ledger.connection.fetch_all("SELECT note, note_ms FROM consumers")
    assert note == "worker started: 101 jobs wait, more than 100" and at


@pytest.mark.parametrize("name", ["default", "type:TestNoop"])
def test_what_is_paused_starts_nobody(ledger, site, name):
    s = site()
    fill(ledger, 101)
    with ledger.connection.transaction() as tx:
        control.pause(tx, name, None, "ada", None)
    s.steps(3)
    assert s.log() == []
    with ledger.connection.transaction() as tx:
        control.resume(tx, name)
    s.steps(1)
    assert len(s.log()) == 1


def test_a_refusal_is_one_row_for_as_long_as_it_lasts(ledger, site):
    s = site(running=3)
    fill(ledger, 101)
    s.steps(20)
    assert s.log() == [("no worker started", s.log()[0][1], "101 jobs wait, more than 100; but WORKERS_MAX is 3")]
    assert s.places.asked(MORE) == 0


def test_only_an_idle_worker_that_holds_no_row_is_retired_the_newest_first(ledger, site):
    s = site(running=5, most=5)
    s.worker("another's", consumer_id="another")
    ledger.dispatch()
    assert ledger.claim("w4"), "its row says idle: it is written a second later"
    ledger.change("UPDATE worker_heartbeats SET status = 'active' WHERE worker_name = 'w3'")
    ledger.change("UPDATE worker_heartbeats SET command = 'quiet' WHERE worker_name = 'w2'")
    s.steps(10)
    assert s.commands() == {"w2": "quiet"}, "10 rounds are no 20 s"
    s.steps(1)
    assert s.commands() == {"w2": "quiet", "w1": "retire"}
    s.steps(20)
    assert s.commands() == {"w2": "quiet", "w1": "retire"}, "one after the other"
    assert [(action, why) for action, _, why in s.log()] == [("worker retired", "no job has waited and a worker was free for 0 min")]


def test_one_that_begins_a_job_before_it_reads_the_command_stays(ledger, site):
    s = site(running=2)
    s.steps(11)
    assert s.commands() == {"w1": "retire"}
    ledger.dispatch()
    assert ledger.claim("w1")
    s.steps(1)
    assert s.commands() == {} and s.log()[-1][:2] == ("worker not retired", "w1")
    s.steps(30)
    assert s.commands() == {"w0": "retire"}, "the other is free"


def test_a_worker_that_got_a_job_between_the_look_and_the_command_is_not_told(ledger, site):
    s = site(running=2)
    s.steps(10)
    facts = s.scaler._facts
    s.scaler._facts = lambda mine: (ledger.dispatch(), ledger.claim("w1"), facts(mine))[-1]
    s.steps(1)
    assert s.commands() == {} and s.log() == []
    s.scaler._facts = facts
    s.steps(1)
    assert s.commands() == {"w0": "retire"}, "nothing was done, so no time must pass again"


def test_an_error_ends_neither_the_round_after_it_nor_the_process(ledger, site, caplog, monkeypatch):
    s = site()
    fill(ledger, 101)
    monkeypatch.setattr(s.scaler.machine, "memory", lambda: 1 / 0)
    s.steps(2)
    assert s.log() == [] and [r.getMessage() for r in caplog.records if "autoscaling" in r.getMessage()] == ["no autoscaling now (ZeroDivisionError: division by zero)"]
    monkeypatch.undo()
    ledger.change("ALTER TABLE audit RENAME TO gone")
    s.steps(1)
    ledger.change("ALTER TABLE gone RENAME TO audit")
    assert s.places.asked(MORE) == 0, "what is not written is not done"
    s.steps(1)
    assert len(s.log()) == 1 and s.places.asked(MORE) == 1


def test_the_last_and_those_of_an_emptied_place_stay(ledger, site):
    s = site(running=2)
    s.places.tell(1, 1)
    s.steps(30)
    assert s.commands() == {} and s.log() == []


def test_with_a_target_the_predicted_time_decides_while_it_is_fresh(ledger, site, monkeypatch):
    s = site()
    s.scaler.rule = replace(s.scaler.rule, target_s=600)
    fill(ledger, 120)
    told = {}
    monkeypatch.setattr(outlook, "of_queues", lambda tx: (told["queues"], told["age"]))

    def forecast(minutes: float, age: int | None = 4000) -> None:
        at = ledger.connection.now() + int(minutes * 60_000)
        told.update(queues={"default": QueueForecast(Interval(at, at, at), None, (), 1, 1, None, 9), "low": QueueForecast(None, "growing", (), 0, 0, None, 9)}, age=age)

    forecast(9)
    s.steps(3)
    assert s.log() == [], "120 wait, and begin in time; nobody here serves low"
    forecast(12)
    s.steps(1)
    assert [why for _, _, why in s.log()] == ["what waits begins within 12 min, the target is 10 min"]
    for age in (31_000, None):
        forecast(9, age)
        s.steps(2)
    assert [why for _, _, why in s.log()][1:] == ["120 jobs wait, more than 100"] * 2, "an old forecast and none are none"
