"""`ctx.record_cost`: exact amounts, stored once with the outcome of their attempt, on both databases."""

from __future__ import annotations

from decimal import Decimal

import pytest

from app.execution.attempt import Attempt
from app.execution.job_context import MOST_COSTS, JobContext
from app.execution.runner import execute
from app.ledger import rescue
from app.ledger.settle import settle


def stored(ledger) -> list[tuple]:
    return ledger.connection.fetch_all("SELECT job_type, tenant_id, model, cost_nano, currency FROM job_costs ORDER BY id")


def test_costs_are_stored_with_the_outcome_of_each_attempt(ledger):
    ledger.dispatch(tenant_id="acme", tries=2, backoff=(0,))
    job = ledger.claim()
    ctx = JobContext(job, ledger.connection)
    ctx.record_cost("12.5", model="gpt-4o", note="a page")
    ctx.record_cost(Decimal("0.000000001"), "eur")
    ctx.record_cost(0.1 + 0.2)
    ctx.record_cost(None, model="unknown")
    assert stored(ledger) == [], "not before the outcome"
    assert ledger.settle(job, "failed", error="x", details={"costs": list(ctx.costs)}) == "retried"
    first = [("TestNoop", "acme", "gpt-4o", 12_500_000_000, "USD"), ("TestNoop", "acme", "", 1, "EUR"),
             ("TestNoop", "acme", "", 300_000_000, "USD"), ("TestNoop", "acme", "unknown", None, "USD")]
    assert stored(ledger) == first
    ledger.change("UPDATE jobs SET state = 'pending'")
    again = ledger.claim()
    ctx = JobContext(again, ledger.connection)
    assert ctx.costs == (), "each attempt has its own"
    ctx.record_cost(10**9)
    rescue.rescue(ledger.connection, again, crash=False, why="frozen", store=ledger.store)
    details = {"costs": list(ctx.costs)}
    assert [ledger.settle(again, details=details), ledger.settle(again, details=details)] == ["late"] * 2
    assert stored(ledger) == [*first, ("TestNoop", "acme", "", 10**18, "USD")], "paid all the same; written again it adds nothing"


def pay_and_wait(ledger) -> Attempt:
    """An attempt that has recorded a cost and then asked to be held."""
    ledger.dispatch("TestPaysAndWaits", tenant_id="acme")
    attempt = Attempt(ledger.claim())
    execute(ledger.app, attempt, ledger.connection)
    return attempt


PAID = [("TestPaysAndWaits", "acme", "m", 250_000_000, "USD")]


def test_a_job_that_parks_itself_keeps_its_costs(ledger):
    attempt = pay_and_wait(ledger)
    uuid = attempt.claim.uuid
    for _ in range(2):  # the second time as after a commit whose answer was lost
        assert settle(ledger.connection, attempt.claim, attempt.outcome, ledger.store) == "held"
        assert (stored(ledger), ledger.row(uuid).state, ledger.outcomes(uuid)) == (PAID, "held", [])
    ledger.change("UPDATE jobs SET state = 'pending', hold_code = NULL, reason = NULL")
    again = ledger.claim()
    assert settle(ledger.connection, attempt.claim, attempt.outcome, ledger.store) == "held", "written before the next claim"
    assert (stored(ledger), ledger.outcomes(uuid)) == (PAID, [])
    assert ledger.settle(again) == "completed"


def test_a_parked_row_whose_claim_was_lost_keeps_its_costs_and_its_run_time(ledger):
    attempt = pay_and_wait(ledger)
    uuid, attempt.outcome.run_ms = attempt.claim.uuid, 1234
    rescue.rescue(ledger.connection, attempt.claim, crash=False, why="frozen", store=ledger.store)
    for _ in range(2):
        assert settle(ledger.connection, attempt.claim, attempt.outcome, ledger.store) == "late"
        assert (stored(ledger), ledger.outcomes(uuid), ledger.row(uuid).state) == (PAID, ["lost", "late"], "pending")
    assert ledger.one("SELECT processing_time FROM job_metrics WHERE status = 'late'") == 1234


def test_a_parked_row_that_the_job_has_deleted_is_late(ledger):
    attempt = pay_and_wait(ledger)
    ledger.change("DELETE FROM jobs")
    assert settle(ledger.connection, attempt.claim, attempt.outcome, ledger.store) == "late"
    assert (stored(ledger), ledger.outcomes(attempt.claim.uuid)) == (PAID, ["late"])


@pytest.mark.parametrize(("given", "error"), [
    ({"amount": -1}, ValueError), ({"amount": 10**9 + 1}, ValueError), ({"amount": float("nan")}, ValueError), ({"amount": True}, TypeError),
    ({"amount": [1]}, TypeError), ({"amount": "twelve"}, ValueError), ({"amount": 1, "currency": "EURO"}, ValueError),
    ({"amount": 1, "currency": None}, ValueError), ({"amount": 1, "model": object()}, TypeError),
    ({"amount": 1, **{f"n{n}": n for n in range(21)}}, ValueError),
])
def test_what_is_no_cost_is_refused_where_it_is_given(ledger, given, error):
    ledger.dispatch()
    ctx = JobContext(ledger.claim(), ledger.connection)
    with pytest.raises(error):
        ctx.record_cost(**given)
    assert ctx.costs == ()


def test_an_attempt_has_a_limit_of_costs_and_their_details_hide_secrets(ledger):
    ledger.dispatch()
    ctx = JobContext(ledger.claim(), ledger.connection)
    ctx.record_cost(1, api_key="sk-abcdefghij123456", model="m")
    assert "sk-abcdefghij123456" not in str(ctx.costs) and ctx.costs[0]["model"] == "m"
    for _ in range(MOST_COSTS - 1):
        ctx.record_cost(0)
    with pytest.raises(ValueError, match=f"at most {MOST_COSTS}"):
        ctx.record_cost(0)
