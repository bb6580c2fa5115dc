"""The simulation of the queues: when rows begin, given run times, workers, limits and pauses. A pure function.

rows (each one job, or `count` like jobs in sequence) + workers (when each is free) -> the times at which each row
begins

It follows the claim: a free worker takes from the first of its queues with a ready row the one of the lowest order.
Like rows in sequence are laid on the workers at once: each worker gets as many as fit below the common level, the rest
goes one by one to the worker that is free first. That is the order of the claim, so it is exact and costs one step for
any count. Where it does not hold (rows with a limit, workers of unlike queues) each row is a step; of more than STEPS
rows some that follow each other run on one worker as one step.

Times are ms from now. `inf` means never: the queue is paused until somebody resumes it, or no worker serves it; a
worker that is free at `inf` is stuck. A run time that is not known is NaN: from its begin on nothing is known, and what
begins later begins at NaN.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

NEVER = math.inf
STEPS = 4096  # a step costs 8 microseconds
LEAST_RUN_MS = 0.01  # sums of less are lost in rounding


@dataclass(frozen=True, slots=True)
class Rows:
    """`count` jobs of a queue with the mean run time `run_ms` and its standard deviation `spread_ms`, ready at
    `ready_ms`
    (0: now). `order` is their place in the queue, the lowest first; `limit` names what is counted for their limit."""

    queue: str
    count: int
    run_ms: float
    spread_ms: float = 0.0
    ready_ms: float = 0.0
    order: tuple = ()
    limit: str | None = None


@dataclass(frozen=True, slots=True)
class Server:
    """A worker: free at `free_ms`, which is known to `spread_ms`; it serves `queues`, the first one first."""

    free_ms: float
    spread_ms: float
    queues: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `concurrency` at once, of which some run until `busy` (ms); at most `rate_count` starts in `rate_ms`, of
    which some were at `started` (ms, negative). None: no such limit."""

    concurrency: int | None = None
    busy: Sequence[float] = ()
    rate_count: int | None = None
    rate_ms: float = 0.0
    started: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Begun:
    """When the first and the last of some rows begin, and the standard deviation of that time at the last."""

    first_ms: float
    last_ms: float
    spread_ms: float


@dataclass(slots=True)
class _Places:
    """A limit while the simulation runs: the ends of what runs, the last starts, the rows that wait for a place."""

    limit: Limit
    busy: list[float]
    started: list[float]
    waiting: list[tuple] = field(default_factory=list)
    called: bool = False  # whether an event stands in `future` that calls the next one

    def free_at(self, now: float) -> float:
        """When the next start is allowed."""
        while self.busy and self.busy[0] <= now:
            heapq.heappop(self.busy)
        at, most, n = now, self.limit.concurrency, self.limit.rate_count
        if most is not None and len(self.busy) >= max(most, 1):
            at = self.busy[0]
        if n and len(self.started) >= n:
            at = max(at, self.started[-n] + self.limit.rate_ms)
        return at

    def start(self, now: float, end: float, n: int) -> None:
        """Count n starts; one place is taken until `end`."""
        heapq.heappush(self.busy, end)
        if self.limit.rate_count:
            self.started.extend([now] * n)
            del self.started[: -self.limit.rate_count]


