"""The workers as the monitor sees them: who is dead, who is over time, and what becomes of their rows.

One Watch a monitor. Death is proved by the process itself (its pid is gone, or is another process now) or by its lock:
only by a lock in this monitor's own folder that this monitor has seen held. A lock file that is missing proves nothing:
a worker of another DATA_DIR on the same database keeps its lock there. Silence is judged on the monitor's own monotonic
clock (liveness.py), never by stored times, and not at all while `calm_until` is ahead (a clock that jumped, a round
that came late, a database that did not answer).
"""

from __future__ import annotations

import logging
import re
import signal
from collections.abc import Callable
from pathlib import Path

from app.config import Settings
from app.ledger.claim import Claim
from app.ledger.dialect import Connection
from app.ledger.manual import due_to_stop
from app.ledger.rescue import claims_of, forget_worker, rescue
from app.ledger.settle import Outcome, settle
from app.monitor.liveness import Facts, Seen, holds_something_else, judge, over_time
from app.support import descendants
from app.support.messages import Message, to_json
from app.support.process import (
    cpu_ticks,
    folder_id,
    has_ended,
    is_here,
    is_stopped,
    kill_if_same,
    lock_state,
    same_boot,
)

log = logging.getLogger("app.monitor.loop")
CALM_S = 30.0
MOST_GRACE_S = 60  # for a job that was asked to stop: GRACE of a server may be as long as its longest job

_WORKERS = """SELECT worker_id, worker_name, consumer_id, process_id, beat, stale, held_uuid, held_claim, command
 FROM worker_heartbeats WHERE status <> 'stopped'"""


