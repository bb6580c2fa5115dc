"""The jobs list against a plain reading of both tables: every filter, page by page, in both directions."""

from __future__ import annotations

import itertools
import json
import random

import pytest

from app.extensions import db
from app.services.jobs import actions, listing, rollups, search_index
from app.services.jobs.listing import JobFilter
from app.support.clock import iso
from app.support.validation import ValidationError


@pytest.fixture
def jobs(ledger):
    """90 jobs of two types, three tenants and every outcome; a third of the finished is not in the index yet."""
    chance = random.Random(7)
    for n in range(90):
        ledger.dispatch(
            chance.choice(("TestFail", "TestEcho")), queue=chance.choice(("high", "default", "low")),
            tenant_id=chance.choice(("acme", "acme-nord", None)), tries=1, args={"text": f"Vini dell'Etna {n % 9} 100%"} if n % 2 else {"text": "caffè_nero"},
        )
    for n in range(60):
        job = ledger.claim()
        ledger.settle(job, ("completed", "failed", "timeout")[n % 3], error=None if n % 3 == 0 else f"RateLimitError: 429 for \"{n % 5}\"")
        if n == 40:
            search_index.advance(ledger.connection)
    ledger.claim()
    with ledger.app.app_context():
        yield ledger


def wanted(jobs, **given) -> JobFilter:
    return JobFilter.read(given, jobs.app.extensions["settings"].timezone)


def walk(filter_: JobFilter, size: int) -> list[str]:
    """All pages towards the older ones, and back again: both ways must show the same."""
    seen, cursor, pages = [], "", []
    while cursor is not None:
        page = listing.page(filter_, before=cursor, size=size)
        pages.append([row.uuid for row in page.rows])
        seen += pages[-1]
        last, cursor = page, page.older
    back = []
    while last.newer:
        last = listing.page(filter_, after=last.newer, size=size)
        back = [row.uuid for row in last.rows] + back
    db.session.rollback()
    assert back == seen[: len(back)] and len(seen) - len(back) <= size
    return seen


def expected(jobs, state="", queue="", type="", tenant="", words=()) -> list[str]:
    columns = "uuid, queue, job_type, tenant_id, payload"
    rows = [(*r, "live") for r in jobs.connection.fetch_all(f"SELECT {columns}, state, reason FROM jobs ORDER BY id DESC")]
    rows += [(*r, "ended") for r in jobs.connection.fetch_all(f"SELECT {columns}, status, error FROM job_history ORDER BY id DESC")]
    return [
        r[0] for r in rows
        if state in ("", r[5], r[7]) and queue in ("", r[1]) and type in ("", r[2]) and tenant in ("", r[3] or "-")
        and all(word.lower() in f"{json.dumps(json.loads(r[4])['args'], ensure_ascii=False)} {r[6] or ''}".lower() for word in words)
    ]


def test_every_filter_shows_just_the_jobs_that_match_in_any_size_of_page(jobs):
    for state, queue, type_, tenant in itertools.product(("", "live", "failed", "completed", "pending"), ("", "high"), ("", "TestEcho"), ("", "acme")):
        filter_ = wanted(jobs, state=state, queue=queue, type=type_, tenant=tenant)
        found = expected(jobs, state, queue, type_, tenant)
        assert walk(filter_, 7) == found
        assert listing.count(filter_) == (len(found), True)
    assert len(expected(jobs)) == 90
    assert [r.uuid for r in listing.iterate(wanted(jobs), step=11)] == expected(jobs)


def test_search_by_uuid_whole_and_by_its_start(jobs):
    for uuid in (expected(jobs, "ended")[5], expected(jobs, "ended")[-1], expected(jobs, "live")[3]):
        assert walk(wanted(jobs, q=uuid.upper()), 5) == [uuid]
        assert uuid in walk(wanted(jobs, q=uuid[:11]), 5)


