"""Databases that older code has filled, in every state of a job and a worker: after the upgrade each row acts as it did before.

Codes are written in place of the sentences by which rows were found; a row that missed its code would stay held for ever, or a
timeout would count as a lost attempt.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import flask_migrate
import pytest

from app.config import ROOT
from app.extensions import db
from app.ledger import costs as ledger_costs, rescue
from app.monitor.worker_watch import WorkerWatch
from app.services.alerts import channels
from app.services.audit import ActionRefused
from app.services.content import costs, generations
from app.services.instance import retention
from app.services.jobs import actions, queues, worker_commands
from app.services.people import attempts
from app.support.clock import DAY_MS, HOUR_MS

DATA = Path(__file__).parents[1] / "data"
MS, DATETIME = re.compile(r"\b1\d{12}\b"), re.compile(r"\b20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}")
CODES = "SELECT created_by, hold_code FROM jobs WHERE state = 'held' ORDER BY created_by"
HELD = {"held by a person": "person", "held by budget": "budget", "held by its job": "person", "its type 1": "type", "its type 2": "type",
        "its type and a person": "person", "scheduled and held": "person"}


def migrate(ledger, go, revision: str) -> None:
    with ledger.app.app_context():
        ledger.app.extensions["migration_guarded"] = True
        ledger.connection.close()
        go(directory=str(ROOT / "migrations"), revision=revision)
        db.session.remove()


def moved_to_now(text: str) -> str:
    """The statements with all times moved by as much as they are old, hours to the hour: rows end a day after their dispatch."""
    by = datetime.now(UTC) - timedelta(minutes=1) - max(datetime.fromisoformat(found).replace(tzinfo=UTC) for found in DATETIME.findall(text))

    def ms(found: re.Match) -> str:
        moved = int(found[0]) + int(by / timedelta(milliseconds=1))
        return str(moved if int(found[0]) % HOUR_MS else moved // HOUR_MS * HOUR_MS)

    return DATETIME.sub(lambda found: str(datetime.fromisoformat(found[0]) + by), MS.sub(ms, text))


def fill(ledger, revision: str) -> None:
    migrate(ledger, flask_migrate.downgrade, revision)
    with ledger.connection.transaction() as tx:
        for statement in moved_to_now((DATA / f"filled_{revision}.sql").read_text()).split(";\n"):
            if statement.strip():
                tx.raw.execute(statement)
        if not tx.sqlite:  # the rows bear ids of their own
            for table in ("jobs", "failed_jobs", "job_history", "job_metrics", "audit", "alert_messages", "job_costs", "worker_heartbeats"):
                tx.raw.execute(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), GREATEST((SELECT MAX(id) FROM {table}), 1))")


@pytest.fixture(params=["0006", "0007", "0011"])
def old(request, ledger):
    """A filled database of that revision, upgraded; `state` and `uuid` of a job by its name."""
    fill(ledger, request.param)
    migrate(ledger, flask_migrate.upgrade, "head")
    ledger.state = lambda name: next(iter(r[0] for r in ledger.connection.fetch_all("SELECT state FROM jobs WHERE created_by = :n", n=name)), None)
    ledger.uuid = lambda name: ledger.one("SELECT uuid FROM jobs WHERE created_by = :n UNION SELECT uuid FROM failed_jobs WHERE created_by = :n", n=name)
    with ledger.app.app_context():
        yield ledger
        db.session.rollback()


def test_held_rows_are_freed_by_what_holds_them_and_by_nothing_else(old):
    assert dict(old.connection.fetch_all(CODES)) == HELD
    with old.connection.transaction() as tx:  # the month of the file is over
        ledger_costs.add(tx, "u", "T", "acme", "m", None, 2 * ledger_costs.NANO, "USD")
    settings = old.app.extensions["settings"]
    assert generations.release_within_budget(old.connection, settings) == 0, "still spent"
    queues.resume("type:TestEcho", "ada")
    assert [old.state(f"its type {n}") for n in (1, 2)] == ["pending"] * 2
    assert dict(old.connection.fetch_all(CODES)) == {n: c for n, c in HELD.items() if c != "type"}
    costs.save_budget("acme", "50", "USD", True, "ada")
    assert generations.release_within_budget(old.connection, settings) == 1 and old.state("held by budget") == "pending"
    for name in (n for n, code in HELD.items() if code == "person"):
        actions.act("release", old.uuid(name), "ada")
    rescue.promote(old.connection)
    assert not old.connection.fetch_all(CODES) and old.one("SELECT COUNT(*) FROM jobs WHERE hold_code IS NOT NULL OR state = 'held'") == 0


def test_what_ran_over_its_time_is_a_timeout_and_what_merely_ran_is_lost(old):
    clock = [1000.0]
    watch = WorkerWatch(old.connection, old.app.extensions["settings"], lambda: clock[0])
    assert watch.rescue() == 0
    clock[0] += 121  # both workers are of another machine, and silent
    over, running = old.uuid("over its time"), old.uuid("running")
    assert watch.rescue() == 2
    assert old.outcomes(over) == ["retried"] and old.outcomes(running) == ["lost"]
    assert (old.row(over).state, old.row(over).failures, old.row(over).crashes) == ("scheduled", 1, 0)
    assert old.row(over).reason.startswith("timeout after 300 s; then its worker ended")
    assert (old.row(running).state, old.row(running).failures) == ("pending", 0)
    rescue.promote(old.connection)
    again = {job.uuid: job for job in (old.claim("w1", ("high",)), old.claim("w2", ("high",)))}
    assert again.keys() == {over, running} and not again[over].over_time, "the next attempt has its own time"


def test_other_rows_go_on_as_they_were(old):
    assert (old.state("retried"), old.state("pending"), old.state("blocked")) == ("scheduled", "pending", "blocked")
    old.change("UPDATE jobs SET available_ms = 1 WHERE created_by = 'later'")
    rescue.promote(old.connection)
    assert retention.unblock_fitting(old.connection) == 1 and old.state("later") == old.state("blocked") == "pending"
    with pytest.raises(ActionRefused):
        actions.retry(old.uuid("in the bin"), "ada")
    actions.act("restore", old.uuid("in the bin"), "ada")
    for name in ("failed", "timed out", "in the bin", "fair failed"):
        actions.retry(old.uuid(name), "ada")
        assert old.state(name) == "pending"
    fair = [r[0] for r in old.connection.fetch_all(
        "SELECT created_by FROM jobs WHERE job_type = 'ProcessContentGeneration' AND state = 'pending' ORDER BY rank DESC, id")]
    assert fair == ["fair acme 1", "fair beta", "fair acme 2", "fair failed"], "its tenant's next turn"


def test_the_place_of_a_stopped_worker_can_be_filled(old):
    rows = dict(old.connection.fetch_all("SELECT worker_name, id FROM worker_heartbeats WHERE status = 'stopped'"))
    for name in rows.keys() - {"by hand"}:
        with pytest.raises(ActionRefused):
            worker_commands.command_worker(rows[name], "start", "ada")
    worker_commands.command_worker(rows["by hand"], "start", "ada")
    old.change("UPDATE worker_heartbeats SET stopped_ms = :at WHERE status = 'stopped'", at=old.connection.now() - 2 * DAY_MS)
    retention.delete_old(old.connection)
    assert [r[0] for r in old.connection.fetch_all("SELECT worker_name FROM worker_heartbeats WHERE status = 'stopped'")] == ["by hand"]


def test_messages_given_up_and_sign_ins_that_failed_are_known_by_codes(ledger):
    fill(ledger, "0011")
    migrate(ledger, flask_migrate.upgrade, "head")
    states = [("chat", "dropped"), ("mail", "expired")]
    assert ledger.connection.fetch_all("SELECT channel, state FROM alert_messages ORDER BY channel") == states
    ledger.change("UPDATE audit SET at_ms = :now WHERE action = 'sign-in failed'", now=ledger.connection.now())
    with ledger.app.app_context():
        assert channels.listing().keys() == {"mail"}, "the page shows what nobody can send; a test that failed is no such thing"
        attempts.note_failure(None, "192.0.2.0/24", ledger.connection.now())
        db.session.remove()
    assert ledger.connection.fetch_all("SELECT times, result FROM audit WHERE action = 'sign-in failed'") == [(13, "attempts: 13")]


def test_the_way_back_writes_the_sentences_that_older_code_looks_for(ledger):
    fill(ledger, "0011")
    tables = {"jobs": "state, reason", "worker_heartbeats": "status, reason", "alert_messages": "state, error"}
    before = {t: ledger.connection.fetch_all(f"SELECT id, {columns} FROM {t} ORDER BY id") for t, columns in tables.items()}
    migrate(ledger, flask_migrate.upgrade, "head")
    ledger.change("UPDATE jobs SET reason = 'other words' WHERE hold_code IN ('type') OR over_time = 1")  # sentences may be reworded
    ledger.change("UPDATE worker_heartbeats SET reason = 'other words' WHERE stop_code IS NOT NULL")
    ledger.change("UPDATE alert_messages SET error = 'other words' WHERE state = 'expired'")
    migrate(ledger, flask_migrate.downgrade, "0011")
    assert before == {t: ledger.connection.fetch_all(f"SELECT id, {columns} FROM {t} ORDER BY id") for t, columns in tables.items()}
    migrate(ledger, flask_migrate.upgrade, "head")
    assert dict(ledger.connection.fetch_all(CODES)) == HELD
