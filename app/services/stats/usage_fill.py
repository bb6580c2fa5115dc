"""Counts outcomes by the hour for each type, tenant and worker: how many, how long, how heavy.

job_metrics (one row an outcome) -> `collect` -> cells -> `advance` (the monitor, each second, in the order of the ids)
-> usage_hours, and the watermark `usage_reach`. So quantiles of any range come from a few rows, after the raw rows are
deleted too. Figures of jobs (completed, failed, wait, run, memory) are of final outcomes; attempts and busy time are of
every attempt that began, also of those that were lost or tried again. Rows without a time, and those of hours whose
other rows may be deleted already, are not counted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from app.ledger import watermark
from app.ledger.dialect import Connection, Executor
from app.ledger.rows import insert, replacing
from app.models.outcome_stats import COUNTED
from app.models.types import as_integer, as_text
from app.services.instance.retention import KEEP_DAYS
from app.support.clock import DAY_MS, HOUR_MS, stamp, stored_ms
from app.support.sketch import Sketch, place_of
from app.support.validation import stored_json

KEY, SCOPES, HEAVIEST = "usage_reach", ("type", "tenant", "worker"), 3
MOST = 2**50  # ms or bytes of one outcome: a sum of more could overflow 64 bits
# The time as text: PostgreSQL holds times that Python does not.
COLUMNS = ("id, uuid, claim_no, job_type, tenant_id, worker, status, processing_time, wait_ms, memory_used, "
           "started_at IS NOT NULL, CAST(completed_at AS VARCHAR(40))")
_SUMS, _REST = "completed failed attempts busy_ms", "waits runs memory heaviest"
_WRITE = insert("usage_hours", f"scope name hour {_SUMS} {_REST}".split(),
                f"(scope, name, hour) {replacing(f'{_SUMS} {_REST}')}")
CELL = f"{_SUMS} {_REST}".replace(" ", ", ")
_READ = f"SELECT {CELL} FROM usage_hours WHERE scope = :scope AND name = :name AND hour = :hour"
_HOUR = f"SELECT {COLUMNS} FROM job_metrics WHERE completed_at >= :low AND completed_at < :high AND id <= :reach"


@dataclass
class Cell:
    """Outcomes of one name in one time; `heaviest` are (bytes, uuid) of at most 3 jobs, the heaviest first."""

    completed: int = 0
    failed: int = 0
    attempts: int = 0
    busy_ms: int = 0
    waits: Sketch = field(default_factory=Sketch)
    runs: Sketch = field(default_factory=Sketch)
    memory: Sketch = field(default_factory=Sketch)
    heaviest: list[tuple[int, str]] = field(default_factory=list)

    def add(self, other: Cell) -> None:
        """Count the outcomes of another cell too."""
        for name in _SUMS.split():
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("waits", "runs", "memory"):
            getattr(self, name).merge(getattr(other, name))
        if other.heaviest:
            found: dict[str, int] = {}
            for size, uuid in sorted(self.heaviest + other.heaviest):
                found[uuid] = size  # of a job with two outcomes the heavier one
            self.heaviest = sorted(((size, uuid) for uuid, size in found.items()), reverse=True)[:HEAVIEST]

    @classmethod
    def of_row(cls, row: tuple) -> Cell:
        """The cell of the columns CELL; what is damaged counts as nothing."""
        listed = stored_json(row[7])
        heaviest = [(one[0], one[1]) for one in (listed if isinstance(listed, list) else ())
                    if isinstance(one, list) and list(map(type, one)) == [int, str]]
        return cls(*(as_integer(n, 0) or 0 for n in row[:4]), *map(Sketch.from_bytes, row[4:7]), heaviest[:HEAVIEST])

    def as_row(self) -> tuple:
        """The values of the columns CELL."""
        return (*(min(getattr(self, name), 2**62) for name in _SUMS.split()), self.waits.to_bytes(),
                self.runs.to_bytes(), self.memory.to_bytes(), json.dumps(self.heaviest) if self.heaviest else None)


Cells = dict[tuple[str, str, int], Cell]


def collect(rows: Iterable[tuple], since: int, step: int = HOUR_MS) -> Cells:
    """Cells by scope, name and the start (ms) of a time of `step` ms, of outcomes (COLUMNS) from `since` (ms) on."""
    cells: Cells = {}
    for _id, uuid, claim_no, job_type, tenant, worker, status, run, wait, memory, started, ended in rows:
        at, status = stored_ms(ended), as_text(status)
        if at is None or at < since or status == "late" or not (as_integer(claim_no, 0) or status in COUNTED):
            continue  # a job that was cancelled before any claim used nothing
        run, wait, memory = (None if n is None else min(max(n, 0), MOST) for n in map(as_integer, (run, wait, memory)))
        final, places = status in COUNTED, []
        if final:  # at level 0, as all sketches of these cells are
            begun = wait if started else None
            places = [None if n is None else place_of(n) for n in (begun, run, memory)]
        for scope, name in zip(SCOPES, map(as_text, (job_type, tenant, worker)), strict=True):
            if not name:
                continue
            key = scope, name, at - at % step
            cell = cells.get(key) or cells.setdefault(key, Cell())
            cell.attempts += status != "released"
            cell.busy_ms += run or 0
            if final:
                cell.completed += status == "completed"
                cell.failed += status != "completed"
                for sketch, place in zip((cell.waits, cell.runs, cell.memory), places, strict=True):
                    if place is not None:
                        sketch.counts[place] = sketch.counts.get(place, 0) + 1
                if memory is not None and (len(cell.heaviest) < HEAVIEST or memory > cell.heaviest[-1][0]):
                    cell.add(Cell(heaviest=[(memory, (as_text(uuid) or "")[:36])]))
    return cells


def advance(connection: Connection, steps: int = 5) -> int:
    """Count the next outcomes, at most 2,000 a step; returns how many."""
    return watermark.advance(connection, KEY, "job_metrics", COLUMNS,
                             lambda rows, now: collect(rows, first_hour(now)), _add, steps)


def first_hour(now: int, days: int = KEEP_DAYS) -> int:
    """The first hour (ms) whose raw rows are all there."""
    first = now - days * DAY_MS
    return first - first % HOUR_MS + HOUR_MS


def _add(tx: Executor, cells: Cells) -> None:
    rows = []
    for (scope, name, hour), cell in sorted(cells.items(), key=lambda item: item[0]):
        for row in tx.fetch_all(_READ, scope=scope, name=name, hour=hour):
            cell.add(Cell.of_row(row))
        rows.append((scope, name, hour, *cell.as_row()))
    tx.execute_many(_WRITE, rows)


def rebuild(connection: Connection, days: int = KEEP_DAYS) -> int:
    """Count the hours anew whose raw rows are all there, one hour a transaction; returns the number of hours. Raises
    ValueError for a damaged watermark."""
    now = connection.now()
    hours = range(first_hour(now, days), now + 1, HOUR_MS)
    for hour in hours:
        with connection.transaction() as tx:
            tx.execute("UPDATE meta SET value = value WHERE key = :key", key=KEY)  # a row lock: `advance` has to wait
            tx.execute("DELETE FROM usage_hours WHERE hour = :hour", hour=hour)
            rows = tx.fetch_all(_HOUR, low=stamp(hour), high=stamp(hour + HOUR_MS), reach=watermark.read(tx, KEY))
            _add(tx, collect(rows, hour))
    return len(hours)
