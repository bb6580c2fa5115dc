"""Which parts of pages a change is told to, on both databases; and what is told with time alone."""

from __future__ import annotations

import re

import pytest

from app.config import ROOT
from app.controllers.live_socket import ended
from app.extensions import db
from app.ledger import control, counts
from app.models import UserSession
from app.services.audit import write
from app.services.people import accounts
from app.services.people.sign_in import sign_in
from app.services.stats import live_marks
from app.services.stats.live_marks import EVERY, FEED, HEAD, PARTS, SECONDS, Watch
from tests.conftest import PASSWORD

TEMPLATES = ROOT / "templates"


@pytest.fixture
def watch(ledger):
    """A Watch; `.now` is its clock, `.told()` what a look names besides what it names each 5 s at any time."""
    found = Watch(ledger.app.extensions["settings"].database_url, lambda: found.now)
    found.now = 0.0
    with ledger.connection.transaction() as tx:
        counts.save(tx, "live_counts", counts.count(tx))
        counts.save(tx, "monitor", {"pid": 1, "code": "a", "errors": []})

    def told() -> set[str]:
        return set(found.look().changed) - SECONDS

    found.told = told
    found.look()
    yield found
    found.close()


def test_the_table_names_the_parts_that_pages_have(app):
    named = {name for path in TEMPLATES.rglob("*.html") for name in re.findall(r'data-partial="([^"]+)"', path.read_text())}
    files = {path.stem for path in (TEMPLATES / "admin" / "partials").glob("*.html")}
    assert set(PARTS) - {HEAD, FEED, "charts"} == named == live_marks.PLACES <= files
    known = {*live_marks._HIGHEST, *live_marks._FACTS, *live_marks._ROWS, "measured", "late"}
    assert {mark for marks in PARTS.values() for mark in marks} <= known
    assert set(PARTS) == EVERY and named > SECONDS and live_marks.parts_of({"outbox"}) == {"alerts"}


def test_what_happens_to_jobs_is_told_to_the_parts_that_show_it(watch, ledger):
    assert watch.told() == set(), "at the first look nothing has changed, and nothing has changed since"
    uuid = ledger.dispatch("TestNoop", tries=1)
    told = watch.told()
    assert {"live_jobs", "jobs_table", "queues", "job", "batch"} <= told
    assert not told & {"failed_table", "connections", "alerts", HEAD, FEED, "charts"}
    job = ledger.claim()
    assert {"live_jobs", "job", "workers_table"} <= watch.look().changed
    ledger.change("UPDATE jobs SET progress_done = 3, progress_total = 9 WHERE uuid = :u", u=uuid)
    assert {"job", "live_jobs", "batch"} <= watch.told()
    ledger.change("UPDATE jobs SET cancel_requested = 1 WHERE uuid = :u", u=uuid)
    assert "job" in watch.told()
    ledger.settle(job, "failed", error="x")
    assert {"cards", "failed_table", "charts", HEAD, "error_groups"} <= watch.told()
    with ledger.connection.transaction() as tx:
        counts.save(tx, "live_counts", counts.count(tx))
    assert {"cards", "actions", "notices"} <= watch.told()
    assert watch.told() == set()


def test_people_pauses_alerts_notices_and_workers_are_told(watch, ledger):
    with ledger.connection.transaction() as tx:
        control.pause(tx, "low", None, "ada", None)
    assert {"queues", "notices", "jobs_table"} <= watch.told()
    with ledger.connection.transaction() as tx:
        write(tx, "ada", "x", "y", "z")
    look = watch.look()
    assert look.log_moved and {"recurring_table", "alerts", "queue_order"} <= look.changed and not watch.look().log_moved
    user = "INSERT INTO users (email, password_hash, role, created_ms) VALUES ('a', 'x', 'viewer', 1)"
    ledger.change(user)
    ledger.change("INSERT INTO notices (user_id, kind, subject, title, body, link, created_ms) SELECT id, 'job', 's', '{}', '{}', '/', 1 FROM users")
    assert watch.told() == {FEED}
    with ledger.connection.transaction() as tx:
        counts.save(tx, "alerts", {"values": {"1": 2}})
    assert watch.look().changed == {"alerts"}
    ledger.change("INSERT INTO alerts (rule_id, kind, severity, facts, opened_ms, seen_ms, tell_ms) VALUES (1, 'failures', 'critical', '{}', 1, 1, 1)")
    assert watch.look().changed >= {FEED, HEAD, "alerts", "notices"}
    ledger.change("UPDATE alerts SET closed_ms = 2")
    assert watch.told() >= {HEAD, "notices"} and not watch.told()
    ledger.change("INSERT INTO consumers (consumer_id, host, process_id, queue, wanted, least, most, started_ms, beat_ms) VALUES ('c', 'h', 1, 'low', 1, 1, 1, 1, 1)")
    assert watch.look().changed >= {"cards", "notices", "workers_table"}
    ledger.change("UPDATE consumers SET beat_ms = 2")
    assert watch.told() == set(), "a beat alone is no change"


