"""The row of a consumer in `consumers`, on both databases."""

from __future__ import annotations

import os
import socket

import pytest

from app.ledger import consumer_row, worker_slots
from app.ledger.consumer_row import ConsumerRow
from app.ledger.rescue import forget_worker
from app.ledger.worker_slots import Places
from app.support.messages import Message, from_row
from app.support.process import boot_id, identity, namespace


def row_of(ledger, consumer: str) -> ConsumerRow:
    return ConsumerRow(ledger.connection, consumer, os.getpid(), ("high", "low"), 1, 4)


def stored(ledger, what: str = "wanted, least, most, queue, stale"):
    return ledger.connection.fetch_all(f"SELECT {what} FROM consumers ORDER BY consumer_id")


def test_the_row_says_how_many_should_run_and_goes_at_a_clean_end(ledger, tmp_path, monkeypatch):
    row = row_of(ledger, identity(tmp_path))
    row.keep(2)
    assert stored(ledger) == [(2, 1, 4, "high,low", 0)]
    ledger.change("UPDATE consumers SET beat_ms = 7")
    row.keep(2)
    assert stored(ledger, "beat_ms") == [(7,)], "no write within 5 s"
    row.keep(3)
    assert stored(ledger, "wanted")[0][0] == 3 and stored(ledger, "beat_ms")[0][0] > 7
    ledger.change("UPDATE consumers SET beat_ms = 7, stale = 1")
    monkeypatch.setattr(consumer_row, "BEAT_S", 0)
    row.keep(3)
    assert stored(ledger, "beat_ms")[0][0] > 7 and stored(ledger, "stale") == [(1,)], "the monitor's conclusion is the monitor's"
    ledger.change("DELETE FROM consumers")
    row.keep(3)
    assert stored(ledger) == [(3, 1, 4, "high,low", 0)], "a row that somebody deleted is written again"
    row.end()
    assert stored(ledger) == []


def test_a_worker_that_was_stopped_or_retired_is_not_wanted_from_its_last_write_on(ledger, tmp_path):
    row = row_of(ledger, identity(tmp_path))
    row.keep(3)
    for name, code, left in (("a", worker_slots.EMPTY, 2), ("b", worker_slots.RETIRED, 1), ("c", None, 1)):
        ledger.change("INSERT INTO worker_heartbeats (worker_name, worker_id, process_id, queue, status, consumer_id, host, started_at, last_heartbeat) "
                      "VALUES (:n, :n, 1, 'high', 'idle', :c, 'here', CURRENT_TIMESTAMP, CURRENT_TIMESTAMP)", n=name, c=row.consumer_id)
        forget_worker(ledger.connection, name, "why", guarded=False, stop_code=code)
        assert stored(ledger, "wanted") == [(left,)]
    row.keep(2)
    assert stored(ledger, "wanted") == [(2,)], "then what the consumer says"


def test_a_new_consumer_deletes_the_rows_of_those_that_are_known_to_have_ended(ledger, tmp_path):
    """Machines and containers may share a host name: a process that it cannot see is the monitor's affair."""
    dead, other, container = f"{boot_id()[:8]}-{namespace()}-{2**22 + 1}-7-x", "0aaaaaaa-1-2-3-x", f"{boot_id()[:8]}-1-{2**22 + 1}-7-x"
    row_of(ledger, alive := identity(tmp_path)).keep(1)
    for name, host in ((dead, socket.gethostname()), (other, socket.gethostname()), (container, socket.gethostname()), ("0aaaaaaa-elsewhere", "elsewhere")):
        ledger.change("INSERT INTO consumers (consumer_id, host, process_id, queue, wanted, least, most, started_ms, beat_ms) "
                      "VALUES (:c, :h, 1, 'high', 1, 1, 1, 1, 1)", c=name, h=host)
    row_of(ledger, mine := identity(tmp_path)).keep(1)
    assert {name for (name,) in stored(ledger, "consumer_id")} == {"0aaaaaaa-elsewhere", other, container, alive, mine}


@pytest.mark.parametrize("ledger", ["sqlite"], indirect=True)
def test_a_row_that_is_no_consumers_keeps_none_from_writing_its_own(ledger, tmp_path):
    for name in (b"\xff", f"{boot_id()[:8]}-{namespace()}-\0-x", ""):
        ledger.change("INSERT INTO consumers (consumer_id, host, process_id, queue, wanted, least, most, started_ms, beat_ms) "
                      "VALUES (:c, :h, 'x', 'high', 'x', 1, 1, 1, 'x')", c=name, h=socket.gethostname())
    row_of(ledger, identity(tmp_path)).keep(1)
    assert ledger.one("SELECT COUNT(*) FROM consumers") == 4


def test_a_decision_is_noted_as_a_message(ledger, tmp_path):
    row = row_of(ledger, identity(tmp_path))
    row.keep(1)
    why = Message("%(n)s jobs wait", n=120)
    with ledger.connection.transaction() as tx:
        row.note(tx, why)
    ((note, json, at),) = stored(ledger, "note, note_json, note_ms")
    assert type(from_row(note, json)) is Message and note == "120 jobs wait" and at > 0


def test_children_see_the_places_that_the_consumer_tells(ledger, tmp_path):
    places = Places(ledger.connection.url, identity(tmp_path), 3)
    assert (places.kept, places.empty) == (3, 0)
    read, write = os.pipe()
    if (pid := os.fork()) == 0:
        os.read(read, 1)
        os._exit(places.kept * 10 + places.empty)
    places.tell(2, 1)
    os.write(write, b"1")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 21
