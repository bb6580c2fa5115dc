"""Figures that people compare: exact, from the right rows, and the same as what their link shows; on both databases."""

from __future__ import annotations

import json
import uuid as uuids
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from app.controllers import job_story, view_models
from app.extensions import db
from app.ledger import manual, rescue
from app.services.alerts.checks import slow
from app.services.alerts.snapshot import Rule, Snapshot
from app.services.jobs import actions, history, listing, lookup, queue_rates, queues, rollups
from app.support.clock import DAY_MS, HOUR_MS, MINUTE_MS, millis, now_ms, stamp


@pytest.fixture
def figures(ledger):
    with ledger.app.test_request_context("/", headers={"Accept-Language": "en"}):
        yield ledger
        db.session.rollback()


def rates(ledger) -> dict[str, tuple[float, float]]:
    found = {q.name: (q.in_minute, q.out_minute) for q in queues.queues()}
    db.session.rollback()
    return found


def many(ledger, count: int, queue: str, sent: int, ended: int | None = None) -> None:
    """Jobs as other programs or long ago: `count` of a queue, sent and ended at a time (ms); live without an end."""
    table, columns, values = ("jobs", "attempts, available_at, created_at, available_ms, retry_until_ms", "0, 0, 0, 0, 0") if ended is None else (
        "job_history", "status, attempts, tries, claim_no, round, finished_ms", "'completed', 1, 3, 1, 1, :ended")
    rows = [{"u": str(uuids.uuid4()), "q": queue, "sent": sent} | ({} if ended is None else {"ended": ended}) for _ in range(count)]
    with ledger.connection.transaction() as tx:
        tx.execute_many(f"INSERT INTO {table} (uuid, queue, payload, job_type, created_ms, {columns}) VALUES (:u, :q, '{{}}', 'T', :sent, {values})", rows)


def test_in_and_out_a_minute_are_counted_not_sampled(figures):
    now = now_ms()
    many(figures, 500, "low", now - 11 * MINUTE_MS, now - 11 * MINUTE_MS + 1)
    many(figures, 100, "default", now - HOUR_MS, now - 5 * MINUTE_MS)  # came before, ended within
    many(figures, 2946, "high", now - 9 * MINUTE_MS, now - 8 * MINUTE_MS)
    many(figures, 30, "low", now - 11 * MINUTE_MS)
    many(figures, 254, "low", now - 9 * MINUTE_MS)
    wanted = {"high": (294.6, 294.6), "default": (0, 10.0), "low": (25.4, 0)}
    for step in (lambda: 0, lambda: queue_rates.advance(figures.connection, steps=1), lambda: queue_rates.advance(figures.connection), lambda: queue_rates.advance(figures.connection)):
        step()  # nothing counted yet, a part, all, all again
        assert rates(figures) == {name: pytest.approx(pair) for name, pair in wanted.items()}


def test_each_job_comes_once_and_each_outcome_counts(figures):
    names = [figures.dispatch("TestFail", tries=1) for _ in range(6)]
    for status in ("failed", "completed", "failed"):
        figures.settle(figures.claim(), status)
    assert rates(figures)["default"] == (0.6, 0.3)
    queue_rates.advance(figures.connection)
    assert rates(figures)["default"] == (0.6, 0.3)
    with figures.connection.transaction() as tx:
        assert len(manual.requeue(tx, [r[0] for r in tx.fetch_all("SELECT id FROM failed_jobs")], ())) == 2
        manual.cancel(tx, [r[0] for r in tx.fetch_all("SELECT id FROM jobs WHERE uuid = :u", u=names[-1])])
    actions.act("hold", names[-2], "ada")
    for _ in range(2):
        assert rates(figures)["default"] == (0.6, 0.4), "two put back do not come again, one held and one cancelled have come"
        queue_rates.advance(figures.connection)
    while (job := figures.claim()) is not None:
        figures.settle(job)
    assert rates(figures)["default"] == (0.6, 0.7)


def test_the_first_id_of_a_time_is_found_among_jobs_put_back(figures):
    now = now_ms()
    many(figures, 7, "low", now - HOUR_MS)
    many(figures, 5, "low", now - MINUTE_MS)
    figures.change("UPDATE jobs SET round = 2, created_ms = 5 WHERE id IN (9, 11)")
    assert queue_rates.first_id(figures.connection, "jobs", "created_ms", now - 2 * MINUTE_MS, "round = 1") == 8
    assert queue_rates.first_id(figures.connection, "jobs", "created_ms", now, "round = 1") == 13
    assert rates(figures)["low"] == (0.3, 0)


