"""The kinds of alert rules: arithmetic on one look at the ledger and the box.

look (figures by the minute, live counts, workers, histograms, disk, memory; read once a check)
  -> each kind: what it measures now, and a finding for each subject beyond the rule's threshold
A finding's signature is (rule, subject), so 500 failures are one incident. Nothing here writes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import psutil

from app import registry
from app.config import QUEUES
from app.ledger import costs, counts
from app.ledger.dialect import Executor
from app.ledger.rollups import NO_BOUND
from app.support import disk
from app.support.clock import MINUTE_MS, month_start

JOBS = "/admin/jobs/list"
LEAST_OVERRUN_MS = MINUTE_MS


@dataclass(frozen=True)
class Finding:
    """`facts` are plain values, from which the sentence is made in any language; `link` is a path."""

    subject: str
    facts: dict[str, Any]
    link: str | None = None


@dataclass
class Rule:
    """A row of `alert_rules`."""

    id: int
    kind: str
    threshold: float
    minimum: int
    window_min: int
    job_type: str | None
    queue: str | None
    tenant_id: str | None
    severity: str
    quiet_from: str | None
    quiet_until: str | None
    channels: str
    cooldown_min: int

    @property
    def scope(self) -> dict[str, str]:
        named = {"type": self.job_type, "queue": self.queue, "tenant": self.tenant_id}
        return {name: value for name, value in named.items() if value}


class Ended(NamedTuple):
    """Outcomes in a rule's window: how many, the sum of their run times, their type (one of them, of all together)."""

    count: int
    time_ms: int
    job_type: str | None


class Worker(NamedTuple):
    """A worker that has not stopped; memory in bytes, now and at its start."""

    name: str
    stale: int
    memory: int | None
    memory_start: int | None


RULE_COLUMNS = ", ".join(Rule.__dataclass_fields__)


def box_memory_percent() -> float:
    return psutil.virtual_memory().percent


@dataclass
class Snapshot:
    """What the rules are judged by, read once; `now` in ms."""

    tx: Executor
    now: int
    data_dir: Path
    worker_memory: int
    memory: Callable[[], float] = box_memory_percent
    zone: Any = UTC
    values: dict[int, float | None] = field(default_factory=dict)

    def ended(self, rule: Rule, *statuses: str, by_type: bool = False) -> list[Ended]:
        """The outcomes in the rule's window and scope: in one row, or a row a type."""
        sql = "SELECT COALESCE(SUM(count), 0), COALESCE(SUM(time_ms), 0), MAX(job_type) FROM job_minutes WHERE minute_ms > :since"
        sql += f" AND status IN ({', '.join(repr(s) for s in statuses)})"
        for column, value in (("job_type", rule.job_type), ("queue", rule.queue), ("tenant_id", rule.tenant_id)):
            sql += f" AND {column} = :{column}" if value else ""
        named = {"job_type": rule.job_type, "queue": rule.queue, "tenant_id": rule.tenant_id}
        rows = self.tx.fetch_all(sql + (" GROUP BY job_type" if by_type else ""), since=self.now - rule.window_min * MINUTE_MS,
                            **{n: v for n, v in named.items() if v})
        return [Ended(int(n), int(ms), name) for n, ms, name in rows]

    @cached_property
    def live(self) -> dict[str, Any]:
        return counts.recent(self.tx)[0]

    @cached_property
    def workers(self) -> list[Worker]:
        sql = "SELECT worker_name, stale, memory, memory_start FROM worker_heartbeats WHERE status <> 'stopped'"
        return [Worker(*row) for row in self.tx.fetch_all(sql)]

    @cached_property
    def paused(self) -> set[str]:
        return {name for (name,) in self.tx.fetch_all("SELECT name FROM queues WHERE paused_at IS NOT NULL")}

    def usual_ms(self, job_type: str, least: int) -> int | None:
        """Upper bound of the run time of 99 % of a type's completed jobs; None below `least` jobs or without a bound.
        """
        rows = self.tx.fetch_all("SELECT le, SUM(count) FROM job_histograms WHERE what = 'run' AND job_type = :t GROUP BY le", t=job_type)
        total, reached = sum(n for _, n in rows), 0
        for le, n in sorted((le, n) for le, n in rows if le != NO_BOUND):
            reached += n
            if total >= least and reached * 100 >= total * 99:
                return le
        return None


