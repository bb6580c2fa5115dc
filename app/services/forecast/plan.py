"""What happens next, from what is known now: a situation as plain values -> when the rows of each queue begin.

Situation (rows in groups, what runs, workers, limits, pauses, arrivals) + run times by type -> the simulation -> Plan:
for each queue a curve (place -> begin), for each limit and for what is scheduled likewise, and when the queue will be
empty

Ready rows far behind stand in groups, so the curve of a deep queue has some hundred points; between two of them the
begin is interpolated. What arrives later is laid before the rows of the queues that are served after its own, at the
rate of the last minutes. A type without any run is not known: what begins after it is not known either, and the plan
names the type.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from app.services.forecast.run_times import TypeModel
from app.services.forecast.simulation import NEVER, Begun, Limit, Rows, Server, simulate

HORIZON_MS = 7 * 86_400_000
LEAST_WAIT_MS = 1000.0
LEAST_STEP_MS = 100.0


@dataclass(frozen=True, slots=True)
class Group:
    """`count` rows of a queue that follow each other, from `place` (1: the next; 0: in no line yet) on. `size` is that
    of their arguments in bytes, None when it was not read."""

    queue: str
    place: int
    count: int
    job_type: str
    tenant: str | None
    size: int | None
    order: tuple
    ready_ms: float = 0.0
    limit: str | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """A job that has run for `ran_ms` of at most `timeout_ms` in the worker `worker`; `share` is its own progress."""

    job_type: str
    tenant: str | None
    size: int | None
    ran_ms: int
    timeout_ms: int
    worker: str
    share: float | None = None
    limit: str | None = None


@dataclass(frozen=True, slots=True)
class Arrivals:
    """`per_ms` jobs arrive in a queue; each takes `run_ms`."""

    per_ms: float
    run_ms: float
    spread_ms: float


@dataclass(frozen=True)
class Situation:
    """What is known at `at_ms`. `workers` are the live ones, by id, with their queues; `paused` is the time (ms from
    `at_ms`) until which a queue is paused. `limits` by key; what runs under a key is counted from `running`. `newest`
    is the last id."""

    at_ms: int
    groups: Sequence[Group]
    running: Sequence[Running]
    workers: Mapping[str, tuple[str, ...]]
    limits: Mapping[str, Limit] = field(default_factory=dict)
    paused: Mapping[str, float] = field(default_factory=dict)
    arrivals: Mapping[str, Arrivals] = field(default_factory=dict)
    newest: int = 0


Curve = list[list[float]]  # [place or ready time, begin in ms from at_ms, its standard deviation], rising


@dataclass
class Plan:
    """`ready`: curves by queue over the place; `limited`: by limit over the place among its rows; `later`: by queue
    over the time at which rows become ready (ms from `at_ms`). `unknown`: the types without a run. `ends`: by worker
    when its present work ends (ms from `at_ms`)."""

    at_ms: int
    ready: dict[str, Curve] = field(default_factory=dict)
    limited: dict[str, Curve] = field(default_factory=dict)
    later: dict[str, Curve] = field(default_factory=dict)
    unknown: dict[str, list[str]] = field(default_factory=dict)
    clear: dict[str, list[float]] = field(default_factory=dict)
    marks: dict[str, list[list]] = field(default_factory=dict)
    free: dict[str, list[float]] = field(default_factory=dict)
    newest: int = 0
    workers: int = 0
    busy: int = 0
    runs: int = 0
    doubt: float = 0.0


def make(situation: Situation, model: Callable[[str], TypeModel | None]) -> Plan:
    """The plan of a situation; `model` gives what is known of a type."""
    plan = Plan(situation.at_ms, workers=len(situation.workers), newest=situation.newest)
    rows, groups, work, doubt = [], list(situation.groups), 0.0, 0.0
    for group in groups:
        known = model(group.job_type)
        estimate = known.estimate(group.tenant, group.size, situation.at_ms) if known else None
        if estimate is None:
            plan.unknown.setdefault(group.queue, [])
            if group.job_type not in plan.unknown[group.queue]:
                plan.unknown[group.queue].append(group.job_type)
        else:
            plan.runs = max(plan.runs, estimate.count)
            work += group.count * estimate.mean_ms
            doubt += group.count * estimate.mean_ms * estimate.doubt
        mean, spread = (estimate.mean_ms, estimate.spread_ms) if estimate else (math.nan, 0.0)
        rows.append(Rows(group.queue, group.count, mean, spread, group.ready_ms, group.order, group.limit))
    plan.doubt = doubt / work if work else 0.0
    servers, busy_keys = _servers(situation, model)
    plan.busy = sum(1 for server in servers if server.free_ms > 0)
    for server in servers:
        for queue in server.queues:
            plan.free.setdefault(queue, []).append(server.free_ms)
    limits = {key: Limit(limit.concurrency, busy_keys.get(key, ()), limit.rate_count, limit.rate_ms, limit.started)
              for key, limit in situation.limits.items()}
    served = max((server.queues for server in servers), key=len, default=())
    present = {group.queue for group in groups}
    more = _arrivals(situation, [queue for queue in served if queue in present], served)
    begun = simulate([*rows, *more], servers, limits, situation.paused)
    _draw(plan, groups, begun)
    _clear(plan, more, begun[len(rows) :])
    return plan


def _clear(plan: Plan, more: Sequence[Rows], begun: Sequence[Begun]) -> None:
    """A queue is empty when its present rows have begun and what arrives does not wait."""
    for queue, curve in plan.ready.items():
        ms, spread = curve[-1][1:]
        alone = ms
        for row, times in zip(more, begun, strict=True):
            if row.queue == queue and row.ready_ms >= ms and not math.isnan(ms):
                if not times.first_ms - row.ready_ms > row.run_ms + LEAST_WAIT_MS:
                    break  # it does not wait; or it stands behind a row of which nothing is known
                ms = max(ms, times.first_ms)
        else:
            ms = NEVER if any(row.queue == queue for row in more) and not math.isnan(ms) else ms
        plan.clear[queue] = [ms, spread, alone]


def _servers(situation: Situation, model: Callable[[str], TypeModel | None]) -> tuple[list[Server], dict[str, list]]:
    """When the workers are free, and by limit when its running jobs end. A worker may hold several short jobs. One
    whose job has an end that is not known (a type without a run, or longer than all of them) never is: the others go
    on."""
    free = dict.fromkeys(situation.workers, 0.0)
    variance = dict.fromkeys(situation.workers, 0.0)
    keys: dict[str, list[float]] = {}
    for job in situation.running:
        known, most = model(job.job_type), job.timeout_ms - job.ran_ms
        left = (known or TypeModel()).remaining(job.tenant, job.size, job.ran_ms, most, job.share, situation.at_ms)
        mean, spread = (max(left[1], 0.0), left[2]) if left else (NEVER, 0.0)
        if job.worker in free:
            free[job.worker] += mean
            variance[job.worker] += spread ** 2
        if job.limit is not None:
            keys.setdefault(job.limit, []).append(mean)
    return [Server(free[name], math.sqrt(variance[name]), queues)
            for name, queues in situation.workers.items()], keys


def _arrivals(situation: Situation, waiting: list[str], served: Sequence[str]) -> list[Rows]:
    """What arrives in the queues that have rows or are served before one, in steps that grow with the time."""
    before = served[: served.index(waiting[-1]) + 1] if waiting else ()
    rows = []
    for queue in before:
        flow = situation.arrivals.get(queue)
        if flow is None or flow.per_ms <= 0:
            continue
        at = 1.0 / flow.per_ms
        while at < HORIZON_MS:
            step = max(0.1 * at, 1.0 / flow.per_ms, LEAST_STEP_MS)
            count = max(round(step * flow.per_ms), 1)
            rows.append(Rows(queue, count, flow.run_ms, flow.spread_ms, at + step / 2, (NEVER, at)))
            at += step
    return rows


def _draw(plan: Plan, groups: Sequence[Group], begun: Sequence[Begun]) -> None:
    """The curves, from when each group begins."""
    lines: dict[tuple[str, str], dict[float, list[float]]] = {}
    counted: dict[str, int] = {}
    for group, times in sorted(zip(groups, begun, strict=False), key=lambda pair: pair[0].order):
        if group.limit is not None:
            first = counted.get(group.limit, 0) + 1
            counted[group.limit] = first + group.count - 1
            line, ends = ("limited", group.limit), (first, first + group.count - 1)
        elif group.place:
            plan.marks.setdefault(group.queue, []).append([list(group.order), group.place])
            line, ends = ("ready", group.queue), (group.place, group.place + group.count - 1)
        else:
            line, ends = ("later", group.queue), (group.ready_ms, group.ready_ms)
        points = lines.setdefault(line, {})
        for at, ms in zip(ends, (times.first_ms, times.last_ms), strict=True):
            before, spread = points.get(at, (ms, 0.0))
            points[at] = [_later(before, ms), max(spread, times.spread_ms)]
    for (kind, name), points in lines.items():
        curve: Curve = []
        for at in sorted(points):
            ms, spread = points[at]
            curve.append([at, ms if not curve else _later(curve[-1][1], ms), spread])
        getattr(plan, kind)[name] = curve


def _later(a: float, b: float) -> float:
    return math.nan if math.isnan(a) or math.isnan(b) else max(a, b)


def at_place(curve: Curve, place: float) -> tuple[float, float] | None:
    """Begin (ms from the plan's time) and standard deviation at a place of a curve, interpolated. Beyond its end the
    last slope goes on: rows that came after the plan was made. None for an empty curve; (inf, 0): never; NaN: not
    known."""
    if not curve:
        return None
    n = bisect_left(curve, [place])
    if n < len(curve) and curve[n][0] == place or len(curve) == 1:
        _at, ms, spread = curve[min(n, len(curve) - 1)]
        return ms, spread
    if n == 0:
        return curve[0][1], curve[0][2]
    (a, low, s), (b, high, t) = (curve[n - 1], curve[n]) if n < len(curve) else (curve[-2], curve[-1])
    part = (place - a) / (b - a)
    if not (math.isfinite(low) and math.isfinite(high)):
        return (high if part > 0 else low), 0.0
    return low + (high - low) * part, math.sqrt(max(s * s + (t * t - s * s) * part, 0.0))
