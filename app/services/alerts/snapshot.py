"""What alert rules are judged by: a rule as plain values, and a snapshot of the ledger and the server.

The monitor makes one snapshot for each check. What several rules need is read once.

A window of M minutes ends now and begins exactly M minutes ago, or at the last check when that is longer ago. So each
outcome is counted by one check at least, also with M = 1, checks that take a minute and a second, or a monitor that was
restarted. An outcome is written up to SLACK_MS after its time, so a window begins so much before the last check. After
MOST_BLIND_MS without a check the rest is not told: pages and the ping have said meanwhile that no monitor runs.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil

from app.ledger import control, counts
from app.ledger.dialect import Executor
from app.models.outcome_stats import AT, REACH
from app.models.types import as_integer, as_text
from app.services.forecast import outlook
from app.services.jobs.rollups import NO_BOUND
from app.support.clock import HOUR_MS, LAST_MS, MINUTE_MS, stamp

SLACK_MS, MOST_BLIND_MS = 10_000, HOUR_MS
SCOPES = {"job_type": "type", "queue": "queue", "tenant_id": "tenant"}  # columns of a rule: their names in addresses


@dataclass(frozen=True)
class Rule:
    """A row of `alert_rules`, whose model says the units."""

    id: int
    kind: str
    enabled: int
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
    view_id: int | None = field(default=None, kw_only=True)

    @property
    def scope(self) -> dict[str, str]:
        """What the rule is narrowed to, by the names in addresses: type, queue, tenant."""
        return {name: value for column, name in SCOPES.items() if (value := getattr(self, column))}


@dataclass(frozen=True)
class Finding:
    """A subject beyond the threshold. `facts` are plain values, from which a sentence is made in any language; `link`
    is a path."""

    subject: str
    facts: dict[str, Any]
    link: str | None = None


# Outcomes in a rule's window: their number, the sum of their run times in ms, their type (of all types: one of them).
Ended = namedtuple("Ended", "count time_ms job_type")
# A worker that has not stopped; memory in bytes, now and at its start, or None.
Worker = namedtuple("Worker", "name stale memory memory_start")
# Whole minutes, the rest of the first minute, and what the rollups have not counted yet: in one statement, as they move
# on. Each part is narrowed to the statuses and the scope of a rule; of raw rows in a form that no index fits, so that
# SQLite finds them by time or id and not all of a type.
# BETWEEN leaves out what another program wrote: in SQLite text is after each number.
_ENDED = f"""SELECT SUM(n), SUM(CASE WHEN ms BETWEEN 0 AND {LAST_MS} THEN ms ELSE 0 END), MAX(job_type) FROM (
 SELECT job_type, count AS n, time_ms AS ms FROM job_minutes
  WHERE minute_ms BETWEEN :minute AND {LAST_MS} AND count BETWEEN 0 AND {LAST_MS} AND {{wanted}}
 UNION ALL SELECT job_type, 1, processing_time FROM job_metrics
  WHERE completed_at >= :since_at AND completed_at < :minute_at AND id <= {REACH} AND {{raw}}
 UNION ALL SELECT job_type, 1, processing_time FROM job_metrics
  WHERE id > {REACH} AND {AT} >= :since_at AND {{raw}}) found"""
RULE_COLUMNS = ", ".join(Rule.__dataclass_fields__)


@dataclass
class Snapshot:
    """What the rules are judged by, read once; `now` in ms, `worker_memory` (the limit) in bytes. `memory` returns the
    server's memory in use, in percent; `queue_ends` and `job_ends` return forecasts (forecast/outlook.py). The kinds
    write into `values` what they measured, by the rule's id. `views_s`: the seconds left for counting views."""

    tx: Executor
    now: int
    data_dir: Path
    worker_memory: int
    memory: Callable[[], float] = field(default=lambda: psutil.virtual_memory().percent)
    queue_ends: Callable[..., Any] = outlook.of_queues
    job_ends: Callable[..., Any] = outlook.of_jobs
    zone: Any = UTC
    values: dict[int, float | None] = field(default_factory=dict)
    views_s: float = 3.0

    def since(self, rule: Rule) -> int:
        """The start of the rule's window in ms, which belongs to it."""
        looked = self.now if self.looked is None else max(self.looked - SLACK_MS, self.now - MOST_BLIND_MS)
        return min(self.now - rule.window_min * MINUTE_MS, looked)

    def minutes(self, rule: Rule) -> int:
        """The length of the rule's window."""
        return max(rule.window_min, round((self.now - self.since(rule)) / MINUTE_MS))

    def ended(self, rule: Rule, *statuses: str, by_type: bool = False) -> list[Ended]:
        """The outcomes in the rule's window and scope: in one row, or in one row for each type."""
        wanted = {column: value for column in SCOPES if (value := getattr(rule, column))}
        narrow, raw = (f"status IN ({', '.join(map(repr, statuses))})" + "".join(form.format(c) for c in wanted)
                       for form in (" AND {0} = :{0}", " AND COALESCE({0}, '') = :{0}"))
        sql = _ENDED.format(wanted=narrow, raw=raw) + (" GROUP BY job_type" if by_type else "")
        since = self.since(rule)
        minute = since + -since % MINUTE_MS
        rows = self.tx.fetch_all(sql, minute=minute, minute_at=stamp(minute), since_at=stamp(since), **wanted)
        return [Ended(as_integer(n, 0) or 0, as_integer(ms, 0) or 0, as_text(name)) for n, ms, name in rows]

    @cached_property
    def kept(self) -> dict[str, Any]:
        """What the last check has kept: `values` by rule, and `looked`."""
        kept = counts.load(self.tx, "alerts")
        return kept[0] if kept and isinstance(kept[0], dict) else {}

    @cached_property
    def looked(self) -> int | None:
        """The time (ms) of the last check of all rules that was whole; None without one, or when it is ahead."""
        at = self.kept.get("looked")
        return at if isinstance(at, int) and at <= self.now else None

    @cached_property
    def live(self) -> dict[str, Any]:
        """The counts of live rows, as `counts.count` returns them."""
        return counts.recent(self.tx)[0]

    @cached_property
    def workers(self) -> list[Worker]:
        """The workers that have not stopped."""
        sql = "SELECT worker_name, stale, memory, memory_start FROM worker_heartbeats WHERE status <> 'stopped'"
        return [Worker(as_text(name) or "", *map(as_integer, rest)) for name, *rest in self.tx.fetch_all(sql)]

    @cached_property
    def paused(self) -> dict[str, control.Pause]:
        """The pauses by the name of the queue, or of the type as `type:X`."""
        return control.pauses(self.tx)

    def usual_ms(self, job_type: str, least: int) -> int | None:
        """The upper bound (ms) of the run time of 99 % of a type's completed jobs; None with fewer than `least` jobs or
        without a bound."""
        sql = "SELECT le, SUM(count) FROM job_histograms WHERE what = 'run' AND job_type = :t GROUP BY le"
        rows = self.tx.fetch_all(sql, t=job_type)
        total, reached = sum(n for _, n in rows), 0
        for le, n in sorted((le, n) for le, n in rows if le != NO_BOUND):
            reached += n
            if total >= least and reached * 100 >= total * 99:
                return le
        return None
