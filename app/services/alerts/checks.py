"""The kinds of alert rules: each computes its value and its findings from one snapshot of the ledger and the server.

snapshot (figures by the minute, live counts, workers, histograms, disk, memory; read once for each check)
  -> each kind: what it measures now, and a finding for each subject beyond the threshold of the rule
An incident is identified by (rule, subject), so 500 failures are one incident. Nothing here writes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from app import registry
from app.config import QUEUES
from app.ledger import costs, workforce
from app.services.alerts.snapshot import SCOPES, Rule, Snapshot
from app.support import disk
from app.support.clock import MINUTE_MS, month_start
from app.support.messages import to_json

WORKERS = "/admin/jobs/workers"
LEAST_OVERRUN_MS = MINUTE_MS


@dataclass(frozen=True)
class Finding:
    """A subject beyond the threshold. `facts` are plain values, from which a sentence is made in any language; `link`
    is a path."""

    subject: str
    facts: dict[str, Any]
    link: str | None = None


def _jobs(**query: str) -> str:
    return f"/admin/jobs/list?{urlencode(query)}"


def failures(snapshot: Snapshot, rule: Rule) -> list[Finding]:
    """More than `threshold` final failures in the window."""
    n = snapshot.values[rule.id] = snapshot.ended(rule, "failed", "timeout")[0].count
    facts = {"n": n, "minutes": rule.window_min, "limit": rule.threshold, **rule.scope}
    return [Finding("", facts, _jobs(state="unsuccessful", **rule.scope))] if n > rule.threshold else []


def no_worker(snapshot: Snapshot, rule: Rule) -> list[Finding]:
    """No worker is alive while more than `threshold` jobs are pending."""
    alive = snapshot.values[rule.id] = sum(1 for w in snapshot.workers if not w.stale)
    pending = snapshot.live["pending"]
    facts = {"n": pending, "limit": rule.threshold}
    return [Finding("", facts, WORKERS)] if not alive and pending > rule.threshold else []


def slow(snapshot: Snapshot, rule: Rule) -> list[Finding]:
    """The mean run time is over `threshold` minutes. Only completed jobs count, as on the dashboard: a failure that
    ends at once does not say how long jobs take."""
    n, total_ms, _ = snapshot.ended(rule, "completed")[0]
    snapshot.values[rule.id] = total_ms / n / MINUTE_MS if n else None
    if n < max(rule.minimum, 1) or total_ms / n <= rule.threshold * MINUTE_MS:
        return []
    facts = {"ms": round(total_ms / n), "n": n, "minutes": rule.window_min, "limit": rule.threshold, **rule.scope}
    return [Finding("", facts, _jobs(state="completed", **rule.scope))]


def box_memory(snapshot: Snapshot, rule: Rule) -> list[Finding]:
    """More than `threshold` percent of the server's memory are in use."""
    percent = snapshot.values[rule.id] = snapshot.memory()
    facts = {"percent": round(percent, 1), "limit": rule.threshold}
    return [Finding("", facts, WORKERS)] if percent > rule.threshold else []