@pytest.mark.parametrize("now,twice", [("2026-10-25T14:30:00+01:00", {"02:00 CEST", "02:00 CET"}), ("2026-03-29T14:30:00+02:00", {"14:00 CET", "14:00 CEST"}), ("2026-07-01T14:30:00+02:00", set())])
def test_no_two_hours_of_the_timeline_have_one_name(figures, now, twice):
    hour = millis(datetime.fromisoformat(now)) // HOUR_MS * HOUR_MS
    rows = [{"date": datetime.fromtimestamp((hour - back * HOUR_MS) / 1000, UTC).isoformat().replace("+00:00", "Z")} for back in range(23, -1, -1)]
    labels = [row["label"] for row in view_models.labelled(rows)]
    assert len(set(labels)) == 24 and {label for label in labels if " " in label} == twice
    assert ZoneInfo("Europe/Rome") == figures.app.extensions["settings"].timezone


def ended(ledger, statuses: list[str], **outcome) -> str:
    """Why a job ended whose attempts came out so."""
    uuid = ledger.dispatch("TestFail", tries=5, backoff=(0,))
    for n, status in enumerate(statuses):
        ledger.change("UPDATE jobs SET state = 'pending' WHERE uuid = :u", u=uuid)
        job = ledger.claim()
        if status == "lost":
            rescue.rescue(ledger.connection, job, False, "the process is gone", ledger.store)
            continue
        if n == len(statuses) - 1:
            for name in [name for name in outcome if name.endswith("_ms")]:
                setattr(job, name, outcome.pop(name))
        ledger.settle(job, status, error="x", **(outcome if n == len(statuses) - 1 else {}))
    db.session.rollback()
    found = lookup.find(uuid)
    attempts = lookup.attempts_of(uuid)
    return job_story.why_ended(found, attempts, history.rounds(found, attempts, [], {}))


def test_why_a_failure_was_the_last(figures):
    assert ended(figures, ["failed"] * 5) == "5 attempts of 5 failed."
    over = "The next would have begun after the time for retries was over: 24 h from when it was ready or put back by hand."
    assert ended(figures, ["failed", "failed"], retry_until_ms=0) == f"2 attempts of 5 failed. {over}"
    assert ended(figures, ["timeout"], retry_until_ms=0) == f"1 attempt of 5 failed. {over}"
    assert ended(figures, ["lost", "failed"], retry_until_ms=0) == f"1 attempt of 5 failed. {over}"
    assert ended(figures, ["failed"], retry=False, details={"permanent": True}) == "It failed at once: another attempt could not succeed."
    assert ended(figures, ["failed", "failed"], retry=False, details={"permanent": True}) == "Attempt 2 of 5 failed so that another could not succeed."


def test_the_average_of_alert_3_is_that_of_the_card(figures):
    for n, (status, ms) in enumerate((("completed", 600_000), ("failed", 1_000), ("timeout", 2_000), ("completed", 480_000))):
        figures.change("INSERT INTO job_metrics (uuid, round, claim_no, job_type, queue, status, processing_time, attempts, completed_at) VALUES "
                       "(:u, 1, 1, 'T', 'low', :s, :ms, 1, :at)", u=f"u{n}", s=status, ms=ms, at=stamp(now_ms()))
    rollups.advance(figures.connection)
    rule = Rule(1, "slow", 1, 5, 1, 60, None, None, None, "warning", None, None, "*", 15)
    look = Snapshot(figures.connection, figures.connection.now(), figures.app.extensions["settings"].data_dir, 2**27)
    (finding,) = slow(look, rule)
    average = view_models.service.get_dashboard_stats()["metrics"]["avg_processing_time"]
    assert (finding.facts["ms"], finding.facts["n"], average) == (540_000, 2, 540_000) and look.values[1] == 9


