"""The page of a type, a tenant or a worker, and the table of all of them: figures of a window and of the one before.

usage_read (cells) -> Figures, Bar, histograms; machine_minutes and worker_minutes -> Box; job_costs -> costs
Quantiles come from histograms, and each says by how much it may be off (support/sketch.py). Counts are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app import registry
from app.extensions import db
from app.ledger import costs
from app.ledger.dialect import SessionExecutor
from app.ledger.rows import among
from app.models.types import as_integer, as_text
from app.services.stats import longest_waits, usage_read
from app.services.stats.colours import colour_of
from app.services.stats.usage_fill import SCOPES, Cell
from app.services.stats.usage_window import Window

SHARES, HISTOGRAM_BARS, MOST_NAMES = (0.5, 0.95, 0.99), 24, 200
SORTS = ("busy", "total", "failed", "p95", "wait", "name")
_BOX = """SELECT (minute_ms - :since) / :step, MAX(cpu), MAX(memory), MAX(memory_total), MIN(disk_free),
 MAX(disk_total), MAX(database), MAX(wal), MAX(ready), MAX(oldest_ms) FROM machine_minutes
 WHERE minute_ms >= :since AND minute_ms < :until GROUP BY (minute_ms - :since) / :step"""
_CREW = """SELECT (minute_ms - :since) / :step, SUM(samples), SUM(alive), SUM(busy) FROM worker_minutes
 WHERE minute_ms >= :since AND minute_ms < :until GROUP BY (minute_ms - :since) / :step"""
_DEPLOYS = "SELECT id, at_ms, text FROM deploys WHERE at_ms >= :since AND at_ms < :until ORDER BY at_ms LIMIT 50"
_WAITING = "SELECT COUNT(*), MIN(available_ms) FROM jobs WHERE state = 'pending' AND {column} = :name"


@dataclass(frozen=True)
class Quantiles:
    """The values at SHARES (ms or bytes; None without any) of `total` values, each off by at most `error` (a share)."""

    p50: float | None
    p95: float | None
    p99: float | None
    total: int
    error: float


@dataclass(frozen=True)
class Figures:
    """Use in one window: final outcomes (`completed`, `failed`), all `attempts`, their run time `busy_ms`, and its
    `share` (percent) of the run time of all types; `success_rate` in percent, `per_hour` final outcomes."""

    completed: int
    failed: int
    total: int
    success_rate: float | None
    per_hour: float
    attempts: int
    busy_ms: int
    share: float | None
    wait: Quantiles
    run: Quantiles
    memory: Quantiles
    costs: list[costs.Cost]


@dataclass(frozen=True)
class Bar:
    """What ended from `since` to `until` (ms); the wait and run time (ms) at p95."""

    since: int
    until: int
    completed: int
    failed: int
    wait_p95: float | None
    run_p95: float | None


@dataclass(frozen=True)
class BoxBar:
    """The machine in the time of a bar: the highest minute (of `disk_used` too). `cpu` in percent, `oldest_ms` how long
    the oldest ready job of all queues had waited, the rest in bytes; means of the workers. None without samples."""

    cpu: float | None = None
    memory: int | None = None
    memory_total: int | None = None
    disk_used: int | None = None
    disk_total: int | None = None
    database: int | None = None
    wal: int | None = None
    ready: int | None = None
    oldest_ms: int | None = None
    alive: float | None = None
    busy: float | None = None


@dataclass(frozen=True)
class Heavy:
    """A heavy job; `kept`: its row is still there."""

    uuid: str
    memory: int
    kept: bool


@dataclass(frozen=True)
class UsagePage:
    """All figures of a name. `waiting` are its ready jobs now, of which the oldest has waited for `oldest_ms`; both are
    None for a worker. `behind`: about how many outcomes are not counted yet; `first_hour` (ms) is the first hour
    that is counted. `waits` and `runs` are histograms: (from, to, count) in ms, both bounds included."""

    scope: str
    name: str
    window: Window
    now: Figures
    before: Figures
    bars: list[Bar]
    box: list[BoxBar]
    waits: list[tuple[int, int, int]]
    runs: list[tuple[int, int, int]]
    heaviest: list[Heavy]
    deploys: list[tuple[int, int, str]]
    waiting: int | None
    oldest_ms: int | None
    behind: int
    first_hour: int | None


@dataclass(frozen=True)
class UsageRow:
    """A name in the table of all. `p95` is of run times (ms), off by at most `error` (a share); `share` is the
    percentage of the run time of all names; `colour` is the number of its colour in charts. `oldest_ms` is how long its
    oldest ready job has waited; None for a worker, and when none waits."""

    name: str
    label: str
    total: int
    failed: int
    success_rate: float | None
    busy_ms: int
    share: float | None
    p95: float | None
    error: float
    colour: int
    oldest_ms: int | None


def _quantiles(sketch: Any) -> Quantiles:
    return Quantiles(*map(sketch.quantile, SHARES), sketch.total, sketch.error)


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None


def _figures(cell: Cell, window: Window, now: int, all_ms: int, paid: list[costs.Cost]) -> Figures:
    total = cell.completed + cell.failed
    return Figures(cell.completed, cell.failed, total, _percent(cell.completed, total), total / window.hours(now),
                   cell.attempts, cell.busy_ms, _percent(cell.busy_ms, max(all_ms, cell.busy_ms)),
                   *map(_quantiles, (cell.waits, cell.runs, cell.memory)), paid)


def page(scope: str, name: str, window: Window, now: int) -> UsagePage | None:
    """The figures of a name at `now` (ms); None when nobody knows the name."""
    if scope not in SCOPES or not (scope == "type" and registry.find(name) or usage_read.is_known(scope, name)):
        return None
    tx = SessionExecutor(db.session)
    found = usage_read.of_name(scope, name, window)
    window, total, column = found.window, found.total, usage_read.COLUMN[scope]
    paid = [[] if scope == "worker" else costs.of_time(tx, column, name, part.since, part.until)
            for part in (window, window.before)]
    bars = [Bar(since, until, cell.completed, cell.failed, cell.waits.quantile(0.95), cell.runs.quantile(0.95))
            for (since, until), cell in zip(window.bars, found.bars, strict=True)]
    ready = None if scope == "worker" else tx.fetch_all(_WAITING.format(column=column), name=name)[0]
    since = ready and as_integer(ready[1])
    return UsagePage(
        scope, name, window, _figures(total, window, now, found.all_busy_ms, paid[0]),
        _figures(found.before, window.before, now, found.all_before_ms, paid[1]), bars, _box(tx, window),
        total.waits.bars(HISTOGRAM_BARS), total.runs.bars(HISTOGRAM_BARS), _heaviest(tx, total.heaviest),
        [(id_, as_integer(at, 0) or 0, as_text(text) or "") for id_, at, text in tx.fetch_all(
            _DEPLOYS, since=window.since, until=window.until)],
        ready and ready[0], None if since is None else max(now - since, 0), found.behind, found.first_hour)


def _heaviest(tx: Any, listed: list[tuple[int, str]]) -> list[Heavy]:
    wanted = among([uuid for _size, uuid in listed], "uuid")
    kept = {row[0] for table in ("job_history", "jobs") for row in tx.fetch_all(
        f"SELECT uuid FROM {table} WHERE {wanted}")}
    return [Heavy(uuid, size, uuid in kept) for size, uuid in listed]


def _box(tx: Any, window: Window) -> list[BoxBar]:
    span = {"since": window.since, "until": window.until, "step": window.step}
    seen = {row[0]: [as_integer(n) for n in row[1:]] for row in tx.fetch_all(_BOX, **span)}
    crews = {row[0]: [as_integer(n, 0) or 0 for n in row[1:]] for row in tx.fetch_all(_CREW, **span)}
    rows = []
    for place in range(len(window.bars)):
        cpu, memory, most, free, disk, *rest = seen.get(place, [None] * 9)
        samples, alive, busy = crews.get(place, [0] * 3)
        rows.append(BoxBar(
            None if cpu is None else cpu / 10, memory, most, None if disk is None or free is None else disk - free,
            disk, *rest, *((round(alive / samples, 2), round(busy / samples, 2)) if samples else ())))
    return rows


def table(scope: str, window: Window, sort: str, now: int) -> tuple[list[UsageRow], int, int, int]:
    """(the first MOST_NAMES names of a scope by `sort`, the most first, how many there are, outcomes not counted yet,
    the age (ms) of `oldest_ms`). `p95` is known of the 200 busiest. A name that only waits is among them."""
    cells, behind = usage_read.of_all(scope, window, MOST_NAMES)
    since, age = ({}, 0) if scope == "worker" else longest_waits.read(SessionExecutor(db.session),
                                                                      usage_read.COLUMN[scope])
    cells |= {name: Cell() for name in since.keys() - cells.keys()}
    busy = sum(cell.busy_ms for cell in cells.values())
    rows = [UsageRow(name, registry.label_of(name) if scope == "type" else name, total := cell.completed + cell.failed,
                     cell.failed, _percent(cell.completed, total), cell.busy_ms, _percent(cell.busy_ms, busy),
                     cell.runs.quantile(0.95), cell.runs.error, colour_of(name) if scope == "type" else 1,
                     max(now - since[name], 0) if name in since else None)
            for name, cell in cells.items()]
    keys = {"busy": lambda r: -r.busy_ms, "total": lambda r: -r.total, "failed": lambda r: -r.failed,
            "p95": lambda r: -(r.p95 or 0), "wait": lambda r: -1 if r.oldest_ms is None else -2 - r.oldest_ms,
            "name": lambda r: r.label.lower()}
    return sorted(rows, key=lambda r: (keys[sort](r), r.name))[:MOST_NAMES], len(rows), behind, age
