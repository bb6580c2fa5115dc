"""A state machine that drives the ledger's statements through random interleavings and checks LEDGER's invariants after each step.

Two workers and the monitor are played by hand: what they hold is kept here, so a worker can be killed between any two
statements, given up while it lives, and finish late. People press buttons in between.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from app import create_app, registry
from app.config import load_settings
from app.extensions import db
from app.ledger import batches, claim as claiming, control, graph, limits, manual, order, rescue
from app.ledger.dialect import Connection
from app.ledger.settle import Outcome, Parked, settle, settle_group
from app.services.jobs import batches as batching, rollups
from app.support.validation import ValidationError
from tests import jobtypes  # noqa: F401
from tests.ledger_fixture import prepare_empty

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
            prepare_empty(self.app.extensions["settings"])
        self.connection = Connection(self.app.extensions["settings"].database_url, synchronous="OFF")
        self.held: dict[str, claiming.Claim] = {}
        with self.connection.transaction() as tx:
            limits.declare(tx, [("TestPair", limits.Per("args.shop", "a"), limits.Limit(1)), ("TestRate", limits.Per(), limits.Limit(0, 2, 10**12))], [])
        with self.app.app_context():
            made = batching.begin("the one", then=registry.find("TestFollow"))
            made.seal()
            db.session.commit()
        self.batch = made.id
        self.edges: dict[str, set[str]] = {}
        self.freed: set[str] = set()  # a person has let them run without their parents
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

    @rule(target=jobs, parents=st.lists(jobs, min_size=1, max_size=3), name=st.sampled_from(["TestNoop", "TestPair", "TestRate"]))
    def dispatch_after(self, parents, name):
        with self.app.app_context():
            try:
                uuid = registry.find(name).with_options(after=parents, tries=1).dispatch()
            except ValidationError:
                assert not self.known.issuperset(parents), "only what was erased is unknown"
                db.session.rollback()
                return multiple()
            db.session.commit()
        self.known.add(uuid)
        self.edges[uuid] = set(parents)
        return uuid

    @rule(target=jobs, n=st.integers(1, 4), name=st.sampled_from(["TestNoop", "TestPair", "TestRate"]), member=st.booleans())
    def dispatch_many(self, n, name, member):
        with self.app.app_context():
            try:
                uuids = registry.find(name).with_options(batch=self.batch if member else None).dispatch_many([{}] * n)
            except ValidationError:
                db.session.rollback()
                return multiple()
            db.session.commit()
        self.known.update(uuids)
        return multiple(*uuids)

    @rule()
    def monitor(self):
        def then(batch_id, then_json):
            with self.app.app_context():
                return batching.follow_up(batch_id, then_json)

        limits.sweep(self.connection)
        batches.sweep_paused(self.connection)
        batches.advance(self.connection, then)

    @rule()
    def repair(self):
        graph.repair(self.connection)

    @rule(on=st.booleans())
    def pause_batch(self, on):
        with self.connection.transaction() as tx:
            batches.pause(tx, self.batch, on)

    @rule(uuid=jobs)
    def let_run_without(self, uuid):
        with self.connection.transaction() as tx:
            if graph.detach(tx, self.ids(uuid)):
                self.freed.add(uuid)

    @rule(worker=WORKERS)
    def wait_for_a_new_one(self, worker):
        """A running job dispatches another and waits for it; its worker may die in between."""
        job = self.held.get(worker)
        if job is None or self.row(job)[:3] != ("processing", job.worker_id, job.claim_no) if job and self.row(job) else True:
            return
        with self.app.app_context():
            child = registry.find("TestNoop").dispatch()
            db.session.commit()
        self.known.add(child)
        with self.connection.transaction() as tx:
            graph.wait_for(tx, job.uuid, job.fence, claiming.FENCE, [child])
        self.edges.setdefault(job.uuid, set()).add(child)

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
        if job.uuid not in self.freed:
            statuses = {self.connection.fetch_all("SELECT status FROM job_history WHERE uuid = :u", u=p) == [("completed",)]
                        for p in self.edges.get(job.uuid, ())}
            assert statuses <= {True}, "no child before its parents"
        self.held[worker] = job

    @rule(worker=WORKERS, status=st.sampled_from(["completed", "failed", "timeout", "cancelled"]))
    def finish(self, worker, status):
        job = self.held.pop(worker, None)
        if job is None:
            return
        before = self.row(job)
        mine = before is not None and before[:3] == ("processing", job.worker_id, job.claim_no)
        waits = mine and bool(self.connection.fetch_all("SELECT 1 FROM jobs WHERE id = :id AND waits > 0", id=job.id))
        outcome = Parked("waiting", "waits") if waits else Outcome(status, error="x")
        written = settle(self.connection, job, outcome, "sqlite")
        assert (written == "late") is not mine, "a late finisher changes nothing, one in time is not late"
        assert mine or self.row(job) == before

    @rule(statuses=st.lists(st.sampled_from(["completed", "completed", "completed", "failed", "cancelled"]), min_size=1, max_size=8), resumed=st.booleans())
    def work(self, statuses, resumed):
        """Two workers at once, for a while; often after everything was resumed."""
        for name in ("high", "default", "type:TestNoop") * resumed:
            self.pause(name, False)
        self.pause_batch(not resumed)
        self.monitor()
        for status in statuses:
            for worker in ("w1", "w2"):
                self.claim(worker)
            for worker in ("w1", "w2"):
                self.finish(worker, status)

    @rule(size=st.integers(2, 6), ended=st.integers(0, 6), fate=st.sampled_from(["written", "stopped", "killed", "written twice"]))
    def work_in_a_group(self, size, ended, fate):
        """A third worker takes short rows together; some end; then they are written, handed back, or it dies."""
        grouping = claiming.Grouping(frozenset({"TestNoop"}), size, 1)
        jobs = claiming.claim_more(self.connection, claiming.claim_statement(("high", "default", "low")), "w3", "w3", grouping)
        if not jobs:
            return
        for job in jobs:
            assert job.claim_no > self.claims.get(job.uuid, 0), "claim numbers only rise"
            self.claims[job.uuid] = job.claim_no
        if len(jobs) > 1:
            assert not any(j.alone or j.crashes or j.limit_key or j.durable for j in jobs)
        done = [(job, Outcome("completed")) for job in jobs[:ended]]
        if fate == "killed":
            for job in rescue.claims_of(self.connection, "w3", "w3"):
                rescue.rescue(self.connection, job, True, "gone", "sqlite", grouped=len(jobs) > 1)
            assert not self.connection.fetch_all("SELECT 1 FROM jobs WHERE worker_id = 'w3'")
            if len(jobs) > 1:
                assert not self.connection.fetch_all("SELECT 1 FROM jobs WHERE alone = 0 AND uuid IN "
                                                     f"({', '.join(repr(j.uuid) for j in jobs)})")
        for _ in range(1 + (fate == "written twice")):
            written, _ = settle_group(self.connection, done, "sqlite", untouched=jobs[ended:])
            assert set(written) <= ({"late", "failed"} if fate == "killed" else {"completed"})
        assert not self.connection.fetch_all("SELECT 1 FROM jobs WHERE worker_id = 'w3'")

    @initialize(target=jobs)
    def a_graph_and_a_batch(self):
        first = self.dispatch_now("TestNoop")
        pairs = [self.dispatch_now("TestPair", batch=self.batch) for _ in range(2)]
        child = self.dispatch_now("TestNoop", after=[first, pairs[0]], batch=self.batch)
        return multiple(first, *pairs, child, self.dispatch_now("TestRate", after=[child]))

    def dispatch_now(self, name, **options):
        with self.app.app_context():
            uuid = registry.find(name).with_options(tries=1, **options).dispatch()
            db.session.commit()
        self.known.add(uuid)
        self.edges[uuid] = set(options.get("after", ()))
        return uuid

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

    @rule(uuid=jobs, action=st.sampled_from(["cancel", "hold", "release", "run_now", "delay", "move", "top", "up", "down", "place", "stop"]))
    def press(self, uuid, action):
        changes = {
            "cancel": lambda tx, ids: manual.cancel(tx, ids, "x"), "hold": lambda tx, ids: control.hold(tx, ids, "ada"),
            "release": lambda tx, ids: control.release(tx, ids, ""), "run_now": manual.run_now, "delay": lambda tx, ids: control.delay(tx, ids, "", 60),
            "move": lambda tx, ids: control.move(tx, ids, "", "low", ()), "top": lambda tx, ids: control.to_top(tx, ids, ""),
            "up": lambda tx, ids: order.step(tx, ids, True), "down": lambda tx, ids: order.step(tx, ids, False),
            "place": lambda tx, ids: order.place(tx, ids, "low", number=2),
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
    def what_waits_waits_for_something(self):
        edges = "(SELECT COUNT(*) FROM job_edges e WHERE e.child_uuid = jobs.uuid AND e.is_open = 1)"
        assert not self.connection.fetch_all(f"SELECT 1 FROM jobs WHERE waits <> {edges}")
        assert not self.connection.fetch_all("SELECT 1 FROM jobs WHERE state = 'waiting' AND waits = 0")
        assert not self.connection.fetch_all("SELECT 1 FROM jobs WHERE state IN ('pending', 'scheduled') AND waits > 0")
        assert not self.connection.fetch_all(
            "SELECT 1 FROM jobs j JOIN job_edges e ON e.child_uuid = j.uuid AND e.is_open = 1 "
            "JOIN job_history h ON h.uuid = e.parent_uuid AND h.status = 'completed'"), "no child waits for a completed parent"

    @invariant()
    def no_limit_is_passed(self):
        assert not self.connection.fetch_all("SELECT 1 FROM jobs WHERE job_type = 'TestPair' AND state = 'processing' "
                                             "GROUP BY limit_key HAVING COUNT(*) > 1")
        started = self.connection.fetch_all("SELECT COUNT(*) FROM rate_starts")[0][0]
        assert started <= 2

    @invariant()
    def a_batch_counts_its_members_and_closes_once(self):
        live = self.connection.fetch_all("SELECT 1 FROM jobs WHERE batch_id = :b", b=self.batch)
        closed, then = self.connection.fetch_all("SELECT closed_ms, then_uuid FROM job_batches WHERE id = :b", b=self.batch)[0]
        assert not (live and closed), "no batch with live members is closed"
        followers = self.connection.fetch_all(
            "SELECT uuid FROM jobs WHERE job_type = 'TestFollow' UNION SELECT uuid FROM job_history WHERE job_type = 'TestFollow'")
        assert followers == ([(then,)] if then else []), "what follows runs once"

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
    max_examples=int(os.environ.get("MACHINES", "40")), stateful_step_count=60,
    deadline=None, suppress_health_check=list(HealthCheck), print_blob=True, derandomize=False,
)
TestLedgerMachine = LedgerMachine.TestCase