@pytest.mark.parametrize("state,stays", [("scheduled", True), ("held", True), ("blocked", False), ("failed", False)])
def test_an_edited_job_keeps_its_time_or_stays_held_else_it_runs(figures, state, stays):
    uuid = figures.dispatch("TestEcho", args={"text": "old"}, delay=3600 if state in ("scheduled", "held") else 0)
    if state == "held":
        actions.act("hold", uuid, "ada")
    if state == "blocked":
        figures.change("UPDATE jobs SET state = 'blocked', reason = 'why'")
    if state == "failed":
        figures.settle(figures.claim(), "failed", error="x")
    before = figures.row(uuid)
    assert actions.retry_edited(uuid, {"text": "new"}, "ada") == (state if stays else "pending")
    row = figures.row(uuid)
    assert json.loads(figures.one("SELECT payload FROM jobs"))["args"] == {"text": "new"}
    assert row.state == (state if stays else "pending")
    if stays:
        assert (row.available_ms, row.reason) == (before.available_ms, before.reason)
        assert figures.one("SELECT result FROM audit ORDER BY id DESC LIMIT 1") == f"stays {state}" and figures.claim() is None
    else:
        assert row.reason is None and figures.claim().uuid == uuid


BIG = 250_000


def test_lists_read_the_head_of_a_payload_and_tell_the_same(figures):
    texts = {"text": "Caffè " * 20, "first": {"n": 1, "list": list(range(500)), "title": "short", "z": "x"}, "up": {"file": "up_" + "0" * 32, "title": "after"}, "hidden": {"password": "hunter2", "t": "x"},
             "esc": {"t": 'a"b\\c\n\u20ac\U0001f600'}, "none": {"n": 1, "e": " ", "l": ["x"]}, "cut": {"t": "y" * BIG, "u": "v"}, "cut in an escape": {"t": "\\" * BIG}, "cut in a pair": {"t": "\U0001f600" * BIG},
             "cut in a list": {"a": "z", "l": ["l"] * BIG}, "secret": {"t": "Bearer abcdef123456 " + "y" * BIG}}
    for n, args in enumerate(texts.values()):
        args = args if isinstance(args, dict) else {"text": args}
        for ascii_ in (False, True):
            text = json.dumps({"uuid": "u", "displayName": "TestEcho", "args": args, "tenant_id": None, "queue": "low"}, ensure_ascii=ascii_)
            figures.change("INSERT INTO jobs (uuid, queue, payload, job_type, created_ms, attempts, available_at, created_at, available_ms, retry_until_ms) "
                           "VALUES (:u, 'low', :p, 'TestEcho', 1, 0, 0, 0, 0, 0)", u=f"{n}-{ascii_}", p=text)
    wanted = ["Caffè " * 9 + "Caffè…", "short", "after", "[hidden]", 'a"b\\c\n\u20ac\U0001f600', "", "y" * 59 + "…", "\\" * 59 + "…", "\U0001f600" * 59 + "…", "z", "Bearer [hidden] " + "y" * 43 + "…"]
    assert [r.summary for r in lookup.queued()] == [text for text in wanted for _ in range(2)]
    assert [r.summary for r in queues.next_jobs("low", 50)] == [text for text in wanted for _ in range(2)][:len(wanted) * 2]
    rows = listing.page(listing.JobFilter()).rows
    assert [r.summary for r in reversed(rows)] == [text for text in wanted for _ in range(2)] and all(r.args is None for r in rows)
    whole = list(listing.iterate(listing.JobFilter(), step=5))
    assert len(whole[-13].args["t"]) == BIG and len(whole) == len(rows), "an export has all of it"


def test_the_failed_table_shows_the_end_of_a_traceback(figures):
    trace = "Traceback (most recent call last):\n" + "".join(f'  File "/srv/{n}.py", line {n}, in f\n    g()\n' for n in range(400)) + "KeyError: 'the end'\n"
    for key, columns in (("a", {"exception": trace, "error": "x"}), ("b", {"exception": trace}), ("c", {"exception": "", "error": "only this"})):
        row = {"uuid": key, "connection": "x", "queue": "low", "payload": "{}", "failed_at": stamp(now_ms() - DAY_MS)} | columns
        figures.change(f"INSERT INTO failed_jobs ({', '.join(row)}) VALUES ({', '.join(':' + n for n in row)})", **row)
    only, second, first = lookup.failed()
    assert first.exception.endswith("KeyError: 'the end'") and len(first.exception) <= 1000 and first.error == "x"
    assert second.error == "KeyError: 'the end'" and (only.exception, only.error) == ("", "only this")
