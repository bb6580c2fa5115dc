"""The lines of a job's log on both databases, when a stop comes while they are written."""

from __future__ import annotations

import signal

import pytest

from app.execution.capture import JobLines


def lost_before(insert):
    def stopped(lines, rows) -> None:
        raise KeyboardInterrupt
    return stopped


def lost_after(insert):
    def stopped(lines, rows) -> None:
        signal.raise_signal(signal.SIGINT)
        insert(lines, rows)
        signal.raise_signal(signal.SIGINT)
    return stopped


@pytest.fixture
def sigint():
    """SIGINT raises, also where the tests were started in the background of a shell, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("sigint")
@pytest.mark.parametrize("stop", [lost_before, lost_after])
def test_a_stop_while_lines_are_written_loses_none_and_doubles_none(ledger, monkeypatch, stop):
    ledger.dispatch()
    lines = JobLines(ledger.claim(), ledger.connection)
    for n in range(300):  # the first is written at once, the others wait
        lines.add(f"line {n}")
    insert = JobLines._insert
    monkeypatch.setattr(JobLines, "_insert", stop(insert))
    with pytest.raises(KeyboardInterrupt):
        lines.write()
    monkeypatch.setattr(JobLines, "_insert", insert)
    lines.write()
    assert not lines.waiting
    assert [text for (text,) in ledger.connection.fetch_all("SELECT message FROM job_logs ORDER BY id")] == [f"line {n}" for n in range(300)]


def test_a_line_that_is_added_while_others_are_written_waits_for_the_next_time(ledger, monkeypatch):
    ledger.dispatch()
    lines, insert = JobLines(ledger.claim(), ledger.connection), JobLines._insert

    def slow(self, rows) -> None:
        insert(self, rows)
        monkeypatch.setattr(JobLines, "_insert", insert)
        lines.add("two")

    monkeypatch.setattr(JobLines, "_insert", slow)
    lines.add("one")
    assert lines.waiting
    lines.write()
    assert ledger.connection.fetch_all("SELECT message FROM job_logs ORDER BY id") == [("one",), ("two",)]
