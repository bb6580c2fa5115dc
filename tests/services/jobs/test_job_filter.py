"""Each part of the filter, and each order, against a plain reading of both tables, on both databases."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest

from app.extensions import db
from app.services.jobs import facts, list_plan, listing
from app.services.jobs.dispatch import payload
from app.services.jobs.job_filter import FilterError, JobFilter
from app.support.clock import now_ms, offsets

ROME = ZoneInfo("Europe/Rome")
GROUPS = ("a" * 16, "b" * 16, None)
ARGS = ({"n": 5, "reference": "A-12"}, {"n": 5.5, "customer": {"id": 7, "tags": ["x", "y"]}}, {"n": "5", "ok": True},
        {"ok": None, "a.b": "dots", "api_key": "sk-live-0123456789abcdef"}, {"text": "Vini dell'\"Etna\" \\ 100%"})


@pytest.fixture
def jobs(ledger, monkeypatch):
    """60 jobs of both tables with random facts, as plain values in `rows`, in the order of the list."""
    chance, now, rows = random.Random(11), now_ms(), []
    for n in range(60):
        uuid = ledger.dispatch("TestNoop", tries=1)
        ledger.change("UPDATE jobs SET payload = :p WHERE uuid = :u", u=uuid, p=payload(uuid, "TestNoop", ARGS[n % 5], None, "default"))
    for n in range(4):
        ledger.change(
            "INSERT INTO worker_heartbeats (worker_name, process_id, queue, status, started_at, last_heartbeat, worker_id, "
            "consumer_id, host, code_version, revision, memory) VALUES (:name, 1, 'low', 'idle', '2026-01-01', '2026-01-01', "
            ":id, 'c', 'h', :code, :revision, :memory)", name=f"demo_{n}", id=f"id{n}", code="c0de", revision=("f00d", None)[n % 2],
            memory=n * 2**20)
    for n in range(44):
        job = ledger.claim(f"id{n % 4}")
        if n >= 40:
            break
        ledger.settle(job, ("completed", "failed")[n % 2], error="x" if n % 2 else None, retry=False)
    for _n in range(3):
        ledger.claim(f"id{_n}")
    facts.advance(ledger.connection)
    for id_, uuid in ledger.connection.fetch_all("SELECT id, uuid FROM job_history"):
        row = {"error": chance.choice(GROUPS), "worker": f"demo_{chance.randint(0, 3)}", "attempts": chance.randint(1, 4),
               "run": chance.choice((None, 0, 10_000, chance.randint(0, 20_000))), "wait": chance.choice((None, 5000, chance.randint(0, 9000))),
               "memory": chance.choice((None, 2**20, chance.randint(0, 4 * 2**20))), "lost": chance.choice((0, 0, 1)),
               "code": chance.choice(("f00d.c0de", "f00d.beef", "c0de", None)), "at": now - chance.randint(0, 400) * 3_600_000}
        ledger.change("UPDATE job_facts SET error_group = :error, worker = :worker, attempts = :attempts, run_ms = :run, wait_ms = :wait,"
                      " memory = :memory, lost = :lost, code_version = :code WHERE id = :id",
                      id=id_, **{k: v for k, v in row.items() if k != "at"})
        ledger.change("UPDATE job_history SET finished_ms = :at, attempts = :attempts WHERE id = :id", id=id_, at=row["at"], attempts=row["attempts"])
        rows.append(SimpleNamespace(kind="h", id=id_, uuid=uuid, **row))
    beats = dict(ledger.connection.fetch_all("SELECT worker_id, worker_name FROM worker_heartbeats"))
    for id_, uuid, state, worker in ledger.connection.fetch_all("SELECT id, uuid, state, worker_id FROM jobs"):
        at, reserved, running = now - chance.randint(1, 90) * 1000, now - chance.randint(1, 30) * 1000, state == "processing"
        ledger.change("UPDATE jobs SET available_ms = :at, reserved_ms = :reserved, created_ms = :made WHERE id = :id", id=id_,
                      at=at, reserved=reserved if running else None, made=(made := now - chance.randint(0, 400) * 3_600_000))
        n = int(worker[2:]) if worker else 0
        rows.append(SimpleNamespace(
            kind="l", id=id_, uuid=uuid, error=None, worker=beats.get(worker), attempts=1 if running else 0, lost=0, at=made,
            run=now - reserved if running else None, wait=reserved - at if running else now - at,
            memory=n * 2**20 if running else None, code=(("f00d.c0de", "c0de")[n % 2]) if running else None))
    lost = next(row for row in rows if row.kind == "l" and row.run)
    ledger.change("INSERT INTO job_metrics (uuid, round, claim_no, job_type, status, processing_time, attempts, completed_at, queue) "
                  "VALUES (:u, 1, 99, 'x', 'lost', 1, 1, '2026-01-01', 'low')", u=lost.uuid)
    lost.lost = 1
    payloads = dict(ledger.connection.fetch_all("SELECT uuid, payload FROM job_history UNION ALL SELECT uuid, payload FROM jobs"))
    for row in rows:
        row.payload = payloads[row.uuid]
    rows.sort(key=lambda row: (row.kind == "l", row.id), reverse=True)
    monkeypatch.setattr(listing, "now_ms", lambda: now)  # running jobs would pass a bound during a slow test
    with ledger.app.app_context():
        yield SimpleNamespace(ledger=ledger, rows=rows, now=now)


def wanted(**given) -> JobFilter:
    return JobFilter.read({name.replace("__", "."): value for name, value in given.items()}, ROME)


def walk(filter_: JobFilter, size: int = 7) -> list[str]:
    """All pages towards the older ones and back again, which must agree; so must the count."""
    seen, cursor, back = [], "", []
    while cursor is not None:
        last = listing.page(filter_, before=cursor, size=size)
        seen += [row.uuid for row in last.rows]
        cursor = last.older
    while last.newer:
        last = listing.page(filter_, after=last.newer, size=size)
        back = [row.uuid for row in last.rows] + back
    assert back == seen[: len(back)] and len(seen) - len(back) <= size
    assert listing.count(filter_) == (len(seen), True)
    db.session.rollback()
    return seen


def tod(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, ROME).strftime("%H:%M")


CASES = [
    ({"error": "a" * 16}, lambda r: r.error == "a" * 16), ({"error": "nothing"}, lambda r: False),
    ({"worker": "demo_1"}, lambda r: r.worker == "demo_1"), ({"worker": "' OR 1=1 --"}, lambda r: False),
    ({"attempt": "2"}, lambda r: r.attempts == 2), ({"attempt": "2-"}, lambda r: r.attempts >= 2), ({"attempt": "0-1"}, lambda r: r.attempts <= 1),
    ({"longer": "10s"}, lambda r: r.run is not None and r.run >= 10_000), ({"shorter": "10s"}, lambda r: r.run is not None and r.run < 10_000),
    ({"longer": "5s", "shorter": "0.2 min"}, lambda r: r.run is not None and 5000 <= r.run < 12_000),
    ({"waited": "5s"}, lambda r: r.wait is not None and r.wait >= 5000), ({"heavier": "2MB"}, lambda r: r.memory is not None and r.memory >= 2 * 2**20),
    ({"code": "f00d"}, lambda r: (r.code or "").startswith("f00d")), ({"code": "c0de"}, lambda r: r.code == "c0de"), ({"code": "f_"}, lambda r: False),
    ({"rescued": "1"}, lambda r: r.lost > 0),
    ({"clock": "22:00-06:00"}, lambda r: tod(r.at) >= "22:00" or tod(r.at) < "06:00"), ({"clock": "9:30-12:00"}, lambda r: "09:30" <= tod(r.at) < "12:00"),
    ({"clock": "12:00-24:00"}, lambda r: tod(r.at) >= "12:00"),
    ({"worker": "demo_2", "longer": "3s", "state": "ended"}, lambda r: r.kind == "h" and r.worker == "demo_2" and (r.run or 0) >= 3000),
    ({"args__n": "5"}, lambda r: '"n": 5,' in r.payload or '"n": "5"' in r.payload), ({"args__n": '"5"'}, lambda r: '"n": "5"' in r.payload),
    ({"args__n": "5.5"}, lambda r: '"n": 5.5' in r.payload), ({"args__n": "5.50"}, lambda r: '"n": 5.5' in r.payload),
    ({"args__reference": "A-12"}, lambda r: "A-12" in r.payload), ({"args__reference": "A-1"}, lambda r: False), ({"args__id": "7"}, lambda r: False),
    ({"args__customer.id": "7"}, lambda r: '"id": 7' in r.payload), ({"args__customer.tags.1": "y"}, lambda r: '"id": 7' in r.payload),
    ({"args__customer": '{"id": 7, "tags": ["x", "y"]}'}, lambda r: '"id": 7' in r.payload), ({"args__a.b": "dots"}, lambda r: "dots" in r.payload),
    ({"args__ok": "true"}, lambda r: '"ok": true' in r.payload), ({"args__ok": "null"}, lambda r: '"ok": null' in r.payload), ({"args__ok": "1"}, lambda r: False),
    ({"args__text": "Vini dell'\"Etna\" \\ 100%"}, lambda r: "Etna" in r.payload), ({"args__api_key": "sk-live-0123456789abcdef"}, lambda r: False),
    ({"args__x' OR \"1": "1"}, lambda r: False), ({"args__": "1"}, lambda r: False), ({"args__$.n": "5"}, lambda r: False), ({"args__n": "5", "args__ok": "true"}, lambda r: '"n": "5"' in r.payload),
]


@pytest.mark.parametrize("few", [0, 2000])
def test_each_part_finds_just_the_jobs_that_match(jobs, few, monkeypatch):
    """`few` decides whether an index is read whole or the rows are read in their order."""
    monkeypatch.setattr(list_plan, "FEW", few)
    monkeypatch.setattr(list_plan, "CHUNK", 5)
    for given, fits in CASES:
        fitting = [row for row in jobs.rows if fits(row)]
        if "error" in given:
            order = dict(jobs.ledger.connection.fetch_all("SELECT uuid, finished_ms FROM job_facts"))
            fitting.sort(key=lambda row: (order[row.uuid], row.id), reverse=True)
        assert walk(wanted(**given)) == [row.uuid for row in fitting], given


@pytest.mark.parametrize("few", [0, 2000])
@pytest.mark.parametrize("sort", ["run", "wait", "memory"])
def test_each_order_pages_rightly_through_equal_values_and_none(jobs, few, sort, monkeypatch):
    monkeypatch.setattr(list_plan, "FEW", few)
    failed = {row[0] for row in jobs.ledger.connection.fetch_all("SELECT uuid FROM job_history WHERE status = 'failed'")}
    for given, fits in [({}, lambda r: True), ({"worker": "demo_1"}, lambda r: r.worker == "demo_1"), ({"longer": "1s"}, lambda r: (r.run or 0) >= 1000),
                        ({"state": "failed"}, lambda r: r.kind == "h" and r.uuid in failed), ({"error": "a" * 16}, lambda r: r.error == "a" * 16)]:
        for sign in (1, -1):
            fitting = [row for row in jobs.rows if fits(row)]
            key = lambda r, sign=sign: (getattr(r, sort) is None, r.kind == "h", sign * (getattr(r, sort) or 0), sign * r.id)  # noqa: E731
            assert walk(wanted(sort=f"{'-' if sign < 0 else ''}{sort}", **given), 5) == [r.uuid for r in sorted(fitting, key=key)], (given, sign)
    assert walk(wanted(sort="when"), 6) == [row.uuid for row in jobs.rows[::-1]]


def test_times_and_deploys_and_actions(jobs):
    at = sorted(row.at for row in jobs.rows)[20]
    jobs.ledger.change("UPDATE job_history SET finished_ms = :now - 90000000 + id * 1000000", now=jobs.now)
    rows = jobs.ledger.connection.fetch_all("SELECT uuid, finished_ms FROM job_history ORDER BY id DESC")
    low, high = rows[30][1], rows[10][1]
    utc = lambda ms: datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")  # noqa: E731
    assert walk(wanted(state="ended", since=utc(low), until=utc(high))) == [uuid for uuid, _at in rows[11:31]]
    local = datetime.fromtimestamp(low // 60_000 * 60, ROME).strftime("%Y-%m-%dT%H:%M")
    assert walk(wanted(state="ended", since=local)) == [uuid for uuid, at in rows if at >= low // 60_000 * 60_000]
    jobs.ledger.change("INSERT INTO deploys (id, at_ms, text) VALUES (3, :at, 'x')", at=low)
    assert walk(wanted(deploy="3", state="ended")) == [uuid for uuid, at in rows if at >= low]
    assert walk(wanted(deploy="4")) == []
    touched = {jobs.rows[2].uuid, jobs.rows[40].uuid}
    for uuid in [*touched, "gone"]:
        jobs.ledger.change("INSERT INTO audit_jobs (audit_id, uuid) VALUES (9, :u)", u=uuid)
    jobs.ledger.change("UPDATE job_metrics SET completed_at = '2025-01-01 10:00:00.500000', status = 'lost' WHERE uuid = :u AND status <> 'lost'", u=rows[5][0])
    lost = jobs.ledger.one("SELECT uuid FROM job_metrics WHERE claim_no = 99")
    assert walk(wanted(rescued="2025-01-01T10:00:00.500Z..2025-01-01T10:00:00.501Z")) == [rows[5][0]]
    assert walk(wanted(rescued="2025-01-01T10:00:00.501Z..2026-01-01T00:00:00.001Z")) == [lost]
    live = next(row.uuid for row in jobs.rows if row.kind == "l")  # of a job that failed, what became of it does not matter
    for n, (uuid, status) in enumerate(((live, "failed"), (live, "timeout"), (rows[7][0], "failed"), (rows[9][0], "retried"))):
        jobs.ledger.change("INSERT INTO job_metrics (uuid, round, claim_no, job_type, tenant_id, status, processing_time, attempts, completed_at, queue) VALUES "
                           "(:u, :n, :n, 'T', 'some', :s, 1, 1, '2024-01-01 10:00:00.5', 'low')", u=uuid, n=500 + n, s=status)
    hour = "2024-01-01T10:00Z..2024-01-01T11:00Z"
    assert set(walk(wanted(failed=hour))) == {live, rows[7][0]} and walk(wanted(failed="2024-01-01T10:00:01Z..2024-01-01T11:00Z")) == []
    assert walk(wanted(failed=hour, state="ended")) == [rows[7][0]] and walk(wanted(failed=hour, type="other")) == []
    assert walk(wanted(failed=hour, rescued="2025-01-01..2026-01-02")) == []
    assert set(walk(wanted(action="9"))) == touched and walk(wanted(action="8")) == [] and at


def test_the_time_of_day_is_right_across_changes_of_the_clock():
    spring, autumn = 1774746000000, 1792890000000  # 2026-03-29 and 2026-10-25, 01:00 UTC
    assert offsets(ROME, spring - 90 * 86_400_000, autumn + 90 * 86_400_000) == [
        (spring - 90 * 86_400_000, 3_600_000), (spring, 7_200_000), (autumn, 3_600_000)]


@pytest.mark.parametrize("given, name", [
    ({"longer": "fast"}, "longer"), ({"heavier": "10 elephants"}, "heavier"), ({"attempt": "x"}, "attempt"), ({"clock": "25:00-26:00"}, "clock"),
    ({"clock": "10:00-10:00"}, "clock"), ({"since": "2026-13-01"}, "since"), ({"until": "2026-01-01T99:00"}, "until"), ({"sort": "uuid; DROP"}, "sort"),
    ({"rescued": "maybe"}, "rescued"), ({"failed": "today"}, "failed"), ({"failed": "2026-01-02..2026-01-01"}, "failed"),
    ({"rescued": "2026-01-02..2026-01-01"}, "rescued"), ({"waited": "20s-10s"}, "waited"), ({"since": "2026-01-02", "until": "2026-01-01"}, "until"), ({"action": "x"}, "action"), ({"deploy": "-1"}, "deploy"), ({"state": "x"}, "state"), ({"args__a\x00": "1"}, ""),
    ({"error": "e" * 65}, "error"), ({f"args__{n}": "1" for n in range(11)}, "args")])
def test_a_part_that_cannot_be_read_is_named(given, name):
    with pytest.raises((FilterError, ValueError)) as refused:
        wanted(**given)
    assert getattr(refused.value, "name", "") == name and str(refused.value)


@pytest.mark.parametrize("zone", ["Europe/Rome", "America/Los_Angeles", "Pacific/Kiritimati"])
@pytest.mark.parametrize("given", [
    {"rescued": "0001-01-01..0001-01-02"}, {"rescued": "0001-01-01T00:00..9999-12-31"}, {"rescued": "9999-12-31..9999-12-31"},
    {"since": "0001-01-01"}, {"since": "0001-01-01T00:00Z"}, {"until": "9999-12-31"}, {"since": "9999-12-31T23:59"}])
def test_the_first_and_the_last_days_there_are_can_be_asked_for(ledger, given, zone):
    with ledger.app.app_context():
        filter_ = JobFilter.read(given, ZoneInfo(zone))
        assert listing.page(filter_).rows == [] and listing.count(filter_) == (0, True)
        db.session.rollback()


def test_a_filter_keeps_its_form_in_an_address():
    given = {"longer": "10 S", "heavier": "100 mb", "clock": "9:00 - 12:30", "since": "2026-11-23T14:00:00+01:00", "args__b": "2", "args__a": "1",
             "rescued": "on", "sort": "-when", "attempt": "2 -"}
    assert wanted(**given).query == {
        "longer": "10s", "heavier": "100MB", "clock": "09:00-12:30", "since": "2026-11-23T13:00Z", "args.a": "1", "args.b": "2", "rescued": "1", "attempt": "2-"}


@pytest.mark.parametrize("few", [0, 2000])
def test_outcomes_of_a_time_are_those_that_stand_and_those_that_were_retried(jobs, few, monkeypatch):
    monkeypatch.setattr(list_plan, "FEW", few)
    live, ended = [row for row in jobs.rows if row.kind == "l"][:3], [row for row in jobs.rows if row.kind == "h"][:6]
    for n, row in enumerate([*live, *ended]):
        jobs.ledger.change("INSERT INTO job_metrics (uuid, round, claim_no, job_type, tenant_id, status, processing_time, attempts, completed_at, queue, worker) "
                           "VALUES (:u, :n, :n, 'TestNoop', 'x', 'failed', :run, 1, '2024-01-01 10:00:00.5', 'low', :w)", u=row.uuid, n=700 + n, run=700 + n, w=f"old_{n % 2}")
    hour = "2024-01-01T10:00Z..2024-01-01T11:00Z"
    retried = [row.uuid for row in [*live, *ended]]
    assert walk(wanted(outcome=hour)) == retried and walk(wanted(outcome=hour, worker="old_0")) == retried[::2]
    assert walk(wanted(outcome=hour, longer="704ms", shorter="706ms")) == retried[4:6] and walk(wanted(failed=hour, worker="demo_1")) == []
    always, stand = "2024-01-01..2030-01-01", {row.uuid for row in jobs.rows if row.kind == "h"}
    for given in ({"sort": "-run"}, {"sort": "run"}, {"sort": "when"}, {"sort": "-memory"}, {}):
        found = walk(wanted(outcome=always, **given), 5)
        assert len(found) == len(set(found)) and set(found) == stand | set(retried), given
    on_one = {row.uuid for row in jobs.rows if row.kind == "h" and row.worker == "demo_1"}
    assert set(walk(wanted(outcome=always, worker="demo_1"), 5)) >= on_one and listing.count(wanted(outcome=always))[0] == len(stand) + 3
    assert walk(wanted(outcome=hour, q=ended[0].uuid)) == [ended[0].uuid] and walk(wanted(outcome=hour, q=jobs.rows[-1].uuid)) == []
    lasting = next(row.uuid for row in jobs.rows if row.kind == "h" and row.uuid not in retried)
    assert walk(wanted(outcome=always, q=lasting)) == [lasting], "it ended so, and had no other outcome"
    assert walk(wanted(outcome=hour, q=live[0].uuid[:12])) == [live[0].uuid] and walk(wanted(outcome=always, q=lasting[:12])) == [lasting]
    assert walk(wanted(outcome=hour, state="live")) == retried[:3] and walk(wanted(outcome=hour, state="cancelled")) == []
