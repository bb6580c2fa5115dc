"""The monitor: a table of duties, each run when it is due. A duty that fails never stops the others.

It needs no worker. Its row in `meta` (key `monitor`) shows that it lives. After a round in which the wall clock and the
monotonic clock differ by 5 s, or that was late (a suspended machine), no worker is judged dead by silence for CALM_S.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import Flask

from app import registry
from app.integrations.ping import Ping
from app.ledger import batches, control, counts, graph, limits, rescue, workforce
from app.ledger.dialect import Connection, database_errors
from app.monitor.consumer_watch import ConsumerWatch
from app.monitor.studies import Studies
from app.monitor.worker_watch import CALM_S, WorkerWatch
from app.services.alerts import delivery, incidents
from app.services.alerts.snapshot import Snapshot
from app.services.content import generations
from app.services.forecast.forecaster import Forecaster
from app.services.instance import deploys, retention, schema
from app.services.jobs import facts, queue_rates, recurring, rollups, search_index
from app.services.jobs.batches import follow_up
from app.services.notices import telling
from app.services.people import sign_in
from app.services.reports import due, sending
from app.services.stats import machine, usage_fill
from app.support import disk, error_texts, open_files, process
from app.support.clock import MINUTE_MS

log = logging.getLogger("app.monitor.loop")
CLOCK_JUMP_S, MISSED_ROUND_S = 5.0, 15.0
TICK_S = 0.2
LAST_SENDING_S = 5.0  # a message under way at a stop; what takes longer is sent once more by the next monitor
FIRST_CHECK_S = 20.0  # workers that start together with the monitor are not missed
# At most 64 ready rows are counted.
_READY = """SELECT (SELECT COUNT(*) FROM (SELECT 1 FROM jobs j WHERE j.state = 'pending' AND NOT EXISTS
 (SELECT 1 FROM queues q WHERE q.name = j.queue AND q.paused_at IS NOT NULL) LIMIT 64) r),
 (SELECT COUNT(*) FROM jobs WHERE state = 'processing'),
 (SELECT COUNT(*) FROM worker_heartbeats WHERE status <> 'stopped' AND stale = 0)"""


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

    def __init__(self, app: Flask, monotonic: Callable[[], float] = time.monotonic,
                 wall: Callable[[], float] = time.time) -> None:
        self.app, self.settings = app, app.extensions["settings"]
        self.connection = Connection(self.settings.database_url, synchronous="FULL")
        self.monotonic, self.wall = monotonic, wall
        self.watch = WorkerWatch(self.connection, self.settings, monotonic)
        self._clocks: tuple[float, float] | None = None
        self._minute = self._sampled = 0
        self._idle_since: float | None = None
        self.ping, self.outbox = Ping(self.settings.heartbeat_url), delivery.Outbox(app)
        self.mails, self.reports = sending.Mails(app), due.Reports(app)
        self.studies = Studies(monotonic)
        uploads = self.settings.data_dir / "uploads"
        sweep = limits.Sweep(self.connection)
        self.duties = [
            Duty("mark", 1.0, self.mark),
            Duty("promote", 1.0, lambda: rescue.promote(self.connection)),
            Duty("live counts", 0.5, self.count),
            Duty("rescue", 1.0, self.watch.rescue),
            Duty("consumers", 1.0, ConsumerWatch(self.watch).look),
            Duty("rollups", 1.0, lambda: rollups.advance(self.connection)),
            Duty("pace", 1.0, lambda: queue_rates.advance(self.connection)),
            Duty("forecast", 1.0, Forecaster(self.connection, queue_rates.rates, monotonic).run),
            Duty("tickets", 1.0, self.tickets),
            Duty("ticket store", 5.0, self.ticket_store),
            Duty("disk", 5.0, self.disk),
            Duty("recurring", 1.0, self.recurring),
            Duty("overlaps", 1.0, lambda: recurring.release_waiting(self.connection)),
            Duty("pauses", 1.0, self.pauses),
            Duty("limits", 1.0, sweep.run),
            Duty("short rates", 0.2, sweep.fast),
            Duty("batches", 1.0, self.batches),
            Duty("dependencies", 60.0, lambda: graph.repair(self.connection)),
            Duty("facts", 1.0, lambda: facts.advance(self.connection)),
            Duty("usage", 1.0, lambda: usage_fill.advance(self.connection)),
            Duty("machine", 5.0, machine.Sampler(self.connection, self.settings.data_dir).run),
            Duty("deploys", 5.0, lambda: deploys.watch(self.connection)),
            Duty("search", 1.0, lambda: search_index.advance(self.connection)),
            Duty("ping", 60.0, self.ping.send),
            Duty("minute", 1.0, self.minute),
            Duty("worker minutes", 5.0, lambda: workforce.sample(self.connection)),
            Duty("alerts", 60.0, self.alerts),
            Duty("urgent alerts", 10.0, lambda: self.alerts(urgent=True)),
            Duty("messages", 1.0, self.messages),
            Duty("notices", 1.0, lambda: telling.tell(self.connection, self.app)),
            Duty("reports", 30.0, self.reports.run),
            Duty("mails", 1.0, lambda: self.mails.run(self.connection)),
            Duty("unblock", 10.0, lambda: retention.unblock_fitting(self.connection)),
            Duty("budgets", 10.0, lambda: generations.release_within_budget(self.connection, self.settings)),
            Duty("retention", 300.0, lambda: retention.delete_old(self.connection)),
            Duty("old figures", 600.0, lambda: retention.delete_old_minutes(self.connection)),
            Duty("old deploys", 600.0, lambda: deploys.sweep(self.connection)),
            Duty("uploads", 600.0, lambda: retention.sweep_uploads(self.connection, uploads)),
            Duty("wal", 10.0, lambda: open_files.shrink_wal(self.connection, str(self.settings.database_file))),
            Duty("sessions", 300.0, self.sweep_sessions),
            Duty("files", 60.0, self.sweep_files),
            Duty("studies", 5.0, lambda: self.studies.run(self.connection)),
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
                text = error_texts.describe(error)
                if duty.error != text:
                    log.warning("duty %s failed (%s); it is tried again", duty.name, text)
                duty.error = text
                failed.append(f"{duty.name}: {text}")
                if isinstance(error, database_errors()):
                    self.watch.suspend_judgement()  # silence counts only while our own writes succeed
                    self.connection.close()
        return failed

    def _look_at_clocks(self) -> None:
        mono, wall = self.monotonic(), self.wall()
        if self._clocks is not None:
            passed, shown = mono - self._clocks[0], wall - self._clocks[1]
            if abs(shown - passed) > CLOCK_JUMP_S or passed > MISSED_ROUND_S:
                text = "clock moved by %.0f s or a round was missed (%.0f s): no worker is given up for %d s"
                log.warning(text, shown - passed, passed, CALM_S)
                self.watch.suspend_judgement(afresh=True)
        self._clocks = (mono, wall)

    def mark(self) -> None:
        """Store that the monitor lives, the version of its code and the duties that failed last."""
        errors = [duty.name for duty in self.duties if duty.error]
        with self.connection.transaction() as tx:
            counts.save(tx, "monitor", {"pid": os.getpid(), "code": registry.code_version(), "errors": errors})

    def count(self) -> None:
        """Store the counts of live rows."""
        found = counts.count(self.connection)
        with self.connection.transaction() as tx:
            counts.save(tx, "live_counts", found)

    def tickets(self) -> int:
        """Rows ready, store empty, nothing claimed for 5 s: publish min(ready, live workers)."""
        ready, busy, workers = self.connection.fetch_all(_READY)[0]
        if not ready or busy:
            self._idle_since = None
            return 0
        self._idle_since = self._idle_since or self.monotonic()
        if self.monotonic() - self._idle_since < 5.0:
            return 0
        self._idle_since = None
        publisher = self.app.extensions["publisher"]
        return publisher.publish([""] * min(ready, workers)) if workers and publisher.tickets.count() == 0 else 0

    def disk(self) -> None:
        """Keep the disk reserve, then store its state, which may need the space of the reserve."""
        state = disk.keep_reserve(self.settings.data_dir)
        kept = counts.load(self.connection, "disk")
        if kept is None or kept[0] != state:
            with self.connection.transaction() as tx:
                counts.save(tx, "disk", state)

    def recurring(self) -> None:
        """Dispatch the recurring jobs that are due, once a minute."""
        if (minute := self.connection.now() // MINUTE_MS) == self._minute:
            return
        with self.app.app_context():
            recurring.run_due(self.settings.timezone)
        self._minute = minute

    def minute(self) -> None:
        """Each minute: store the depth of each queue, and forget the starts that no rate counts any more."""
        if (minute := self.connection.now() // MINUTE_MS) != self._sampled:
            counts.sample(self.connection, minute * MINUTE_MS)
            limits.forget_past_starts(self.connection)
            self._sampled = minute

    def alerts(self, urgent: bool = False) -> None:
        """Check the alert rules, unless a restore has paused them. Raises RuntimeError with the rules that failed."""
        if counts.paused_after_restore(self.connection):
            return
        settings, now = self.settings, self.connection.now()
        facts = Snapshot(self.connection, now, settings.data_dir, settings.worker_memory_mb * 2**20,
                         zone=settings.timezone)
        with self.app.app_context():
            if failed := incidents.check(facts, self.connection, settings, urgent):
                raise RuntimeError("; ".join(failed))

    def messages(self) -> None:
        """Send the messages of alerts that are due, unless a restore has paused alerts."""
        self.outbox.publish_channels(self.connection)
        if not counts.paused_after_restore(self.connection):
            self.outbox.send_due(self.connection)

    def pauses(self) -> None:
        """End pauses whose time is over; rows of paused types to held and back."""
        if self.connection.fetch_all("SELECT 1 FROM queues WHERE paused_until <= :now", now=self.connection.now()):
            with self.connection.transaction() as tx:
                control.resume_due(tx)
        control.sweep_types(self.connection)

    def batches(self) -> None:
        """Keep the counts of open batches, close those that have ended and dispatch what follows them."""
        batches.sweep_paused(self.connection)

        def then(batch_id: str, then_json: str) -> bool:
            with self.app.app_context():
                return follow_up(batch_id, then_json)

        batches.advance(self.connection, then)

    def ticket_store(self) -> None:
        """Raises RuntimeError, which /readyz shows, while the ticket store does not answer."""
        if self.app.extensions["publisher"].tickets.count() < 0:
            raise RuntimeError("the ticket store does not answer; jobs run without it")

    def sweep_sessions(self) -> None:
        """Delete expired sessions and old rows of recurring jobs."""
        with self.app.app_context():
            sign_in.sweep(self.connection.now())
            recurring.sweep()

    def sweep_files(self) -> None:
        """Delete old ticket files, and lock files of processes that have ended and have no row."""
        self.app.extensions["publisher"].tickets.sweep()
        rows = self.connection.fetch_all("SELECT worker_id FROM worker_heartbeats WHERE status <> 'stopped'")
        for path in (self.settings.data_dir / "workers").glob("*.lock"):
            # the time of the file and ours are of this machine
            is_old = (path.stem,) not in rows and time.time() - path.stat().st_mtime > 60
            if is_old and process.lock_state(path) == "free" and not rescue.claims_of(self.connection, path.stem):
                path.unlink(missing_ok=True)


def run(app: Flask, once: bool = False) -> int:
    """The monitor's loop until SIGTERM or SIGINT; `once` runs every duty once. Returns the exit code."""
    schema.wait_until_current(app.extensions["settings"])
    monitor = Monitor(app)
    if once:
        failed = monitor.round()
        failed += monitor.reports.finish()
        failed += monitor.outbox.finish(monitor.connection) + monitor.mails.finish(monitor.connection)
        failed += [f"ping: {trouble}"] if (trouble := monitor.ping.wait()) else []
        for line in failed:
            print(line)
        return 1 if failed else 0
    (alerts,) = (duty for duty in monitor.duties if duty.name == "alerts")
    alerts.next = monitor.monotonic() + FIRST_CHECK_S
    monitor.studies.begin()
    asked: list[int] = []  # no Event: set() in a handler can meet its own lock
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda number, _: asked.append(number))
    parent = os.getppid()
    log.info("monitor started: pid %s", os.getpid())
    while not asked and os.getppid() == parent:
        monitor.round()
        time.sleep(TICK_S)
    end = time.monotonic() + LAST_SENDING_S
    monitor.studies.stop()
    while (monitor.outbox.busy() or monitor.mails.busy()) and time.monotonic() < end:
        time.sleep(TICK_S)
    return 0
