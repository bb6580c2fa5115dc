"""The monitor's watch of the workers: which are dead, which jobs are over time, and what happens to their rows.

One `WorkerWatch` a monitor. A death is proved by the process (its pid is gone, or belongs to another process now) or by
its lock: only by a lock in this monitor's own folder that this monitor has seen held. A missing lock file proves
nothing, because a worker of another DATA_DIR on the same database has its lock there. Silence is measured on the
monitor's own monotonic clock (liveness.py), never by stored times. It is not judged before `calm_until`, which is set
after a clock has jumped, a round was late or the database did not answer.
"""

from __future__ import annotations

import logging
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

from app.config import Settings
from app.ledger.claim import Claim
from app.ledger.dialect import Connection
from app.ledger.manual import due_to_stop
from app.ledger.rescue import claims_of, forget_worker, rescue
from app.ledger.settle import Outcome, settle
from app.monitor.liveness import FROZEN, QUIET_S, Facts, Seen, forget, holds_something_else, judge, over_time
from app.support import descendants, process
from app.support.messages import Message, to_json
from app.support.process import has_ended, is_here, kill_if_same
from app.support.validation import stored_json

log = logging.getLogger("app.monitor.loop")
CALM_S = 30.0
KILLED_LOOKS = 50  # of 20 ms, for a killed process to end
MOST_GRACE_S = 60  # for a job that was asked to stop: GRACE of a server may be as long as its longest job

_STALE = """UPDATE worker_heartbeats SET stale = :s, reason = :r, reason_json = :json
 WHERE worker_id = :w AND status <> 'stopped'"""
_WORKERS = """SELECT worker_id, worker_name, consumer_id, process_id, beat, stale, reason, held_uuid, held_claim, held,
 command FROM worker_heartbeats WHERE status <> 'stopped'"""


