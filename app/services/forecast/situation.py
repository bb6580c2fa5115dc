"""Reads what is known now from the ledger: rows, workers, limits, pauses, arrivals (plan.Situation).

The first FINE ready rows of a queue are read one by one, those behind them in about FINE groups by place and type; of
what is scheduled the next FINE; of what a limit holds back, groups by key. 100,000 ready rows cost about 0.15 s, so the
monitor reads them seldom when they are many. A row that another program has damaged counts with the values that can be
read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from app.config import QUEUES
from app.ledger import limit_keys, limits
from app.ledger.dialect import Executor
from app.models.job import LINE, ORDER
from app.models.types import as_float, as_integer, as_text
from app.services.forecast.plan import Arrivals, Group, Running, Situation
from app.services.forecast.simulation import NEVER, Limit
from app.support.clock import HOUR_MS, MINUTE_MS

FINE, MOST_KEYS = 200, 300
_PENDING = f"FROM jobs WHERE state = 'pending' AND queue = :q ORDER BY {ORDER}"
_READY = f"""SELECT MIN(place), COUNT(*), job_type, tenant_id, limit_key, MAX(rank), MIN(line) FROM (
 SELECT ROW_NUMBER() OVER (ORDER BY {ORDER}) AS place, job_type, tenant_id, limit_key, rank,
 {LINE} AS line {_PENDING}) r
 GROUP BY CASE WHEN place <= {FINE} THEN place ELSE {FINE} + (place - {FINE}) / :step END,
 job_type, tenant_id, limit_key ORDER BY 1"""
_SIZES = f"SELECT LENGTH(payload) {_PENDING} LIMIT {FINE}"
_LATER = f"""SELECT queue, job_type, tenant_id, LENGTH(payload), limit_key, available_ms, rank, {LINE} FROM jobs
 WHERE state = 'scheduled' ORDER BY available_ms LIMIT {FINE}"""
_HELD = f"""SELECT limit_key, queue, job_type, tenant_id, COUNT(*), MAX(rank), MIN({LINE}) FROM jobs
 WHERE {limits.LIMITED} AND limit_key IS NOT NULL GROUP BY limit_key, queue, job_type, tenant_id LIMIT 2000"""
_RUNNING = """SELECT job_type, tenant_id, LENGTH(payload), reserved_ms, timeout, worker_id, progress_done,
 progress_total, limit_key FROM jobs WHERE state = 'processing'"""
_WORKERS = """SELECT worker_id, queue FROM worker_heartbeats WHERE status <> 'stopped' AND stale = 0
 AND COALESCE(command, '') NOT IN ('quiet', 'stop', 'kill', 'retire')"""
_MEANS = """SELECT queue, SUM(time_ms + 0.0), SUM(count) FROM job_minutes WHERE minute_ms >= :since
 AND status IN ('completed', 'failed', 'timeout', 'retried') GROUP BY queue"""
_STARTS = "SELECT at_ms FROM rate_starts WHERE limit_key = :key ORDER BY at_ms DESC LIMIT :n"

Sent = Callable[[Executor, int], Mapping[str, tuple[int, int]]]  # (tx, since in ms) -> {queue: (sent, ended)}


def read(tx: Executor, flows: Mapping[str, Arrivals]) -> Situation:
    """The situation now, with what arrives."""
    now, newest = tx.now(), tx.fetch_all("SELECT COALESCE(MAX(id), 0) FROM jobs")[0][0]
    groups = [group for queue in QUEUES for group in _ready(tx, queue)]
    for queue, job_type, tenant, size, key, at, rank, line in tx.fetch_all(_LATER):
        groups.append(Group(as_text(queue) or "", 0, 1, as_text(job_type) or "", as_text(tenant), as_integer(size),
                            _order(rank, line), float(max((as_integer(at) or now) - now, 1)), key))
    for key, queue, job_type, tenant, count, rank, line in tx.fetch_all(_HELD):
        groups.append(Group(as_text(queue) or "", 0, count, as_text(job_type) or "", as_text(tenant), None,
                            _order(rank, line), 0.0, as_text(key)))
    running = [running_job(now, *row) for row in tx.fetch_all(_RUNNING)]
    workers = {worker: tuple(q for q in (as_text(queues) or "").split(",") if q in QUEUES)
               for worker, queues in tx.fetch_all(_WORKERS)}
    paused = {name: NEVER if as_integer(until) is None else float(max(as_integer(until, 0) - now, 0))
              for name, until in tx.fetch_all(
        "SELECT name, paused_until FROM queues WHERE paused_at IS NOT NULL") if name in QUEUES}
    found, groups = _limits(tx, groups, now)
    return Situation(now, groups, running, workers, found, paused, flows, newest)


def running_job(now: int, job_type: Any, tenant: Any, size: Any, since: Any, timeout: Any, worker: Any, done: Any,
                total: Any, key: Any = None) -> Running:
    """A row of a running job as plain values."""
    done, total = as_integer(done), as_integer(total)
    share = min(done / total, 1.0) if done and total and total > 0 and done > 0 else None
    return Running(as_text(job_type) or "", as_text(tenant), as_integer(size), max(now - (as_integer(since) or now), 0),
                   (as_integer(timeout, 0) or 0) * 1000, as_text(worker) or "", share, as_text(key))


def _order(rank: Any, line: Any) -> tuple[int, float]:
    return -(as_integer(rank, 0) or 0), as_float(line, 0)


def _ready(tx: Executor, queue: str) -> list[Group]:
    depth = tx.fetch_all("SELECT COUNT(*) FROM jobs WHERE state = 'pending' AND queue = :q", q=queue)[0][0]
    if not depth:
        return []
    sizes = [as_integer(size) for (size,) in tx.fetch_all(_SIZES, q=queue)]
    rows = tx.fetch_all(_READY, q=queue, step=max((depth - FINE) // FINE, 1))
    return [Group(queue, place, count, as_text(job_type) or "", as_text(tenant),
                  sizes[place - 1] if place <= len(sizes) and count == 1 else None, _order(rank, line), 0.0,
                  as_text(key))
            for place, count, job_type, tenant, key, rank, line in rows]


def _limits(tx: Executor, groups: list[Group], now: int) -> tuple[dict[str, Limit], list[Group]]:
    """The limits by key, and the groups under the key that counts for them: a rate of the whole type counts the
    type."""
    found: dict[str, Limit] = {}
    of_type: dict[str, Any] = {}
    result = []
    for group in groups:
        if (key := group.limit) is None:
            result.append(group)
            continue
        if group.job_type not in of_type:
            of_type[group.job_type] = limit_keys.of_type(tx, group.job_type)
        limit = of_type[group.job_type]
        key = group.job_type if limit.rate_count and limit.whole_type else key
        if not (limit.concurrency or limit.rate_count) or (key not in found and len(found) >= MOST_KEYS):
            key = None
        elif key not in found:
            starts = [float(at - now) for (at,) in tx.fetch_all(_STARTS, key=key, n=limit.rate_count)
                      ] if limit.rate_count else []
            found[key] = Limit(limit.concurrency or None, (), limit.rate_count or None, float(limit.rate_ms or 0),
                               sorted(starts))
        result.append(replace(group, limit=key))
    return found, result


def arrivals(tx: Executor, sent: Sent) -> dict[str, Arrivals]:
    """What arrives in each queue; `sent` counts what was sent to each since a time. The rate of each queue: the median
    of the last five times two minutes, so that one burst is no rate."""
    now = tx.now()
    steps = [sent(tx, now - n * 2 * MINUTE_MS) for n in range(1, 6)]
    rows = tx.fetch_all(_MEANS, since=now - HOUR_MS)
    means = {as_text(queue): float(total) / int(count) for queue, total, count in rows if count}
    found = {}
    for queue, mean in means.items():
        sums = [0, *(step.get(queue, (0, 0))[0] for step in steps)]
        rate = sorted(later - earlier for earlier, later in zip(sums, sums[1:], strict=False))[2] / (2 * MINUTE_MS)
        if rate > 0 and queue is not None:
            found[queue] = Arrivals(rate, mean, mean)
    return found
