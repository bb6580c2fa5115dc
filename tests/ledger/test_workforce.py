"""What should run and what does, on both databases: the watch of consumers, frozen workers, the figures, the alert. Time is given from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from app.execution.heartbeat import _REGISTER
from app.ledger import workforce
from app.monitor.consumer_watch import ConsumerWatch, Facts, Seen, judge
from app.monitor.worker_watch import WorkerWatch
from app.services.alerts import texts
from app.services.alerts.checks import KINDS
from app.services.alerts.snapshot import Snapshot
from app.services.instance import retention
from app.services.people import accounts
from app.support.clock import DAY_MS, MINUTE_MS, stamp
from app.support.messages import Message, to_json
from app.support.process import boot_id, has_ended, is_stopped, namespace, start_ticks
from tests.conftest import PASSWORD, sign_in

ALIVE = Facts(beat=5, here=True, ended=False, stopped=False, wanted=2, lacks=0)


@pytest.fixture
def processes():
    """Makes real processes; returns the identity and the process of each."""
    made = []

    def make(name: str = "x"):
        process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        made.append(process)
        return f"{boot_id()[:8]}-{namespace()}-{process.pid}-{start_ticks(process.pid)}-{name}", process

    yield make
    for process in made:
        process.kill()
        process.wait()


def worker(ledger, worker_id: str, consumer: str = "c", **columns) -> None:
    parts = worker_id.split("-")
    ledger.change(_REGISTER, name=worker_id, pid=int(parts[2]) if len(parts) > 2 else 1, queue="default", at=stamp(ledger.connection.now()), w=worker_id, consumer=consumer,
                  host="here", memory=1, code="x", revision=None)
    for name, value in columns.items():
        ledger.change(f"UPDATE worker_heartbeats SET {name} = :v WHERE worker_id = :w", v=value, w=worker_id)


def consumer(ledger, consumer_id: str = "c", wanted: int = 2, **columns) -> None:
    parts = [] if "process_id" in columns else str(consumer_id).split("-")
    row = {"consumer_id": consumer_id, "host": "here", "process_id": int(parts[2]) if len(parts) > 2 else 1, "queue": "default", "wanted": wanted, "least": wanted, "most": wanted,
           "started_ms": 1, "beat_ms": 1} | columns
    ledger.change(f"INSERT INTO consumers ({', '.join(row)}) VALUES ({', '.join(':' + n for n in row)})", **row)


def freeze(process) -> None:
    process.send_signal(signal.SIGSTOP)
    while not is_stopped(process.pid):
        time.sleep(0.001)


class Watches:
    """Both watches over one clock, round by round as the monitor does."""

    def __init__(self, ledger) -> None:
        self.now, self.ledger = 1000.0, ledger
        self.workers = WorkerWatch(ledger.connection, ledger.app.extensions["settings"], lambda: self.now)
        self.consumers = ConsumerWatch(self.workers)

    def run(self, seconds: float, step: float = 5.0) -> None:
        for _ in range(round(seconds / step)):
            self.now += step
            self.workers.rescue()
            self.consumers.look()


# ---- what the watch of consumers concludes -------------------------------------------------------------------------


def test_a_consumer_that_beats_and_lacks_nothing_is_left_alone():
    assert judge(ALIVE, Seen(0.0, 4, 0.0, True), 5000.0).why is None


@pytest.mark.parametrize("facts,rounds,last", [
    ({"lacks": 1}, (0, 29), (False, False, None)),
    ({"lacks": 1}, (0, 30), (False, False, "1 of 2 workers missing")),
    ({"lacks": 0, "deaths": 5}, (0,), (False, False, "its workers die again and again: 5 in the last minute")),
    ({"lacks": 0, "deaths": 4}, (0,), (False, False, None)),
    ({"stopped": True}, (0, 29), (False, False, None)),
    ({"stopped": True}, (0, 119), (False, True, "frozen")),
    ({"stopped": True}, (0, 120), (True, True, "frozen")),
    ({}, (0, 120), (False, True, "its consumer does not report")),
    ({"ended": True}, (0, 29), (False, False, None)),
    ({"ended": True}, (0, 31), (False, True, "its consumer has ended")),
    ({"here": False}, (0, 119), (False, False, None)),
    ({"here": False}, (0, 151), (False, True, "unheard for 120 s")),
])
def test_what_is_concluded_of_a_consumer(facts, rounds, last):
    seen = Seen(0.0, 5, 0.0, lived=True)
    for now in rounds:
        verdict = judge(Facts(**vars(ALIVE) | facts), seen, now)
    assert (verdict.kill, verdict.stale) == last[:2] and not verdict.forget
    assert (last[2] is None) == (verdict.why is None) and (last[2] or "") in (verdict.why or "")


def test_lacking_counts_anew_after_each_moment_in_which_all_ran():
    seen = Seen(0.0, 5, 0.0, lived=True)
    for second in range(0, 600, 20):
        assert judge(Facts(**vars(ALIVE) | {"lacks": second // 20 % 2, "beat": second}), seen, second).why is None


@pytest.mark.parametrize("facts,lived,rounds", [
    ({"ended": True}, True, (0, 600)),
    ({"ended": True}, False, (0,)),
    ({"ended": True, "followed_at": 2.0}, True, (2,)),
    ({"ended": True, "followed_at": 1.0}, True, (2, 602)),
    ({"here": False}, False, (0, 29, 30)),
    ({"here": False, "lacks": 2}, False, (0, 29, 30)),
    ({"here": False}, True, (0, 601)),
])
def test_when_a_consumer_is_forgotten(facts, lived, rounds):
    """One that was killed is not forgotten before another takes its place; one that this monitor never saw alive at once."""
    seen, verdict = Seen(0.0, 5, 0.0, lived), None
    for now in rounds:
        assert verdict is None or not verdict.forget
        verdict = judge(Facts(**vars(ALIVE) | facts), seen, now)
    assert verdict.forget


# ---- real processes ------------------------------------------------------------------------------------------------


def test_a_frozen_worker_is_killed_and_its_job_runs_again_uncounted(ledger, processes):
    (boss, _), (worker_id, process) = processes("boss"), processes("w")
    worker(ledger, worker_id, boss)
    consumer(ledger, boss, wanted=1)
    uuid = ledger.dispatch(tries=1)
    ledger.claim(worker_id)
    watches = Watches(ledger)
    watches.run(5)
    freeze(process)
    watches.run(40)
    seen = workforce.look(ledger.connection)
    (line,) = seen.troubles
    assert (seen.expected, seen.active, seen.stale, seen.busy, seen.missing) == (1, 0, 1, 0, 0)
    assert (line.kind, line.uuid, line.why) == ("unresponsive", uuid, "frozen: a signal has stopped its process") and process.poll() is None
    ledger.change("UPDATE consumers SET beat_ms = beat_ms + 1")
    watches.run(85)
    process.wait(5)
    assert process.returncode == -signal.SIGKILL
    row = ledger.row(uuid)
    assert (row.state, row.crashes, row.failures) == ("pending", 0, 0), "it is no proof against the job"
    assert ledger.outcomes(uuid) == ["lost"] and "killed by the monitor" in ledger.one("SELECT error_message FROM job_metrics")
    assert ledger.one("SELECT status FROM worker_heartbeats") == "stopped" and "frozen" in ledger.one("SELECT reason FROM worker_heartbeats")
    assert workforce.look(ledger.connection).missing == 1
    ledger.change("UPDATE consumers SET beat_ms = beat_ms + 1")
    watches.run(40)
    (line,) = workforce.look(ledger.connection).troubles
    assert (line.kind, line.uuid, line.count) == ("missing", uuid, 1), "the job that it has lost"
    assert line.why == "1 of 1 workers missing; the last that ended: frozen: a signal has stopped its process; killed by the monitor"


def test_a_time_limit_that_passes_while_the_worker_is_frozen_is_not_the_jobs(ledger, processes):
    worker_id, process = processes("w")
    worker(ledger, worker_id)
    uuid = ledger.dispatch(tries=1, timeout=30)
    ledger.claim(worker_id)
    watches = Watches(ledger)
    watches.run(5)
    freeze(process)
    watches.run(70)
    assert process.wait(5) == -signal.SIGKILL and ledger.outcomes(uuid) == ["lost"] and ledger.row(uuid).state == "pending"


def test_a_frozen_worker_lives_while_the_clock_is_not_trusted(ledger, processes):
    worker_id, process = processes("w")
    worker(ledger, worker_id)
    watches = Watches(ledger)
    watches.run(5)
    freeze(process)
    for _ in range(3):
        watches.run(100)
        watches.workers.suspend_judgement(afresh=True)
    assert not has_ended(worker_id)
    watches.run(200)
    assert process.wait(10) == -9 and has_ended(worker_id)  # a loaded machine takes a moment to end what was killed


def test_nobody_is_marked_or_killed_within_30_s_after_the_database_was_away(ledger, processes):
    worker_id, process = processes("w")
    worker(ledger, worker_id)
    watches = Watches(ledger)
    watches.run(5)
    freeze(process)
    watches.workers.suspend_judgement()
    watches.now += 150  # nothing could be written meanwhile, no beat either
    watches.workers.suspend_judgement()
    watches.run(25)
    assert not has_ended(worker_id) and ledger.connection.fetch_all("SELECT stale, reason FROM worker_heartbeats") == [(0, None)]
    watches.run(10)
    assert process.wait(10) == -9 and has_ended(worker_id)  # a loaded machine takes a moment to end what was killed


def test_a_silent_worker_whose_cpu_time_advances_is_not_killed(ledger, processes):
    worker_id, process = processes("w")
    worker(ledger, worker_id)
    watches = Watches(ledger)
    from app.support import process as processes_of

    ticks = iter(range(10**6))
    real, processes_of.cpu_ticks = processes_of.cpu_ticks, lambda pid: next(ticks)
    try:
        watches.run(600)
    finally:
        processes_of.cpu_ticks = real
    assert process.poll() is None and ledger.connection.fetch_all("SELECT stale, reason FROM worker_heartbeats") == [(1, "busy, not reporting")]


def test_a_frozen_consumer_is_killed_and_forgotten_when_another_has_come(ledger, processes):
    boss, process = processes("boss")
    consumer(ledger, boss)
    worker(ledger, "elsewhere", boss)
    worker(ledger, "elsewhere2", boss)
    watches = Watches(ledger)

    def beating(seconds: int) -> None:  # its scheduler is another process, which goes on; so do its workers
        for _ in range(seconds // 5):
            ledger.change("UPDATE consumers SET beat_ms = beat_ms + 1")
            ledger.change("UPDATE worker_heartbeats SET beat = beat + 1")
            watches.run(5)

    beating(10)
    freeze(process)
    beating(40)
    assert [(t.kind, t.count) for t in workforce.look(ledger.connection).troubles] == [("missing", 1)]
    assert "frozen" in ledger.one("SELECT reason FROM consumers") and process.poll() is None
    beating(90)
    assert process.wait(5) == -signal.SIGKILL
    assert ledger.one("SELECT COUNT(*) FROM consumers") == 1, "what should run is still known"
    consumer(ledger, processes("next")[0], wanted=3)
    watches.run(10)
    assert ledger.connection.fetch_all("SELECT wanted, stale FROM consumers") == [(3, 0)]


def test_a_worker_that_froze_before_its_row_was_written_is_killed(ledger, tmp_path):
    """It cannot be told from a place that lacks a worker, except that it is a stopped child of the consumer."""
    program = "import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); print(p.pid, flush=True); p.wait(); time.sleep(600)"
    boss = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        child = int(boss.stdout.readline())
        name = f"{boot_id()[:8]}-{namespace()}-{boss.pid}-{start_ticks(boss.pid)}-boss"
        consumer(ledger, name, wanted=1)
        os.kill(child, signal.SIGSTOP)
        watches = Watches(ledger)
        for _ in range(30):
            ledger.change("UPDATE consumers SET beat_ms = beat_ms + 1")
            watches.run(5)
        end = time.monotonic() + 5
        while os.path.exists(f"/proc/{child}") and time.monotonic() < end:
            time.sleep(0.02)
        assert not os.path.exists(f"/proc/{child}") and boss.poll() is None
    finally:
        boss.kill()
        boss.wait()


def test_workers_that_die_again_and_again_are_told_though_each_is_replaced(ledger, processes):
    boss, _ = processes("boss")
    consumer(ledger, boss)
    watches = Watches(ledger)
    for n in range(5):
        worker(ledger, f"{boot_id()[:8]}-{namespace()}-{2**22 + 1}-7-w{n}", boss)
        worker(ledger, f"alive{n}", boss)
        watches.run(1, step=1)
    (line,) = [t for t in workforce.look(ledger.connection).troubles if t.kind == "missing"]
    assert line.why.startswith("its workers die again and again: 5") and line.count == 1
    watches.run(70)
    assert ledger.one("SELECT reason FROM consumers") != line.why


BAD = ["x", "", b"\xff", 2**62, -5, 1.5, float("inf")]
only_sqlite = pytest.mark.parametrize("ledger", ["sqlite"], indirect=True)  # the other refuses such values


def mine(name: str) -> str:
    """The identity of this process."""
    return f"{boot_id()[:8]}-{namespace()}-{os.getpid()}-{start_ticks(os.getpid())}-{name}"


@only_sqlite
@pytest.mark.parametrize("column", ["wanted", "process_id", "beat_ms", "stale", "host", "queue", "reason", "consumer_id"])
def test_a_bad_row_of_a_consumer_hides_no_other(ledger, column):
    for bad in BAD:
        ledger.change("DELETE FROM consumers")
        consumer(ledger, **{"consumer_id": mine("a")} | {column: bad})
        consumer(ledger, mine("b"))
        watches = Watches(ledger)
        for _ in range(30):
            ledger.change("UPDATE consumers SET beat_ms = beat_ms + 1 WHERE consumer_id = :c", c=mine("b"))
            watches.run(5)
        assert ledger.connection.fetch_all("SELECT reason FROM consumers WHERE consumer_id = :c", c=mine("b")) == [("2 of 2 workers missing",)], bad


@only_sqlite
def test_what_is_no_identity_stops_no_watch(ledger):
    for rest in ("x-y", f"{2**22 + 1}-x", "\0-1", "9" * 5000 + "-7", "-1-1", "1"):
        consumer(ledger, f"{boot_id()[:8]}-{namespace()}-{rest}", process_id=os.getpid())
    consumer(ledger, mine("b"))
    Watches(ledger).run(150)
    assert ledger.one("SELECT stale FROM consumers WHERE consumer_id = :c", c=mine("b")) == 1


def test_after_a_row_that_no_rule_can_judge_the_others_are_judged_and_the_error_is_told(ledger, processes, monkeypatch):
    for name in "ab":
        consumer(ledger, mine(name))
    watches = Watches(ledger)
    real = ConsumerWatch._follow

    def follow(self, verdict, consumer_id, *rest):
        if consumer_id == mine("a"):
            raise TypeError("odd")
        return real(self, verdict, consumer_id, *rest)

    monkeypatch.setattr(ConsumerWatch, "_follow", follow)
    for _ in range(10):
        with pytest.raises(TypeError, match="odd"):
            watches.run(5)
    assert [row for row in ledger.connection.fetch_all("SELECT reason FROM consumers ORDER BY consumer_id")] == [(None,), ("2 of 2 workers missing",)]


# ---- figures, words, alert -----------------------------------------------------------------------------------------


def test_busy_is_what_the_ledger_says_not_what_the_worker_reported(ledger):
    worker(ledger, "w1")
    worker(ledger, "w2", job_uuid="gone", current_job_type="TestNoop", status="active")
    uuid = ledger.dispatch("TestNoop")
    ledger.claim("w1")
    seen = workforce.look(ledger.connection)
    assert (seen.expected, seen.missing, seen.active, seen.busy) == (None, 0, 2, 1), "without a row it is not known what should run"
    assert {w: held.uuid for w, held in seen.held.items()} == {"w1": uuid} and not seen.troubles
    from app.services.stats import workers

    with ledger.app.app_context():
        found = {w.name: w for w in workers.workers(128)}
    assert (found["w1"].status, found["w1"].current_job_uuid, found["w1"].reason) == ("active", uuid, "At work.")
    assert (found["w2"].status, found["w2"].current_job_uuid, found["w2"].reason) == ("idle", None, "Free, waiting for work.")


def test_of_several_rows_that_a_worker_holds_the_one_it_reports_is_its_job(ledger):
    uuids = [ledger.dispatch("TestNoop") for _ in range(2)]
    worker(ledger, "w1", job_uuid=uuids[1])
    for _ in uuids:
        ledger.claim("w1")
    ledger.change("UPDATE jobs SET state = 'processing', worker_id = 'w1', reserved_ms = 1")
    seen = workforce.look(ledger.connection)
    assert seen.held["w1"].uuid == uuids[1] and seen.busy == 1


def test_kinds_of_trouble_and_their_order(ledger):
    consumer(ledger, wanted=6, reason="2 of 6 workers missing", reason_json=to_json(Message("%(n)s of %(wanted)s workers missing", n=2, wanted=6)))
    worker(ledger, "silent", reason="busy, not reporting")
    worker(ledger, "stuck", stale=1, reason="busy, not reporting")
    worker(ledger, "frozen", stale=1, reason="frozen")
    worker(ledger, "well")
    uuid = ledger.dispatch("TestNoop", timeout=60)
    ledger.claim("stuck")
    ledger.change("UPDATE jobs SET reserved_ms = :at", at=ledger.connection.now() - 66_000)
    seen = workforce.look(ledger.connection)
    assert [(t.kind, t.name, t.count) for t in seen.troubles] == [("missing", "here", 2), ("unresponsive", "frozen", 1), ("stuck", "stuck", 1), ("silent", "silent", 1)]
    assert seen.troubles[2].uuid == uuid and seen.troubles[2].why == workforce.STUCK
    assert (seen.expected, seen.missing, seen.active, seen.stale) == (6, 2, 2, 2)
    assert abs(seen.troubles[1].since_ms - ledger.connection.now()) < 60_000, "when it was last heard"
    ledger.change("UPDATE jobs SET reserved_ms = :at", at=ledger.connection.now() - 62_000)
    assert "stuck" not in {t.kind for t in workforce.look(ledger.connection).troubles}, "a job that ends at its limit needs a moment"


COLUMNS = {
    "jobs": "uuid job_type timeout reserved_ms",
    "consumers": "host queue wanted stale reason reason_json beat_ms consumer_id process_id least most note note_json note_ms",
    "worker_heartbeats": "worker_name worker_id consumer_id stale reason reason_json job_uuid last_heartbeat process_id memory memory_start jobs_done command queue "
                         "started_at host stopped_ms stop_code"}


@only_sqlite
@pytest.mark.parametrize("table", COLUMNS)
def test_a_row_of_another_program_takes_no_figure_and_no_page_away(ledger, table):
    """The worker w2 holds a job, w1 has none, w3 has ended, four are wanted."""
    consumer(ledger, "c", wanted=4, most=9, reason="1 of 4 workers missing")
    for name in ("w1", "w2", "w3"):
        worker(ledger, name, stale=int(name == "w2"))
    ledger.change("UPDATE worker_heartbeats SET status = 'stopped', stopped_ms = 5000, reason = 'gone' WHERE worker_id = 'w3'")
    ledger.dispatch("TestNoop")
    ledger.claim("w2")
    with ledger.app.app_context():
        accounts.create_user("admin@example.org", "super-admin", PASSWORD)
    client = sign_in(ledger.app, "admin@example.org")
    for column in COLUMNS[table].split():
        nullable = not ledger.one(f"SELECT [notnull] FROM pragma_table_info('{table}') WHERE name = '{column}'")
        of = f" WHERE rowid = (SELECT MIN(rowid) + {2 if column.startswith('stop') else int(table == 'worker_heartbeats')} FROM {table})"
        kept = ledger.one(f"SELECT {column} FROM {table}{of}")
        for bad in ["x", b"\xff", 2**62, *([None] if nullable else [])]:
            ledger.change(f"UPDATE {table} SET {column} = :v{of}", v=bad)
            seen = workforce.look(ledger.connection)
            assert seen.active + seen.stale == 2 and seen.expected is not None, (column, bad)
            workforce.sample(ledger.connection)
            assert alert(ledger)[1] >= 1, (column, bad)
            for path in ("/admin/jobs/workers", "/admin/jobs/"):
                assert client.get(path).status_code == 200, (column, bad, path)
        ledger.change(f"UPDATE {table} SET {column} = :v{of}", v=kept)
    rows = ledger.connection.fetch_all("SELECT SUM(samples), SUM(alive), SUM(busy) FROM worker_minutes")
    assert rows[0][0] * 2 == rows[0][1], "each moment has its sample"


def alert(ledger, threshold: float = 0):
    from tests.services.alerts.test_alerts import Rule

    values = {"id": 1, "kind": "worker", "enabled": 1, "threshold": threshold, "minimum": 0, "window_min": 60, "job_type": None, "queue": None, "tenant_id": None,
              "severity": "critical", "quiet_from": None, "quiet_until": None, "channels": "*", "cooldown_min": 15}
    settings = ledger.app.extensions["settings"]
    snapshot = Snapshot(ledger.connection, ledger.connection.now(), settings.data_dir, 2**27)
    return KINDS["worker"].judge(snapshot, Rule(**values)), snapshot.values[1]


def test_the_alert_counts_workers_and_names_them_with_their_reasons(ledger):
    assert alert(ledger) == ([], 0) and KINDS["worker"].urgent
    worker(ledger, "late", reason="not reporting")
    assert alert(ledger) == ([], 0), "30 s without a report are no alarm yet"
    worker(ledger, "box*1", stale=1, reason="frozen: a signal has stopped its process", reason_json='["frozen: a signal has stopped its process",{}]')
    consumer(ledger, wanted=5, reason="3 of 5 workers missing")
    (found,), value = alert(ledger)
    assert value == 4 and alert(ledger, 4)[0] == [] and found.facts["n"] == 4
    with ledger.app.test_request_context(headers={"Accept-Language": "en"}):
        text = texts.sentence("worker", json.loads(json.dumps(found.facts)))
    assert text == "4 workers are missing, frozen, stuck or silent: here (3 of 5 workers missing); box∗1 (frozen: a signal has stopped its process)."
    assert ledger.one("SELECT COUNT(*) FROM alert_rules WHERE kind = 'worker' AND enabled = 1 AND threshold = 0") == 1


def test_samples_of_a_minute_are_sums_in_one_row_and_go_after_32_days(ledger):
    worker(ledger, "w1")
    ledger.dispatch("TestNoop")
    workforce.sample(ledger.connection)
    ledger.claim("w1")
    consumer(ledger, wanted=3)
    minute = ledger.connection.now() // MINUTE_MS
    workforce.sample(ledger.connection)
    rows = ledger.connection.fetch_all("SELECT SUM(samples), SUM(wanted), SUM(alive), SUM(busy) FROM worker_minutes")
    assert [tuple(int(n) for n in row) for row in rows] == [(2, 1 + 3, 1 + 1, 0 + 1)]
    assert ledger.one("SELECT COUNT(*) FROM worker_minutes") == 1 + (ledger.one("SELECT MIN(minute_ms) FROM worker_minutes") < minute * MINUTE_MS)
    ledger.change("INSERT INTO worker_minutes VALUES (:at, 1, 1, 1, 1)", at=ledger.connection.now() - 32 * DAY_MS - MINUTE_MS)
    retention.delete_old_minutes(ledger.connection)
    assert ledger.one("SELECT SUM(samples) FROM worker_minutes") == 2
