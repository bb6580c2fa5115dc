"""Rows of the monitor's and the log's own tables go when their subject is gone or old; on both databases."""

from __future__ import annotations

from app.extensions import db
from app.services import audit
from app.services.instance import retention, sweeps
from app.services.jobs import actions, facts
from app.support.clock import DAY_MS


def test_facts_without_their_job_are_swept_in_windows(ledger, monkeypatch):
    monkeypatch.setattr(sweeps, "WINDOW", 2)
    monkeypatch.setattr(sweeps, "_FACTS", sweeps._FACTS.replace("20000", "2"))
    uuids = [ledger.dispatch() for _ in range(5)]
    for _ in uuids:
        ledger.settle(ledger.claim())
    facts.advance(ledger.connection)
    ledger.change("DELETE FROM job_history WHERE uuid IN (:a, :b)", a=uuids[1], b=uuids[4])  # as another program does
    assert [retention.delete_old(ledger.connection) for _ in range(5)] == [1, 0, 1, 0, 0]
    assert ledger.connection.fetch_all("SELECT uuid FROM job_facts ORDER BY id") == [(uuids[n],) for n in (0, 2, 3)]


def test_the_log_forgets_what_an_undo_needs_and_the_jobs_of_old_entries(ledger, monkeypatch):
    monkeypatch.setattr(sweeps, "MOST_STEPS", 1)
    uuids = [ledger.dispatch() for _ in range(3)]
    with ledger.app.app_context():
        for _ in range(2):
            for action in ("hold", "release"):
                ids = [row[0] for row in ledger.connection.fetch_all("SELECT id FROM jobs")]
                actions.do_in_steps("ada", action, "x", ids)
        db.session.rollback()
    monkeypatch.setattr(sweeps, "_NOTES", sweeps._NOTES.replace("LIMIT 500", "LIMIT 2"))
    monkeypatch.setattr(sweeps, "STEP", 2)
    first, *_others, last = (row[0] for row in ledger.connection.fetch_all("SELECT id FROM audit ORDER BY id"))
    ledger.change("UPDATE audit SET at_ms = at_ms - :d WHERE id < :last", d=8 * DAY_MS, last=last)
    for _ in range(8):
        retention.delete_old(ledger.connection)
    left = "SELECT COUNT(*) FROM audit_jobs WHERE was IS NOT NULL AND audit_id "
    assert ledger.one(left + "< :n", n=last) == 0 and ledger.one(left + "= :n", n=last) == 3
    ledger.change("UPDATE audit SET at_ms = 1")
    ledger.change("DELETE FROM jobs WHERE uuid <> :u", u=uuids[0])
    for _ in range(8):
        retention.delete_old(ledger.connection)
    assert ledger.connection.fetch_all("SELECT DISTINCT uuid FROM audit_jobs") == [(uuids[0],)], "it is still there"
    assert ledger.one(left + "> 0") == 0 and ledger.one("SELECT COUNT(*) FROM audit") == 4


def test_the_names_in_the_log_are_found_by_steps_of_the_index(ledger):
    for name in ("eve", "ada", "bob", "ada", "eve"):
        ledger.change("INSERT INTO audit (at_ms, actor, action, subject, result) VALUES (1, :a, 'x', 'y', 'z')", a=name)
    with ledger.app.app_context():
        assert audit.actors() == ["ada", "bob", "eve"] and audit.actors(2) == ["ada", "bob"]
        db.session.rollback()
    if ledger.connection.sqlite:
        plan = " ".join(row[3] for row in ledger.connection.fetch_all("EXPLAIN QUERY PLAN " + audit._ACTORS, most=9))
        assert plan.count("SEARCH audit USING COVERING INDEX audit_actor_idx") == 2, plan
