"""Rules, incidents and their messages on both databases, with the time given from outside."""

from __future__ import annotations

import json
import threading
from dataclasses import replace

import pytest
from flask_babel import force_locale

from app.extensions import db
from app.ledger import counts
from app.ledger.dialect import Connection
from app.services.alerts import channels, incident_views, incidents, texts
from app.services.alerts.checks import KINDS
from app.services.alerts.delivery import Outbox, deliver
from app.services.alerts.snapshot import Rule, Snapshot
from app.services.audit import ActionRefused
from app.services.content import connections
from app.services.instance import retention
from app.services.jobs import rollups
from app.support.clock import MINUTE_MS, stamp
from app.support.messages import Message
from tests.sinks import Sink, until

HOUR_MS = 60 * MINUTE_MS


class Desk:
    """The monitor's part: checks at a given time, and what is in the outbox."""

    def __init__(self, ledger, **channels) -> None:
        self.ledger, self.connection = ledger, ledger.connection
        self.settings = replace(ledger.app.extensions["settings"], alert_channels=channels or {"a": "json://127.0.0.1:1/x"}, alert_language="en")
        ledger.app.extensions["settings"] = self.settings
        self.now, self.memory = self.connection.now() // MINUTE_MS * MINUTE_MS, 10.0
        ledger.change("DELETE FROM alert_rules WHERE kind NOT IN ('failures', 'box_memory')")

    def look(self, after: float = 0) -> Snapshot:
        self.now += round(after * MINUTE_MS)
        return Snapshot(self.connection, self.now, self.settings.data_dir, 128 * 2**20, memory=lambda: self.memory)

    def check(self, after: float = 1, connection: Connection | None = None, urgent: bool = False) -> None:
        with self.ledger.app.app_context():
            assert incidents.check(self.look(after), connection or self.connection, self.settings, urgent) == []

    def ended(self, n: int, status: str = "failed", job_type: str = "TestFail", queue: str = "default", tenant: str = "", ms: int = 10, ago: float = 0) -> None:
        self.ledger.change("INSERT INTO job_minutes VALUES (:m, :t, :q, :tenant, :s, :n, :ms) ON CONFLICT (minute_ms, job_type, queue, tenant_id, status) "
                           "DO UPDATE SET count = job_minutes.count + :n, time_ms = job_minutes.time_ms + :ms",
                           m=self.now - round(ago * MINUTE_MS), t=job_type, q=queue, tenant=tenant, s=status, n=n, ms=ms * n)

    def open(self) -> list[str]:
        return [r[0] for r in self.connection.fetch_all("SELECT kind FROM alerts WHERE closed_ms IS NULL ORDER BY id")]

    def sent(self) -> list[tuple[str, str]]:
        return [tuple(r) for r in self.connection.fetch_all("SELECT channel, phase FROM alert_messages ORDER BY id")]

    def rule(self, kind: str, **columns) -> None:
        names = ", ".join(f"{c} = :{c}" for c in columns)
        self.ledger.change(f"UPDATE alert_rules SET {names} WHERE kind = :kind", kind=kind, **columns)


@pytest.fixture
def desk(ledger):
    return Desk(ledger)


def test_500_failures_are_one_incident_with_one_message_and_one_when_it_is_over(desk):
    desk.ended(5)
    desk.check()
    assert desk.open() == []  # more than 5
    desk.ended(495)
    for _ in range(30):
        desk.check()
    assert desk.open() == ["failures"]
    assert desk.sent() == [("a", "open")]
    for _ in range(40):
        desk.check()
    assert desk.open() == []
    assert desk.sent() == [("a", "open"), ("a", "over")]
    body = desk.connection.fetch_all("SELECT body FROM alert_messages ORDER BY id")
    assert body[0][0].startswith("500 failures in 60 min, threshold 5.") and "/admin/jobs/list?failed=" in body[0][0]
    assert "It lasted 1 h" in body[1][0]


def test_a_rule_has_a_scope(desk):
    desk.rule("failures", job_type="TestFail", queue="high", tenant_id="acme")
    desk.ended(9, queue="high")
    desk.ended(9, tenant="acme")
    desk.ended(9, job_type="Other", queue="high", tenant="acme")
    desk.check()
    assert desk.open() == []
    desk.ended(6, queue="high", tenant="acme")
    desk.check()
    assert desk.open() == ["failures"]
    assert json.loads(desk.connection.fetch_all("SELECT facts FROM alerts")[0][0])["n"] == 6


