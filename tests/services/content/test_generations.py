"""A paid answer is stored on each database, whatever its text and its numbers are."""

from __future__ import annotations

import json

from app.execution.attempt import Attempt
from app.execution.outcomes import outcome_of
from app.integrations.openai_stream import Answer, read
from app.ledger.settle import settle
from app.registry import HoldJob
from app.services.content import generations
from app.support.clock import DAY_MS


def test_an_answer_of_any_bytes_and_numbers_is_stored(ledger):
    events = [
        b'{"model": "%s\\u0000\\ud800", "id": "\\ud83d", "choices": [{"delta": {"content": "a\\u0000b \\ud83d"}}]}' % (b"m" * 300),
        b'{"choices": [{"delta": {"content": "\\ude00 \xff\xe8"}, "finish_reason": "st\\u0000op"}]}',
        b'{"choices": [], "usage": {"prompt_tokens": 1000000000, "completion_tokens": 1000000000}}',
    ]
    answer = Answer()
    read((b"data: " + event + b"\n\n" for event in events), False, answer, lambda text: True)
    prices = ledger.app.extensions["settings"].data_dir / "prices.csv"
    prices.write_text(f"model,currency,input,cached,output,valid_from\n{'m' * 100},EUR,9999999,1,9999999,2020-01-01\n")
    with ledger.connection.transaction() as tx:
        generations.begin(tx, "u1", 0, None, "p", "m", None, None)
        generations.asking(tx, "u1")
        generations.answered(tx, "u1", "T", None, "answered", answer, None, prices)
    text, raw, by, nano, maybe = ledger.connection.fetch_all("SELECT text, raw, answered_by, cost_nano, maybe_paid FROM generations")[0]
    assert (text, by, nano, maybe) == ("a\ufffdb \U0001f600 \ufffd\ufffd", "m" * 100, None, 0)
    assert json.loads(raw) | {"broken": ""} == {"id": "\ufffd", "finish": "st\ufffdop", "refusal": "", "broken": ""}
    assert ledger.one("SELECT cost_nano FROM job_costs") is None


def test_a_budget_frees_what_it_holds_whatever_the_sentence_says(ledger):
    """Also of jobs without a tenant, whose budget is that of the empty name."""
    settings, held = ledger.app.extensions["settings"], {}
    for tenant in ("acme", "beta", None):
        held[tenant] = ledger.dispatch(tenant_id=tenant)
        ledger.change("INSERT INTO tenant_budgets (tenant_id, month_nano, currency, hold) VALUES (:t, 0, 'USD', 1)", t=tenant or "")
        assert generations.over_budget(ledger.connection, tenant, settings)
        job = ledger.claim()
        outcome = outcome_of(Attempt(job), HoldJob("words", code="budget"))
        assert settle(ledger.connection, job, outcome, ledger.store) == "held"
    assert generations.release_within_budget(ledger.connection, settings) == 0
    ledger.change("UPDATE tenant_budgets SET month_nano = 5 WHERE tenant_id <> 'beta'")
    assert generations.release_within_budget(ledger.connection, settings) == 2
    assert {t: ledger.row(u).state for t, u in held.items()} == {"acme": "pending", "beta": "held", None: "pending"}


def test_the_way_that_a_server_answered_to_is_remembered_for_a_week_and_of_200(ledger):
    with ledger.connection.transaction() as tx:
        assert generations.way_of(tx, "http://a", "m") == (0, False)
        generations.keep_way(tx, "http://a", "m", 1)
        generations.keep_way(tx, "http://a", "n", 0)
        assert generations.way_of(tx, "http://a", "m") == (1, True) and generations.way_of(tx, "http://b", "m") == (0, False)
    kept = json.loads(ledger.one("SELECT value FROM meta WHERE key = 'openai_ways'"))
    old = {key: [way, at - 8 * DAY_MS] for key, (way, at) in kept.items()}
    ledger.change("UPDATE meta SET value = :old WHERE key = 'openai_ways'", old=json.dumps(old))
    with ledger.connection.transaction() as tx:
        assert generations.way_of(tx, "http://a", "m") == (0, False) and generations.way_of(tx, "http://a", "n") == (0, True)
        for n in range(200):
            generations.keep_way(tx, "http://c", str(n), 2)
        assert generations.way_of(tx, "http://a", "n") == (0, False) and generations.way_of(tx, "http://c", "0") == (2, True)
    assert len(json.loads(ledger.one("SELECT value FROM meta WHERE key = 'openai_ways'"))) == 200
