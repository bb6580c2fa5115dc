"""`huey_consumer app.worker.huey`: stock Huey consumer with a worker that asks the ledger.

consumer (parent, holds a lock, never touches the database after start)
  -> Scheduler child (does nothing for us but keep Huey's contract; ends with its parent)
  -> Worker children: ticket -> claim -> run -> settle (lifecycle.py, runner.py)
"""

from __future__ import annotations

import contextlib
import gc
import logging
import multiprocessing
import os
import signal
import time
from typing import Any

from huey import consumer as stock
from huey.consumer import WorkerRecycle

from app import create_app, extensions, registry
from app.execution.alarm import JobAlarm, signals_blocked
from app.execution.heartbeat import Heartbeat, resident_bytes, worker_name
from app.execution.lifecycle import Lifecycle, listen
from app.execution.process_guard import ProcessGuard
from app.execution.runner import JobMeter, execute
from app.ledger.dialect import Connection
from app.ledger.outage import database_errors, wait_for
from app.ledger.rescue import promote
from app.ledger.worker_slots import STOPPED, Places
from app.queue import ThrottledWarning, Tickets, build
from app.services.instance import schema
from app.services.jobs import tickets as job_tickets
from app.support import descendants
from app.support.messages import Message
from app.support.process import die_with_parent, hold_lock, identity

log = logging.getLogger("app.worker")
REOPEN_S = 5.0
MONITOR_LATE_S = 5.0
KILL_AFTER_S = 5.0
AWAY_S = 0.5
QUIET_S = 0.5
RETIRED = 77  # exit code of a worker that a person stopped: its consumer starts no other in its place

extensions.synchronous = "NORMAL"  # a power cut repeats at most the last attempts (ledger rule 14)
app = create_app()
settings = app.extensions["settings"]
connection = Connection(settings.database_url, write_lock_path=str(settings.data_dir / "workers" / "write-lock"), guarded=True)
job_connection = Connection(settings.database_url, guarded=True)
lifecycle = Lifecycle(connection, settings.worker_queues, "sqlite" if settings.sqlite else "postgresql")