def test_one_that_flickers_is_told_once_and_one_that_comes_back_soon_is_told_when_it_stays(desk):
    desk.memory = 95
    desk.check()
    desk.memory = 10
    desk.check()  # away for one minute: the same incident
    desk.memory = 95
    desk.check()
    assert desk.sent() == [("a", "open")]
    desk.memory = 10
    desk.check(), desk.check()
    assert desk.sent() == [("a", "open"), ("a", "over")]
    desk.memory = 95
    desk.check(3)  # within its 15 minutes of rest: shown, not told
    assert desk.open() == ["box_memory"] and len(desk.sent()) == 2
    desk.memory = 10
    desk.check(), desk.check()
    assert desk.open() == [] and len(desk.sent()) == 2  # over before anybody was told: nobody is told that either
    desk.memory = 95
    desk.check(2)
    for _ in range(16):
        desk.check()
    assert [phase for _, phase in desk.sent()] == ["open", "over", "open"]


def views(desk) -> tuple[list, list]:
    with desk.ledger.app.test_request_context(headers={"Accept-Language": "en"}):
        return incident_views.open_alerts(), incident_views.history()


def test_an_open_incident_that_the_last_check_did_not_find_says_so_and_lasts_until_that_check(desk):
    desk.memory = 95
    desk.check(), desk.check()
    desk.memory = 10
    desk.check(1 / 6)
    begun = desk.now
    for _ in range(2):
        (seen,), _past = views(desk)
        assert seen.over_at and seen.over_at.timestamp() * 1000 == begun and seen.lasted_ms == 70_000
        assert seen.text.startswith("Over since ") and seen.text.endswith(" in case it comes back. It was: 95% in use, threshold 80%.")
        desk.check(1 / 6)
    desk.memory = 96
    desk.check(1 / 6)
    (seen,), _past = views(desk)
    assert seen.over_at is None and seen.text == "96% in use, threshold 80%.", "true again, the same incident"
    desk.memory = 10
    desk.check()
    begun = desk.now
    desk.check()
    assert desk.open() == [] and desk.ledger.one("SELECT closed_ms FROM alerts") == begun, "not the end of the watch"
    assert len(views(desk)[1]) == 1


def test_that_no_worker_runs_is_found_within_10_s_and_the_page_has_the_value_of_then(desk):
    desk.ledger.change("INSERT INTO alert_rules (kind, threshold, severity) VALUES ('no_worker', 0, 'critical')")
    rule = desk.ledger.one("SELECT id FROM alert_rules WHERE kind = 'no_worker'")
    worker(desk, "w")
    desk.memory = 42
    desk.check()
    whole = desk.look().looked
    desk.ledger.dispatch("TestNoop")
    desk.ledger.change("UPDATE worker_heartbeats SET stale = 1")
    desk.check(1 / 6, urgent=True)
    assert desk.open() == ["no_worker"] and desk.look().looked == whole
    with desk.ledger.app.app_context():
        values, _at = incident_views.last_check()
    assert values[str(rule)] == 0 and 42 in values.values(), "what is measured each minute stays"


def test_history_and_the_last_message_say_the_worst_of_an_incident(desk):
    desk.rule("box_memory", cooldown_min=0)
    for desk.memory in (91, 99, 92):
        desk.check()
    assert views(desk)[0][0].text == "92% in use, threshold 80%."
    desk.memory = 10
    for _ in range(3):
        desk.check()
    assert views(desk)[1][0].text == "99% in use, threshold 80%."
    assert "99% in use" in desk.ledger.one("SELECT body FROM alert_messages WHERE phase = 'over'")
    low = lambda free: {"percent": free}  # noqa: E731
    kept = incidents.merged("disk", incidents.merged("disk", {}, low(3)), low(7))
    assert texts.worst(kept)["percent"] == 3, "the less is free, the worse"


