"""Huey's consumer, with workers that query the ledger.

consumer (parent; it has a lock file and never uses the database after its start)
  -> Scheduler child (takes requests to start workers again, and ends with its parent)
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

from huey import Huey, consumer as stock

from app import registry
from app.execution.alarm import JobAlarm, signals_blocked
from app.execution.group import WRITE_S
from app.execution.heartbeat import Heartbeat, resident_bytes
from app.execution.process_guard import ProcessGuard
from app.execution.runner import JobMeter
from app.execution.runtime import WorkerRuntime
from app.extensions import db
from app.ledger import rescue, worker_slots
from app.services.forecast.autoscaler import Autoscaler
from app.services.instance import schema
from app.services.jobs.limits import declare
from app.services.jobs.tickets import replace_if_damaged
from app.support import descendants
from app.support.messages import Message
from app.support.outage import database_errors, wait_for
from app.support.process import die_with_parent, hold_lock, identity

log = logging.getLogger("app.worker")
REOPEN_S, MONITOR_LATE_S, KILL_AFTER_S = 5.0, 5.0, 5.0
AWAY_S, QUIET_S = 0.5, 0.5
ENDINGS = {"stop": (worker_slots.EMPTY, worker_slots.STOPPED), "retire": (worker_slots.RETIRED, worker_slots.TOO_MANY)}


class LedgerWorker(stock.Worker):
    """Huey's worker. When it gets no ticket, it queries the ledger once for a ready row."""

    reason, stop_code = Message("stopped"), None

    def __init__(self, huey: Huey, *arguments: Any, **options: Any) -> None:
        super().__init__(huey, *arguments, **options)
        self.runtime: WorkerRuntime = huey.runtime
        self.lifecycle = self.runtime.lifecycle

    def initialize(self) -> None:
        """In the child: identity, lock file, row, heartbeat. Claims are refused until all of this is done."""
        runtime, settings = self.runtime, self.runtime.settings
        die_with_parent(runtime.consumer_pid)
        with contextlib.suppress(OSError):
            os.setpgid(0, 0)  # a job that kills its group reaches neither the consumer nor other workers
        multiprocessing.current_process().daemon = False  # Huey says True, and a daemon may start no process: no Pool
        # An ignored signal is inherited by what a job starts; a handler that does nothing is reset by exec.
        for signum in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, lambda *_: None)
        with runtime.app.app_context():
            db.engine.dispose(close=False)
        worker_id, stopping = identity(runtime.folder), self.stop_flag.is_set
        self.lock = hold_lock(runtime.folder / f"{worker_id}.lock")
        url, queues, version = settings.database_url, settings.worker_queues, registry.code_version()
        self.beat = Heartbeat(self.lifecycle, worker_id, url, queues, runtime.consumer_id, version, runtime.revision)
        if not wait_for(self.beat.register, stopping, on_error=lambda e: log.warning("no database yet: %s", e))[0]:
            return
        wait_for(lambda: declare(runtime.connection, settings), stopping)
        descendants.adopt(worker_id)
        with signals_blocked():
            self.lifecycle.watch.start()
            self.beat.start()  # a thread inherits what is blocked: the alarm and a stop are the main thread's
        runtime.guard = ProcessGuard(runtime.connection, runtime.app)
        self.next_open, self.memory_start = 0.0, resident_bytes()
        super().initialize()
        self.lifecycle.start(worker_id, self.beat.row["name"], stopping, self._may_prefetch)
        log.info("worker started: pid %s, queues %s", os.getpid(), ",".join(queues))

    def loop(self, now: Any = None) -> None:
        """One round: run a job, or wait for a ticket. Raises WorkerRecycle when this worker must end."""
        if os.getppid() != self.runtime.consumer_pid:
            raise stock.WorkerRecycle
        if time.monotonic() >= self.next_open:
            self.next_open = time.monotonic() + REOPEN_S
            self.runtime.reopen_tickets()
        prefetched = self.lifecycle.prefetched
        if self.beat.command == "quiet" and prefetched is None:
            time.sleep(QUIET_S)
            return
        done = self.task_count
        if prefetched is not None:  # claimed with the last settle: runs through Huey and its hooks but without a ticket
            until = time.monotonic() + WRITE_S
            while prefetched is not None:  # a group: a look at the stop flag costs 5 % of a short job
                self._run_ticket(prefetched.uuid)
                prefetched = self.lifecycle.prefetched if time.monotonic() < until else None
        else:
            super().loop(now)
        if self.task_count == done and self.huey.storage.blocking:
            self._after_empty()
        self._recycle_if_asked()

    def _run_ticket(self, uuid: str) -> None:
        """Give Huey a ticket that never was in the store."""
        self.task_count += 1
        try:
            self.huey.execute(self.huey.ticket.task_class((uuid,), id=uuid))
        except Exception:
            log.exception("unhandled error while running a job")

    def sleep(self) -> None:
        """After a dequeue without a ticket: publish one if a row is ready for this worker, else sleep."""
        if not self._after_empty():
            super().sleep()

    def _after_empty(self) -> bool:
        if self.beat.monitor_late_s > MONITOR_LATE_S:
            try:
                rescue.promote(self.runtime.connection)
            except database_errors():
                self.runtime.connection.close()
        if not self.lifecycle.work_ready():
            return False
        self.delay = self.default_delay
        if not self.runtime.tickets.publish([""]):
            self._run_ticket("")  # the ticket store does not answer: a claim needs no ticket
        return True

    def _may_prefetch(self) -> bool:
        return self.beat.command != "quiet" and self._why_recycle() is None

    def _why_recycle(self) -> str | None:
        self.stop_code, why = ENDINGS.get(self.beat.command, (None, None))
        if why:
            return why
        if self.beat.command == "restart":
            return Message("restarted by hand")
        if self.lifecycle.broken:
            return Message("replaced: an outcome could not be written")
        grown = JobMeter.last_resident() - self.memory_start  # as read at the end of the last job: costs nothing
        if grown > (limit := self.runtime.settings.worker_memory_mb) * 2**20:
            return Message("recycled: %(n)s MB over its start, limit %(limit)s MB", n=grown // 2**20, limit=limit)
        return None

    def _recycle_if_asked(self) -> None:
        if self.lifecycle.prefetched is None and (why := self._why_recycle()):
            self.reason = why
            log.info("worker %s %s", os.getpid(), why)
            raise stock.WorkerRecycle

    def shutdown(self) -> None:
        """Release what is claimed, write that the worker has stopped, and end the process."""
        super().shutdown()
        if self.lifecycle.started:
            self.lifecycle.release_prefetched()
            with contextlib.suppress(Exception):
                self.lifecycle.give_up_unsettled()  # an error brought us here with a job begun
            self.beat.end(self.reason, self.stop_code)
            descendants.tolerated.clear()
            if names := descendants.end_all():
                log.info("ended with this worker: %s", ", ".join(names))
            logging.shutdown()
            self.runtime.places.leave(self.stop_code)
            os._exit(0)  # a thread that a job has left must not keep us


class LedgerScheduler(stock.Scheduler):
    """Huey's scheduler without a schedule: times are in the rows, so the ticket store is not queried (an unreachable
    Redis would cost a traceback a second in the log). It keeps the consumer's row, takes requests to start workers,
    decides on autoscaling, and ends with its parent."""

    def initialize(self) -> None:
        """In the child: it ends with its parent, and the stop signals do nothing."""
        die_with_parent(self.huey.runtime.consumer_pid)
        for signum in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, lambda *_: None)
        runtime = self.huey.runtime
        self.autoscaler = runtime.settings.autoscaling and Autoscaler(
            runtime.places, runtime.row, runtime.settings, runtime.pace)

    def loop(self, now: Any = None) -> None:
        """One round. Raises WorkerRecycle when the parent has gone."""
        if os.getppid() != self.huey.runtime.consumer_pid:
            raise stock.WorkerRecycle
        self.huey.runtime.places.look()
        with contextlib.suppress(*database_errors()):
            self.huey.runtime.row.keep(self.huey.runtime.places.kept)
        if self.autoscaler:
            self.autoscaler.step()
        time.sleep(self.interval)

    def shutdown(self) -> None:
        """Delete the consumer's row and write that its empty places have ended."""
        super().shutdown()
        with contextlib.suppress(*database_errors()):
            self.huey.runtime.row.end()
        self.huey.runtime.places.end()


