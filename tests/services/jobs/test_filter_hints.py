"""What an empty list says of names that no job has."""

from __future__ import annotations

from app.ledger.dialect import TooSlow
from app.services.jobs import listing
from app.services.jobs.filter_hints import unknown
from app.services.jobs.job_filter import JobFilter


def hints(ledger, **parts):
    with ledger.app.test_request_context():
        return unknown(JobFilter.read(parts, None))


def test_a_name_that_no_job_has_is_told_with_the_names_near_it(ledger):
    ledger.dispatch("TestNoop", tenant_id="acme")
    ledger.settle(ledger.claim("worker-1"))
    ledger.dispatch("TestSleep", tenant_id="acme")
    assert hints(ledger, type="TestNoop", tenant="acme", state="failed") == [], "both are names of jobs: only no job has them together"
    [(text, near)] = hints(ledger, type="testnop", tenant="acme", state="completed")
    assert text == "Nessun lavoro ha il tipo testnop." or text == "No job has the type testnop."
    assert ("TestNoop", {"type": "TestNoop", "tenant": "acme", "state": "completed"}) in near
    assert len(hints(ledger, type="x" * 60, worker="worker-9", code="0.0.9")) == 3
    assert hints(ledger, type="x" * 60)[0][1] == []
    assert hints(ledger, tenant="ghost")[0][1] == []


def test_a_look_that_takes_too_long_says_of_no_name_that_it_is_missing(ledger, monkeypatch):
    def page(*_words, **_more):
        raise TooSlow

    monkeypatch.setattr(listing, "page", page)
    assert hints(ledger, type="TestNoop", tenant="acme") == []