def test_an_incident_of_workers_names_all_that_it_had(desk):
    facts = {}
    for names in (["vm_1", "vm_2"], ["vm_3"], [f"w{n}" for n in range(9)], ["vm_9"]):
        facts = json.loads(json.dumps(incidents.merged("worker", facts, {"n": len(names), "limit": 0, "names": [(n, f"{n} is cold", None) for n in names]})))
    with desk.ledger.app.test_request_context(headers={"Accept-Language": "en"}):
        text = texts.sentence("worker", facts)
        assert text.startswith("1 worker is missing, frozen, stuck or silent: vm_9 (vm_9 is cold). At other times: vm_1 (vm_1 is cold); vm_2 (vm_2 is cold); vm_3 (")
        assert text.count(" is cold") == 11
        assert texts.sentence("worker", texts.worst(facts)).startswith("9 workers are missing")
    assert incidents.merged("worker", {"had": 7, "worst": [], "n": "x"}, {"n": 1, "names": [("a", "b", None)]})["had"] == [("a", "b", None)]


def test_quiet_hours_hold_messages_back_and_then_tell_all_of_them(desk):
    from datetime import datetime

    zone = desk.settings.timezone
    desk.now = int(datetime(2026, 3, 10, 23, 30, tzinfo=zone).timestamp() * 1000)
    desk.rule("box_memory", quiet_from="22:00", quiet_until="07:00")
    desk.memory = 95
    desk.check()
    desk.memory = 10
    desk.check(), desk.check(), desk.check(300)
    assert desk.sent() == [] and desk.open() == []
    desk.check(5 * 60)  # 09:33
    assert [phase for _, phase in desk.sent()] == ["open", "over"]


def test_over_in_quiet_hours_waits_for_their_end(desk):
    from datetime import datetime

    desk.now = int(datetime(2026, 3, 10, 21, 58, tzinfo=desk.settings.timezone).timestamp() * 1000)
    desk.rule("box_memory", quiet_from="22:00", quiet_until="07:00")
    desk.memory = 95
    desk.check()
    desk.memory = 10
    for _ in range(10):
        desk.check()
    assert desk.open() == [] and [phase for _, phase in desk.sent()] == ["open"]
    desk.check(10 * 60)
    assert [phase for _, phase in desk.sent()] == ["open", "over"]


@pytest.mark.parametrize(("start", "end", "clock", "until_clock"), [
    ("22:00", "07:00", "21:59", None), ("22:00", "07:00", "22:00", "07:00"), ("22:00", "07:00", "03:00", "07:00"), ("22:00", "07:00", "07:00", None),
    ("12:00", "14:00", "13:00", "14:00"), ("12:00", "14:00", "14:00", None), ("12:00", "12:00", "12:00", None),
])
def test_quiet_hours_as_a_table(desk, start, end, clock, until_clock):
    from datetime import datetime

    zone = desk.settings.timezone
    now = int(datetime.fromisoformat(f"2026-03-10T{clock}").replace(tzinfo=zone).timestamp() * 1000)
    rule = Rule(1, "disk", 1, 1, 0, 0, None, None, None, "warning", start, end, "*", 15)
    end_ms = incidents.quiet_end(rule, now, zone)
    assert (datetime.fromtimestamp(end_ms / 1000, zone).strftime("%H:%M") if end_ms else None) == until_clock
    assert end_ms == 0 or now < end_ms <= now + 24 * HOUR_MS


def test_silence_holds_the_message_and_lasts_into_the_next_incident(desk):
    desk.memory = 95
    desk.check()
    with desk.ledger.app.app_context():
        alert = incident_views.open_alerts()[0]
        assert incident_views.count_open() == 1
        incidents.snooze(alert.id, 24 * 60, "ada")
        assert incident_views.count_open() == 0 and incident_views.open_alerts()[0].snoozed_by == "ada"
    desk.memory = 10
    desk.check(), desk.check()
    desk.memory = 95
    desk.check(30)
    assert desk.open() == ["box_memory"] and len(desk.sent()) == 2
    with desk.ledger.app.app_context():
        assert incident_views.open_alerts()[0].snoozed_until is not None
        incidents.snooze(incident_views.open_alerts()[0].id, 0, "ada")
    desk.check()
    assert len(desk.sent()) == 3


def test_taken_once_and_by_name(desk):
    desk.memory = 95
    desk.check()
    with desk.ledger.app.app_context():
        id_ = incident_views.open_alerts()[0].id
        incidents.acknowledge(id_, "ada")
        assert incident_views.count_open() == 0
        with pytest.raises(ActionRefused, match="ada has acknowledged"):
            incidents.acknowledge(id_, "bob")
        with pytest.raises(ActionRefused):
            incidents.acknowledge(10**6, "bob")


