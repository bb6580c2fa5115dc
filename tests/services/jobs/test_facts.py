"""Facts of finished jobs and groups of errors, as the monitor copies them; on both databases."""

from __future__ import annotations

import pytest

from app.ledger import manual
from app.services.instance import retention
from app.services.jobs import facts, search_index


def finish(ledger, status: str = "completed", **outcome) -> str:
    uuid = ledger.dispatch()
    assert ledger.settle(ledger.claim(), status, **outcome) == status
    return uuid


def fact(ledger, uuid: str, columns: str) -> tuple:
    return ledger.connection.fetch_all(f"SELECT {columns} FROM job_facts WHERE uuid = :u", u=uuid)[0]


def test_each_finished_job_gets_its_facts_once(ledger):
    ledger.change("INSERT INTO worker_heartbeats (worker_name, process_id, queue, status, started_at, last_heartbeat, "
                  "worker_id, consumer_id, host, code_version, revision) VALUES ('w1', 1, 'low', 'idle', "
                  "'2026-01-01', '2026-01-01', 'w1', 'c', 'h', 'abc', 'f00d')")
    good, bad = finish(ledger, run_ms=41, memory_peak=7), finish(ledger, "failed", error="KeyError: 'a1'", retry=False)
    assert facts.advance(ledger.connection) == 2 and facts.advance(ledger.connection) == 0
    assert fact(ledger, good, "status, run_ms, memory, worker, code_version, lost, error_group") == (
        "completed", 41, 7, "w1", "f00d.abc", 0, None)
    group = fact(ledger, bad, "error_group")[0]
    assert ledger.connection.fetch_all("SELECT error_group, title, error FROM error_groups") == [
        (group, "KeyError: …", "KeyError: 'a1'")]


def test_a_group_knows_its_first_and_its_newest_error(ledger):
    finish(ledger, "failed", error="KeyError: 'a'", retry=False)
    facts.advance(ledger.connection)
    first = ledger.one("SELECT first_ms FROM error_groups")
    finish(ledger, "failed", error="KeyError: 'b'", retry=False)
    facts.advance(ledger.connection)
    assert ledger.connection.fetch_all("SELECT first_ms, error FROM error_groups") == [(first, "KeyError: 'b'")]


def test_a_retry_by_hand_takes_the_facts_away_and_the_next_end_brings_new_ones(ledger):
    uuid = finish(ledger, "failed", error="x", retry=False)
    facts.advance(ledger.connection)
    with ledger.connection.transaction() as tx:
        manual.requeue(tx, [tx.fetch_all("SELECT id FROM failed_jobs")[0][0]], ())
    assert ledger.one("SELECT COUNT(*) FROM job_facts") == 0
    ledger.settle(ledger.claim())
    facts.advance(ledger.connection)
    assert fact(ledger, uuid, "status, error_group") == ("completed", None)


def test_the_traceback_of_an_attempt_stays_with_it(ledger):
    uuid = ledger.dispatch()
    assert ledger.settle(ledger.claim(), "failed", error="x", traceback="Traceback: here") == "retried"
    assert ledger.one("SELECT traceback FROM job_metrics WHERE uuid = :u", u=uuid) == "Traceback: here"


def test_a_type_that_writes_random_words_makes_no_more_groups_than_its_bound(ledger, monkeypatch):
    monkeypatch.setattr(facts, "MOST_KINDS", 3)
    monkeypatch.setattr(facts, "MOST_GROUPS", 5)
    words = [f"{head}word {'abcdefghijklmnop'[n] * 3}" for n, head in enumerate(["", "ValueError: ", "", "ValueError: ", "KeyError: ", "ValueError: ", "OSError: ", ""])]
    for n, error in enumerate(words):
        finish(ledger, "failed", error=error, retry=False)
        if n % 3 == 1:
            facts.advance(ledger.connection)
    facts.advance(ledger.connection)
    titles = [row[0] for row in ledger.connection.fetch_all(
        "SELECT g.title FROM job_facts f JOIN error_groups g ON g.error_group = f.error_group ORDER BY f.id")]
    assert titles == ["word aaa", "ValueError: word bbb", "word ccc", "ValueError: …", "KeyError: …", "ValueError: …", str(facts.OTHERS), str(facts.OTHERS)]
    finish(ledger, "failed", error="word aaa", retry=False)  # a known kind stays one
    facts.advance(ledger.connection)
    assert ledger.one("SELECT COUNT(*) FROM error_groups") == 6


def test_a_failure_without_a_message_has_a_group_too_and_old_groups_go(ledger):
    finish(ledger, "failed", retry=False)
    facts.advance(ledger.connection)
    assert ledger.connection.fetch_all("SELECT title, error FROM error_groups") == [("…", "")]
    ledger.change("INSERT INTO error_groups (error_group, job_type, title, error, first_ms, last_ms) VALUES ('k', 'T', 't', 'e', 1, 1)")
    ledger.change("UPDATE error_groups SET last_ms = 1")
    retention.delete_old_minutes(ledger.connection)
    assert ledger.connection.fetch_all("SELECT title FROM error_groups") == [("…",)], "one has a job still"


def test_a_job_that_is_retried_while_its_facts_are_copied_gets_none(ledger, monkeypatch):
    finish(ledger, "failed", error="x", retry=False)
    real = type(ledger.connection).now

    def now(self):  # asked between the reading and the transaction of the copy
        monkeypatch.undo()
        with self.transaction() as tx:
            manual.requeue(tx, [tx.fetch_all("SELECT id FROM failed_jobs")[0][0]], ())
        return real(self)

    monkeypatch.setattr(type(ledger.connection), "now", now)
    facts.advance(ledger.connection)
    assert ledger.one("SELECT COUNT(*) FROM job_history") == 0, "it was retried"
    assert ledger.one("SELECT COUNT(*) FROM job_facts") == ledger.one("SELECT COUNT(*) FROM error_groups") == 0
    finish(ledger)
    facts.advance(ledger.connection)
    assert ledger.one("SELECT COUNT(*) FROM job_facts") == 1


def test_a_second_outcome_in_the_place_of_the_first_renews_the_facts(ledger):
    """As when another program has put the job back into its queue: the row of job_history is replaced and keeps its id."""
    uuid = finish(ledger, "failed", error="x", retry=False)
    facts.advance(ledger.connection)
    ledger.change("DELETE FROM failed_jobs")
    ledger.change("UPDATE jobs SET uuid = :u, round = 2 WHERE uuid = :o", u=uuid, o=ledger.dispatch())
    assert ledger.settle(ledger.claim(), run_ms=7) == "completed"
    assert search_index.advance(ledger.connection) and facts.advance(ledger.connection) == 0
    assert fact(ledger, uuid, "status, run_ms, error_group") == ("completed", 7, None)


@pytest.mark.parametrize("table, columns", [("job_history", ("finished_ms", "attempts", "claim_no")),
                                            ("job_metrics", ("processing_time", "wait_ms", "memory_used", "claim_no"))])
def test_a_damaged_number_does_not_stop_the_facts(ledger, table, columns):
    if not ledger.connection.sqlite:
        pytest.skip("PostgreSQL keeps its types")
    for column in columns:
        finish(ledger, "failed", error="x", retry=False, run_ms=5)
        ledger.change(f"UPDATE {table} SET {column} = 1e300 WHERE id = (SELECT MAX(id) FROM {table})")
        finish(ledger)
        assert facts.advance(ledger.connection) == 2, column
