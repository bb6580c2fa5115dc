"""A worker's row in `worker_heartbeats`, and the thread that writes it.

The thread has a connection of its own. Every second it reads the command in the row. When the worker has begun or ended
a job since, the thread writes the current job; claim and settle do not, because that cost 15 % of a no-op job. Every
10 s it raises `beat` and writes the claim that the worker holds. Every 30 s it writes `last_heartbeat`, which is for
people: liveness is judged by locks and counters.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
import time

from app.execution.capture import Capture
from app.execution.lifecycle import Lifecycle
from app.ledger.claim import show
from app.ledger.dialect import Connection, database_errors
from app.ledger.rescue import forget_worker
from app.ledger.rows import insert, replacing
from app.support.clock import stamp

log = logging.getLogger(__name__)
BEAT_S, SHOWN_S, ASK_S = 10.0, 30.0, 1.0

_ROW = ("worker_name process_id queue status started_at last_heartbeat created_at worker_id consumer_id host memory "
        "memory_start code_version revision beat stale jobs_done").split()
_UNSET = ("reason stop_code job_uuid job_claim job_since held_uuid held_claim held current_job_id current_job_type "
          "command stopped_ms").split()
_REGISTER = insert(
    "worker_heartbeats", [*_ROW, *_UNSET], "(worker_id) " + replacing(" ".join([*_ROW, *_UNSET])), worker_name=":name",
    process_id=":pid", worker_id=":w", consumer_id=":consumer", status="'idle'", started_at=":at", last_heartbeat=":at",
    created_at=":at", memory_start=":memory", code_version=":code", beat="0", stale="0", jobs_done="0",
    **dict.fromkeys(_UNSET, "NULL"))
_ALIVE = "SELECT COUNT(*) FROM worker_heartbeats WHERE status <> 'stopped' AND stale = 0"
_BEAT = """UPDATE worker_heartbeats SET beat = beat + 1, held_uuid = :u, held_claim = :k, held = :held,
 memory = :memory, last_heartbeat = COALESCE(:at, last_heartbeat) WHERE worker_id = :w AND status <> 'stopped'"""


def worker_name() -> str:
    """`host_pid` of this process, as specified."""
    return f"{socket.gethostname()}_{os.getpid()}"


def resident_bytes() -> int:
    """Resident memory of this process in bytes."""
    try:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import psutil

        return psutil.Process().memory_info().rss


class Heartbeat(threading.Thread):
    """The heartbeat of one worker process; `command` is what a person (restart, stop, quiet) or autoscaling (retire)
    has ordered, or None."""

    def __init__(self, lifecycle: Lifecycle, worker_id: str, url: str, queues: tuple[str, ...], consumer_id: str,
                 code: str, revision: str | None) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self.lifecycle = lifecycle
        self.connection = Connection(url, guarded=True)
        self.row = {"name": worker_name(), "pid": os.getpid(), "queue": ",".join(queues), "w": worker_id,
                    "consumer": consumer_id, "host": socket.gethostname(), "code": code, "revision": revision}
        self.command: str | None = None
        self.monitor_beat: tuple[int, float] = (-1, time.monotonic())
        self._shown: tuple = (None, 0)
        self._end = threading.Event()

    def register(self) -> None:
        """Write the row of this worker, found by its id. Another worker may have the same host and pid (containers with
        one host name): then the name ends with a few digits of the id. A stopped row of that name is deleted. Raises
        the errors of the database."""
        namesake = {"name": self.row["name"], "w": self.row["w"]}
        of_another = "FROM worker_heartbeats WHERE worker_name = :name AND worker_id <> :w"
        with self.connection.transaction() as tx:
            tx.execute(f"DELETE {of_another} AND status = 'stopped'", **namesake)
            if tx.fetch_all(f"SELECT 1 {of_another}", **namesake):
                self.row["name"] = self.lifecycle.worker = f"{worker_name()}.{self.row['w'].split('-')[4]}"
            tx.execute(_REGISTER, at=stamp(tx.now()), memory=resident_bytes(), **self.row)

    def run(self) -> None:
        """The thread's loop, until `end`."""
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
        if (beat := rows[0][0] if rows else -1) != self.monitor_beat[0]:
            self.monitor_beat = (beat, time.monotonic())
        self.lifecycle.group.workers = max(self.connection.fetch_all(_ALIVE)[0][0], 1)

    def _show(self) -> None:
        job, done = self.lifecycle.current, self.lifecycle.done
        now = (job and (job.uuid, job.claim_no, job.over_time), done)
        if now != self._shown:
            with self.connection.transaction() as tx:
                show(tx, self.row["w"], job, done)
            self._shown = now

    def _beat(self, shown: bool) -> None:
        job = self.lifecycle.current
        held = json.dumps([(other.uuid, other.claim_no) for other in self.lifecycle.group.claims()])
        with self.connection.transaction() as tx:
            at = stamp(tx.now()) if shown else None
            done = tx.execute(_BEAT, u=job and job.uuid, k=job and job.claim_no, held=held, memory=resident_bytes(),
                              at=at, w=self.row["w"])
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
        with contextlib.suppress(*database_errors()):
            forget_worker(self.connection, self.row["w"], reason, guarded=False, stop_code=stop_code)