def test_a_rule_switched_off_ends_its_incident_without_a_word(desk):
    desk.memory = 95
    desk.check()
    desk.rule("box_memory", enabled=0)
    desk.check()
    assert desk.open() == [] and desk.sent() == [("a", "open")]


def test_two_monitors_at_once_open_one_incident_and_one_message(desk):
    desk.memory = 95
    gate, errors = threading.Barrier(2), []

    def monitor() -> None:
        connection = Connection(desk.settings.database_url)
        try:
            with desk.ledger.app.app_context():
                for _ in range(5):
                    gate.wait()
                    look = Snapshot(connection, desk.now, desk.settings.data_dir, 128 * 2**20, memory=lambda: 95.0)
                    incidents.check(look, connection, desk.settings)
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=monitor) for _ in range(2)]
    [t.start() for t in threads], [t.join() for t in threads]
    assert errors == []
    assert desk.open() == ["box_memory"] and desk.sent() == [("a", "open")]


def test_a_clock_set_back_an_hour_holds_nothing_up(desk, sink):
    desk.memory = 95
    desk.check()
    desk.memory = 10
    desk.check(-60), desk.check(), desk.check()
    assert desk.open() == []
    assert [phase for _, phase in desk.sent()] == ["open", "over"]
    desk.ledger.change("DELETE FROM alert_messages")
    post = courier(desk, a=sink.url)
    message(desk, "a", "far ahead", next_ms=desk.now + 2 * HOUR_MS)
    message(desk, "a", "leased ahead", state="sending", lease_ms=desk.now + 2 * HOUR_MS)
    assert post.finish(desk.connection) == []
    assert sink.titles == ["far ahead", "leased ahead"]


def test_channels_of_a_rule(desk):
    desk.settings = replace(desk.settings, alert_channels={"a": "json://x", "b": "json://y"})
    desk.rule("box_memory", channels="b,gone")
    desk.memory = 95
    desk.check()
    assert desk.sent() == [("b", "open")]


def test_the_outcomes_by_the_minute_are_counted_from_the_ledger(desk):
    for n in range(8):
        desk.ledger.dispatch("TestFail", tries=1, tenant_id="acme")
        desk.ledger.settle(desk.ledger.claim(), "failed" if n else "completed", error="x", run_ms=100)
    desk.connection.fetch_all("SELECT 1")
    until(lambda: rollups.advance(desk.connection) >= 0 and sum(r[0] for r in desk.connection.fetch_all("SELECT count FROM job_minutes")) == 8, 5)
    assert sorted(tuple(r) for r in desk.connection.fetch_all("SELECT status, SUM(count), SUM(time_ms) FROM job_minutes GROUP BY status")) == [
        ("completed", 1, 100), ("failed", 7, 700)]
    desk.check()
    assert desk.open() == ["failures"]


# ---- each kind at and beyond its threshold -------------------------------------------------------------------------


def judged(desk, kind: str, look: Snapshot | None = None, **columns) -> list:
    values = {"id": 1, "kind": kind, "enabled": 1, "threshold": 0, "minimum": 0, "window_min": 60, "job_type": None, "queue": None, "tenant_id": None,
              "severity": "warning", "quiet_from": None, "quiet_until": None, "channels": "*", "cooldown_min": 15}
    look = look or desk.look()
    found = KINDS[kind].judge(look, Rule(**values | columns))
    assert 1 in look.values or kind == "nothing"
    return found


def worker(desk, name: str, **columns) -> None:
    values = {"worker_name": name, "worker_id": name, "consumer_id": "c", "process_id": 1, "queue": "high", "status": "idle", "host": "h",
              "started_at": stamp(desk.now), "last_heartbeat": stamp(desk.now), "beat": 1, "stale": 0, "jobs_done": 0} | columns
    desk.ledger.change(f"INSERT INTO worker_heartbeats ({', '.join(values)}) VALUES ({', '.join(':' + n for n in values)})", **values)


def test_no_worker(desk):
    for _ in range(11):
        desk.ledger.dispatch("TestNoop")
    assert [f.facts["n"] for f in judged(desk, "no_worker", threshold=10)] == [11]
    assert judged(desk, "no_worker", threshold=11) == []
    worker(desk, "stale", stale=1)
    assert judged(desk, "no_worker", threshold=10)
    worker(desk, "alive")
    assert judged(desk, "no_worker", threshold=10) == []


