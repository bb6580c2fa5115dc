"""Autoscaling of one consumer, in its Scheduler child: reads the facts, decides, carries it out.

each 2 s: ledger, forecast, machine -> scaling.decide
  start  -> log of actions, note in `consumers` -> a byte through the pipe -> the parent starts a worker
  retire -> the command `retire` in the row of an idle worker, guarded -> it ends between two jobs, its place goes

A worker that began a job before it read the command is told to stay: a job of hours keeps its worker. When the database
is away, or the worker is no longer idle, nothing has happened and the next round decides anew. After a crash of this
child the next one knows the places from the parent and begins its 5 minutes again.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable

from app.config import Settings
from app.ledger.consumer_row import ConsumerRow
from app.ledger.worker_slots import Places
from app.services import audit
from app.services.forecast import outlook, scaling
from app.support.logs import ThrottledWarning
from app.support.machine import Machine
from app.support.messages import Message
from app.support.outage import database_errors

log = logging.getLogger("app.worker")
ROUND_S, FRESH_MS = 2.0, 30_000
ACTOR = "autoscaling"
_HAS_JOB = "EXISTS (SELECT 1 FROM jobs WHERE state = 'processing' AND jobs.worker_id = w.worker_id)"
_IDLE = f"w.status = 'idle' AND w.stale = 0 AND w.command IS NULL AND NOT {_HAS_JOB}"
_MINE = f"""SELECT w.id, w.worker_name, w.memory, w.command, CASE WHEN {_IDLE} THEN 1 ELSE 0 END,
 CASE WHEN {_HAS_JOB} THEN 1 ELSE 0 END FROM worker_heartbeats w
 WHERE w.consumer_id = :c AND w.status <> 'stopped' ORDER BY w.id DESC"""
_ALL = "SELECT COUNT(*) FROM worker_heartbeats WHERE status <> 'stopped' AND stale = 0"
_RETIRE = f"UPDATE worker_heartbeats AS w SET command = 'retire' WHERE w.id = :id AND {_IDLE}"
_STAY = "UPDATE worker_heartbeats SET command = NULL WHERE id = :id AND command = 'retire'"


def _ready(queue: str) -> str:
    """SQL of the rows of a queue (of config.QUEUES) that a claim would take, up to scaling.MOST_COUNTED."""
    return f"""SELECT COUNT(*) FROM (SELECT 1 FROM jobs j WHERE j.state = 'pending' AND j.queue = '{queue}'
 AND NOT EXISTS (SELECT 1 FROM queues q WHERE q.name = '{queue}' AND q.paused_at IS NOT NULL) AND NOT EXISTS
 (SELECT 1 FROM queues t WHERE t.name = 'type:' || j.job_type AND t.paused_at IS NOT NULL)
 LIMIT {scaling.MOST_COUNTED}) r"""


class Autoscaler:
    """The autoscaling of a consumer with these places and this row; `clock` is monotonic, in seconds."""

    def __init__(self, places: Places, row: ConsumerRow, settings: Settings, pace: scaling.Pace,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self.places, self.row, self.settings, self.clock = places, row, settings, clock
        self.rule = scaling.Rule(row.least, row.most, settings.workers_clear_min * 60 or None, pace)
        self.machine, self.memory, self.next_round = Machine(), scaling.Memory(), clock() + ROUND_S
        self._trouble = ThrottledWarning(log)

    def step(self) -> None:
        """Decide and carry it out, when a round is due. Errors of the database are ignored, others are logged: the next
        round is 2 s later."""
        if self.clock() < self.next_round:
            return
        self.next_round, trouble = self.clock() + ROUND_S, ""
        try:
            mine = self.places.connection.fetch_all(_MINE, c=self.row.consumer_id)
            self._let_stay([(id_, name) for id_, name, _, command, _, busy in mine if command == "retire" and busy])
            facts = self._facts(mine)
            self._do(scaling.decide(facts, self.memory, self.rule), facts, [row[0] for row in mine if row[4]])
        except database_errors():
            pass
        except Exception as error:  # this process also starts workers for people
            trouble = f"no autoscaling now ({type(error).__name__}: {error})"
        self._trouble.report(trouble)

    def _facts(self, mine: list[tuple]) -> scaling.Facts:
        tx, (free, total) = self.places.connection, self.machine.memory()
        waiting = {queue: n for queue in self.settings.worker_queues if (n := tx.fetch_all(_ready(queue))[0][0])}
        clear_s: float | None = None
        if target := self.rule.target_s:
            forecasts, age = outlook.of_queues(tx) if waiting else ({}, 0)
            if age is not None and age <= FRESH_MS:
                clear_s = scaling.time_to_clear(forecasts, waiting, tx.now(), target)
        return scaling.Facts(
            now=self.clock(), running=self.places.kept, empty=self.places.empty, idle=sum(row[4] for row in mine),
            retiring=sum(row[3] == "retire" for row in mine), everyone=tx.fetch_all(_ALL)[0][0],
            pending=min(sum(waiting.values()), scaling.MOST_COUNTED), clear_s=clear_s, cpu=self.machine.busy(),
            wanting=self.machine.computing(os.getppid()) / max(self.places.kept, 1), free=free, total=total,
            largest=max((row[2] or 0 for row in mine), default=0))

    def _do(self, decision: scaling.Decision, facts: scaling.Facts, idle: list[int]) -> None:
        if decision.reason is not None:
            change = {scaling.START: 1, scaling.RETIRE: -1}.get(decision.action, 0)
            with self.places.connection.transaction() as tx:
                if decision.action == scaling.RETIRE and not tx.execute(_RETIRE, id=idle[0]):
                    return  # it has begun a job
                numbers = f"{facts.running} → {facts.running + change}" if change else facts.running
                what = scaling.NOTED[decision.action]
                audit.write(tx, ACTOR, what, f"{self.row.values['host']}: {numbers}", decision.reason)
                self.row.note(tx, Message("%(what)s: %(why)s", what=what, why=decision.reason))
            if decision.action == scaling.START:
                self.places.ask_for_more()
        self.memory = decision.memory

    def _let_stay(self, busy: list[tuple]) -> None:
        for id_, name in busy:
            with self.places.connection.transaction() as tx:
                if tx.execute(_STAY, id=id_):
                    why = Message("it began a job before it read the command")
                    audit.write(tx, ACTOR, scaling.NOTED[scaling.STAY], name, why)
