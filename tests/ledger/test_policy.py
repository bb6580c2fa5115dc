"""Policy is arithmetic on given numbers: tables of situations."""

from __future__ import annotations

import pytest

from app.ledger.claim import Claim
from app.ledger.settle import Decision, Outcome, decide
from app.monitor.liveness import Facts, Seen, holds_something_else, judge, over_time


def job(**changes) -> Claim:
    values = dict.fromkeys(Claim.__dataclass_fields__, 0) | {
        "uuid": "u", "job_type": "T", "tenant_id": None, "queue": "default", "payload": "{}", "tries": 3, "backoff": "60,300,1800",
        "retry_until_ms": 10**15, "worker_id": "w", "created_by": None, "worker": "w",
    }
    return Claim(**(values | changes))


@pytest.mark.parametrize("outcome,changes,decision", [
    (Outcome("completed"), {}, Decision("completed")),
    (Outcome("cancelled"), {}, Decision("cancelled")),
    (Outcome("failed"), {"failures": 0}, Decision("retried", 60_000)),
    (Outcome("failed"), {"failures": 1}, Decision("retried", 300_000)),
    (Outcome("failed"), {"failures": 2}, Decision("failed")),
    (Outcome("failed"), {"failures": 4, "tries": 9}, Decision("retried", 1_800_000)),
    (Outcome("timeout"), {"failures": 0}, Decision("retried", 60_000)),
    (Outcome("timeout"), {"failures": 2}, Decision("timeout")),
    (Outcome("failed", retry=False), {}, Decision("failed")),
    (Outcome("failed"), {"retry_until_ms": 59_999}, Decision("failed")),
    (Outcome("failed"), {"backoff": ""}, Decision("retried", 0)),
    (Outcome("failed", delay=7), {"failures": 2}, Decision("retried", 7_000, counted=False)),
    (Outcome("failed", delay=0), {}, Decision("retried", 1_000, counted=False)),
    (Outcome("failed", delay=0.2), {}, Decision("retried", 1_000, counted=False)),
    (Outcome("failed", delay=7), {"retry_until_ms": 6_999}, Decision("failed")),
    (Outcome("failed", delay=0), {"retry_until_ms": 999}, Decision("failed")),
    (Outcome("failed", wait=5), {}, Decision("retried", 5_000)),
    (Outcome("failed", wait=5), {"failures": 2}, Decision("failed")),
    (Outcome("failed", retry=False), {"backoff": "soon"}, Decision("failed")),
])
def test_what_follows_an_attempt(outcome, changes, decision):
    assert decide(outcome, job(**changes), now=0) == decision


def seen(beat=5, beat_at=0.0, cpu=100, cpu_at=0.0) -> Seen:
    return Seen(beat, beat_at, cpu, cpu_at)


@pytest.mark.parametrize("facts,at,dead,stale,why", [
    (Facts(5, True, True, False, None), 0.1, True, False, "the process is gone"),
    (Facts(5, True, False, False, 100), 29.0, False, False, None),
    (Facts(5, True, False, False, 100), 119.0, False, False, "not reporting"),
    (Facts(5, True, False, False, 999), 119.0, False, False, "busy, not reporting"),
    (Facts(5, True, False, True, 100), 29.0, False, False, None),
    (Facts(5, True, False, True, 100), 31.0, False, True, "frozen: a signal has stopped its process"),
    (Facts(6, True, False, False, 100), 500.0, False, False, None),
    (Facts(5, True, False, True, 100), 121.0, True, True, "frozen: a signal has stopped its process"),
    (Facts(5, True, False, True, 999), 121.0, False, True, "frozen: a signal has stopped its process"),
    (Facts(5, True, False, True, 999), 31.0, False, False, "frozen: a signal has stopped its process"),
    (Facts(5, True, False, False, 100), 121.0, True, True, "unheard for 121 s and standing still"),
    (Facts(5, True, False, False, 999), 121.0, False, True, "busy, not reporting"),
    (Facts(5, False, False, False, None), 29.0, False, False, None),
    (Facts(5, False, False, False, None), 119.0, False, False, "not reporting"),
    (Facts(5, False, False, False, None), 121.0, True, True, "unheard for 121 s"),
])
def test_who_is_given_up(facts, at, dead, stale, why):
    verdict = judge(facts, seen(), at)
    assert (verdict.dead, verdict.stale, verdict.why) == (dead, stale, why)


def test_the_hard_limit_runs_on_the_monitors_own_clock():
    memory = seen()
    assert not over_time(memory, ("u", 1), 300, first_seen_run_s=10.0, now=0)
    assert not over_time(memory, ("u", 1), 300, 10.0, now=319)
    assert over_time(memory, ("u", 1), 300, 10.0, now=321)
    fresh = seen()
    assert not over_time(fresh, ("u", 2), 300, first_seen_run_s=3600.0, now=0), "a clock that jumped an hour kills nobody"
    assert over_time(fresh, ("u", 2), 300, 3600.0, now=31)


def test_a_row_that_its_live_worker_denies_twice_is_nobodys():
    memory, row = seen(), ("u", 3)
    assert not holds_something_else(memory, row, set(), beat=10)
    assert not holds_something_else(memory, row, set(), beat=11)
    assert holds_something_else(memory, row, set(), beat=12)
    assert not holds_something_else(memory, row, {row}, beat=13)
    assert not holds_something_else(memory, row, set(), beat=14), "it begins anew"
