"""The order of a line: a waiting row goes to a place in its queue or in another one.

A line is sorted by rank, then by seat (model Job). A row that is placed takes the rank of the row ahead of it and a
seat between its neighbours, so one row is written, at any depth. Where no number is left between two seats, the rows
around them, WINDOW at most, get seats with even gaps. The first place is one rank above the first row.

Moves wait for each other (lock "order"), then lock their rows in the order of their ids; a row that a worker takes
meanwhile is left out. Rows around a gap are never waited for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import floor

from app.ledger.dialect import Executor
from app.ledger.rows import among
from app.models.job import LINE, ORDER
from app.models.types import as_float, as_integer

WINDOW = 200
NEAR = 10_000  # counting 100,000 rows takes 60 ms on PostgreSQL: a place farther back is read from the nearer end
TOP = 2**62  # ranks above this one, which another program wrote, are not exceeded
_BACK = f"rank, {LINE} DESC, id DESC"
_SEEN = f"SELECT id, uuid, rank, {LINE} FROM jobs"
_LINE = "state = 'pending' AND queue = :q"


@dataclass(frozen=True)
class Was:
    """Where a row stood: its queue, rank and seat, and of a row moved alone the uuids of the rows behind it (`before`)
    and ahead of it (`after`)."""

    uuid: str
    queue: str
    rank: int
    seat: float | None
    before: str | None
    after: str | None = None


@dataclass(frozen=True)
class _Row:
    id: int
    uuid: str
    rank: int
    line: float


def _rows(tx: Executor, sql: str, **values: object) -> list[_Row]:
    return [_Row(id_, uuid, as_integer(rank, 0) or 0, as_float(line, float(id_)))
            for id_, uuid, rank, line in tx.fetch_all(sql, **values)]


def place(tx: Executor, ids: Sequence[int], queue: str, before: str | None = None, after: str | None = None,
          number: int | None = None) -> list[Was]:
    """Waiting rows, in the order of `ids`, into a queue: ahead of the row `before` (uuid), behind the row `after`, or
    to the place `number` (from 1; beyond the last: behind it), whichever is the first that the queue has.

    Returns where they stood: [] when none of them waits, or no place is left of those that were named.
    """
    tx.lock_key("order")
    locked = tx.fetch_all("SELECT j.id, j.uuid, j.queue, j.rank, j.seat FROM jobs j "
                          f"WHERE {among(ids, 'j.id')} AND j.state = 'pending' ORDER BY j.id {{lock}}")
    found = {row[0]: row for row in locked}
    others = f"{_LINE} AND NOT {among(found)}"
    spot = _spot(tx, queue, others, before, after, number) if found else None
    if spot is None:
        return []
    moved = [found[id_] for id_ in dict.fromkeys(ids) if id_ in found]
    beside = _beside(tx, moved[0][0], moved[0][2], others) if len(moved) == 1 else (None, None)
    were = [Was(uuid, was, as_integer(rank, 0) or 0, seat, *beside) for _id, uuid, was, rank, seat in moved]
    rank, seats = _seats(tx, queue, others, len(moved), *spot)
    tx.execute_many("UPDATE jobs SET queue = :q, rank = :rank, seat = :seat WHERE id = :id AND state = 'pending'", [
        {"q": queue, "rank": rank, "seat": seat, "id": row[0]} for row, seat in zip(moved, seats, strict=True)])
    return were


def put_back(tx: Executor, id_: int, was: Was) -> list[Was]:
    """Undo of `place`: the row goes where it stood, or ahead of the row that was behind it if seats changed since, so
    that neither row beside it is the same. Returns where it stood, [] when it waits no longer."""
    if not (now := place(tx, [id_], was.queue, number=1)):
        return []
    tx.execute("UPDATE jobs SET rank = :rank, seat = :seat WHERE id = :id AND state = 'pending'",
               rank=was.rank, seat=was.seat, id=id_)
    before, after = _beside(tx, id_, was.queue, _LINE)
    if was.before and before != was.before and (was.after is None or after != was.after):
        place(tx, [id_], was.queue, before=was.before)
    return now


def _beside(tx: Executor, id_: int, queue: str, others: str) -> tuple[str | None, ...]:
    """The uuids of the rows behind and ahead of a row; None where there is none."""
    row = _row(tx, id_)
    return tuple(found[0].uuid if (found := _next(tx, row, queue, others, back)) else None for back in (False, True))


def _row(tx: Executor, id_: int) -> _Row:
    return _rows(tx, f"{_SEEN} WHERE id = :id", id=id_)[0]


def _next(tx: Executor, row: _Row, queue: str, others: str, back: bool = False, limit: int = 1) -> list[_Row]:
    """The rows behind a row, or with `back` those ahead of it, the nearest first. The rows of its rank are read alone:
    with an OR over the ranks the whole line would be read."""
    cmp = "<" if back else ">"
    same = f"rank = :rank AND {LINE} {cmp}= :line AND NOT ({LINE} = :line AND id {'>' if back else '<'}= :id)"
    values, order = {"q": queue, "rank": row.rank}, f"ORDER BY {_BACK if back else ORDER} LIMIT {limit}"
    found = _rows(tx, f"{_SEEN} WHERE {others} AND {same} {order}", line=row.line, id=row.id, **values)
    return found or _rows(tx, f"{_SEEN} WHERE {others} AND rank {'>' if back else '<'} :rank {order}", **values)


def _spot(tx: Executor, queue: str, others: str, before: str | None, after: str | None,
          number: int | None) -> tuple[_Row | None, _Row | None] | None:
    """The rows between which a row is to stand; None when no named row is there."""
    for uuid, back in ((before, True), (after, False)):
        named = _rows(tx, f"{_SEEN} WHERE {others} AND uuid = :u", q=queue, u=uuid) if uuid else []
        if named:
            beside = next(iter(_next(tx, named[0], queue, others, back)), None)
            return (beside, named[0]) if back else (named[0], beside)
    if number is None:
        return None
    at, line = max(number, 1) - 1, f"{_SEEN} WHERE {others} ORDER BY {{}} LIMIT {{}} OFFSET {{}}"
    near = _rows(tx, line.format(ORDER, 2 if at else 1, max(at - 1, 0)), q=queue) if at <= NEAR else []
    if near or at == 0:
        return near[0] if at else None, near[-1] if near[at > 0:] else None
    depth = tx.fetch_all(f"SELECT COUNT(*) FROM jobs WHERE {others}", q=queue)[0][0]
    at = min(at, depth)  # as many rows stand ahead of it
    first = _rows(tx, line.format(ORDER, 2, at - 1), q=queue) if 0 < 2 * at < depth else _rows(
        tx, line.format(_BACK, 2 if at < depth else 1, max(depth - at - 1, 0)), q=queue)[::-1]
    return first[0] if first else None, first[1] if len(first) > 1 else None


def _seats(tx: Executor, queue: str, others: str, count: int, ahead: _Row | None,
           behind: _Row | None) -> tuple[int, list[float]]:
    """The rank and the seats of `count` rows between two rows. Behind a row that is the last of its rank they stand
    ahead of the rows that are still to come."""
    if ahead is None and (behind is None or behind.rank < TOP):
        return (behind.rank + 1 if behind else 0), [float(n - count) for n in range(count)]
    rank = ahead.rank if ahead else behind.rank
    newest = tx.fetch_all("SELECT MAX(id) FROM jobs")[0][0] + 1
    sides, width = [[row] if row and row.rank == rank else [] for row in (ahead, behind)], 0
    while True:
        low, high = (side.pop().line if len(side) > width else None for side in sides)
        near = [*reversed(sides[0]), *[None] * count, *sides[1]]
        high = high if high is not None else float(max(newest, floor(low or 0) + 1))
        low = low if low is not None else high - len(near) - 1
        seats = [low + (high - low) * n / (len(near) + 1) for n in range(1, len(near) + 1)]
        if all(one < other for one, other in pairwise((low, *seats, high))):
            break
        width = 2 * width or WINDOW // 2
        sides = [[row, *(r for r in _next(tx, row, queue, others, back, width) if r.rank == rank)]
                 if row and row.rank == rank else [] for row, back in ((ahead, True), (behind, False))]
    found = {row.id: seat for row, seat in zip(near, seats, strict=True) if row}
    free = tx.fetch_all(f"SELECT j.id FROM jobs j WHERE {among(found, 'j.id')} AND j.state = 'pending' "
                        "ORDER BY j.id {skip}") if found else []
    tx.execute_many("UPDATE jobs SET seat = :seat WHERE id = :id AND state = 'pending'",
                    [{"seat": found[id_], "id": id_} for (id_,) in free])
    return rank, [seat for row, seat in zip(near, seats, strict=True) if row is None]


def step(tx: Executor, ids: Sequence[int], up: bool) -> list[Was]:
    """One row one place up or down in its queue. Returns where it stood, [] when that is not possible."""
    found = tx.fetch_all(f"SELECT id, queue FROM jobs WHERE {among(ids)} AND state = 'pending'")
    beside = _next(tx, _row(tx, found[0][0]), found[0][1], _LINE, up) if len(found) == 1 else []
    return place(tx, ids, found[0][1], **{"before" if up else "after": beside[0].uuid}) if beside else []