class LedgerWorker(stock.Worker):
    """Huey's worker, which asks the ledger once when its dequeue came back empty."""

    parent = 0
    consumer_id = ""
    guard: ProcessGuard | None = None

    def initialize(self) -> None:
        """In the child: identity, lock, row, beat; the claim refuses until all of it is done."""
        die_with_parent(self.parent)
        with contextlib.suppress(OSError):
            os.setpgid(0, 0)  # a job that kills its group reaches neither the consumer nor other workers
        multiprocessing.current_process().daemon = False  # Huey says True, and daemons may start no process: no Pool in a job
        # An ignored signal is inherited by what a job starts; a handler that does nothing is reset by exec.
        for signum in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, lambda *_: None)
        with app.app_context():
            extensions.db.engine.dispose(close=False)
        lifecycle.worker_id, lifecycle.worker = identity(settings.data_dir / "workers"), worker_name()
        lifecycle.stopping = self.stop_flag.is_set
        self.lock = hold_lock(settings.data_dir / "workers" / f"{lifecycle.worker_id}.lock")
        self.beat = Heartbeat(lifecycle, settings.database_url, settings.worker_queues, self.consumer_id, registry.code_version())
        ready, _ = wait_for(self.beat.register, self.stop_flag.is_set, on_error=lambda e: log.warning("waiting for the database: %s", e))
        if not ready:
            return
        descendants.adopt(lifecycle.worker_id)
        with signals_blocked():
            self.beat.start()  # a thread inherits what is blocked: the alarm and a stop are the main thread's
        LedgerWorker.guard = ProcessGuard(connection, app)
        self.next_open, self.memory_start = 0.0, resident_bytes()
        super().initialize()
        lifecycle.may_prefetch = lambda: self.beat.command != "quiet" and self._why_recycle() is None
        lifecycle.started = True
        log.info("worker started: pid %s, queues %s", os.getpid(), ",".join(settings.worker_queues))

    def loop(self, now: Any = None) -> None:
        if os.getppid() != self.parent:
            raise WorkerRecycle
        self._reopen_tickets()
        if self.beat.command == "quiet" and lifecycle.prefetched is None:
            time.sleep(QUIET_S)
            return
        done = self.task_count
        if lifecycle.prefetched is not None:
            self._run_next()
        else:
            super().loop(now)
        if self.task_count == done and self.huey.storage.blocking:
            self._after_empty()
        self._recycle_if_asked()

    def _run_next(self) -> None:
        """Run the row claimed with the last settle, through Huey and its hooks but without a ticket."""
        self._run_ticket(lifecycle.prefetched.uuid)

    def _run_ticket(self, uuid: str) -> None:
        """Give Huey a ticket that never was in the store."""
        self.task_count += 1
        try:
            self.huey.execute(self.huey.ticket.task_class((uuid,), id=uuid))
        except Exception:
            log.exception("unhandled error while running a job")

    def sleep(self) -> None:
        """The dequeue came back empty: publish a ticket if a row is ready for us, else sleep."""
        if not self._after_empty():
            super().sleep()

    def _after_empty(self) -> bool:
        if self.beat.monitor_late_s > MONITOR_LATE_S:
            try:
                promote(connection)
            except database_errors():
                connection.close()
        if lifecycle.work_ready():
            self.delay = self.default_delay
            if not tickets.publish([""]):
                self._run_ticket("")  # the ticket store is away: work needs none
            return True
        return False

    def _reopen_tickets(self) -> None:
        if time.monotonic() >= self.next_open:
            self.next_open = time.monotonic() + REOPEN_S
            reopen()

    def _why_recycle(self) -> str | None:
        if self.beat.command in ("restart", "stop"):
            return STOPPED if self.beat.command == "stop" else Message("restarted by hand")
        if lifecycle.broken:
            return Message("replaced: an outcome could not be written")
        grown = JobMeter.last_resident() - self.memory_start  # as read at the end of the last job: costs nothing
        if grown > settings.worker_memory_mb * 2**20:
            return Message("recycled: %(n)s MB over its start, limit %(limit)s MB", n=grown // 2**20, limit=settings.worker_memory_mb)
        return None

    def _recycle_if_asked(self) -> None:
        if lifecycle.prefetched is None and (why := self._why_recycle()):
            self.reason = why
            log.info("worker %s %s", os.getpid(), why)
            raise WorkerRecycle

    reason = Message("stopped")

    def shutdown(self) -> None:
        super().shutdown()
        if lifecycle.started:
            lifecycle.release_prefetched()
            with contextlib.suppress(Exception):
                lifecycle.give_up_unsettled()  # an error brought us here with a job begun
            self.beat.end(self.reason)
            descendants.tolerated.clear()
            if names := descendants.end_all():
                log.info("ended with this worker: %s", ", ".join(names))
            logging.shutdown()
            os._exit(RETIRED if self.reason == STOPPED else 0)  # a thread that a job has left must not keep us


class LedgerScheduler(stock.Scheduler):
    """Huey's scheduler without a schedule: rows own time, so the ticket store is never asked for one (an unreachable
    Redis would cost a traceback a second in the log). It looks for workers to start again, and ends with its parent."""

    parent = 0
    places: Places

    def initialize(self) -> None:
        die_with_parent(self.parent)
        for signum in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, lambda *_: None)

    def loop(self, now: Any = None) -> None:
        if os.getppid() != self.parent:
            raise WorkerRecycle
        self.places.look()
        time.sleep(self.interval)

    def shutdown(self) -> None:
        super().shutdown()
        self.places.end()


