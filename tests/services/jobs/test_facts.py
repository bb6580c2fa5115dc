"""Facts of finished jobs and groups of errors, as the monitor copies them; on both databases."""

from __future__ import annotations

from app.ledger import manual
from app.services.instance import retention
from app.services.jobs import facts


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