def test_words_are_sought_in_the_arguments_and_the_error_not_in_what_stands_beside_them(jobs):
    """The payload holds the uuid and the names of its keys: a live job must not be found by what a finished one is not."""
    for text in ("displayName", "tenant_id", "queue", expected(jobs, "live")[3][-9:], expected(jobs, "ended")[0][-9:]):
        assert walk(wanted(jobs, q=text), 9) == []


def test_deleted_history_leaves_the_index(jobs):
    gone = expected(jobs, "failed") + expected(jobs, "timeout")
    assert actions.retry_all("ada") == len(gone)
    search_index.advance(jobs.connection)
    assert walk(wanted(jobs, q="RateLimitError", state="failed"), 9) == []
    assert set(gone) <= set(expected(jobs, "live"))


def test_days_are_those_of_the_zone_and_include_both_ends(jobs):
    jobs.change("UPDATE job_history SET finished_ms = 1762000000000 + id * 3600000")  # from 2025-11-01 13:26 in Rome, an hour apart
    first = walk(wanted(jobs, state="ended", since="2025-11-01", until="2025-11-01"), 9)
    assert len(first) == 10  # 14:26 to 23:26
    rest = walk(wanted(jobs, state="ended", since="2025-11-02"), 9)
    assert len(rest) == 50 and not set(first) & set(rest)
    assert walk(wanted(jobs, state="ended", until="2025-10-31"), 9) == []


def test_bulk_changes_what_stood_there_and_nothing_later(jobs):
    top = listing.snapshot_ids()
    db.session.rollback()
    before = expected(jobs, "failed", tenant="acme")
    later = jobs.dispatch("TestFail", queue="high", tenant_id="acme", tries=1)
    jobs.settle(jobs.claim("w9"), "failed", error="later")
    ids = listing.failed_ids(wanted(jobs, state="failed", tenant="acme"), top)[0]
    assert len(ids) == len(before) > 2
    db.session.rollback()
    assert actions.in_steps("ada", "retry", "test", ids) == len(before)
    assert actions.in_steps("bob", "retry", "test", ids) == 0
    assert expected(jobs, "failed", tenant="acme") == [later]


def test_bulk_cancel_writes_one_outcome_each_and_asks_the_running(jobs):
    waiting = expected(jobs, "pending")
    ids = listing.live_ids(wanted(jobs), listing.snapshot_ids())
    db.session.rollback()
    assert actions.in_steps("ada", "cancel", "test", ids) == len(waiting) + 1
    assert jobs.one("SELECT COUNT(*) FROM job_metrics WHERE status = 'cancelled'") == len(waiting)
    rollups.advance(jobs.connection)
    assert jobs.one("SELECT SUM(count) FROM rollup_types WHERE status = 'cancelled'") == len(waiting)
    assert jobs.one("SELECT SUM(count) FROM rollup_tenants WHERE status = 'cancelled'") == len(waiting)
    assert expected(jobs, "cancelled") and jobs.one("SELECT cancel_requested FROM jobs") == 1


@pytest.mark.parametrize("given", [{"state": "x"}, {"queue": "x"}, {"tenant": "a b"}, {"since": "yesterday"}, {"q": "x" * 201}, {"q": "\x00"}])
def test_bad_filters_are_refused_with_a_sentence(given):
    with pytest.raises(ValidationError):
        JobFilter.read(given, None)


def test_a_list_by_time_has_all_jobs_of_the_time_when_the_clock_was_set_back(ledger):
    base = listing.now_ms() - 7_200_000
    for minute in (0, 10, 60, 5, 20, 30):  # set back by an hour after the third
        uuid = ledger.dispatch()
        ledger.settle(ledger.claim(), "failed", error="boom", retry=False)
        ledger.change("UPDATE job_history SET finished_ms = :at WHERE uuid = :u", at=base + minute * 60_000, u=uuid)
    with ledger.app.app_context():
        found = wanted(ledger, since=iso(base + 4 * 60_000), until=iso(base + 25 * 60_000))
        assert listing.count(found) == (3, True) and len(walk(found, 2)) == 3