def test_slow(desk):
    desk.ended(4, "completed", ms=6 * MINUTE_MS)
    assert judged(desk, "slow", threshold=5, minimum=5) == []
    desk.ended(40, "failed", ms=1)
    desk.ended(40, "timeout", ms=60 * MINUTE_MS)
    assert judged(desk, "slow", threshold=5, minimum=5) == [], "completed ones count, as on the card"
    desk.ended(1, "completed", ms=6 * MINUTE_MS)
    assert judged(desk, "slow", threshold=5, minimum=5)
    assert judged(desk, "slow", threshold=6, minimum=5) == []
    assert judged(desk, "slow", threshold=5, minimum=5, job_type="Other") == []
    desk.ended(100, "completed", ms=1, ago=61)
    assert judged(desk, "slow", threshold=5, minimum=5)  # the last hour only


def test_memory_of_box_and_workers_and_disk(desk):
    desk.memory = 80.0
    assert judged(desk, "box_memory", threshold=80) == []
    desk.memory = 80.1
    assert judged(desk, "box_memory", threshold=80)
    worker(desk, "fat", memory=229 * 2**20, memory_start=100 * 2**20)
    worker(desk, "thin", memory=227 * 2**20, memory_start=100 * 2**20)
    assert [f.subject for f in judged(desk, "worker_memory", threshold=100)] == ["fat"]
    assert judged(desk, "disk", threshold=0) == []
    assert judged(desk, "disk", threshold=100.1)


def test_critical_and_rescued_and_missed(desk):
    desk.ended(1, job_type="TestFail")
    assert judged(desk, "critical_job") == []
    desk.ended(1, "timeout", job_type="TestCritical")
    assert [f.subject for f in judged(desk, "critical_job")] == ["TestCritical"]
    assert judged(desk, "rescued") == []
    desk.ended(2, "lost")
    assert [f.facts["n"] for f in judged(desk, "rescued")] == [2]
    name = "yearly"
    desk.ledger.change("INSERT INTO recurring (name, enabled, since_ms, looked_ms, missed_ms, missed_at_ms) VALUES (:n, 1, 0, 0, :at, :now)",
                       n=name, at=desk.now - 5 * HOUR_MS, now=desk.now)
    assert [f.subject for f in judged(desk, "missed")] == [name]
    desk.now += MINUTE_MS + 1
    assert judged(desk, "missed", window_min=1) == []


def test_oldest_waiting_and_paused_queues(desk):
    uuid = desk.ledger.dispatch("TestNoop", queue="low")
    assert judged(desk, "oldest", threshold=30) == []
    desk.ledger.change("UPDATE jobs SET available_ms = :at WHERE uuid = :u", at=desk.now - 31 * MINUTE_MS, u=uuid)
    assert [f.subject for f in judged(desk, "oldest", threshold=30)] == ["low"]
    assert judged(desk, "oldest", threshold=30, queue="high") == []
    desk.ledger.change("INSERT INTO queues (name, paused_at, paused_by) VALUES ('low', :at, 'ada')", at=desk.now - 40 * MINUTE_MS)
    (found,) = judged(desk, "oldest", threshold=30)
    assert (found.facts["by"], found.facts["since_ms"], found.facts["ms"]) == ("ada", desk.now - 40 * MINUTE_MS, 31 * MINUTE_MS)


@pytest.mark.parametrize(("depths", "grows"), [
    ([100, 150, 200, 300], True), ([100, 150, 140, 300], False), ([250, 260, 270, 300], False), ([0, 1, 2, 99], False), ([0, 50, 80, 101], True),
])
def test_growing(desk, depths, grows):
    for n in range(16):
        minute = desk.now - (15 - n) * MINUTE_MS
        desk.ledger.change("INSERT INTO queue_minutes (minute_ms, queue, depth) VALUES (:m, 'default', :n)", m=minute, n=depths[round(n / 15 * 3)])
    assert bool(judged(desk, "growing", threshold=1.5, minimum=100, window_min=15)) is grows


