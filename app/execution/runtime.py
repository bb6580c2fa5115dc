"""The objects that one consumer and its workers use, built once in the consumer: each forked worker has a copy."""

from __future__ import annotations

import logging
import os
from typing import Any

from flask import Flask

from app.config import ROOT
from app.execution.lifecycle import Lifecycle, listen
from app.execution.process_guard import ProcessGuard
from app.execution.runner import execute
from app.ledger.consumer_row import ConsumerRow
from app.ledger.dialect import Connection
from app.ledger.worker_slots import Places
from app.queue import Tickets, build
from app.services.forecast.scaling import Pace
from app.services.jobs.tickets import generation
from app.support.logs import ThrottledWarning
from app.support.process import hold_lock, identity
from app.support.revision import revision

log = logging.getLogger("app.worker")


class WorkerRuntime:
    """The application, its connections, the lifecycle of this process's jobs, Huey and its tickets.

    `connection` claims and settles; `job_connection` is for what a running job writes. `guard` is set in a worker that
    has started, `consumer_pid`, `consumer_id`, `places` and `row` once the consumer has begun. `mixin` is mixed into
    Huey, which gets this object as its `runtime`.
    """

    def __init__(self, app: Flask, mixin: type) -> None:
        settings = app.extensions["settings"]
        url, store = settings.database_url, "sqlite" if settings.sqlite else "postgresql"
        self.app, self.settings, self.folder = app, settings, settings.data_dir / "workers"
        self.connection = Connection(url, write_lock_path=str(self.folder / "write-lock"), guarded=True)
        self.job_connection = Connection(url, guarded=True)
        self.lifecycle = Lifecycle(self.connection, settings.worker_queues, store, settings.group_size)
        self.guard: ProcessGuard | None = None
        self.consumer_pid, self.consumer_id = 0, ""
        self.revision = revision(ROOT, settings.job_modules)  # of the code that is loaded now; its workers are forks
        self.huey = build(settings, self._run, mixin)
        self.huey.runtime = self
        self.tickets = Tickets(settings, self.huey, lambda: generation(self.connection))
        self.pace = Pace()  # of autoscaling
        self._trouble = ThrottledWarning(log)
        listen(self.huey, self.lifecycle)

    def begin_consumer(self, workers: int) -> None:
        """In the consumer, before its first child: set its identity, its lock, the places of its workers, its row."""
        self.consumer_pid, self.consumer_id = os.getpid(), identity(self.folder)
        self._lock = hold_lock(self.folder / f"{self.consumer_id}.lock")
        self.places = Places(self.settings.database_url, self.consumer_id, workers)
        span = (self.settings.workers_min, self.settings.workers_max) if self.settings.autoscaling else (workers,) * 2
        self.row = ConsumerRow(self.places.connection, self.consumer_id, self.consumer_pid,
                               self.settings.worker_queues, *span)

    def reopen_tickets(self) -> None:
        """Open the tickets of the ledger's generation. Errors are logged; the next call tries again."""
        trouble = ""
        try:
            self.tickets.open()
        except Exception as error:
            trouble = f"ticket store not open ({type(error).__name__}); work goes on without it"
        self._trouble.report(trouble)

    def _run(self, task: Any) -> None:
        """Huey's one task."""
        if (attempt := getattr(task, "attempt", None)) is not None:  # else a hook failed: never run what is not claimed
            execute(self.app, attempt, self.job_connection, self.lifecycle.stopping, self.guard)
