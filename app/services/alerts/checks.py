"""The kinds of alert rules: each computes its value and its findings from one snapshot of the ledger and the server.

snapshot (figures by the minute, live counts, workers, histograms, disk, memory; read once for each check)
  -> each kind: what it measures now, and a finding for each subject beyond the threshold of the rule
An incident is identified by (rule, subject), so 500 failures are one incident. Nothing here writes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from app.config import QUEUES
from app.ledger import control, costs, workforce
from app.ledger.control import TYPE, Pause
from app.models.job import LINE
from app.models.types import as_integer, as_text
from app.services.alerts.list_checks import critical_job, failures, jobs_link, rescued, slow, view
from app.services.alerts.snapshot import SCOPES, Finding, Rule, Snapshot
from app.services.jobs import schedules
from app.support import disk
from app.support.clock import LAST_MS, MINUTE_MS, month_start
from app.support.messages import to_json

WORKERS = "/admin/jobs/workers"
LEAST_OVERRUN_MS = MINUTE_MS


def no_worker(snapshot: Snapshot, rule: Rule) -> list[Finding]:
    """No worker is alive while more than `threshold` jobs are pending."""
    alive = snapshot.values[rule.id] = sum(1 for w in snapshot.workers if not w.stale)
    pending = snapshot.live["pending"]
    facts = {"n": pending, "limit": rule.threshold}
    return [Finding("", facts, jobs_link(state="pending"))] if not alive and pending > rule.threshold else []


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


def _pause_facts(pause: Pause | None) -> dict[str, Any]:
    return {"by": pause.by, "since_ms": pause.since} if pause else {}


def oldest(snapshot: Snapshot, rule: Rule) -> list[Finding]:
    """Queues whose longest waiting job has waited for more than `threshold` minutes; a paused one says so."""
    since = {name: queue["since"] for name, queue in snapshot.live["queues"].items() if queue["since"] is not None}
    waits = {name: snapshot.now - at for name, at in since.items() if rule.queue in (None, name)}
    snapshot.values[rule.id] = max(waits.values(), default=0) / MINUTE_MS
    return [Finding(name, {"queue": name, "ms": ms, "limit": rule.threshold} | _pause_facts(snapshot.paused.get(name)),
                    jobs_link(state="pending", queue=name, sort="-wait"))
            for name, ms in waits.items() if ms > rule.threshold * MINUTE_MS]


def paused(snapshot: Snapshot, rule: Rule) -> list[Finding]:
    """Queues and types that have been paused for more than `threshold` minutes, also those whose pause has an end."""
    wanted = {rule.queue, f"{TYPE}{rule.job_type}"} if rule.scope else snapshot.paused.keys()
    found = {name: pause for name, pause in snapshot.paused.items() if name in wanted}
    snapshot.values[rule.id] = max((snapshot.now - pause.since for pause in found.values()), default=0) / MINUTE_MS
    return [_pause_finding(snapshot, rule, name, pause) for name, pause in found.items()
            if snapshot.now - pause.since > rule.threshold * MINUTE_MS]


def _pause_finding(snapshot: Snapshot, rule: Rule, name: str, pause: Pause) -> Finding:
    depths = {queue: counted["depth"] for queue, counted in snapshot.live["queues"].items()}
    facts = {"type": name.removeprefix(TYPE)} if name.startswith(TYPE) else {"queue": name}
    facts |= {"ms": snapshot.now - pause.since, "until_ms": pause.until, "reason": pause.reason,
              "n": control.kept_back(snapshot.tx, name, depths), "limit": rule.threshold}
    link = jobs_link(state="held", hold="type", type=facts["type"]) if "type" in facts else \
        jobs_link(state="pending", queue=name)
    return Finding(name, facts | _pause_facts(pause), link)


# In SQLite text is after each number, so BETWEEN leaves out a minute that is text.
_DEPTHS = f"""SELECT minute_ms, depth FROM queue_minutes WHERE queue = :q AND minute_ms BETWEEN :since AND {LAST_MS}
 ORDER BY minute_ms"""


def growing(snapshot: Snapshot, rule: Rule) -> list[Finding]:
    """Queues that are deeper at each third of the window and `threshold` times as deep as at its start.

    Of a paused queue the pause is the cause, and the remedy is to resume it: it is measured, and told as `oldest` and
    `paused`.
    """
    found, deepest = [], 0.0
    for queue in QUEUES if rule.queue is None else (rule.queue,):
        since = snapshot.now - (rule.window_min + 1) * MINUTE_MS
        rows = [(at, depth) for at, stored in snapshot.tx.fetch_all(_DEPTHS, q=queue, since=since)
                if (depth := as_integer(stored)) is not None]
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
            found.append(Finding(queue, facts, jobs_link(state="pending", queue=queue)))
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
            found.append(Finding(job_type, facts, jobs_link(state="processing", type=job_type, sort="-run")))
    snapshot.values[rule.id] = most
    return found


def missed(snapshot: Snapshot, rule: Rule) -> list[Finding]:
    """Schedules that did not run at their time in the window."""
    known = {plan.name for plan in schedules.everything(snapshot.tx)}
    sql = "SELECT name, missed_ms FROM recurring WHERE enabled = 1 AND missed_at_ms >= :since"
    rows = [(name, at) for name, at in snapshot.tx.fetch_all(sql, since=snapshot.since(rule)) if name in known]
    snapshot.values[rule.id] = len(rows)
    return [Finding(name, {"name": name, "at_ms": at}, f"/admin/jobs/recurring/{quote(name)}") for name, at in rows]


_RUNS = "SELECT uuid, job_type, queue FROM jobs WHERE state = 'processing' ORDER BY reserved_ms, id LIMIT 97"
# Read from the end of the queue: of a type with many rows there are few others behind its last one.
_LAST = f"""SELECT uuid, job_type, queue FROM jobs WHERE state = 'pending' AND queue = :queue AND job_type = :type
 ORDER BY rank, {LINE} DESC, id DESC LIMIT 1"""


def late(snapshot: Snapshot, rule: Rule) -> list[Finding]:
    """What is predicted to end more than `threshold` minutes from now: queues (when they will be empty) and types by
    their running jobs; with a type, also by its last ready job of each queue. What is not known is not told."""
    rows, ends = snapshot.tx.fetch_all(_RUNS), []
    if rule.job_type:
        rows += [row for queue in QUEUES for row in snapshot.tx.fetch_all(_LAST, queue=queue, type=rule.job_type)]
    else:
        ends = [("queue", name, forecast.empty) for name, forecast in snapshot.queue_ends(snapshot.tx)[0].items()
                if forecast.empty and rule.queue in (None, name)]
    jobs = {uuid: job_type for uuid, job_type, queue in (map(as_text, row) for row in rows)
            if rule.job_type in (None, job_type) and rule.queue in (None, queue)}
    found = snapshot.job_ends(snapshot.tx, list(jobs)) if jobs else {}
    ends += [("type", jobs[uuid], forecast.end) for uuid, forecast in found.items() if forecast.end]
    latest = {(what, name): end for what, name, end in sorted(ends, key=lambda row: row[2].middle)}
    snapshot.values[rule.id] = max(((end.middle - snapshot.now) / MINUTE_MS for end in latest.values()), default=None)
    return [Finding(f"{what} {name}", {what: name, "left_ms": end.middle - snapshot.now, "low_ms": end.low,
                                       "at_ms": end.middle, "high_ms": end.high, "limit": rule.threshold},
                    jobs_link(state="live", **{what: name}))
            for (what, name), end in latest.items() if end.middle - snapshot.now > rule.threshold * MINUTE_MS]


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
    """`unit` of threshold and value is jobs, workers, min, percent, times or none. `uses` names the other columns that
    this kind reads. `urgent` kinds are checked every 10 s, the others every minute."""

    judge: Callable[[Snapshot, Rule], list[Finding]]
    unit: str = "jobs"
    uses: tuple[str, ...] = ()
    urgent: bool = False


KINDS = {
    "failures": Kind(failures, uses=("window_min", *SCOPES)),
    "no_worker": Kind(no_worker, urgent=True),
    "slow": Kind(slow, "min", ("window_min", "minimum", *SCOPES)),
    "box_memory": Kind(box_memory, "percent"),
    "worker_memory": Kind(worker_memory, "percent"),
    "critical_job": Kind(critical_job, uses=("window_min", *SCOPES), urgent=True),
    "oldest": Kind(oldest, "min", ("queue",)),
    "growing": Kind(growing, "times", ("window_min", "minimum", "queue")),
    "overrun": Kind(overrun, "times", ("minimum", "job_type")),
    "missed": Kind(missed, "none", ("window_min",)),
    "rescued": Kind(rescued, uses=("window_min", *SCOPES), urgent=True),
    "paused": Kind(paused, "min", ("queue", "job_type")),
    "late": Kind(late, "min", ("queue", "job_type")),
    "disk": Kind(disk_room, "percent"),
    "budget": Kind(budget, "percent", ("tenant_id",)),
    "connection": Kind(held_connection, "none", ("tenant_id",), urgent=True),
    "worker": Kind(worker, "workers", urgent=True),
    "view": Kind(view, uses=("view_id",)),
}