def test_overrun(desk):
    desk.ledger.dispatch("TestSleep")
    job = desk.ledger.claim()
    desk.ledger.change("UPDATE jobs SET reserved_ms = :at WHERE uuid = :u", at=desk.now - 100_000, u=job.uuid)
    assert judged(desk, "overrun", threshold=3, minimum=20) == []  # nothing known of its kind
    desk.ledger.change("INSERT INTO job_histograms VALUES ('TestSleep', 'default', 'run', 10000, 99, 0), ('TestSleep', 'default', 'run', 60000, 1, 0)")
    found = judged(desk, "overrun", threshold=3, minimum=20)
    assert [(f.subject, f.facts["usual_ms"]) for f in found] == [("TestSleep", 10_000)]
    assert judged(desk, "overrun", threshold=20, minimum=20) == []
    assert judged(desk, "overrun", threshold=3, minimum=101) == []


# ---- delivery ------------------------------------------------------------------------------------------------------


@pytest.fixture
def sink():
    sink = Sink()
    yield sink
    sink.close()


def courier(desk, **channels) -> Outbox:
    desk.settings = replace(desk.settings, alert_channels=channels)
    desk.ledger.app.extensions["settings"] = desk.settings
    made = Outbox(desk.ledger.app, clock=lambda: desk.now)
    made.publish_channels(desk.connection)
    return made


def message(desk, channel: str, title: str, **columns) -> int:
    values = {"channel": channel, "phase": "open", "title": f"[Ainstein Jobs] {title}", "body": "body", "next_ms": desk.now, "created_ms": desk.now} | columns
    desk.ledger.change(f"INSERT INTO alert_messages ({', '.join(values)}) VALUES ({', '.join(':' + n for n in values)})", **values)
    return desk.ledger.one("SELECT MAX(id) FROM alert_messages")


def states(desk) -> list[tuple]:
    return [tuple(r) for r in desk.connection.fetch_all("SELECT state, attempts FROM alert_messages ORDER BY id")]


def test_delivered_in_order_and_many_as_one_digest(desk, sink):
    post = courier(desk, a=sink.url)
    message(desk, "a", "first"), message(desk, "a", "second")
    assert post.finish(desk.connection) == []
    assert sink.titles == ["first", "second"]
    for n in range(7):
        message(desk, "a", f"m{n}")
    assert post.finish(desk.connection) == []
    assert sink.titles[2:] == ["7 messages"]
    assert all(f"m{n}: body" in sink.got[2]["message"] for n in range(7))
    assert {state for state, _ in states(desk)} == {"sent"}


@pytest.mark.parametrize("mode", ["500", "redirect", "cut"])
def test_a_channel_that_fails_is_tried_again_later_and_loses_nothing(desk, sink, mode):
    sink.mode = mode
    post = courier(desk, a=sink.url)
    message(desk, "a", "kept"), message(desk, "a", "behind")
    trouble = post.finish(desk.connection)
    assert trouble and "secret" not in " ".join(trouble) and states(desk) == [("waiting", 1), ("waiting", 0)]
    assert {m["path"] for m in sink.got} == {"/hook-4711-secret"}  # never followed elsewhere
    post.finish(desk.connection)
    assert states(desk) == [("waiting", 1), ("waiting", 0)]  # not before its time
    desk.now += 61_000
    sink.mode = "ok"
    assert post.finish(desk.connection) == []
    assert sink.titles[-2:] == ["kept", "behind"] and {s for s, _ in states(desk)} == {"sent"}
    assert sink.got[-2]["message"].startswith("Repeated:") == (mode == "cut")  # an answer says no; without one it may have come
    assert not sink.got[-1]["message"].startswith("Repeated:")


class Uneven(Outbox):
    """Its channel `slow` is given up after 3 s; on a loaded machine another one needs longer than that to start."""

    @property
    def send_s(self):
        return 3.0 if threading.current_thread().name == "channel slow" else Outbox.send_s


def test_one_that_hangs_is_given_up_and_another_channel_goes_on(desk, sink):
    slow, now = Sink("hang"), sink
    courier(desk, slow=slow.url, quick=now.url)
    post = Uneven(desk.ledger.app, clock=lambda: desk.now)
    message(desk, "slow", "waits"), message(desk, "quick", "goes")
    assert post.send_due(desk.connection) == 2, "both begin at once"
    until(lambda: states(desk)[1][0] == "sent", 40, "the quick channel")
    assert post.finish(desk.connection) == ["channel slow: no answer within 3 s"]
    assert desk.connection.fetch_all("SELECT repeated FROM alert_messages ORDER BY id") == [(1,), (0,)]
    slow.close()