class _Run:
    """One simulation. `heads` are the ready rows by queue, `future` what becomes ready later: (time,
    row, or below 0 the number under which a limit is in `called`)."""

    def __init__(self, rows: Sequence[Rows], servers: Sequence[Server], limits: Mapping[str, Limit],
                 paused: Mapping[str, float]) -> None:
        self.rows, self.servers = rows, servers
        self.left = [row.count for row in rows]
        self.first: list[float | None] = [None] * len(rows)
        self.last = [NEVER] * len(rows)
        self.spread = [0.0] * len(rows)
        self.places = {name: _Places(one, sorted(one.busy), sorted(one.started)) for name, one in limits.items()}
        self.heads: dict[str, list[tuple]] = {row.queue: [] for row in rows}
        self.future: list[tuple] = []
        self.called: dict[int, _Places] = {}
        self.numbers = itertools.count(-1, -1)
        for n, row in enumerate(rows):
            at = max(row.ready_ms, paused.get(row.queue, 0.0))
            if at < NEVER and row.count > 0:
                (self.heads[row.queue] if at <= 0 else self.future).append((row.order if at <= 0 else at, n))
        for heap in (*self.heads.values(), self.future):
            heapq.heapify(heap)
        self.free = [server.free_ms for server in servers]
        self.variance = [server.spread_ms ** 2 for server in servers]
        self.at_work = [(max(s.free_ms, 0.0), n) for n, s in enumerate(servers) if s.free_ms < NEVER]
        heapq.heapify(self.at_work)
        self.idle: list[int] = []
        self.known = True
        self.step = -(-sum(self.left) // STEPS)

    def run(self) -> None:
        """Until every row has begun or nothing more can begin."""
        while self.known:
            now = min(self.at_work[0][0] if self.at_work else NEVER, self.future[0][0] if self.future else NEVER)
            if now == NEVER:
                return
            while self.at_work and self.at_work[0][0] <= now:
                self.idle.append(heapq.heappop(self.at_work)[1])
            self._arrive(now)
            for worker in self.idle[:]:
                while self.known and worker in self.idle and (head := self._head(worker, now)):
                    self._begin(worker, head, now)
            if not self.future and not any(self.heads.values()):
                return

    def _arrive(self, now: float) -> None:
        while self.future and self.future[0][0] <= now:
            n = heapq.heappop(self.future)[1]
            if n < 0:  # a place of a limit
                place = self.called.pop(n)
                place.called, n = False, heapq.heappop(place.waiting)[1]
            heapq.heappush(self.heads[self.rows[n].queue], (self.rows[n].order, n))

    def _head(self, worker: int, now: float) -> str | None:
        """The queue from which this worker takes a row now. Rows whose limit is full are put aside."""
        for queue in self.servers[worker].queues:
            heap = self.heads.get(queue)
            while heap:
                place = self.places.get(self.rows[heap[0][1]].limit or "")
                if place is None or (at := place.free_at(now)) <= now:
                    return queue
                heapq.heappush(place.waiting, heapq.heappop(heap))
                self._call(place, at)
        return None

    def _call(self, place: _Places, at: float) -> None:
        if not place.called and at < NEVER and place.waiting:
            place.called, number = True, next(self.numbers)
            self.called[number] = place
            heapq.heappush(self.future, (at, number))

    def _begin(self, worker: int, queue: str, now: float) -> None:
        _order, n = self.heads[queue][0]
        row, place = self.rows[n], self.places.get(self.rows[n].limit or "")
        if math.isnan(row.run_ms):
            self._note(n, worker, now, math.nan if self.left[n] > 1 else now, self.left[n])
            self.known = False
            return
        if self.left[n] > 1 and place is None and self._spread_out(n, queue, now):
            return
        count = min(self.step, self.left[n])
        end = now + row.run_ms * count
        self._note(n, worker, now, now + row.run_ms * (count - 1), count)
        self.idle.remove(worker)
        self._busy(worker, end, row.spread_ms ** 2 * count)
        if not self.left[n]:
            heapq.heappop(self.heads[queue])
        if place is not None:
            place.start(now, end, count)
            self._call(place, place.free_at(now))

    def _busy(self, worker: int, end: float, variance: float) -> None:
        self.free[worker] = end
        self.variance[worker] += variance
        if end < NEVER:
            heapq.heappush(self.at_work, (end, worker))

    def _note(self, n: int, worker: int, first: float, last: float, count: int) -> None:
        """Write when rows begin. The times of workers that share a queue vary together, each by its part."""
        if self.first[n] is None:
            self.first[n] = first
        self.left[n] -= count
        self.last[n] = last if not self.left[n] else NEVER
        own = self.variance[worker]
        sharing = sum(1 for other in self.variance if other > 0.2 * own) or 1
        self.spread[n] = math.sqrt(own / sharing)

    def _spread_out(self, n: int, queue: str, now: float) -> bool:
        """Lay rows in sequence on all workers that take from this queue first, up to the next arrival. False when only
        one
        would begin."""
        row = self.rows[n]
        until = self.future[0][0] if self.future else NEVER
        if (serving := self._serving(queue)) is None or not (serving := [w for w in serving if self.free[w] < until]):
            return False
        free = {w: max(self.free[w], now) for w in serving}
        taken = _shares(list(free.values()), self.left[n], row.run_ms, until)
        total = sum(taken)
        if total <= 1:
            return False
        ends, last, last_worker = {}, now, serving[0]
        for (worker, at), k in zip(free.items(), taken, strict=True):
            ends[worker] = at + k * row.run_ms
            if k and ends[worker] - row.run_ms > last:
                last, last_worker = ends[worker] - row.run_ms, worker
        variance = row.spread_ms ** 2
        for worker, k in zip(serving, taken, strict=True):
            self.variance[worker] += variance * max(k - (worker == last_worker), 0)
        self._note(n, last_worker, now, last, total)
        self.variance[last_worker] += variance
        if not self.left[n]:
            heapq.heappop(self.heads[queue])
        took = {w for w, k in zip(serving, taken, strict=True) if k}
        self.idle = [w for w in self.idle if w not in took]
        self.at_work = [entry for entry in self.at_work if entry[1] not in took]
        self.at_work += [(ends[w], w) for w in took]
        for worker in took:
            self.free[worker] = ends[worker]
        heapq.heapify(self.at_work)
        return True

    def _serving(self, queue: str) -> list[int] | None:
        """The workers of this queue; None when one of them has ready rows of a queue that it serves before this one."""
        workers = [n for n, server in enumerate(self.servers) if self.free[n] < NEVER and queue in server.queues]
        for n in workers:
            queues = self.servers[n].queues
            if any(self.heads.get(before) for before in queues[: queues.index(queue)]):
                return None
        return workers


def _shares(free: list[float], count: int, run_ms: float, until: float) -> list[int]:
    """How many of `count` equal runs each worker takes that is free at `free`, when each goes to the worker that is
    free
    first and none begins at `until` or later."""
    level = min(_level(sorted(free), count * run_ms), until)
    shares = [max(math.floor((level - at) / run_ms), 0) for at in free]
    used = sum(shares)
    heap = [(at + k * run_ms, n) for n, (at, k) in enumerate(zip(free, shares, strict=True))]
    while used > count:  # the level was rounded up
        n = max(range(len(shares)), key=shares.__getitem__)
        shares[n] -= 1
        used -= 1
        heap[n] = (free[n] + shares[n] * run_ms, n)
    heapq.heapify(heap)
    while used < count and heap and heap[0][0] < until:
        at, n = heap[0]
        shares[n] += 1
        used += 1
        heapq.heapreplace(heap, (at + run_ms, n))
    return shares


def _level(free: list[float], work: float) -> float:
    """The level up to which `work` fills the workers that are free at `free` (sorted)."""
    for n in range(1, len(free) + 1):
        level = (work + sum(free[:n])) / n
        if n == len(free) or level <= free[n]:
            return level
    return NEVER


def simulate(rows: Sequence[Rows], servers: Sequence[Server], limits: Mapping[str, Limit] | None = None,
             paused: Mapping[str, float] | None = None) -> list[Begun]:
    """When the rows begin, one value for each, in their order. `limits` by the names in `Rows.limit`; `paused` is the
    time
    (ms) until which a queue is paused, NEVER without an end. Run times below LEAST_RUN_MS count as that."""
    rows = [row if not row.run_ms < LEAST_RUN_MS else replace(row, run_ms=LEAST_RUN_MS) for row in rows]
    run = _Run(rows, servers, limits or {}, paused or {})
    run.run()
    other = NEVER if run.known else math.nan
    return [Begun(other if first is None else first, other if last == NEVER else last, spread)
            for first, last, spread in zip(run.first, run.last, run.spread, strict=True)]