class LedgerConsumer(stock.Consumer):
    """The parent: waits for the schema, holds its lock, kills what does not stop."""

    worker_class, scheduler_class = LedgerWorker, LedgerScheduler

    def start(self) -> None:
        os.umask(0o077)
        self.consumer_id = identity(settings.data_dir / "workers")
        self.lock = hold_lock(settings.data_dir / "workers" / f"{self.consumer_id}.lock")
        LedgerWorker.parent = LedgerScheduler.parent = os.getpid()
        LedgerWorker.consumer_id = self.consumer_id
        descendants.adopt()
        self.places = LedgerScheduler.places = Places(settings.database_url, self.consumer_id)
        self.empty = self.early = 0
        schema.wait_until_current(settings)
        gc.collect()
        gc.freeze()  # the children neither walk nor copy what is loaded here: faster, and less memory of their own
        super().start()

    def check_worker_health(self) -> bool:
        """Huey's, which starts another worker for each that died; for those a person stopped, once one is asked for."""
        gone = any(child.exitcode is not None for _, child in self.worker_threads)
        kept = [(worker, child) for worker, child in self.worker_threads if child.exitcode != RETIRED]
        self.empty += len(self.worker_threads) - len(kept)
        self.worker_threads = kept
        asked = self.places.asked()
        wanted = min(self.early + asked, self.empty)
        self.early = min(asked, self.early + asked - wanted)  # its row says "stopped" a moment before the process ends
        for _ in range(wanted):
            worker = self._create_worker()
            kept.append((worker, self._create_process(worker, "Worker started again")))
            kept[-1][1].start()
            self.empty -= 1
        healthy = super().check_worker_health()
        if gone:
            self._end_orphans()
        return healthy

    def _end_orphans(self) -> None:
        """What the jobs of a worker that is gone have left."""
        if names := descendants.end_orphans([self.scheduler.pid, *(child.pid for _, child in self.worker_threads)]):
            log.info("ended with their worker: %s", ", ".join(names))

    def stop(self, graceful: bool = False) -> None:
        super().stop(graceful)
        self._end_orphans()

    def _interrupt_workers(self) -> None:
        """After Huey's interrupt: a job that swallows it would keep us waiting for ever, so kill."""
        super()._interrupt_workers()
        end = time.monotonic() + KILL_AFTER_S
        for _, child in self.worker_threads:
            child.join(max(end - time.monotonic(), 0))
            if child.is_alive():
                log.warning("worker %s did not stop: killed", child.pid)
                child.kill()


class LedgerHuey:
    """Mixed into stock Huey: our consumer, our alarm, and a damaged ticket file replaced."""

    def create_consumer(self, **options: Any) -> LedgerConsumer:
        logging.getLogger("huey").setLevel(logging.ERROR)  # INFO alone costs 30 %; refusals are normal here
        logging.getLogger("huey.consumer").setLevel(logging.INFO)
        for handler in list(logging.getLogger("huey").handlers):
            logging.getLogger("huey").removeHandler(handler)  # our root handler redacts
        return LedgerConsumer(self, **options)

    def _timeout_context(self, task: Any) -> Any:
        return JobAlarm(task)

    def is_revoked(self, *_: Any, **__: Any) -> bool:
        return False  # Huey's revoke is not used; looking for it costs a read a job,

    def delete(self, key: str) -> bool:
        return False  # and clearing it an exclusive transaction

    def dequeue(self) -> Any:
        try:
            return tickets.take(super().dequeue)
        except Exception as error:
            tickets.opened = None
            job_tickets.replace_if_damaged(connection, error)
            time.sleep(AWAY_S)  # a store that does not answer must not be asked 3,000 times a second
            reopen()
            return None


def reopen() -> None:
    """Keep to the ledger's ticket generation; trouble waits for the next look."""
    try:
        tickets.open()
    except Exception as error:
        trouble.report(f"ticket store not open ({type(error).__name__}); work goes on without it")
    else:
        trouble.report("")


huey = build(settings, lambda task: execute(app, task, job_connection, lambda: lifecycle.stopping(), LedgerWorker.guard), LedgerHuey)
trouble = ThrottledWarning(log)
tickets = Tickets(settings, huey, lambda: job_tickets.generation(connection))
listen(huey, lifecycle)