def test_a_closed_port_took_nothing():
    assert deliver("json://127.0.0.1:1/x", "t", "b", 20.0)[1] is False


def test_a_sending_that_was_cut_off_by_a_crash_is_repeated_once_and_says_so(desk, sink):
    message(desk, "a", "doubtful", state="sending", lease_ms=desk.now + 20_000, attempts=1)
    post = courier(desk, a=sink.url)
    post.finish(desk.connection)
    assert sink.got == []  # its lease may still be held
    desk.now += 21_000
    assert post.finish(desk.connection) == []
    assert sink.titles == ["doubtful"] and sink.got[0]["message"].startswith("Repeated:")
    assert desk.connection.fetch_all("SELECT state, repeated FROM alert_messages")[0] == ("sent", 1)


def test_two_couriers_send_a_message_once(desk, sink):
    posts = [courier(desk, a=sink.url) for _ in range(2)]
    others = [Connection(desk.settings.database_url) for _ in posts]
    for n in range(3):
        message(desk, "a", f"m{n}")
    gate = threading.Barrier(2)
    threads = [threading.Thread(target=lambda p=p, c=c: (gate.wait(), p.finish(c))) for p, c in zip(posts, others, strict=True)]
    [t.start() for t in threads], [t.join() for t in threads]
    [p.finish(c) for p, c in zip(posts, others, strict=True)]
    [c.close() for c in others]
    assert sorted(sink.titles) == ["m0", "m1", "m2"]


def test_a_message_waits_for_the_monitor_that_has_its_channel_and_the_page_says_so(desk, sink):
    other = Sink()
    first, second, without = courier(desk, a=sink.url), courier(desk, b=other.url), courier(desk)
    for n in range(3):  # each announces again and again, and none takes another's away
        for post in (first, second, without):
            post.publish_channels(desk.connection)
            assert list(channels.known(desk.connection)) == ["a", "b"], n
    message(desk, "a", "for the first"), message(desk, "b", "for the second"), message(desk, "gone", "for nobody")
    assert without.finish(desk.connection) == [] and without.send_due(desk.connection) == 0
    assert states(desk) == [("waiting", 0)] * 3
    assert second.finish(desk.connection) == first.finish(desk.connection) == []
    assert (sink.titles, other.titles, states(desk)[2]) == (["for the first"], ["for the second"], ("waiting", 0))
    with desk.ledger.app.test_request_context():
        shown = channels.listing()
        assert {n: (c.live, c.waiting) for n, c in shown.items()} == {"a": (True, 0), "b": (True, 0), "gone": (False, 1)}
        with pytest.raises(ActionRefused):
            channels.request_test("gone", "ada")
    desk.ledger.change("UPDATE alert_messages SET created_ms = created_ms - :old", old=9 * 24 * HOUR_MS)
    retention.delete_old_minutes(desk.connection)
    with desk.ledger.app.test_request_context(headers={"Accept-Language": "en"}):
        assert channels.listing()["gone"].error == "no monitor had this channel for 8 days"  # never without a word
        db.session.rollback()
    other.close()


def test_an_alert_is_told_through_the_channels_of_every_monitor(desk):
    courier(desk, a="json://127.0.0.1:1/x"), courier(desk, b="json://127.0.0.1:1/x")
    desk.settings = replace(desk.settings, alert_channels={})  # the monitor that looks has none
    desk.memory = 95
    desk.check()
    assert sorted(desk.sent()) == [("a", "open"), ("b", "open")]


def test_a_name_that_no_monitor_says_any_more_is_forgotten(desk):
    def said(**ages_min: int) -> None:
        desk.ledger.change("DELETE FROM meta WHERE key = 'channels'")
        with desk.connection.transaction() as tx:
            counts.save(tx, "channels", {name: tx.now() - minutes * MINUTE_MS for name, minutes in ages_min.items()})

    said(a=59, b=61, c=-70)  # c: said before the clock was set back
    channels.announce(desk.connection, [])
    assert list(channels.known(desk.connection)) == ["a", "b"]  # one that has none may have been started without its ALERT_URLS
    channels.announce(desk.connection, ["d"])
    assert list(channels.known(desk.connection)) == ["a", "d"]
    said(a=8 * 24 * 60)
    channels.announce(desk.connection, [])
    assert channels.known(desk.connection) == {}
    with desk.connection.transaction() as tx:
        counts.save(tx, "channels", ["old", "format"])
    assert list(channels.known(desk.connection)) == ["old", "format"]
    channels.announce(desk.connection, ["old"])
    assert set(channels.known(desk.connection)) == {"old", "format"}


