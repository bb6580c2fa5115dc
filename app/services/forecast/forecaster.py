"""The monitor's part of predictions: learns from outcomes, plans the queues, writes predictions down and judges them.

job_metrics (past the watermark `learn_reach`) -> the models of their types, stored in run_time_models
jobs, workers, limits -> plan -> the fact `forecast` (every EVERY_S; seldom when it takes long, but readers get a new
one within SELDOM_S)
some live jobs -> predictions -> when they have ended: inside or not, and the sides of the next intervals

A monitor that is killed learns some outcomes not at all or twice; a prediction is judged once, because it is read and
written in one transaction. Two monitors each learn a part, and the later one's models stay.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from dataclasses import asdict

from app.ledger import counts, watermark
from app.ledger.dialect import Connection, Executor
from app.ledger.rows import among
from app.models.job import LIVE_STATES
from app.models.types import as_integer, as_text
from app.services.forecast import fact, outlook, plan as plans, situation
from app.services.forecast.calibration import Calibration, kinds
from app.services.forecast.estimate import Interval
from app.services.forecast.run_times import TypeModel
from app.services.forecast.situation import Sent
from app.support.clock import DAY_MS
from app.support.validation import stored_json

REACH, SIDES = "learn_reach", "forecast_sides"
EVERY_S, SELDOM_S, SAVE_S, QUIET_S, FLOWS_S = 2.0, 20.0, 10.0, 20.0, 20.0
A_STEP = 200  # outcomes learned of 2,000: a model keeps 256 runs, and one costs 0.15 ms
BEHIND = 20_000  # what lies further back is not learned
AT_ONCE, OPEN, KEPT, KEPT_MS = 3, 1000, 5000, 7 * DAY_MS
MOST_TYPES, MOST_SAVED = 300, 20  # a model of 100 kinds has 180 KB
_COLUMNS = "id, uuid, job_type, tenant_id, status, processing_time, started_at"
_LEARNED = ("completed", "failed", "timeout", "retried")
_PUT = """INSERT INTO run_time_models (job_type, model, at_ms) VALUES (:t, :model, :now)
 ON CONFLICT (job_type) DO UPDATE SET model = excluded.model, at_ms = excluded.at_ms"""
_OPEN = """SELECT p.uuid, p.queue, p.job_type, p.made_ms, p.end_low_ms, p.end_high_ms, p.runs, p.learn, h.status,
 h.finished_ms, (SELECT m.processing_time FROM job_metrics m WHERE m.uuid = h.uuid AND m.claim_no = h.claim_no
 AND m.status = h.status) FROM predictions p JOIN job_history h ON h.uuid = p.uuid WHERE p.ended_ms IS NULL LIMIT 50"""
_JUDGE = """UPDATE predictions SET ended_ms = :at, began_ms = :began, inside = :inside
 WHERE uuid = :u AND ended_ms IS NULL"""
_NAMES = ("uuid", "job_type", "queue", "made_ms", "begin_low_ms", "begin_ms", "begin_high_ms", "end_low_ms", "end_ms",
          "end_high_ms", "average_ms", "runs", "learn")
_WRITE = (f"INSERT INTO predictions ({', '.join(_NAMES)}) VALUES ({', '.join(f':{name}' for name in _NAMES)}) "
          "ON CONFLICT (uuid) DO NOTHING")
_NEW = "NOT EXISTS (SELECT 1 FROM predictions p WHERE p.uuid = jobs.uuid)"
_BOUNDS = "SELECT (SELECT COALESCE(MIN(id), 0) FROM jobs), (SELECT COALESCE(MAX(id), 0) FROM jobs)"
_NEXT = f"id = (SELECT MIN(id) FROM jobs WHERE state = 'pending' AND id >= :id) AND {_NEW}"
_FORGET_OLD = "DELETE FROM predictions WHERE made_ms < :old"
_FORGET_MOST = """DELETE FROM predictions WHERE ended_ms < (SELECT MIN(ended_ms) FROM (SELECT ended_ms FROM predictions
 WHERE ended_ms IS NOT NULL ORDER BY ended_ms DESC LIMIT :kept) k)"""


class Forecaster:
    """One monitor's predictions. `sent` counts what was sent to each queue since a time; `monotonic` is its clock in
    s."""

    def __init__(self, connection: Connection, sent: Sent, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.connection, self.sent, self.monotonic = connection, sent, monotonic
        self.models: dict[str, TypeModel | None] = {}
        self.changed: set[str] = set()
        self.saved: dict[str, float] = {}
        self.next_plan = self.next_save = self.next_flows = self.planned = 0.0
        self.idle, self.flows = False, {}
        self.calibration: Calibration | None = None
        self.chance = random.Random()  # noqa: S311 (which jobs are predicted)

    def run(self) -> None:
        """Learn what has ended; when it is time, plan, judge and predict."""
        self._skip()
        watermark.advance(self.connection, REACH, "job_metrics", _COLUMNS, self._learn, lambda tx, nothing: None, 5)
        now = self.monotonic()
        if now >= self.next_plan and not self._is_quiet(now):
            try:
                self.plan()
            finally:
                self.planned = now
                self.next_plan = now + min(max(EVERY_S, 20 * (self.monotonic() - now)), SELDOM_S)
        if self.changed and now >= self.next_save:
            self._save()
            self.next_save = now + SAVE_S

    def _is_quiet(self, now: float) -> bool:
        """Whether there was no live job at the last plan and there is none now: the fact is only kept fresh."""
        if not self.idle or now - self.planned >= QUIET_S:
            return False
        live = counts.recent(self.connection)[0]
        return not any(live[state] for state in LIVE_STATES)

    # ---- learning ----------------------------------------------------------------------------------------------------

    def _model(self, job_type: str) -> TypeModel | None:
        if job_type not in self.models:
            self.models[job_type] = outlook.models(self.connection)(job_type)
        return self.models[job_type]

    def _skip(self) -> None:
        """Begin near the end when there is much more than can be learned."""
        last = watermark.read(self.connection, REACH)
        most = self.connection.fetch_all("SELECT COALESCE(MAX(id), 0) FROM job_metrics")[0][0]
        if most - last > BEHIND:
            with self.connection.transaction() as tx:
                tx.execute("UPDATE meta SET value = :to, at_ms = :now WHERE key = :key AND value = :last",
                           to=str(most - BEHIND), now=tx.now(), key=REACH, last=str(last))

    def _learn(self, rows: list[tuple], now: int) -> None:
        ran = [row for row in rows if row[4] in _LEARNED and row[6] is not None and isinstance(row[5], int)]
        ran = ran[:: max(len(ran) // A_STEP, 1)]
        if not ran:
            return
        sizes: dict[str, int] = {}
        for table in ("job_history", "jobs"):
            which = among([as_text(row[1]) for row in ran], "uuid")
            sizes |= {uuid: as_integer(size, 0) or 0 for uuid, size in self.connection.fetch_all(
                f"SELECT uuid, LENGTH(payload) FROM {table} WHERE {which}")}
        for _id, uuid, job_type, tenant, status, run_ms, _started in ran:
            name = as_text(job_type) or ""
            if self._model(name) is None:
                if len(self.models) >= MOST_TYPES:
                    continue
                self.models[name] = TypeModel()
            self.models[name].learn(as_text(tenant), sizes.get(uuid, 0), run_ms, now, status == "completed")
            self.changed.add(name)

    def _save(self) -> None:
        names = sorted(self.changed, key=lambda name: self.saved.get(name, 0.0))[:MOST_SAVED]
        self.saved |= dict.fromkeys(names, self.monotonic())
        rows = [{"t": name, "model": json.dumps(model.as_json()), "now": self.connection.now()}
                for name in names if (model := self.models[name])]
        with self.connection.transaction() as tx:
            tx.execute(_FORGET_OLD, old=tx.now() - KEPT_MS)
            tx.execute(_FORGET_MOST, kept=KEPT)
            tx.execute_many(_PUT, rows)
            if self.calibration:
                counts.save(tx, SIDES, self.calibration.as_json())
        self.changed.difference_update(names)
        tables = "SELECT job_type FROM run_time_models WHERE learned IS NOT NULL"
        had = {name for name, model in self.models.items() if model and model.learned}
        for name in had.union(name for (name,) in self.connection.fetch_all(tables)):
            self.models.pop(name, None)  # read again with the table that was learned meanwhile, or without

    # ---- planning ----------------------------------------------------------------------------------------------------

    def plan(self) -> None:
        """Plan the queues now, judge what has ended, write predictions down."""
        connection = self.connection
        if self.calibration is None:
            kept = counts.load(connection, SIDES)
            self.calibration = Calibration.read(kept[0] if kept else None)
        if self.monotonic() >= self.next_flows:
            self.next_flows = self.monotonic() + FLOWS_S
            self.flows = situation.arrivals(connection, self.sent)
        seen = situation.read(connection, self.flows)
        found = plans.make(seen, self._model)
        self.idle = not seen.groups and not seen.running
        serving, busy, last = _workers(seen)
        sides = {kind: self.calibration.sides(kind) for kind in self.calibration.errors}
        with connection.transaction() as tx:
            fact.store(tx, found, sides=sides, serving=serving, busy_of=busy, last_start=last, paused=dict(seen.paused))
        self._judge()
        self._predict()

    def _judge(self) -> None:
        """Hold the predictions of jobs that have ended against what happened. One of a job that a person ended, or
        whose rows another program has damaged, is dropped."""
        rows, happened = self.connection.fetch_all(_OPEN), []
        with self.connection.transaction() as tx:
            for uuid, queue, job_type, made, low, high, runs, learn, status, at, ran in rows:
                good = all(isinstance(value, int) for value in (made, low, high, at))
                if not good or status not in ("completed", "failed", "timeout"):
                    tx.execute("DELETE FROM predictions WHERE uuid = :u", u=uuid)
                    continue
                began = at - (as_integer(ran, 0) or 0)
                if tx.execute(_JUDGE, u=uuid, at=at, began=began, inside=int(low <= at <= high)):
                    firsts = stored_json(learn)
                    kinds_of = kinds(as_text(queue) or "", as_text(job_type) or "", bool(runs))
                    firsts = firsts if isinstance(firsts, list) else ()
                    happened += zip(kinds_of, (began - made, at - made), firsts, strict=False)
        for kind, ms, first in happened:
            if isinstance(first, list) and len(first) == 3 and all(isinstance(bound, int) for bound in first):
                self.calibration.learn(kind, ms, Interval(*first))

    def _predict(self) -> None:
        """Write down what is predicted of some jobs that have no prediction yet."""
        tx = self.connection
        if tx.fetch_all("SELECT COUNT(*) FROM predictions WHERE ended_ms IS NULL")[0][0] >= OPEN:
            return
        rows = outlook.read_rows(tx, f"state = 'processing' AND {_NEW} ORDER BY id DESC LIMIT {AT_ONCE}")
        first, last = tx.fetch_all(_BOUNDS)[0]
        for _ in range(AT_ONCE if last else 0):
            rows += outlook.read_rows(tx, _NEXT, id=self.chance.randint(first, last))
        known, now = fact.load(tx), tx.now()
        values = [self._written(tx, row, known, now) for row in {row.uuid: row for row in rows}.values()]
        with self.connection.transaction() as writing:
            writing.execute_many(_WRITE, [value for value in values if value])

    def _written(self, tx: Executor, row: outlook.JobRow, known: fact.Fact | None, now: int) -> dict | None:
        found, firsts = outlook.of_row(tx, row, known, self._model, now, exact=True)
        model = self._model(row.job_type)
        if found.begin is None or found.end is None or model is None:
            return None
        mean, runs = model.mean_ms, row.state == "processing"
        which = kinds(row.queue, row.job_type, runs)
        learn = [list(asdict(first).values()) if first and self.calibration.wants(kind, now) else None
                 for kind, first in zip(which, firsts, strict=True)]
        begin, end = ([one.low, one.middle, one.high] for one in (found.begin, found.end))
        average = max(begin[1] + round(mean), now)
        return dict(zip(_NAMES, (row.uuid, row.job_type, row.queue, now, *begin, *end, average, int(runs),
                                 json.dumps(learn) if any(learn) else None), strict=True))


def _workers(seen: situation.Situation) -> tuple[dict[str, int], dict[str, int], dict[str, int | None]]:
    """By queue: the workers that serve it, those of them with a job, and when the last of these jobs began."""
    started: dict[str, int] = {}
    for job in seen.running:
        started[job.worker] = max(started.get(job.worker, 0), seen.at_ms - job.ran_ms)
    serving = {queue: [name for name, queues in seen.workers.items() if queue in queues] for queue in situation.QUEUES}
    busy = {queue: [name for name in names if name in started] for queue, names in serving.items()}
    last = {queue: max((started[name] for name in names), default=None) for queue, names in busy.items()}
    return ({queue: len(names) for queue, names in serving.items()},
            {queue: len(names) for queue, names in busy.items()}, last)
