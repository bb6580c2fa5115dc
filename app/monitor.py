"""The monitor: a table of duties, each run when due; one that fails never stops the others.

It needs no worker. Its mark in `meta` (key `monitor`) tells everyone that it lives. A round in
which the wall clock and the monotonic clock disagree by 5 s, or that comes late (a suspended
machine), skips every judgement on silence for one heartbeat period.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Flask

from app import registry
from app.clock import MINUTE_MS, now_ms
from app.config import Settings
from app.integrations.ping import Ping
from app.ledger import counts, histograms, search, steer
from app.ledger.claim import OVER, Claim
from app.ledger.dialect import Connection, database_errors
from app.ledger.rescue import forget_worker, held_by, promote, rescue
from app.ledger.settle import Outcome, settle
from app.liveness import Facts, Seen, holds_something_else, judge, over_time
from app.process import boot_id, cpu_ticks, is_stopped, kill_if_same, lock_is_free, namespace
from app.services import accounts, disk, recurring, schema, upkeep

log = logging.getLogger("app.monitor")
CLOCK_JUMP_S, MISSED_ROUND_S, CALM_S = 5.0, 15.0, 30.0
TICK_S = 0.2

_WORKERS = """SELECT worker_id, worker_name, consumer_id, process_id, beat, stale, held_uuid, held_claim, command
 FROM worker_heartbeats WHERE status <> 'stopped'"""


@dataclass
class Duty:
    """`every` in seconds; `next` on the monotonic clock; `error` is the last failure or None."""

    name: str
    every: float
    run: Callable[[], Any]
    next: float = 0.0
    error: str | None = None


class Monitor:
    """One monitor process. Everything it changes is guarded by what it read, so two do no harm."""

    def __init__(self, app: Flask, monotonic: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self.app = app
        self.settings: Settings = app.extensions["settings"]
        self.connection = Connection(self.settings.database_url, synchronous="FULL")
        self.store = "sqlite" if self.settings.sqlite else "postgresql"
        self.monotonic, self.wall = monotonic, wall
        self.seen: dict[str, Seen] = {}
        self._clocks: tuple[float, float] | None = None
        self._calm_until = 0.0
        self._minute = 0
        self._idle_since: float | None = None
        self.ping = Ping(self.settings.heartbeat_url)
        self.duties = [
            Duty("mark", 1.0, self.mark),
            Duty("promote", 1.0, lambda: promote(self.connection)),
            Duty("live counts", 0.5, self.count),
            Duty("rescue", 1.0, self.rescue),
            Duty("tickets", 1.0, self.tickets),
            Duty("ticket store", 5.0, self.ticket_store),
            Duty("disk", 5.0, self.disk),
            Duty("recurring", 1.0, self.recurring),
            Duty("pauses", 1.0, self.pauses),
            Duty("search", 1.0, lambda: search.extend(self.connection)),
            Duty("ping", 60.0, self.ping.send),
            Duty("histograms", 5.0, lambda: histograms.extend(self.connection)),
            Duty("unblock", 10.0, lambda: upkeep.unblock_fitting(self.connection)),
            Duty("retention", 300.0, lambda: upkeep.delete_old(self.connection)),
            Duty("uploads", 600.0, lambda: upkeep.sweep_uploads(self.connection, self.settings.data_dir / "uploads")),
            Duty("sessions", 300.0, self.sweep_sessions),
            Duty("files", 60.0, self.sweep_files),
        ]

    def round(self) -> list[str]:
        """Run every duty that is due; returns 'name: error' of those that failed."""
        self._look_at_clocks()
        failed = []
        for duty in self.duties:
            if self.monotonic() < duty.next:
                continue
            duty.next = self.monotonic() + duty.every
            try:
                duty.run()
                duty.error = None
            except Exception as error:
                text = f"{type(error).__name__}: {error}"
                if duty.error != text:
                    log.warning("duty %s failed (%s); it is tried again", duty.name, text)
                duty.error = text
                failed.append(f"{duty.name}: {text}")
                if isinstance(error, database_errors()):
                    self._calm_until = self.monotonic() + CALM_S  # silence counts only while our own writes succeed
                    self.connection.close()
        return failed

    def _look_at_clocks(self) -> None:
        mono, wall = self.monotonic(), self.wall()
        if self._clocks is not None:
            passed, shown = mono - self._clocks[0], wall - self._clocks[1]
            if abs(shown - passed) > CLOCK_JUMP_S or passed > MISSED_ROUND_S:
                log.warning("clock moved by %.0f s or a round was missed (%.0f s): no worker is given up for %d s", shown - passed, passed, CALM_S)
                self._calm_until = mono + CALM_S
                for seen in self.seen.values():
                    seen.beat_at = seen.cpu_at = mono
        self._clocks = (mono, wall)

    def mark(self) -> None:
        """Say that the monitor lives, with the code it runs."""
        with self.connection.transaction() as run:
            counts.save(run, "monitor", {"pid": os.getpid(), "code": registry.code_version(), "errors": [d.name for d in self.duties if d.error]})

    def count(self) -> None:
        found = counts.count(self.connection)
        with self.connection.transaction() as run:
            counts.save(run, "live_counts", found)

    def rescue(self) -> int:
        """Free the rows of dead workers and end attempts far over their time; returns how many rows."""
        rows = self.connection.all(_WORKERS)
        known = {row[0] for row in rows}
        self._to_stop = {r[0] for r in self.connection.all("SELECT id FROM jobs WHERE state = 'processing' AND stop_ms <= :now",
                                                           now=self.connection.now())}
        freed = sum(self._look_at(*row) for row in rows)
        for (worker_id,) in self.connection.all("SELECT DISTINCT worker_id FROM jobs WHERE state = 'processing'"):
            if worker_id and worker_id not in known:
                freed += self._look_at(worker_id, worker_id, "", 0, -1, 0, None, None, None)
        for gone in set(self.seen) - known - {None}:
            if not held_by(self.connection, gone):
                del self.seen[gone]
        return freed

    def _look_at(
        self, worker_id: str, name: str, consumer: str, pid: int, beat: int, stale: int, held_uuid: str | None, held_claim: int | None,
        command: str | None,
    ) -> int:
        now = self.monotonic()
        cpu = cpu_ticks(pid) if pid else None
        seen = self.seen.setdefault(worker_id, Seen(beat, now, cpu, now))
        here = self._is_here(worker_id)
        facts = Facts(beat, here, here and lock_is_free(self._lock(worker_id)), here and pid > 0 and is_stopped(pid), cpu)
        verdict = judge(facts, seen, now)
        jobs = held_by(self.connection, worker_id, name)
        if verdict.dead and (facts.lock_free or now >= self._calm_until):
            return self._bury(worker_id, name, consumer, verdict.why or "", jobs, gone=facts.lock_free)
        if command == "kill" and here and kill_if_same(worker_id, signal.SIGKILL):
            return self._bury(worker_id, name, "", "killed by hand", jobs, gone=True)
        if verdict.stale != bool(stale):
            with self.connection.transaction() as run:
                run.run("UPDATE worker_heartbeats SET stale = :s, reason = :r WHERE worker_id = :w AND status <> 'stopped'",
                        s=int(verdict.stale), r=verdict.why, w=worker_id)
        reported = (held_uuid, held_claim) if held_uuid and held_claim is not None else None
        return sum(self._look_at_job(job, seen, reported, beat, now, here) for job in jobs)

    def _look_at_job(self, job: Claim, seen: Seen, reported: tuple[str, int] | None, beat: int, now: float, here: bool) -> int:
        row = (job.uuid, job.claim_no)
        ran_s = (now_ms() - (job.reserved_ms or now_ms())) / 1000
        if here and over_time(seen, row, job.timeout, ran_s, now):
            log.warning("job %s is over its time and does not stop: worker %s killed", job.uuid, job.worker)
            kill_if_same(job.worker_id, signal.SIGKILL)
            why = f"timeout after {job.timeout} s; the job did not stop and its worker was killed"
            outcome = Outcome("timeout", error=why, run_ms=int(ran_s * 1000))
            return settle(self.connection, job, outcome, self.store) != "late"
        if here and job.id in self._to_stop:
            log.warning("job %s was asked to stop and did not: worker %s killed", job.uuid, job.worker)
            kill_if_same(job.worker_id, signal.SIGKILL)
            outcome = Outcome("cancelled", error="Stopped by hand; its worker was killed.", run_ms=int(ran_s * 1000))
            return settle(self.connection, job, outcome, self.store) != "late"
        if holds_something_else(seen, row, reported, beat):
            return self._free(job, crash=False, why="its worker lives but no longer holds it")
        return 0

    def _bury(self, worker_id: str, name: str, consumer: str, why: str, jobs: list[Claim], gone: bool) -> int:
        # only a worker that died while its consumer lives speaks against the job it ran
        alone = gone and bool(consumer) and not lock_is_free(self._lock(consumer))
        freed = sum(self._free(job, alone, f"{name}: {why}") for job in jobs)
        forget_worker(self.connection, worker_id, why)
        log.info("worker %s: %s; %d job(s) rescued", name, why, freed)
        if gone:
            self._lock(worker_id).unlink(missing_ok=True)
        return freed

    def _free(self, job: Claim, crash: bool, why: str) -> int:
        if job.reason == OVER:  # it had not stopped in time when its worker went
            outcome = Outcome("timeout", error=f"timeout after {job.timeout} s; then its worker ended: {why}", run_ms=job.timeout * 1000)
            return int(settle(self.connection, job, outcome, self.store) != "late")
        state = rescue(self.connection, job, crash, why, self.store)
        if state:
            log.warning("job %s (%s) was lost by %s: now %s", job.uuid, job.job_type, job.worker, state)
        return int(state is not None)

    def _lock(self, name: str) -> Path:
        return self.settings.data_dir / "workers" / f"{name}.lock"

    @staticmethod
    def _is_here(worker_id: str) -> bool:
        parts = worker_id.split("-")
        return len(parts) >= 4 and parts[0] == boot_id()[:8] and parts[1] == namespace()

    def tickets(self) -> int:
        """Rows ready, store empty, nothing claimed for 5 s: publish min(ready, live workers)."""
        ready = self.connection.all(
            "SELECT COUNT(*) FROM (SELECT 1 FROM jobs j WHERE j.state = 'pending' AND NOT EXISTS "
            "(SELECT 1 FROM queues q WHERE q.name = j.queue AND q.paused_at IS NOT NULL) LIMIT 64) r"
        )[0][0]
        busy = self.connection.all("SELECT COUNT(*) FROM jobs WHERE state = 'processing'")[0][0]
        if not ready or busy:
            self._idle_since = None
            return 0
        self._idle_since = self._idle_since or self.monotonic()
        if self.monotonic() - self._idle_since < 5.0:
            return 0
        self._idle_since = None
        workers = self.connection.all("SELECT COUNT(*) FROM worker_heartbeats WHERE status <> 'stopped' AND stale = 0")[0][0]
        publisher = self.app.extensions["publisher"]
        return publisher.publish([""] * min(ready, workers)) if workers and publisher.tickets.count() == 0 else 0

    def disk(self) -> None:
        """The reserve first, as the note may need its room."""
        state = disk.keep_reserve(self.settings.data_dir)
        kept = counts.load(self.connection, "disk")
        if kept is None or kept[0] != state:
            with self.connection.transaction() as run:
                counts.save(run, "disk", state)

    def recurring(self) -> None:
        if (minute := now_ms() // MINUTE_MS) == self._minute:
            return
        with self.app.app_context():
            recurring.run_due(self.settings.timezone)
        self._minute = minute

    def pauses(self) -> None:
        """End pauses whose time is over; rows of paused types to held and back."""
        if self.connection.all("SELECT 1 FROM queues WHERE paused_until <= :now", now=self.connection.now()):
            with self.connection.transaction() as run:
                steer.resume_due(run)
        steer.sweep_types(self.connection)

    def ticket_store(self) -> None:
        """Fails, and so shows in /readyz, while the store does not answer."""
        if self.app.extensions["publisher"].tickets.count() < 0:
            raise RuntimeError("the ticket store does not answer; jobs run without it")

    def sweep_sessions(self) -> None:
        with self.app.app_context():
            accounts.sweep(now_ms())
            recurring.sweep()

    def sweep_files(self) -> None:
        """Old ticket files, and locks of processes that are gone without a row."""
        self.app.extensions["publisher"].tickets.sweep()
        rows = {row[0] for row in self.connection.all("SELECT worker_id FROM worker_heartbeats WHERE status <> 'stopped'")}
        for path in (self.settings.data_dir / "workers").glob("*.lock"):
            if path.stem not in rows and time.time() - path.stat().st_mtime > 60 and lock_is_free(path) and not held_by(self.connection, path.stem):
                path.unlink(missing_ok=True)


def run(app: Flask, once: bool = False) -> int:
    """The monitor's loop until SIGTERM or SIGINT; `once` runs every duty once. Returns the exit code."""
    schema.wait_until_current(app.extensions["settings"])
    monitor = Monitor(app)
    if once:
        failed = monitor.round()
        failed += [f"ping: {trouble}"] if (trouble := monitor.ping.wait()) else []
        for line in failed:
            print(line)
        return 1 if failed else 0
    asked: list[int] = []  # no Event: set() in a handler can meet its own lock
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda number, _: asked.append(number))
    parent = os.getppid()
    log.info("monitor started: pid %s", os.getpid())
    while not asked and os.getppid() == parent:
        monitor.round()
        time.sleep(TICK_S)
    return 0