class WorkerWatch:
    """`monotonic` in seconds."""

    def __init__(self, connection: Connection, settings: Settings, monotonic: Callable[[], float]) -> None:
        self.connection, self.settings, self.monotonic = connection, settings, monotonic
        self.store = "sqlite" if settings.sqlite else "postgresql"
        self.folder = settings.data_dir / "workers"
        self.seen: dict[str, Seen] = {}
        self.calm_until = 0.0

    def suspend_judgement(self, afresh: bool = False) -> None:
        """Give up nobody for CALM_S; `afresh`: what was seen so far says nothing any more."""
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
                rows.append((worker_id, Message("its worker"), "", 0, -1, 0, None, None, None))
        freed, trouble = 0, None
        for row in rows:
            try:
                freed += self._look_at(*row)
            except (TypeError, ValueError) as error:  # a row that another program wrote must not hide the next ones
                trouble = error
        if trouble is not None:
            raise trouble
        for gone in set(self.seen) - known - {None}:
            if not claims_of(self.connection, gone):
                del self.seen[gone]
        return freed

    def _look_at(
        self, worker_id: str, name: str, consumer: str, pid: int, beat: int, stale: int, held_uuid: str | None, held_claim: int | None,
        command: str | None,
    ) -> int:
        now = self.monotonic()
        here = is_here(worker_id)
        cpu = cpu_ticks(pid) if here and pid else None
        seen = self.seen.setdefault(worker_id, Seen(beat, now, cpu, now))
        facts = Facts(beat, here, self._is_gone(worker_id, seen), here and pid > 0 and is_stopped(pid), cpu)
        verdict = judge(facts, seen, now)
        jobs = claims_of(self.connection, worker_id, name)
        if command == "kill" and here and (facts.gone or kill_if_same(worker_id, signal.SIGKILL)):
            # by us now; or it is gone since a round that broke off after the kill, or by another monitor
            return self._reap(worker_id, name, "", Message("killed by hand"), jobs, gone=True)
        if verdict.dead and (facts.gone or now >= self.calm_until):
            return self._reap(worker_id, name, consumer, verdict.why or "", jobs, gone=facts.gone)
        if verdict.stale != bool(stale):
            with self.connection.transaction() as tx:
                tx.execute("UPDATE worker_heartbeats SET stale = :s, reason = :r, reason_json = :json WHERE worker_id = :w AND status <> 'stopped'",
                        s=int(verdict.stale), r=verdict.why, json=to_json(verdict.why), w=worker_id)
        reported = (held_uuid, held_claim) if held_uuid and held_claim is not None else None
        return sum(self._look_at_job(job, seen, reported, beat, now, here) for job in jobs)

    def _look_at_job(self, job: Claim, seen: Seen, reported: tuple[str, int] | None, beat: int, now: float, here: bool) -> int:
        row = (job.uuid, job.claim_no)
        at = self.connection.now()  # the clock by which the claim was stored
        ran_s = (at - (job.reserved_ms or at)) / 1000
        if here and over_time(seen, row, job.timeout, ran_s, now):
            log.warning("job %s is over its time and does not stop: worker %s killed", job.uuid, job.worker)
            kill_if_same(job.worker_id, signal.SIGKILL)
            why = Message("timeout after %(n)s s; the job did not stop and its worker was killed", n=job.timeout)
            outcome = Outcome("timeout", error=why, run_ms=int(ran_s * 1000))
            return settle(self.connection, job, outcome, self.store) != "late"
        if here and job.id in self._to_stop:
            log.warning("job %s was asked to stop and did not: worker %s killed", job.uuid, job.worker)
            kill_if_same(job.worker_id, signal.SIGKILL)
            outcome = Outcome("cancelled", error=Message("Stopped by hand; its worker was killed."), run_ms=int(ran_s * 1000))
            return settle(self.connection, job, outcome, self.store) != "late"
        if holds_something_else(seen, row, reported, beat):
            return self._release(job, crash=False, why=Message("its worker lives but no longer holds it"))
        return 0

    def _reap(self, worker_id: str, name: str, consumer: str, why: str, jobs: list[Claim], gone: bool) -> int:
        # only a worker that died while its consumer lives speaks against the job it ran
        alone = gone and is_here(consumer) and not has_ended(consumer)
        if gone:
            kill_if_same(worker_id, signal.SIGKILL)  # a job that closed the descriptor of its worker's lock runs on
            if names := descendants.end_marked(worker_id, self._lock(worker_id)):
                log.warning("worker %s: what its job had started was ended: %s", name, ", ".join(names))
        freed = sum(self._release(job, alone, Message("%(worker)s: %(why)s", worker=name, why=why)) for job in jobs)
        forget_worker(self.connection, worker_id, why)
        log.info("worker %s: %s; %d job(s) rescued", name, why, freed)
        if gone:
            self._lock(worker_id).unlink(missing_ok=True)
        return freed

    def _release(self, job: Claim, crash: bool, why: str) -> int:
        if job.over:  # it had not stopped in time when its worker went
            ended = Message("timeout after %(n)s s; then its worker ended: %(why)s", n=job.timeout, why=why)
            outcome = Outcome("timeout", error=ended, run_ms=job.timeout * 1000)
            return int(settle(self.connection, job, outcome, self.store) != "late")
        state = rescue(self.connection, job, crash and not job.cancel_requested, why, self.store)
        if state:
            log.warning("job %s (%s) was lost by %s: now %s", job.uuid, job.job_type, job.worker, state)
        return int(state is not None)

    def _lock(self, name: str) -> Path:
        name = re.sub(r"[^A-Za-z0-9_.-]", "_", name)  # it comes from a row: never a path out of the folder
        return self.folder / f"{name}.lock"

    def _is_gone(self, worker_id: str, seen: Seen) -> bool:
        """Whether the worker is proved to have ended."""
        if same_boot(worker_id) and worker_id.split("-")[5:] == [folder_id(self.folder)]:
            state = lock_state(self._lock(worker_id))
            if seen.lock_held and state == "free":
                return True
            seen.lock_held |= state == "held"
        return has_ended(worker_id)