def worker_memory(snapshot: Snapshot, rule: Rule) -> list[Finding]:
    """Workers that have grown since their start by more than `threshold` percent of the memory limit."""
    limit = snapshot.worker_memory
    shares = {w.name: 100 * ((w.memory or 0) - (w.memory_start or 0)) / limit for w in snapshot.workers}
    snapshot.values[rule.id] = max(shares.values(), default=None)
    megabytes = lambda percent: round(percent * (limit // 2**20) / 100)  # noqa: E731
    return [Finding(name, {"worker": name, "mb": megabytes(share), "limit": megabytes(rule.threshold)}, WORKERS)
            for name, share in shares.items() if share > rule.threshold]


def critical_job(snapshot: Snapshot, rule: Rule) -> list[Finding]:
    """Types marked as critical with more than `threshold` final failures in the window."""
    marked = {d.name for d in registry.known_types() if d.options.critical}
    rows = [row for row in snapshot.ended(rule, "failed", "timeout", by_type=True) if row.job_type in marked]
    snapshot.values[rule.id] = sum(row.count for row in rows)
    return [Finding(name, {"type": name, "n": n, "minutes": rule.window_min}, _jobs(state="unsuccessful", type=name))
            for n, _ms, name in rows if n > rule.threshold]


def oldest(snapshot: Snapshot, rule: Rule) -> list[Finding]:
    """Queues, not paused, whose longest waiting job has waited for more than `threshold` minutes."""
    since = {name: queue["since"] for name, queue in snapshot.live["queues"].items() if queue["since"] is not None}
    waits = {name: snapshot.now - at for name, at in since.items()
             if name not in snapshot.paused and rule.queue in (None, name)}
    snapshot.values[rule.id] = max(waits.values(), default=0) / MINUTE_MS
    return [Finding(name, {"queue": name, "ms": ms, "limit": rule.threshold}, _jobs(state="pending", queue=name))
            for name, ms in waits.items() if ms > rule.threshold * MINUTE_MS]


_DEPTHS = "SELECT minute_ms, depth FROM queue_minutes WHERE queue = :q AND minute_ms >= :since ORDER BY minute_ms"


def growing(snapshot: Snapshot, rule: Rule) -> list[Finding]:
    """Queues, not paused, that are deeper at each third of the window and `threshold` times as deep as at its start."""
    found, deepest = [], 0.0
    for queue in QUEUES if rule.queue is None else (rule.queue,):
        rows = snapshot.tx.fetch_all(_DEPTHS, q=queue, since=snapshot.since(rule) - MINUTE_MS)
        if not rows or rows[-1][0] - rows[0][0] < (rule.window_min - 1) * MINUTE_MS:
            continue  # not watched for so long yet
        steps = [rows[round(part * (len(rows) - 1) / 3)][1] for part in range(4)]
        if steps[3] <= rule.minimum:
            continue
        ratio = steps[3] / max(steps[0], 1)
        deepest = max(deepest, ratio)
        grows = steps[0] < steps[1] < steps[2] < steps[3] and ratio >= rule.threshold
        if grows and queue not in snapshot.paused:
            facts = {"queue": queue, "before": steps[0], "n": steps[3], "minutes": rule.window_min}
            found.append(Finding(queue, facts, f"/admin/jobs/queues?{urlencode({'queue': queue})}"))
    snapshot.values[rule.id] = deepest
    return found


_RUNNING = "SELECT job_type, MIN(reserved_ms) FROM jobs WHERE state = 'processing' GROUP BY job_type"


def overrun(snapshot: Snapshot, rule: Rule) -> list[Finding]:
    """Types whose longest running job has run `threshold` times as long as 99 % of the type's jobs, and a minute."""
    found, most = [], 0.0
    for job_type, since in snapshot.tx.fetch_all(_RUNNING):
        usual = snapshot.usual_ms(job_type, rule.minimum) if since and rule.job_type in (None, job_type) else None
        if usual is None:
            continue
        ran = snapshot.now - since
        most = max(most, ran / usual)
        if ran > max(rule.threshold * usual, LEAST_OVERRUN_MS):
            facts = {"type": job_type, "ms": ran, "usual_ms": usual}
            found.append(Finding(job_type, facts, _jobs(state="processing", type=job_type)))
    snapshot.values[rule.id] = most
    return found


def missed(snapshot: Snapshot, rule: Rule) -> list[Finding]:
    """Declared schedules that did not run at their time in the window."""
    declared = {s.name for s in registry.schedules()}
    sql = "SELECT name, missed_ms FROM recurring WHERE enabled = 1 AND missed_at_ms > :since"
    rows = [(name, at) for name, at in snapshot.tx.fetch_all(sql, since=snapshot.since(rule)) if name in declared]
    snapshot.values[rule.id] = len(rows)
    return [Finding(name, {"name": name, "at_ms": at}, "/admin/jobs/recurring") for name, at in rows]


def rescued(snapshot: Snapshot, rule: Rule) -> list[Finding]:
    """More than `threshold` jobs were lost with their worker in the window."""
    n = snapshot.values[rule.id] = snapshot.ended(rule, "lost")[0].count
    return [Finding("", {"n": n, "minutes": rule.window_min}, "/admin/jobs/")] if n > rule.threshold else []


def disk_room(snapshot: Snapshot, rule: Rule) -> list[Finding]:
    """Less than `threshold` percent of the disk are free."""
    percent = snapshot.values[rule.id] = disk.free_share(snapshot.data_dir) * 100
    facts = {"percent": round(percent, 1), "limit": rule.threshold}
    return [Finding("", facts)] if percent < rule.threshold else []


def budget(snapshot: Snapshot, rule: Rule) -> list[Finding]:
    """Tenants that have spent `threshold` percent of their monthly budget."""
    found, most = [], 0.0
    since = month_start(snapshot.now, snapshot.zone)
    for tenant, limit, currency in snapshot.tx.fetch_all("SELECT tenant_id, month_nano, currency FROM tenant_budgets"):
        spent = costs.spent(snapshot.tx, tenant, since, currency)
        percent = 100 * spent / limit if limit else 100.0
        most = max(most, percent)
        if percent >= rule.threshold and rule.tenant_id in (None, tenant):
            facts = {"tenant": tenant, "percent": round(percent), "spent": spent, "limit": limit, "currency": currency}
            found.append(Finding(tenant, facts, "/admin/jobs/costs/"))
    snapshot.values[rule.id] = most
    return found


def held_connection(snapshot: Snapshot, rule: Rule) -> list[Finding]:
    """Connections of tenants that are held because they failed again and again, until they work."""
    sql = "SELECT tenant_id, service, error, error_json FROM connections WHERE held_until_ms IS NOT NULL"
    rows = [row for row in snapshot.tx.fetch_all(sql) if rule.tenant_id in (None, row[0])]
    snapshot.values[rule.id] = len(rows)
    return [Finding(f"{tenant} {service}", {"tenant": tenant, "service": service, "why": why, "why_json": form},
                    "/admin/jobs/connections/") for tenant, service, why, form in rows]


def worker(snapshot: Snapshot, rule: Rule) -> list[Finding]:
    """More than `threshold` workers are missing, frozen, stuck or silent. One that reports late for 30 s does not count
    yet."""
    found = [line for line in workforce.look(snapshot.tx).troubles if line.kind != "silent"]
    n = snapshot.values[rule.id] = sum(line.count for line in found)
    names = [(line.name, line.why, to_json(line.why)) for line in found[:5]]
    return [Finding("", {"n": n, "names": names, "limit": rule.threshold}, WORKERS)] if n > rule.threshold else []


@dataclass(frozen=True)
class Kind:
    """`unit` of threshold and value is jobs, min, percent, times or none. `uses` names the other columns that this kind
    reads. `urgent` kinds are checked every 10 s, the others every minute."""

    judge: Callable[[Snapshot, Rule], list[Finding]]
    unit: str = "jobs"
    uses: tuple[str, ...] = ()
    urgent: bool = False


KINDS = {
    "failures": Kind(failures, uses=("window_min", *SCOPES)),
    "no_worker": Kind(no_worker),
    "slow": Kind(slow, "min", ("window_min", "minimum", *SCOPES)),
    "box_memory": Kind(box_memory, "percent"),
    "worker_memory": Kind(worker_memory, "percent"),
    "critical_job": Kind(critical_job, uses=("window_min", *SCOPES), urgent=True),
    "oldest": Kind(oldest, "min", ("queue",)),
    "growing": Kind(growing, "times", ("window_min", "minimum", "queue")),
    "overrun": Kind(overrun, "times", ("minimum", "job_type")),
    "missed": Kind(missed, "none", ("window_min",)),
    "rescued": Kind(rescued, uses=("window_min", *SCOPES), urgent=True),
    "disk": Kind(disk_room, "percent"),
    "budget": Kind(budget, "percent", ("tenant_id",)),
    "connection": Kind(held_connection, "none", ("tenant_id",), urgent=True),
    "worker": Kind(worker, urgent=True),
}
