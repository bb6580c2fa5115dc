"""Hours of use, as the monitor counts them from outcomes, and samples of the machine; on both databases."""

from __future__ import annotations

import json
import sqlite3

import pytest

from app.ledger import counts
from app.ledger.rows import METRIC, insert
from app.services.instance import retention
from app.services.stats import usage_fill
from app.services.stats.machine import Sampler
from app.services.stats.usage_fill import Cell
from app.support.clock import DAY_MS, HOUR_MS, MINUTE_MS, now_ms, stamp

NOW = now_ms()
HOUR = NOW // HOUR_MS * HOUR_MS


def metric(ledger, uuid: str, status: str = "completed", at: int = HOUR, run: int = 1000, wait: int | None = 200, memory: int | None = None, **more) -> None:
    row = dict.fromkeys(METRIC) | {
        "uuid": uuid, "round": 1, "claim_no": 1, "job_type": "T", "tenant_id": "acme", "queue": "low", "worker": "w1", "status": status, "processing_time": run, "wait_ms": wait,
        "memory_used": memory, "attempts": 1, "started_at": stamp(at), "completed_at": stamp(at), "created_at": stamp(at)} | more
    ledger.change(insert("job_metrics", METRIC), **row)


def cell(ledger, scope: str = "type", name: str = "T", hour: int = HOUR) -> Cell:
    (row,) = ledger.connection.fetch_all(f"SELECT {usage_fill.CELL} FROM usage_hours WHERE scope = :s AND name = :n AND hour = :h", s=scope, n=name, h=hour)
    return Cell.of_row(row)


def history(ledger) -> None:
    metric(ledger, "a", run=1000, wait=200, memory=5_000_000)
    metric(ledger, "b", "retried", run=300)
    metric(ledger, "b", "failed", run=400, claim_no=2, wait=50, memory=9_000_000, worker="w2")
    metric(ledger, "c", "timeout", run=5000, tenant_id=None, memory=7_000_000)
    metric(ledger, "d", "cancelled", run=0, claim_no=0, wait=None, worker=None, started_at=None)
    metric(ledger, "e", "cancelled", run=60)
    metric(ledger, "f", "lost", run=20)
    metric(ledger, "f", "late", run=9999)
    metric(ledger, "g", "released", run=10)
    metric(ledger, "h", at=HOUR - 1, run=70, memory=1)
    metric(ledger, "i", job_type="U", memory=3_000_000)


def test_each_outcome_is_counted_once_for_its_type_tenant_and_worker(ledger):
    history(ledger)
    assert usage_fill.advance(ledger.connection) == 11 and usage_fill.advance(ledger.connection) == 0
    found = cell(ledger)
    assert (found.completed, found.failed, found.attempts, found.busy_ms) == (1, 2, 6, 1000 + 300 + 400 + 5000 + 60 + 20 + 10)
    assert [sketch.total for sketch in (found.waits, found.runs, found.memory)] == [3, 3, 3], "of final outcomes only"
    assert found.runs.quantile(1) == pytest.approx(5000, rel=0.02) and found.waits.quantile(0) == pytest.approx(50, rel=0.02)
    assert found.heaviest == [(9_000_000, "b"), (7_000_000, "c"), (5_000_000, "a")]
    assert cell(ledger, hour=HOUR - HOUR_MS).busy_ms == 70 and cell(ledger, name="U").completed == 1
    acme, second = cell(ledger, "tenant", "acme"), cell(ledger, "worker", "w2")
    assert (acme.completed, acme.failed) == (2, 1) and (second.failed, second.attempts, second.busy_ms) == (1, 1, 400)
    assert ledger.one("SELECT COUNT(*) FROM usage_hours WHERE name = ''") == 0


def test_an_hour_grows_with_each_step_and_keeps_its_three_heaviest(ledger):
    for n in range(1, 6):
        metric(ledger, f"j{n}", memory=n * 1000)
        assert usage_fill.advance(ledger.connection) == 1
    metric(ledger, "j2", "failed", round=2, claim_no=2, memory=9000)
    usage_fill.advance(ledger.connection)
    found = cell(ledger)
    assert (found.completed, found.failed, found.runs.total) == (5, 1, 6)
    assert found.heaviest == [(9000, "j2"), (5000, "j5"), (4000, "j4")]


def test_rows_of_other_programs_stop_nothing(ledger):
    history(ledger)
    if ledger.store == "sqlite":
        for n, odd in enumerate((None, 7, -1, 2**63 - 1, 3.5, float("inf"), "x", "", b"\xff\0", "9" * 400)):
            for m, column in enumerate(("claim_no", "job_type", "tenant_id", "worker", "status", "processing_time", "wait_ms", "memory_used", "started_at", "completed_at")):
                metric(ledger, f"odd-{n}-{m}")
                ledger.change(f"UPDATE OR IGNORE job_metrics SET {column} = :v WHERE uuid = :u", v="" if odd is None else odd, u=f"odd-{n}-{m}")
            metric(ledger, f"odd-{n}-u")
            ledger.change("UPDATE job_metrics SET uuid = :v WHERE uuid = :u", v="none" if odd is None else odd, u=f"odd-{n}-u")
    else:
        metric(ledger, "odd", run=2**31 - 1, wait=2**63 - 1, memory=2**63 - 1, started_at="infinity")
        ledger.change("UPDATE job_metrics SET completed_at = 'infinity' WHERE uuid = 'c'")
    try:
        usage_fill.advance(ledger.connection)
    except sqlite3.OperationalError:  # text that is no UTF-8: the connection reads it leniently from then on
        usage_fill.advance(ledger.connection)
    ledger.change("UPDATE usage_hours SET heaviest = '[[1], {}, [\"x\", 2]', waits = :b, runs = :b", b=b"\0damaged")
    metric(ledger, "later", at=HOUR, memory=2)
    assert usage_fill.advance(ledger.connection) == 1 and cell(ledger).runs.total == 1


