"""Reads the use of a type, a tenant or a worker, or of all of them: hours that are counted, and the outcomes since.

usage_hours (ids up to `usage_reach`) + the raw rows past it, at most MOST_TAIL, counted here -> cells by name and bar
The last hour is counted from its raw rows alone. When these are more than MOST_RAW, or the monitor is far behind, the
answer says so: `Found.behind` outcomes are missing, `Found.window` has whole hours.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from app.extensions import db
from app.ledger import watermark
from app.ledger.dialect import SessionExecutor
from app.models.types import as_integer, as_text
from app.models.usage import NAMES
from app.services.stats.usage_fill import CELL, COLUMNS, KEY, Cell, Cells, collect
from app.services.stats.usage_window import Window, whole
from app.support.clock import HOUR_MS, stamp
from app.support.sketch import Sketch

MOST_TAIL, MOST_RAW = 20_000, 50_000
COLUMN = {"type": "job_type", "tenant": "tenant_id", "worker": "worker"}
_TAIL = f"SELECT {COLUMNS} FROM job_metrics WHERE id > :reach ORDER BY id LIMIT {MOST_TAIL}"
_LEFT = "SELECT COALESCE(MAX(id), 0) FROM job_metrics"
_OF = " FROM names n JOIN usage_hours u ON u.scope = :scope AND u.name = n.name AND u.hour >= :low AND u.hour < :high"
_SUMS = (f"{NAMES}SELECT u.name, SUM(u.completed + 0.0), SUM(u.failed + 0.0), SUM(u.attempts + 0.0), "
         f"SUM(u.busy_ms + 0.0){_OF} GROUP BY u.name")
_ONE = f"SELECT hour, {CELL} FROM usage_hours WHERE scope = :scope AND name = :name AND hour >= :low AND hour < :high"
_FIRST = (f"{NAMES}SELECT MIN((SELECT MIN(u.hour) FROM usage_hours u WHERE u.scope = :scope AND u.name = n.name)) "
          "FROM names n")
_CUT = ("{names}SELECT u.name, u.hour, u.completed, u.failed, u.attempts, u.busy_ms, u.waits, u.runs, NULL, NULL"
        f"{_OF}")
_RUNS = "SELECT runs FROM usage_hours WHERE scope = :scope AND name = :name AND hour >= :low AND hour < :high"


@dataclass(frozen=True)
class Found:
    """The cells of a window, one a bar, and the whole time before it as `before`. `behind`: about how many outcomes are
    not counted yet. `first_hour` (ms) is the first one that is counted of any type."""

    window: Window
    bars: list[Cell]
    before: Cell
    all_busy_ms: int
    all_before_ms: int
    behind: int
    first_hour: int | None

    @property
    def total(self) -> Cell:
        """The whole window."""
        cell = Cell()
        for bar in self.bars:
            cell.add(bar)
        return cell


def _tail(tx: Any, since: int) -> tuple[int, Cells, int]:
    """(watermark, cells past it, about how many outcomes are in neither)."""
    try:
        reach = watermark.read(tx, KEY)
    except ValueError:  # the monitor says so; the figures stay as they are
        return 0, {}, 0
    rows = tx.fetch_all(_TAIL, reach=reach)
    behind = tx.fetch_all(_LEFT)[0][0] - rows[-1][0] if len(rows) == MOST_TAIL else 0
    return reach, collect(rows, since), behind


def _steadily(tx: Any, since: int, look: Any) -> tuple[Any, Cells, int]:
    """What `look` reads from usage_hours, with the cells past the watermark that it ends at: on PostgreSQL each
    statement sees what the monitor has counted until then, so it looks again when the watermark has moved."""
    for _ in range(3):
        reach, cells, behind = _tail(tx, since)
        found = look()
        if tx.sqlite or not cells or _tail(tx, since)[0] == reach:
            break
    return found, cells, behind


def of_name(scope: str, name: str, window: Window) -> Found:
    """The use of one name in a window and in the one before it."""
    tx = SessionExecutor(db.session)
    if window.raw:
        if (found := _raw(tx, scope, name, window)) is not None:
            return found
        window = replace(whole(window.period, window.until - 1 - (window.until - 1) % HOUR_MS - HOUR_MS,
                               -(-window.until // HOUR_MS) * HOUR_MS), back=window.back)
    low, parts = window.before.since, (window, window.before)

    def look() -> tuple[list[tuple], list[int]]:
        busy = [sum(row[4] for row in _sums(tx, "type", part.since, part.until).values()) for part in parts]
        return tx.fetch_all(_ONE, scope=scope, name=name, low=low, high=window.until), busy

    (rows, busy), cells, behind = _steadily(tx, low, look)
    found: list[tuple[int, Cell]] = [(row[0], Cell.of_row(row[1:])) for row in rows]
    found += [(at, cell) for (kind, key, at), cell in cells.items() if (kind, key) == (scope, name)]
    for (kind, _key, at), cell in cells.items():
        for n, part in enumerate(parts):
            busy[n] += cell.busy_ms if kind == "type" and _in(part, at) else 0
    return _found(window, found, *busy, behind, first_hour())


def _raw(tx: Any, scope: str, name: str, window: Window) -> Found | None:
    """From raw rows; None when there are more than MOST_RAW."""
    low, column, rows = window.before.since, COLUMN[scope], []
    of = f"FROM job_metrics WHERE completed_at >= :low AND completed_at < :high AND {column} = :name"
    for part in (window.before, window):
        rows += tx.fetch_all(f"SELECT {COLUMNS} {of} LIMIT {MOST_RAW + 1}", low=stamp(part.since),
                             high=stamp(part.until), name=name)
    if len(rows) > MOST_RAW:
        return None
    cells = collect(rows, low, 60_000)
    cut = [(at, cell) for (kind, key, at), cell in cells.items() if (kind, key) == (scope, name)]
    busy = [as_integer(tx.fetch_all(
        "SELECT SUM(processing_time + 0.0) FROM job_metrics WHERE completed_at >= :low AND completed_at < :high AND "
        "status <> 'late'", low=stamp(at), high=stamp(at + HOUR_MS))[0][0], 0) or 0 for at in (window.since, low)]
    return _found(window, cut, busy[0], busy[1], 0, None)


def _found(window: Window, cut: list[tuple[int, Cell]], busy: int, before_ms: int, behind: int,
           first_hour: int | None) -> Found:
    """`cut` are cells by their time (ms), from the window that it is compared with on."""
    bars, before = [Cell() for _ in window.bars], Cell()
    starts = [since for since, _until in window.bars]
    for at, cell in cut:
        if _in(window, at):
            bars[bisect_right(starts, at) - 1].add(cell)
        if _in(window.before, at):
            before.add(cell)
    return Found(window, bars, before, busy, before_ms, behind, first_hour)


def _in(part: Window, at: int) -> bool:
    return part.since <= at < part.until


def _sums(tx: Any, scope: str, low: int, high: int) -> dict[str, list[int]]:
    return {as_text(name) or "": [0, *(as_integer(n, 0) or 0 for n in numbers)]
            for name, *numbers in tx.fetch_all(_SUMS, scope=scope, low=low, high=high)}


def of_all(scope: str, window: Window, most: int) -> tuple[dict[str, Cell], int]:
    """({name: its use}, outcomes not counted yet) in a window of whole hours; run times (for quantiles) are those of
    the `most` busiest names."""
    tx = SessionExecutor(db.session)

    def look() -> dict[str, Cell]:
        cells = {name: Cell(*row[1:]) for name, row in _sums(tx, scope, window.since, window.until).items()}
        for name in sorted(cells, key=lambda name: -cells[name].busy_ms)[:most]:
            for (runs,) in tx.fetch_all(_RUNS, scope=scope, name=name, low=window.since, high=window.until):
                cells[name].runs.merge(Sketch.from_bytes(runs))
        return cells

    found, tail, behind = _steadily(tx, window.since, look)
    whole_of: dict[str, Cell] = defaultdict(Cell, found)
    for (kind, name, at), cell in tail.items():
        if kind == scope and window.since <= at < window.until:
            whole_of[name].add(cell)
    return dict(whole_of), behind


def cut(scope: str, bounds: Sequence[int], name: str | None = None) -> tuple[list[dict[str, Cell]], int]:
    """([{name: its use, without memory} for each time between two bounds (ms, whole hours)], outcomes not counted yet),
    of one name or of all."""
    tx, given = SessionExecutor(db.session), {"scope": scope} if name is None else {"scope": scope, "name": name}
    names = NAMES if name is None else "WITH names(name) AS (SELECT CAST(:name AS VARCHAR(255))) "

    def look() -> list[dict[str, Cell]]:
        found: list[dict[str, Cell]] = [defaultdict(Cell) for _ in bounds[1:]]
        for key, hour, *row in tx.fetch_all(_CUT.format(names=names), low=bounds[0], high=bounds[-1], **given):
            found[bisect_right(bounds, hour) - 1][as_text(key) or ""].add(Cell.of_row(row))
        return found

    found, tail, behind = _steadily(tx, bounds[0], look)
    for (kind, key, at), cell in tail.items():
        if kind == scope and name in (None, key) and bounds[0] <= at < bounds[-1]:
            found[bisect_right(bounds, at) - 1][key].add(cell)
    return found, behind


def first_hour() -> int | None:
    """The first hour (ms) that is counted of any type; None when none is."""
    return as_integer(SessionExecutor(db.session).fetch_all(_FIRST, scope="type")[0][0])


def is_known(scope: str, name: str) -> bool:
    """Whether anything of this name was counted, ran, or waits."""
    tx = SessionExecutor(db.session)
    column = COLUMN[scope]
    asked = ["SELECT 1 FROM usage_hours WHERE scope = :scope AND name = :name"]
    asked += ["SELECT 1 FROM worker_heartbeats WHERE worker_name = :name"] if scope == "worker" else [
        f"SELECT 1 FROM jobs WHERE {column} = :name", f"SELECT 1 FROM job_metrics WHERE {column} = :name"]
    return any(tx.fetch_all(f"{sql} LIMIT 1", scope=scope, name=name) for sql in asked)
