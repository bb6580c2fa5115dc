"""How long the jobs of a day would have waited with more or fewer workers.

job_metrics -> Runs (when they arrived, how long they kept a worker) -> simulation with n workers -> waits

Only Runs that arrived in the window are measured. Those that were there before keep a worker busy or stand in front.
Pauses, turns of tenants and places that people gave are not replayed; limits are, but for those by an argument.
Runs and limits of which another program wrote a time or a number in another form are left out.
Above MOST runs, short ones of a type that arrived in the same second are one row of the simulation.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta, tzinfo
from typing import Any

from app.ledger.dialect import Executor
from app.models.types import as_integer, as_text
from app.services.forecast.simulation import Limit, Rows, Server, simulate
from app.support.clock import HOUR_MS, day_of, midnight, stamp, stored_ms

FACT = "capacity"  # of `meta`: what `whole` returned last
STUDY_OF = "AINSTEIN_STUDY_OF"  # the environment variable with the pid of the monitor that started a study
MOST, PAGE, SHORT_MS, MOST_WORKERS = 100_000, 20_000, 1000, 1000
STEPS = (-1, 0, 1, 2, 4)  # workers more than today
NEAR = 0.2, 1000  # a replayed wait is near the measured one within this share of it, or these ms
_COUNT = """SELECT COUNT(*), MIN(id) FROM job_metrics WHERE completed_at >= :since AND started_at IS NOT NULL
 AND status NOT IN ('late', 'released')"""
_RUNS = f"""SELECT id, queue, job_type, tenant_id, started_at, completed_at, wait_ms, worker FROM job_metrics
 WHERE id > :last AND completed_at >= :since AND started_at IS NOT NULL
 AND status NOT IN ('late', 'released') ORDER BY id LIMIT {PAGE}"""
_RUNNING = "SELECT queue, job_type, tenant_id, reserved_ms, available_ms FROM jobs WHERE state = 'processing'"
_WAITING = "SELECT COUNT(*) FROM jobs WHERE state = 'pending' AND available_ms >= :since AND available_ms < :until"
_LIMITS = """SELECT job_type, per, COALESCE(set_concurrency, concurrency), COALESCE(set_rate_count, rate_count),
 COALESCE(set_rate_ms, rate_ms) FROM job_limits"""
_WORKERS = "SELECT queue FROM worker_heartbeats WHERE status <> 'stopped' AND stale = 0"
_ALIVE = "SELECT SUM(alive), SUM(samples) FROM worker_minutes WHERE minute_ms >= :since AND minute_ms < :until"


@dataclass(frozen=True, slots=True)
class Run:
    """`count` runs that arrived at `ready_ms`, began at `began_ms` and kept a worker for `run_ms` each (means). Times
    are in ms; `limit` names what is counted for their limit."""

    queue: str
    ready_ms: float
    began_ms: float
    run_ms: float
    limit: str | None = None
    count: int = 1


@dataclass(frozen=True, slots=True)
class Waits:
    """The waits of some jobs in ms: the median, the one that 90 % stay below, the longest."""

    median_ms: int
    ninety_ms: int
    longest_ms: int


def waits_of(waits: Sequence[float]) -> Waits | None:
    """The figures of some waits (ms); None without any."""
    if not waits:
        return None
    rising = sorted(waits)
    at = (rising[math.ceil(share * len(rising)) - 1] for share in (0.5, 0.9, 1.0))
    return Waits(*(round(wait) for wait in at))


def staff(workers: Sequence[tuple[str, ...]], n: int) -> list[tuple[str, ...]]:
    """The queues of `n` workers, made from those of today: what is missing or too many serves the queues of most."""
    most = Counter(workers).most_common(1)[0][0]
    fewer = sorted(workers, key=lambda queues: queues == most)[:n]
    return fewer + [most] * (n - len(fewer))


def replay(runs: Sequence[Run], since: int, until: int, workers: Sequence[tuple[str, ...]],
           limits: Mapping[str, Limit] | None = None) -> list[list[float]]:
    """The waits (ms) of those `runs` that arrived from `since` to before `until` (ms), by run, with a worker for each
    tuple of queues. Each queue of `runs` must have a worker. O(n log n)."""
    free = [0.0] * len(workers)
    for run in sorted((r for r in runs if r.began_ms < since), key=lambda r: -r.run_ms):  # already at work
        heapq.heapreplace(free, free[0] + max(run.began_ms + run.run_ms - since, 0.0))
    later = [run for run in runs if run.began_ms >= since and run.ready_ms < until]
    rows = [Rows(run.queue, run.count, run.run_ms, 0.0, run.ready_ms - since, (run.ready_ms, n), run.limit)
            for n, run in enumerate(later)]
    servers = [Server(at, 0.0, queues) for at, queues in zip(sorted(free), workers, strict=True)]
    waits = []
    for run, begun in zip(later, simulate(rows, servers, limits or {}), strict=True):
        if run.ready_ms >= since:
            step = (begun.last_ms - begun.first_ms) / max(run.count - 1, 1)
            first = begun.first_ms + since - run.ready_ms
            waits.append([max(first + k * step, 0.0) for k in range(run.count)])
    return waits


def study(tx: Executor, since: int, until: int, workers: Sequence[tuple[str, ...]]) -> dict[str, Any]:
    """The replay of one window (ms) as plain values, with one `rows` entry for each number of workers.

    `runs` were measured. Left out: `waiting` jobs, which have not begun, and `unserved` ones, whose queue no worker
    serves. `short_ms`: shorter ones were counted by the second (0: none). `check` sets the measured waits beside a
    replay with as many workers as ran: `near` is the share of runs whose replayed wait is near the measured one.
    """
    keys, by_type = _limits(tx)
    runs, short_ms = read(tx, since, keys)
    served = {queue for queues in workers for queue in queues}
    measured = [run for run in runs if since <= run.ready_ms < until and run.began_ms >= since]
    counted = [run for run in measured if run.queue in served]
    runs = [run for run in runs if run.queue in served]
    limits = {run.limit: by_type[run.limit.split("\n")[0]] for run in runs if run.limit}
    numbers = [len(workers) + more for more in STEPS if len(workers) + more > 0]
    done = {n: _figures(replay(runs, since, until, staff(workers, n), limits)) for n in numbers}
    return {"since_ms": since, "until_ms": until, "runs": sum(run.count for run in counted), "short_ms": short_ms,
            "unserved": sum(run.count for run in measured) - sum(run.count for run in counted),
            "waiting": tx.fetch_all(_WAITING, since=since, until=until)[0][0],
            "workers": len(workers), "rows": [{"workers": n, "waits": waits} for n, waits in done.items()],
            "check": _check(tx, since, until, workers, runs, counted, limits)}


def whole(tx: Executor, workers: Sequence[tuple[str, ...]], zone: tzinfo, hours: int = 24) -> dict[str, Any]:
    """{"yesterday": study of the day in `zone`, "last": study of the last `hours`, "hours", "at_ms"}."""
    now = tx.now()
    day = day_of(now, zone)
    since, until = midnight(day - timedelta(days=1), zone), midnight(day, zone)
    return {"yesterday": study(tx, since, until, workers), "last": study(tx, now - hours * HOUR_MS, now, workers),
            "hours": hours, "at_ms": now}


def today(tx: Executor, queues: tuple[str, ...], number: int) -> list[tuple[str, ...]]:
    """The queues of each worker that should run now, as those alive have them; when it is not known how many should,
    of those alive; without any, of `number` workers of `queues`."""
    alive = [tuple(name.strip() for name in (as_text(row[0]) or "").split(",")) for row in tx.fetch_all(_WORKERS)]
    wanted = sum(as_integer(row[0], 0) or 0 for row in tx.fetch_all("SELECT wanted FROM consumers"))
    return staff(alive or [queues], min(wanted, MOST_WORKERS) or len(alive) or number)


def read(tx: Executor, since: int, keys: Mapping[str, str]) -> tuple[list[Run], int]:
    """The runs that kept a worker at `since` (ms) or later, and the run time (ms) below which they were counted by the
    second (0: none were). `keys`: what a limit is counted per, by type."""
    total, first = tx.fetch_all(_COUNT, since=stamp(since))[0]
    short = SHORT_MS if total > MOST else 0
    now, sums = tx.now(), defaultdict(lambda: [0, 0.0, 0.0, 0.0])
    runs = [Run(as_text(queue) or "", ready, began, max(now - began, 0), _key(keys, job_type, tenant))
            for queue, job_type, tenant, *times in tx.fetch_all(_RUNNING)
            for began, ready in [map(as_integer, times)] if began is not None and ready is not None]
    for queue, job_type, limit, ready, began, run_ms in _past(tx, since, (first or 1) - 1, keys):
        if run_ms >= short or began < since:
            runs.append(Run(queue, ready, began, run_ms, limit))
            continue
        group = sums[queue, job_type, limit, ready // 1000]
        for n, value in enumerate((1, ready, began, run_ms)):
            group[n] += value
    for (queue, _type, limit, _second), (count, ready, began, run_ms) in sums.items():
        runs.append(Run(queue, ready / count, began / count, run_ms / count, limit, int(count)))
    return runs, short


def _past(tx: Executor, since: int, last: int, keys: Mapping[str, str]) -> Iterator[tuple]:
    """(queue, type, limit, arrival, begin, time that it kept a worker), in pages. Jobs that were claimed as a group
    kept one worker together: each has its part."""
    while rows := tx.fetch_all(_RUNS, since=stamp(since), last=last):
        last = rows[-1][0]
        together = Counter((row[7], row[4]) for row in rows)
        for _id, queue, job_type, tenant, started, ended, wait, worker in rows:
            began, end, wait = stored_ms(started), stored_ms(ended), 0 if wait is None else as_integer(wait)
            if None not in (began, end, wait):
                run_ms = max(end - began, 0) / together[worker, started]
                yield as_text(queue) or "", job_type, _key(keys, job_type, tenant), began - wait, began, run_ms


def _limits(tx: Executor) -> tuple[dict[str, str], dict[str, Limit]]:
    """What the limits of each limited type are counted per, and the limit by type."""
    found = {as_text(job_type) or "": (per, Limit(concurrency or None, (), rate or None, rate_ms))
             for job_type, per, *numbers in tx.fetch_all(_LIMITS)
             for concurrency, rate, rate_ms in [(max(as_integer(n, 0) or 0, 0) for n in numbers)]
             if concurrency or rate}
    return {name: per for name, (per, _limit) in found.items()}, {name: limit for name, (_per, limit) in found.items()}


def _key(keys: Mapping[str, str], job_type: str, tenant: str | None) -> str | None:
    job_type = as_text(job_type) or ""
    per = keys.get(job_type)
    return f"{job_type}\n{as_text(tenant) or ''}" if per == "tenant" else job_type if per == "type" else None


def _figures(waits: list[list[float]]) -> dict[str, int] | None:
    found = waits_of([wait for some in waits for wait in some])
    return asdict(found) if found else None


def _check(tx: Executor, since: int, until: int, workers: Sequence[tuple[str, ...]], runs: list[Run],
           counted: list[Run], limits: Mapping[str, Limit]) -> dict[str, Any]:
    alive, samples = (as_integer(n, 0) or 0 for n in tx.fetch_all(_ALIVE, since=since, until=until)[0])
    n = min(max(round(alive / samples), 1), MOST_WORKERS) if samples else len(workers)
    replayed = replay(runs, since, until, staff(workers, n), limits)
    share, least = NEAR
    near = 0
    for run, waits in zip(counted, replayed, strict=True):
        real = run.began_ms - run.ready_ms
        near += run.count * (abs(sum(waits) / run.count - real) <= max(share * real, least))
    total = sum(run.count for run in counted)
    measured = _figures([[run.began_ms - run.ready_ms] * run.count for run in counted])
    return {"workers": n, "known": bool(samples), "near": near / total if total else None,
            "replayed": _figures(replayed), "measured": measured}
