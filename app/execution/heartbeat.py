"""A worker's row in `worker_heartbeats`, and the thread that keeps it.

The thread has a connection of its own. Every second it reads the row's command and, when the
worker has begun or ended a job since, writes what it does now (writing that in claim and settle
cost 15 % of a no-op job); every 10 s it raises `beat` and writes what the worker holds; every 30 s
it writes `last_heartbeat`, which is for people: liveness is judged by locks and counters.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time

from app.execution.capture import Capture
from app.execution.lifecycle import Lifecycle
from app.ledger.claim import show
from app.ledger.dialect import Connection, database_errors
from app.support.clock import stamp
from app.support.messages import to_json

log = logging.getLogger(__name__)
BEAT_S, SHOWN_S, ASK_S = 10.0, 30.0, 1.0

_REGISTER = """INSERT INTO worker_heartbeats (worker_name, process_id, queue, status, started_at, last_heartbeat, created_at,
 worker_id, consumer_id, host, memory, memory_start, code_version) VALUES (:name, :pid, :queue, 'idle', :at, :at, :at, :w,
 :consumer, :host, :memory, :memory, :code) ON CONFLICT (worker_id) DO UPDATE SET worker_name = excluded.worker_name,
 process_id = excluded.process_id, queue = excluded.queue, status = 'idle', started_at = excluded.started_at,
 last_heartbeat = excluded.last_heartbeat, created_at = excluded.created_at, consumer_id = excluded.consumer_id,
 host = excluded.host, beat = 0, stale = 0, reason = NULL, stop_code = NULL, job_uuid = NULL, job_claim = NULL, job_since = NULL,
 held_uuid = NULL, held_claim = NULL, current_job_id = NULL, current_job_type = NULL, memory = excluded.memory,
 memory_start = excluded.memory_start, jobs_done = 0, code_version = excluded.code_version, command = NULL, stopped_ms = NULL"""
_BEAT = """UPDATE worker_heartbeats SET beat = beat + 1, held_uuid = :u, held_claim = :k, memory = :memory,
 last_heartbeat = COALESCE(:at, last_heartbeat) WHERE worker_id = :w AND status <> 'stopped'"""


def worker_name() -> str:
    """Host and pid, as specified."""
    return f"{socket.gethostname()}_{os.getpid()}"


def resident_bytes() -> int:
    """Resident memory of this process."""
    try:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import psutil

        return psutil.Process().memory_info().rss


class Heartbeat(threading.Thread):
    """The beat of one worker process; `command` is what a person asked of it (restart, stop, quiet) or None."""

    def __init__(
        self, lifecycle: Lifecycle, worker_id: str, url: str, queues: tuple[str, ...], consumer_id: str, code: str
    ) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self.lifecycle = lifecycle
        self.connection = Connection(url, guarded=True)
        self.row = {
            "name": worker_name(), "pid": os.getpid(), "queue": ",".join(queues), "w": worker_id,
            "consumer": consumer_id, "host": socket.gethostname(), "code": code,
        }
        self.command: str | None = None
        self.monitor_beat: tuple[int, float] = (-1, time.monotonic())
        self._shown: tuple = (None, 0)
        self._end = threading.Event()

    def register(self) -> None:
        """Write the row of this worker, found by its id. Host and pid may be another's too (containers with one host
        name): then a few digits of the id follow the name. A row of that name that has stopped gives way."""
        with self.connection.transaction() as tx:
            tx.execute("DELETE FROM worker_heartbeats WHERE worker_name = :name AND worker_id <> :w AND status = 'stopped'",
                    name=self.row["name"], w=self.row["w"])
            if tx.fetch_all("SELECT 1 FROM worker_heartbeats WHERE worker_name = :name AND worker_id <> :w", name=self.row["name"], w=self.row["w"]):
                self.row["name"] = self.lifecycle.worker = f"{worker_name()}.{self.row['w'].split('-')[4]}"
            tx.execute(_REGISTER, at=stamp(tx.now()), memory=resident_bytes(), **self.row)

    def run(self) -> None:
        next_beat = next_shown = 0.0
        while not self._end.wait(ASK_S):
            now = time.monotonic()
            if (lines := Capture.lines) is not None:
                lines.write_if_due()
            try:
                self._ask()
                self._show()
                if now >= next_beat:
                    self._beat(shown=now >= next_shown)
                    next_beat = now + BEAT_S
                    if now >= next_shown:
                        next_shown = now + SHOWN_S
            except database_errors() as error:
                log.warning("heartbeat not written (%s)", type(error).__name__)
                self.connection.close()

    def _ask(self) -> None:
        rows = self.connection.fetch_all("SELECT command FROM worker_heartbeats WHERE worker_id = :w", w=self.row["w"])
        self.command = rows[0][0] if rows else None
        rows = self.connection.fetch_all("SELECT at_ms FROM meta WHERE key = 'monitor'")
        beat = rows[0][0] if rows else -1
        if beat != self.monitor_beat[0]:
            self.monitor_beat = (beat, time.monotonic())

    def _show(self) -> None:
        job, done = self.lifecycle.current, self.lifecycle.done
        now = (job and (job.uuid, job.claim_no, job.over), done)
        if now != self._shown:
            with self.connection.transaction() as tx:
                show(tx, self.row["w"], job, done)
            self._shown = now

    def _beat(self, shown: bool) -> None:
        job = self.lifecycle.current
        uuid, claim_no = (job.uuid, job.claim_no) if job else (None, None)
        with self.connection.transaction() as tx:
            at = stamp(tx.now()) if shown else None
            done = tx.execute(_BEAT, u=uuid, k=claim_no, memory=resident_bytes(), at=at, w=self.row["w"])
        if not done:
            self._shown = (None, 0)
            self.register()  # the row was swept, or the monitor gave us up while we were frozen

    @property
    def monitor_late_s(self) -> float:
        """Seconds of this process's own clock since the monitor's mark last changed."""
        return time.monotonic() - self.monitor_beat[1]

    def end(self, reason: str, stop_code: str | None = None) -> None:
        """Stop beating and write that this worker has stopped; `stop_code` as in ledger/worker_slots.py."""
        self._end.set()
        with contextlib.suppress(*database_errors()), self.connection.transaction() as tx:
            now = tx.now()
            tx.execute(
                "UPDATE worker_heartbeats SET status = 'stopped', stopped_ms = :now, last_heartbeat = :at, reason = :r, reason_json = :json, "
                "stop_code = :c, "
                "current_job_id = NULL, current_job_type = NULL, job_uuid = NULL, job_since = NULL, command = NULL WHERE worker_id = :w",
                now=now, at=stamp(now), r=reason, json=to_json(reason), c=stop_code, w=self.row["w"],
            )