def test_a_damaged_watermark_stops_the_duty_with_a_sentence(ledger):
    ledger.change("UPDATE meta SET value = 'x' WHERE key = 'usage_reach'")
    with pytest.raises(ValueError, match="usage_reach"):
        usage_fill.advance(ledger.connection)


def test_rebuilding_gives_the_same_and_leaves_hours_without_raw_rows(ledger):
    history(ledger)
    metric(ledger, "old", "failed", at=HOUR - 40 * DAY_MS)
    usage_fill.advance(ledger.connection)
    assert ledger.one("SELECT COUNT(*) FROM usage_hours WHERE hour < :h", h=HOUR - 33 * DAY_MS) == 0, "its completed jobs may be deleted already"
    ledger.change("INSERT INTO usage_hours (scope, name, hour, completed) VALUES ('type', 'T', :h, 5)", h=HOUR - 40 * DAY_MS)
    rows = "SELECT scope, name, hour, completed, failed, attempts, busy_ms, waits, runs, memory, heaviest FROM usage_hours ORDER BY scope, name, hour"
    before = ledger.connection.fetch_all(rows)
    ledger.change("UPDATE usage_hours SET completed = 99, runs = NULL WHERE hour >= :h", h=HOUR - HOUR_MS)
    metric(ledger, "past the watermark")
    assert usage_fill.rebuild(ledger.connection, 1) == 24
    assert ledger.connection.fetch_all(rows) == before
    usage_fill.advance(ledger.connection)
    assert cell(ledger).completed == 2


def test_hours_are_kept_for_400_days_and_minutes_of_machine_and_workers_for_32(ledger):
    for age in (399, 401):
        ledger.change("INSERT INTO usage_hours (scope, name, hour) VALUES ('type', 'T', :h)", h=NOW - age * DAY_MS)
    for age in (31, 33):
        ledger.change("INSERT INTO machine_minutes (minute_ms) VALUES (:m)", m=NOW - age * DAY_MS)
        ledger.change("INSERT INTO worker_minutes (minute_ms, samples, wanted, alive, busy) VALUES (:m, 1, 1, 1, 1)", m=NOW - age * DAY_MS)
    retention.delete_old_minutes(ledger.connection)
    assert [ledger.one(f"SELECT COUNT(*) FROM {table}") for table in ("usage_hours", "machine_minutes", "worker_minutes")] == [1, 1, 1]


def test_the_machine_is_sampled_once_a_minute(ledger):
    for _ in range(2):
        ledger.dispatch(queue="low")
    ledger.change("UPDATE jobs SET available_ms = available_ms - 90000 WHERE id = (SELECT MIN(id) FROM jobs)")
    sampler = Sampler(ledger.connection, ledger.app.extensions["settings"].data_dir)
    assert sampler.run() and not sampler.run() or ledger.one("SELECT COUNT(*) FROM machine_minutes") == 2
    (row,) = ledger.connection.fetch_all("SELECT cpu, memory, memory_total, disk_free, disk_total, database, wal, ready, oldest_ms FROM machine_minutes ORDER BY minute_ms LIMIT 1")
    cpu, memory, total, free, disk, database, wal, ready, oldest = row
    assert 0 <= cpu <= 1000 and 0 < memory < total and 0 < free < disk and database > 1000 and wal > 0
    assert ready == 2 and 90_000 <= oldest < 150_000
    counts.sample(ledger.connection, NOW // MINUTE_MS * MINUTE_MS)
    assert ledger.connection.fetch_all("SELECT queue FROM queue_minutes WHERE oldest_ms >= 90000 AND depth = 2") == [("low",)]
    assert ledger.one("SELECT COUNT(*) FROM queue_minutes WHERE oldest_ms IS NULL") == 2


def test_the_bytes_of_an_hour_stay_below_a_kilobyte(ledger):
    for n in range(60):
        metric(ledger, f"j{n}", run=int(2 ** (n / 2)), wait=int(2 ** (n / 1.2)), memory=int(2 ** (n / 1.3)))
    usage_fill.advance(ledger.connection)
    (row,) = ledger.connection.fetch_all("SELECT waits, runs, memory FROM usage_hours WHERE scope = 'type'")
    assert sum(map(len, row)) <= 1024 and json.loads(ledger.one("SELECT heaviest FROM usage_hours WHERE scope = 'type'"))[0][1] == "j59"