def test_what_changes_in_its_row_only_is_told(watch, ledger):
    """The monitor and workers write these without a row in the log of actions."""
    ledger.dispatch("TestNoop")
    ledger.claim()
    ledger.change("INSERT INTO job_batches (id, name, total_jobs, pending_jobs, failed_jobs, created_at) VALUES ('b', 'n', 2, 2, 0, 1)")
    watch.told()
    for change, parts in (("jobs SET over_time = 1", {"job", "live_jobs", "queues"}), ("jobs SET claim_no = 2", {"job", "live_jobs"}), ("job_batches SET pending_jobs = 1", {"batch", "batches_live", "batches_table"}),
                          ("job_batches SET sealed_ms = 1", {"batch", "batches_live", "batches_table"}), ("job_batches SET closed_ms = 1", {"batch", "batches_live", "batches_table"})):
        ledger.change(f"UPDATE {change}")
        told = watch.told()
        assert parts <= told and "errors" not in told and FEED not in told, change
    assert {"report_plans"} == live_marks.parts_of({"posting"}) and "alerts" in live_marks.parts_of({"alert_messages"})


def test_time_alone_is_told_while_something_runs_or_is_due_or_the_monitor_is_late(watch, ledger, monkeypatch):
    ledger.change("INSERT INTO deploys (at_ms, text) VALUES (1, 'x')")
    assert "error_groups" in watch.told()
    watch.now = 61.0
    assert watch.told() == set() and watch._is_busy(watch._read()) is False
    ledger.dispatch("TestNoop", delay=3600)
    watch.told()
    assert watch._is_busy(watch._read()) is False
    ledger.change("UPDATE jobs SET available_ms = :soon", soon=live_marks.now_ms() + 30_000)
    assert watch._is_busy(watch._read()) is True
    ledger.change("DELETE FROM jobs")
    ledger.dispatch("TestNoop")
    watch.told()
    ledger.claim()
    watch.told()
    for now in (200.0, 205.0):
        watch.now = now
        assert {"live_jobs", "cards", "batch", "graph"} <= watch.told()
    ledger.change("DELETE FROM jobs")
    watch.told()
    watch.now = 300.0
    watch.told()
    assert watch.told() == set()
    late = live_marks.now_ms() + 20_000
    monkeypatch.setattr(live_marks, "now_ms", lambda: late)
    look = watch.look()
    assert look.monitor["late"] and look.monitor["age_s"] > 10 and {HEAD, "cards", "notices"} <= look.changed


def test_a_database_that_does_not_answer_is_told_to_all_each_five_seconds_and_once_more_when_it_does(watch, ledger, monkeypatch):
    from app.support.outage import database_errors

    def fail(*_words, **_more):
        raise database_errors()[0]("gone")

    whole = watch.connection.fetch_all
    watch.connection.fetch_all = fail
    look = watch.look()
    assert look.changed == EVERY and look.monitor is None and not watch.look().changed
    watch.now = 5.0
    assert watch.look().changed == EVERY
    watch.now, watch.connection.fetch_all = 5.5, whole
    look = watch.look()
    assert look.changed == EVERY and look.log_moved and look.monitor
    assert watch.told() == set()


def test_sessions_that_are_over_are_found_in_one_query(ledger):
    with ledger.app.app_context():
        for name in ("ada", "bea", "cai", "dan"):
            accounts.create_user(f"{name}@example.org", "super-admin" if name == "ada" else "viewer", PASSWORD)
    with ledger.app.test_request_context():
        for name in ("ada", "bea", "cai", "dan"):
            assert sign_in(f"{name}@example.org", PASSWORD, "127.0.0.1")
        ids = list(db.session.scalars(db.select(UserSession.id).order_by(UserSession.user_id)))
        db.session.rollback()
    assert ended(ledger.app, ids) == set()
    ledger.change("UPDATE users SET disabled_ms = 1 WHERE email LIKE 'bea%'")
    ledger.change("UPDATE users SET role = 'user' WHERE email LIKE 'cai%'")
    ledger.change("UPDATE user_sessions SET seen_ms = 1 WHERE id = :i", i=ids[3])
    assert ended(ledger.app, [*ids, 999]) == {*ids[1:], 999}


@pytest.mark.parametrize("ledger", ["sqlite"], indirect=True)
def test_rows_with_anything_in_them_are_looked_at(watch, ledger):
    ledger.dispatch("TestNoop")
    ledger.claim()
    watch.told()
    for sql in ("UPDATE jobs SET progress_note = x'ff00', progress_done = 'many', claim_no = x'fe'", "UPDATE meta SET value = x'fffe', at_ms = 'never'",
                "INSERT INTO queues (name, paused_at, paused_until) VALUES (x'ff', 'x', 9e999)"):
        ledger.change(sql)
        watch.look()  # the first time text that is none may be an error of the database
        assert watch.look().monitor is not None, sql
    assert watch.look().monitor == {"late": True, "age_s": None}