def failures(look: Snapshot, rule: Rule) -> list[Finding]:
    n = look.values[rule.id] = look.ended(rule, "failed", "timeout")[0].count
    link = f"{JOBS}?{urlencode({'state': 'unsuccessful', **rule.scope})}"
    return [Finding("", {"n": n, "minutes": rule.window_min, "limit": rule.threshold, **rule.scope}, link)] if n > rule.threshold else []


def no_worker(look: Snapshot, rule: Rule) -> list[Finding]:
    alive = look.values[rule.id] = sum(1 for w in look.workers if not w.stale)
    pending = look.live["pending"]
    return [Finding("", {"n": pending, "limit": rule.threshold}, "/admin/jobs/workers")] if not alive and pending > rule.threshold else []


def slow(look: Snapshot, rule: Rule) -> list[Finding]:
    """The completed only, as on the card: a failure that ends at once says nothing of how long jobs take."""
    n, total_ms, _ = look.ended(rule, "completed")[0]
    look.values[rule.id] = total_ms / n / MINUTE_MS if n else None
    if n < max(rule.minimum, 1) or total_ms / n <= rule.threshold * MINUTE_MS:
        return []
    facts = {"ms": round(total_ms / n), "n": n, "minutes": rule.window_min, "limit": rule.threshold, **rule.scope}
    return [Finding("", facts, f"{JOBS}?{urlencode({'state': 'completed', **rule.scope})}")]


def box_memory(look: Snapshot, rule: Rule) -> list[Finding]:
    percent = look.values[rule.id] = look.memory()
    return [Finding("", {"percent": round(percent, 1), "limit": rule.threshold}, "/admin/jobs/workers")] if percent > rule.threshold else []


def worker_memory(look: Snapshot, rule: Rule) -> list[Finding]:
    shares = {w.name: 100 * ((w.memory or 0) - (w.memory_start or 0)) / look.worker_memory for w in look.workers}
    look.values[rule.id] = max(shares.values(), default=None)
    limit = look.worker_memory // 2**20
    return [Finding(name, {"worker": name, "mb": round(share * limit / 100), "limit": round(rule.threshold * limit / 100)}, "/admin/jobs/workers")
            for name, share in shares.items() if share > rule.threshold]


def critical_job(look: Snapshot, rule: Rule) -> list[Finding]:
    marked = {d.name for d in registry.known_types() if d.options.critical}
    rows = [row for row in look.ended(rule, "failed", "timeout", by_type=True) if row.job_type in marked]
    look.values[rule.id] = sum(row.count for row in rows)
    return [Finding(name, {"type": name, "n": n, "minutes": rule.window_min}, f"{JOBS}?{urlencode({'state': 'unsuccessful', 'type': name})}")
            for n, _ms, name in rows if n > rule.threshold]


def oldest(look: Snapshot, rule: Rule) -> list[Finding]:
    waits = {name: look.now - here["since"] for name, here in look.live["queues"].items()
             if here["since"] is not None and name not in look.paused and rule.queue in (None, name)}
    look.values[rule.id] = max(waits.values(), default=0) / MINUTE_MS
    return [Finding(name, {"queue": name, "ms": ms, "limit": rule.threshold}, f"{JOBS}?{urlencode({'state': 'pending', 'queue': name})}")
            for name, ms in waits.items() if ms > rule.threshold * MINUTE_MS]


def growing(look: Snapshot, rule: Rule) -> list[Finding]:
    """Deeper at each third of the window, and `threshold` times as deep as at its start."""
    found, deepest = [], 0.0
    for queue in QUEUES if rule.queue is None else (rule.queue,):
        rows = look.tx.fetch_all("SELECT minute_ms, depth FROM queue_minutes WHERE queue = :q AND minute_ms >= :since ORDER BY minute_ms",
                            q=queue, since=look.now - (rule.window_min + 1) * MINUTE_MS)
        minutes, depths = [minute for minute, _ in rows], [depth for _, depth in rows]
        if not rows or minutes[-1] - minutes[0] < (rule.window_min - 1) * MINUTE_MS:
            continue  # not watched for so long yet
        steps = [depths[round(part * (len(depths) - 1) / 3)] for part in range(4)]
        ratio = steps[3] / max(steps[0], 1)
        deepest = max(deepest, ratio if steps[3] > rule.minimum else 0.0)
        if steps[3] > rule.minimum and steps[0] < steps[1] < steps[2] < steps[3] and ratio >= rule.threshold and queue not in look.paused:
            facts = {"queue": queue, "before": steps[0], "n": steps[3], "minutes": rule.window_min}
            found.append(Finding(queue, facts, f"/admin/jobs/queues?{urlencode({'queue': queue})}"))
    look.values[rule.id] = deepest
    return found