class LedgerConsumer(stock.Consumer):
    """The parent process: waits for the schema, keeps its lock, and kills workers that do not stop."""

    worker_class, scheduler_class = LedgerWorker, LedgerScheduler

    def start(self) -> None:
        """Wait for the schema, then start the children."""
        os.umask(0o077)
        descendants.adopt()
        self.huey.runtime.begin_consumer(self.workers)
        self.empty = self.early = 0
        schema.wait_until_current(self.huey.runtime.settings)
        gc.collect()
        gc.freeze()  # the children neither walk nor copy what is loaded here: faster, and less memory of their own
        super().start()

    def check_worker_health(self) -> bool:
        """As Huey's, which starts another worker for each that died. In the place of a worker that a person has
        stopped, one is started only on request; the place of a retired one goes; autoscaling asks for places."""
        places, ended = self.huey.runtime.places, [c for _, c in self.worker_threads if c.exitcode is not None]
        left = {child: places.left(child.pid) for child in ended}
        kept = self.worker_threads = [pair for pair in self.worker_threads if not left.get(pair[1])]
        self.empty += list(left.values()).count(worker_slots.EMPTY)
        asked = places.asked()
        wanted = min(self.early + asked, self.empty)
        self.early = min(asked, self.early + asked - wanted)  # its row says "stopped" a moment before the process ends
        room = max(self.huey.runtime.row.most - len(kept) - self.empty, 0)
        self.empty -= wanted
        more = min(places.asked(worker_slots.MORE), room)
        for name in ["Worker started again"] * wanted + ["Worker of autoscaling"] * more:
            worker = self._create_worker()
            kept.append((worker, self._create_process(worker, name)))
            kept[-1][1].start()
        places.tell(len(kept), self.empty)
        healthy = super().check_worker_health()
        if ended:
            self._end_orphans()
        return healthy

    def _end_orphans(self) -> None:
        """What the jobs of a worker that is gone have left."""
        if names := descendants.end_orphans([self.scheduler.pid, *(child.pid for _, child in self.worker_threads)]):
            log.info("ended with their worker: %s", ", ".join(names))

    def stop(self, graceful: bool = False) -> None:
        """Huey's; then end what the jobs have left."""
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

    runtime: WorkerRuntime

    def create_consumer(self, **options: Any) -> LedgerConsumer:
        """Our consumer, with Huey's log at ERROR and through our handler."""
        logging.getLogger("huey").setLevel(logging.ERROR)  # INFO alone costs 30 %; refusals are normal here
        logging.getLogger("huey.consumer").setLevel(logging.INFO)
        logging.getLogger("huey").handlers.clear()  # our root handler redacts
        return LedgerConsumer(self, **options)

    def _timeout_context(self, task: Any) -> Any:
        if getattr(task, "attempt", None) is None:
            return contextlib.nullcontext()
        return JobAlarm(task.attempt, keep=bool(self.runtime.lifecycle.group.waiting))

    def is_revoked(self, *_: Any, **__: Any) -> bool:
        """Always False: Huey's revoke is not used, and to look for it costs a read a job."""
        return False

    def delete(self, key: str) -> bool:
        """Always False: to clear a revoke costs an exclusive transaction a job."""
        return False

    def dequeue(self) -> Any:
        """A ticket or None; never raises, because an error makes Huey's worker sleep longer each time."""
        try:
            return self.runtime.tickets.take(super().dequeue)
        except Exception as error:
            self.runtime.tickets.opened = None
            replace_if_damaged(self.runtime.connection, error)
            time.sleep(AWAY_S)  # a store that does not answer must not be asked 3,000 times a second
            self.runtime.reopen_tickets()
            return None
