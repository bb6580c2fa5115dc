"""A state machine that drives the ledger's statements through random interleavings and checks LEDGER's invariants after each step.

Two workers and the monitor are played by hand: what they hold is kept here, so a worker can be killed between any two
statements, given up while it lives, and finish late. People press buttons in between.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from app import create_app, registry
from app.config import load_settings
from app.extensions import db
from app.ledger import claim as claiming, control, manual, rescue, rollups
from app.ledger.dialect import Connection
from app.ledger.settle import Outcome, settle
from app.services.instance import migration
from tests import jobtypes  # noqa: F401

WORKERS = st.sampled_from(["w1", "w2"])
FINAL = "('completed', 'failed', 'timeout', 'cancelled')"


class LedgerMachine(RuleBasedStateMachine):
    """Rules are the ledger's own statements; `held` is what each worker believes to hold."""

    jobs = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.app = create_app(load_settings({"DATA_DIR": str(Path(self.folder.name) / "data")}))
        with self.app.app_context():
            migration.prepare(self.app.extensions["settings"])
        self.connection = Connection(self.app.extensions["settings"].database_url, synchronous="OFF")
        self.held: dict[str, claiming.Claim] = {}
        self.known: set[str] = set()
        self.claims: dict[str, int] = {}

    def teardown(self) -> None:
        self.connection.close()
        with self.app.app_context():
            db.session.remove()
            db.engine.dispose()
        self.folder.cleanup()

    def ids(self, uuid: str, table: str = "jobs") -> list[int]:
        return [r[0] for r in self.connection.fetch_all(f"SELECT id FROM {table} WHERE uuid = :u", u=uuid)]

    def row(self, job: claiming.Claim) -> tuple | None:
        rows = self.connection.fetch_all("SELECT state, worker_id, claim_no, attempts, failures FROM jobs WHERE id = :id", id=job.id)
        return rows[0] if rows else None

    # ---- what the platform does

    @rule(target=jobs, queue=st.sampled_from(["high", "default", "low"]), tries=st.integers(1, 3), delay=st.sampled_from([0, 0, 60]))
    def dispatch(self, queue, tries, delay):
        with self.app.app_context():
            uuid = registry.find("TestNoop").with_options(queue=queue, tries=tries, delay=delay, backoff=(0,)).dispatch()
            db.session.commit()
        self.known.add(uuid)
        return uuid

    @rule(worker=WORKERS)
    def claim(self, worker):
        if worker in self.held:
            return
        paused = {r[0] for r in self.connection.fetch_all("SELECT name FROM queues WHERE paused_at IS NOT NULL")}
        job = claiming.claim(self.connection, claiming.claim_statement(("high", "default", "low")), worker, worker)
        if job is None:
            return
        assert job.queue not in paused and f"type:{job.job_type}" not in paused, "nothing paused is handed out"
        assert job.claim_no > self.claims.get(job.uuid, 0), "claim numbers only rise"
        self.claims[job.uuid] = job.claim_no
        self.held[worker] = job

    @rule(worker=WORKERS, status=st.sampled_from(["completed", "failed", "timeout", "cancelled"]))
    def finish(self, worker, status):
        job = self.held.pop(worker, None)
        if job is None:
            return
        before = self.row(job)
        mine = before is not None and before[:3] == ("processing", job.worker_id, job.claim_no)
        written = settle(self.connection, job, Outcome(status, error="x"), "sqlite")
        assert (written == "late") is not mine, "a late finisher changes nothing, one in time is not late"
        assert mine or self.row(job) == before

    @rule(worker=WORKERS)
    def stop(self, worker):
        job = self.held.pop(worker, None)
        if job is None:
            return
        before = self.row(job)
        with self.connection.transaction() as tx:
            released = claiming.release(tx, job)
        assert not released or before[1:3] == (job.worker_id, job.claim_no), "only what is ours is handed back"
        if not released:
            settle(self.connection, job, Outcome("cancelled"), "sqlite")

    @rule(worker=WORKERS, crash=st.booleans(), dies=st.booleans())
    def give_up(self, worker, crash, dies):
        """The monitor frees what a worker holds; the worker is dead, or frozen and will finish late."""
        for job in rescue.claims_of(self.connection, worker, worker):
            rescue.rescue(self.connection, job, crash, "gone", "sqlite")
        if dies:
            self.held.pop(worker, None)

    @rule()
    def count(self):
        rollups.advance(self.connection)

    @rule()
    def promote(self):
        rescue.promote(self.connection)

    @rule()
    def time_passes(self):
        with self.connection.transaction() as tx:
            tx.execute("UPDATE jobs SET available_ms = 0 WHERE state = 'scheduled'")

    # ---- what people do

    @rule(uuid=jobs, action=st.sampled_from(["cancel", "hold", "release", "run_now", "delay", "move", "top", "up", "down", "stop"]))
    def press(self, uuid, action):
        changes = {
            "cancel": lambda tx, ids: manual.cancel(tx, ids, "x"), "hold": lambda tx, ids: control.hold(tx, ids, "ada"),
            "release": lambda tx, ids: control.release(tx, ids, ""), "run_now": manual.run_now, "delay": lambda tx, ids: control.delay(tx, ids, "", 60),
            "move": lambda tx, ids: control.move(tx, ids, "", "low", ()), "top": lambda tx, ids: control.to_top(tx, ids, ""),
            "up": lambda tx, ids: control.step(tx, ids, "", True), "down": lambda tx, ids: control.step(tx, ids, "", False),
            "stop": lambda tx, ids: manual.stop_at(tx, ids, 0),
        }
        with self.connection.transaction() as tx:
            changes[action](tx, self.ids(uuid))

    @rule(uuid=jobs, action=st.sampled_from(["retry", "bin", "restore", "erase"]))
    def decide(self, uuid, action):
        changes = {"retry": lambda tx, ids: manual.requeue(tx, ids, ()), "bin": manual.to_bin, "restore": manual.restore, "erase": manual.erase}
        with self.connection.transaction() as tx:
            done = changes[action](tx, self.ids(uuid, "failed_jobs"))
        if action == "erase" and done:
            self.known.discard(uuid)

    @rule(name=st.sampled_from(["high", "default", "type:TestNoop"]), on=st.booleans())
    def pause(self, name, on):
        with self.connection.transaction() as tx:
            control.pause(tx, name, None, "ada", None) if on else control.resume(tx, name)
        if name.startswith("type:"):
            control.sweep_types(self.connection)

    # ---- what must always hold

    @invariant()
    def every_job_is_in_one_place(self):
        live = {r[0] for r in self.connection.fetch_all("SELECT uuid FROM jobs")}
        ended = {r[0] for r in self.connection.fetch_all("SELECT uuid FROM job_history")}
        failed = {r[0] for r in self.connection.fetch_all("SELECT uuid FROM failed_jobs")}
        assert live | ended >= self.known, "no job is lost"
        assert not live & ended and not live & failed and failed <= ended

    @invariant()
    def one_final_outcome_a_round(self):
        assert not self.connection.fetch_all(f"SELECT 1 FROM job_metrics WHERE status IN {FINAL} GROUP BY uuid, round HAVING COUNT(*) > 1")
        assert not self.connection.fetch_all("SELECT 1 FROM job_history h WHERE NOT EXISTS (SELECT 1 FROM job_metrics m WHERE m.uuid = h.uuid "
                                       "AND m.round = h.round AND m.status = h.status)")

    @invariant()
    def a_worker_holds_at_most_one_row_and_only_processing_rows_are_held(self):
        assert not self.connection.fetch_all("SELECT 1 FROM jobs WHERE state = 'processing' GROUP BY worker_id HAVING COUNT(*) > 1")
        assert not self.connection.fetch_all("SELECT 1 FROM jobs WHERE (state = 'processing') <> (worker_id IS NOT NULL)")

    @invariant()
    def nothing_runs_past_its_tries_or_its_crashes(self):
        assert not self.connection.fetch_all("SELECT 1 FROM jobs WHERE failures >= tries OR crashes >= 3 OR attempts < 0")

    @invariant()
    def the_rollups_count_what_the_raw_rows_say(self):
        raw = dict(self.connection.fetch_all("SELECT status, COUNT(*) FROM job_metrics WHERE id <= "
                                       "(SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'rollup_reach') GROUP BY status"))
        for table in ("rollup_types", "rollup_tenants"):
            assert dict(self.connection.fetch_all(f"SELECT status, SUM(count) FROM {table} GROUP BY status")) == raw


LedgerMachine.TestCase.settings = settings(
    max_examples=25, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True, derandomize=False,
)
TestLedgerMachine = LedgerMachine.TestCase