def overrun(look: Snapshot, rule: Rule) -> list[Finding]:
    """One finding a type: its longest running job, beyond `threshold` times what 99 % of its kind take."""
    rows = look.tx.fetch_all("SELECT job_type, MIN(reserved_ms), COUNT(*) FROM jobs WHERE state = 'processing' GROUP BY job_type")
    found, most = [], 0.0
    for job_type, since, _n in rows:
        usual = look.usual_ms(job_type, rule.minimum) if since and rule.job_type in (None, job_type) else None
        if usual is None:
            continue
        ran = look.now - since
        most = max(most, ran / usual)
        if ran > max(rule.threshold * usual, LEAST_OVERRUN_MS):
            link = f"{JOBS}?{urlencode({'state': 'processing', 'type': job_type})}"
            found.append(Finding(job_type, {"type": job_type, "ms": ran, "usual_ms": usual}, link))
    look.values[rule.id] = most
    return found


def missed(look: Snapshot, rule: Rule) -> list[Finding]:
    declared = {s.name for s in registry.schedules()}
    rows = look.tx.fetch_all("SELECT name, missed_ms FROM recurring WHERE enabled = 1 AND missed_at_ms > :since",
                        since=look.now - rule.window_min * MINUTE_MS)
    rows = [(name, at) for name, at in rows if name in declared]
    look.values[rule.id] = len(rows)
    return [Finding(name, {"name": name, "at_ms": at}, "/admin/jobs/recurring") for name, at in rows]


def rescued(look: Snapshot, rule: Rule) -> list[Finding]:
    n = look.values[rule.id] = look.ended(rule, "lost")[0].count
    return [Finding("", {"n": n, "minutes": rule.window_min}, "/admin/jobs/")] if n > rule.threshold else []


def disk_room(look: Snapshot, rule: Rule) -> list[Finding]:
    percent = look.values[rule.id] = disk.free_share(look.data_dir) * 100
    return [Finding("", {"percent": round(percent, 1), "limit": rule.threshold})] if percent < rule.threshold else []


def budget(look: Snapshot, rule: Rule) -> list[Finding]:
    """Tenants that have spent `threshold` % of their monthly budget."""
    found, most = [], 0.0
    since = month_start(look.now, look.zone)
    for tenant, limit, currency in look.tx.fetch_all("SELECT tenant_id, month_nano, currency FROM tenant_budgets"):
        spent = costs.spent(look.tx, tenant, since, currency)
        percent = 100 * spent / limit if limit else 100.0
        most = max(most, percent)
        if percent >= rule.threshold and rule.tenant_id in (None, tenant):
            facts = {"tenant": tenant, "percent": round(percent), "spent": spent, "limit": limit, "currency": currency}
            found.append(Finding(tenant, facts, "/admin/jobs/costs/"))
    look.values[rule.id] = most
    return found


@dataclass(frozen=True)
class Kind:
    """`unit` of threshold and value: jobs, min, percent, times; `urgent` ones are looked at every 10 s, the others each
    minute.

    `uses` names the other columns that count for this kind.
    """

    judge: Callable[[Snapshot, Rule], list[Finding]]
    unit: str = "jobs"
    uses: tuple[str, ...] = ()
    urgent: bool = False


KINDS = {
    "failures": Kind(failures, uses=("window_min", "job_type", "queue", "tenant_id")),
    "no_worker": Kind(no_worker),
    "slow": Kind(slow, "min", ("window_min", "minimum", "job_type", "queue", "tenant_id")),
    "box_memory": Kind(box_memory, "percent"),
    "worker_memory": Kind(worker_memory, "percent"),
    "critical_job": Kind(critical_job, uses=("window_min", "job_type", "queue", "tenant_id"), urgent=True),
    "oldest": Kind(oldest, "min", ("queue",)),
    "growing": Kind(growing, "times", ("window_min", "minimum", "queue")),
    "overrun": Kind(overrun, "times", ("minimum", "job_type")),
    "missed": Kind(missed, "none", ("window_min",)),
    "rescued": Kind(rescued, uses=("window_min", "job_type", "queue", "tenant_id"), urgent=True),
    "disk": Kind(disk_room, "percent"),
    "budget": Kind(budget, "percent", ("tenant_id",)),
}