def test_each_message_bears_the_level_of_its_alert(desk, sink):
    post = courier(desk, a=sink.url)
    for severity in ("warning", "critical"):
        desk.ledger.change("INSERT INTO alerts (rule_id, kind, severity, facts, opened_ms, seen_ms, tell_ms, closed_ms) "
                           "VALUES (1, 'disk', :s, '{}', 1, 1, 1, 2)", s=severity)
    warning, critical = (r[0] for r in desk.connection.fetch_all("SELECT id FROM alerts ORDER BY id"))
    told = [("w", warning, "open"), ("c", critical, "open"), ("o", critical, "over"), ("t", None, "test")]
    for title, alert, phase in told:
        message(desk, "a", title, alert_id=alert, phase=phase)
        assert post.finish(desk.connection) == []
    assert [m["type"] for m in sink.got] == ["warning", "failure", "success", "info"]
    desk.ledger.change("DELETE FROM alert_messages")
    for phase in ("over", "open"):
        for alert in (None, None, None, critical):
            message(desk, "a", "m", alert_id=alert, phase=phase if alert else "over")
        assert post.finish(desk.connection) == []
        desk.ledger.change("DELETE FROM alert_messages")
    assert [m["type"] for m in sink.got[4:]] == ["success", "failure"]  # of a digest, the worst


def test_a_test_goes_at_once_and_is_tried_once(desk, sink):
    sink.mode = "500"
    post = courier(desk, a=sink.url)
    message(desk, "a", "waits", next_ms=desk.now + 60_000, attempts=1)
    with desk.ledger.app.app_context():
        with pytest.raises(ActionRefused):
            channels.request_test("nowhere", "ada")
        with desk.ledger.app.test_request_context():
            channels.request_test("a", "ada")
            db.session.rollback()
    desk.now = desk.connection.now()
    post.finish(desk.connection)
    assert states(desk)[1] == ("dropped", 1) and len(sink.got) == 1


def test_a_connection_that_is_held_is_told_once_until_it_works(desk):
    desk.ledger.change("INSERT INTO alert_rules (kind, enabled, threshold, minimum, window_min, severity, channels, cooldown_min) VALUES ('connection', 1, 0, 0, 60, 'warning', '*', 15)")
    desk.ledger.change("INSERT INTO connections (tenant_id, service, url, secret, created_ms, updated_ms) VALUES ('acme', 'wordpress', 'https://x.example', '', 1, 1)")
    number = desk.ledger.one("SELECT id FROM connections")
    why = Message("%(host)s cannot be reached (%(why)s).", host="x.example", why="@all refused")

    def note(change, *given) -> None:
        with desk.connection.transaction() as tx:
            change(tx, number, *given)

    for _ in range(4):
        note(connections.note_failure, why, desk.now)
    desk.check()
    assert desk.open() == []
    note(connections.note_failure, why, desk.now)
    for _ in range(30):  # probes go out and fail, the hold doubles: the same incident
        desk.check(urgent=True)
        note(connections.may_try, desk.now)
        note(connections.note_failure, why, desk.now)
    assert desk.open() == ["connection"] and desk.sent() == [("a", "open")]
    title, body = desk.connection.fetch_all("SELECT title, body FROM alert_messages")[0]
    assert title.endswith("A service does not work") and "WordPress of acme failed several times in a row; its jobs wait. x.example cannot be reached" in body
    assert "@all" not in body and "/admin/jobs/connections/" in body
    desk.settings = replace(desk.settings, alert_language="it")
    with desk.ledger.app.app_context(), force_locale("it"):
        assert "x.example" in texts.sentence("connection", json.loads(desk.ledger.one("SELECT facts FROM alerts"))) and "cannot" not in texts.sentence("connection", json.loads(desk.ledger.one("SELECT facts FROM alerts")))
    note(connections.note_success)
    for _ in range(3):
        desk.check()
    assert desk.open() == [] and desk.sent() == [("a", "open"), ("a", "over")]


def test_new_databases_have_the_rule_of_connections(ledger):
    assert ledger.one("SELECT COUNT(*) FROM alert_rules WHERE kind = 'connection' AND enabled = 1") == 1