class WorkerWatch:
    """What one monitor knows of the workers; `monotonic` is its clock in seconds."""

    def __init__(self, connection: Connection, settings: Settings, monotonic: Callable[[], float]) -> None:
        self.connection, self.settings, self.monotonic = connection, settings, monotonic
        self.store = "sqlite" if settings.sqlite else "postgresql"
        self.folder = settings.data_dir / "workers"
        self.seen: dict[str, Seen] = {}
        self.deaths: list[tuple[float, str]] = []  # when workers died alone, and of which consumer
        self.calm_until = 0.0

    def suspend_judgement(self, afresh: bool = False) -> None:
        """Judge no worker dead by silence for CALM_S; with `afresh` all periods of silence begin anew."""
        now = self.monotonic()
        self.calm_until = now + CALM_S
        for seen in self.seen.values() if afresh else ():
            seen.beat_at = seen.cpu_at = now

    def rescue(self) -> int:
        """Free the rows of dead workers and end attempts far over their time; returns how many rows."""
        rows = self.connection.fetch_all(_WORKERS)
        known = {row[0] for row in rows}
        self._to_stop = due_to_stop(self.connection, min(self.settings.grace, MOST_GRACE_S) * 1000)
        for (worker_id,) in self.connection.fetch_all("SELECT DISTINCT worker_id FROM jobs WHERE state = 'processing'"):
            if isinstance(worker_id, str) and worker_id not in known:
                rows.append((worker_id, Message("its worker"), "", 0, -1, 0, *[None] * 5))
        freed, failed = 0, None
        for row in rows:
            try:
                freed += self._judge_worker(*row)
            except (TypeError, ValueError) as error:  # a row that another program wrote must not hide the next ones
                failed = error
        if failed is not None:
            raise failed
        for gone in set(self.seen) - known - {None}:
            if not claims_of(self.connection, gone):
                del self.seen[gone]
        return freed

    def _judge_worker(self, worker_id: str, name: str, consumer: str, pid: int, beat: int, stale: int,
                      reason: str | None, held_uuid: str | None, held_claim: int | None, held: str | None,
                      command: str | None) -> int:
        now = self.monotonic()
        here = is_here(worker_id)
        cpu = process.cpu_ticks(pid) if here and pid else None
        seen = self.seen.setdefault(worker_id, Seen(beat, now, cpu, now))
        facts = Facts(beat, here, self._is_gone(worker_id, seen), here and pid > 0 and process.is_stopped(pid), cpu)
        verdict = judge(facts, seen, now)
        jobs = claims_of(self.connection, worker_id, name)
        if command == "kill" and here and (facts.gone or kill_if_same(worker_id, signal.SIGKILL)):
            # by us now; or it is gone since a round that broke off after the kill, or by another monitor
            return self._reap(worker_id, name, "", Message("killed by hand"), jobs, gone=True)
        if verdict.dead and facts.gone:
            return self._reap(worker_id, name, consumer, verdict.why or "", jobs, gone=True)
        if now >= self.calm_until or not verdict.why:
            if verdict.dead:
                return self._end_silent(worker_id, name, verdict.why or "", kill=pid > 0)
            if (int(verdict.stale), verdict.why) != (stale, reason):
                with self.connection.transaction() as tx:
                    tx.execute(_STALE, s=int(verdict.stale), r=verdict.why, json=to_json(verdict.why), w=worker_id)
        forget(seen, {(job.uuid, job.claim_no) for job in jobs})
        reported = {(held_uuid, held_claim), *((uuid, n) for uuid, n in stored_json(held) or ())}
        return sum(self._judge_job(job, seen, reported, facts, now, grouped=len(jobs) > 1) for job in jobs)

    def _end_silent(self, worker_id: str, name: str, why: str, kill: bool = True) -> int:
        """Kill a silent worker of this machine, so that its consumer starts another, and free its rows; returns how
        many. No crash is counted: whoever stopped the process, or a disk that did not answer, says nothing of the job.
        A job that does it itself ends after MAX_LOST losses (rescue.py)."""
        killed = kill and kill_if_same(worker_id, signal.SIGKILL)
        for _ in range(KILLED_LOOKS if killed else 0):
            if has_ended(worker_id):
                break
            time.sleep(0.02)  # one that waits for a disk dies later: until then the fence keeps it from its rows
        why = Message("%(why)s; killed by the monitor", why=why) if killed else why
        log.warning("worker %s: %s", name, why)
        return self._reap(worker_id, name, "", why, claims_of(self.connection, worker_id, name), has_ended(worker_id))

    def _judge_job(self, job: Claim, seen: Seen, reported: set[tuple], facts: Facts, now: float,
                   grouped: bool) -> int:
        row = (job.uuid, job.claim_no)
        at = self.connection.now()  # the clock by which the claim was stored
        ran_s = (at - (job.reserved_ms or at)) / 1000
        if facts.here and over_time(seen, row, job.timeout, ran_s, now):
            if facts.stopped and now - seen.cpu_at >= QUIET_S:  # it was not the job that took the time
                return self._end_silent(job.worker_id, job.worker, FROZEN)
            if grouped:  # one of its rows does not end; which one, shows when each runs alone
                kill_if_same(job.worker_id, signal.SIGKILL)
                return 0  # the next round finds the worker gone
            return self._kill_and_end(job, ran_s, "timeout", "is over its time and does not stop", Message(
                "timeout after %(n)s s; the job did not stop and its worker was killed", n=job.timeout))
        if facts.here and job.id in self._to_stop and not grouped:
            return self._kill_and_end(job, ran_s, "cancelled", "was asked to stop and did not", Message(
                "Stopped by hand; its worker was killed."))
        if holds_something_else(seen, row, reported, facts.beat):
            return self._release(job, False, Message("its worker lives but no longer holds it"), grouped)
        return 0

    def _kill_and_end(self, job: Claim, ran_s: float, status: str, log_text: str, why: str) -> int:
        log.warning("job %s %s: worker %s killed", job.uuid, log_text, job.worker)
        kill_if_same(job.worker_id, signal.SIGKILL)
        outcome = Outcome(status, error=why, run_ms=int(ran_s * 1000))
        return int(settle(self.connection, job, outcome, self.store) != "late")

    def _reap(self, worker_id: str, name: str, consumer: str, why: str, jobs: list[Claim], gone: bool) -> int:
        # only a worker that died while its consumer lives speaks against the job it ran
        alone = gone and is_here(consumer) and not has_ended(consumer)
        if alone:
            self.deaths.append((self.monotonic(), consumer))
        if gone:
            kill_if_same(worker_id, signal.SIGKILL)  # a job that closed the descriptor of its worker's lock runs on
            if names := descendants.end_marked(worker_id, self._lock(worker_id)):
                log.warning("worker %s: what its job had started was ended: %s", name, ", ".join(names))
        said = Message("%(worker)s: %(why)s", worker=name, why=why)
        freed = sum(self._release(job, alone, said, grouped=len(jobs) > 1) for job in jobs)
        forget_worker(self.connection, worker_id, why)
        log.info("worker %s: %s; %d job(s) rescued", name, why, freed)
        if gone:
            self._lock(worker_id).unlink(missing_ok=True)
        return freed

    def _release(self, job: Claim, crash: bool, why: str, grouped: bool) -> int:
        if job.over_time and not grouped:  # it had not stopped in time when its worker went
            ended = Message("timeout after %(n)s s; then its worker ended: %(why)s", n=job.timeout, why=why)
            outcome = Outcome("timeout", error=ended, run_ms=job.timeout * 1000)
            return int(settle(self.connection, job, outcome, self.store) != "late")
        state = rescue(self.connection, job, crash and not job.cancel_requested, why, self.store, grouped)
        if state:
            log.warning("job %s (%s) was lost by %s: now %s", job.uuid, job.job_type, job.worker, state)
        return int(state is not None)

    def _lock(self, name: str) -> Path:
        name = re.sub(r"[^A-Za-z0-9_.-]", "_", name)  # it comes from a row: never a path out of the folder
        return self.folder / f"{name}.lock"

    def _is_gone(self, worker_id: str, seen: Seen) -> bool:
        """Whether there is proof that the worker has ended."""
        if process.same_boot(worker_id) and worker_id.split("-")[5:] == [process.folder_id(self.folder)]:
            state = process.lock_state(self._lock(worker_id))
            if seen.lock_held and state == "free":
                return True
            seen.lock_held |= state == "held"
        return has_ended(worker_id)
