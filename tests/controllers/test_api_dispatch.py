"""What POST /api/jobs takes and tells: times with their offset, batches that are open, keys and errors of one person."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from tests.controllers.test_api import Api

one_store = pytest.mark.parametrize("ledger", ["sqlite"], indirect=True)
SECRET = "zanzibar"


@one_store
def test_a_time_needs_its_offset_and_lies_at_most_366_days_ahead(ledger):
    api, soon = Api(ledger), datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    assert api.send(at=soon.isoformat()).status_code == 201
    for at in (soon.replace(tzinfo=None).isoformat(), (soon + timedelta(days=366)).isoformat()):
        answer = api.send(at=at)
        assert answer.status_code == 400 and set(answer.json["fields"]) == {"at"}, at


@one_store
@pytest.mark.parametrize("ended", [None, "sealed_ms", "closed_ms"])
def test_a_job_joins_a_batch_only_while_its_caller_may_add_to_it(ledger, ended):
    api, batch = Api(ledger), str(uuid.uuid4())
    ledger.change("INSERT INTO job_batches (id, name, total_jobs, pending_jobs, failed_jobs, created_at) VALUES (:id, 'n', 1, 1, 0, 1)", id=batch)
    if ended:
        ledger.change(f"UPDATE job_batches SET {ended} = 1")
    answer = api.send(batch=batch)
    assert answer.status_code == (400 if ended else 201) and api.count() == (0 if ended else 1)
    assert not ended or set(answer.json["fields"]) == {"batch"}


@one_store
def test_a_repeated_request_tells_the_error_of_its_job_to_who_sees_data_only(ledger):
    api = Api(ledger)
    blind, key = api.make(scopes=("dispatch",)), {"Idempotency-Key": "k"}
    made = api.send(headers=key)
    ledger.settle(ledger.claim(), "failed", error=SECRET, retry=False)
    again, hidden = api.send(headers=key), api.send(headers=key, token=blind)
    assert again.json["uuid"] == hidden.json["uuid"] == made.json["uuid"] and hidden.json["repeated"]
    assert again.json["error"] == SECRET and hidden.json["error"] is None and SECRET not in hidden.text


@one_store
def test_keys_of_two_people_are_two_jobs(ledger):
    api = Api(ledger)
    other = api.make(email="bob@example.org")
    sent = [api.send(headers={"Idempotency-Key": "k"}, token=token) for token in (None, other)]
    assert [one.status_code for one in sent] == [201, 201] and api.count() == 2
