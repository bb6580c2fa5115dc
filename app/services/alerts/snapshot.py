"""What alert rules are judged by: a rule as plain values, and a snapshot of the ledger and the server.

The monitor makes one snapshot for each check. What several rules need is read once.
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

from app.ledger import counts
from app.ledger.dialect import Executor
from app.ledger.rollups import NO_BOUND
from app.support.clock import MINUTE_MS

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

    @property
    def scope(self) -> dict[str, str]:
        """What the rule is narrowed to, by the names in addresses: type, queue, tenant."""
        return {name: value for column, name in SCOPES.items() if (value := getattr(self, column))}


# Outcomes in a rule's window: their number, the sum of their run times in ms, their type (of all types: one of them).
Ended = namedtuple("Ended", "count time_ms job_type")
# A worker that has not stopped; memory in bytes, now and at its start, or None.
Worker = namedtuple("Worker", "name stale memory memory_start")
RULE_COLUMNS = ", ".join(Rule.__dataclass_fields__)


@dataclass
class Snapshot:
    """What the rules are judged by, read once; `now` in ms, `worker_memory` (the limit) in bytes. `memory` returns the
    server's memory in use, in percent. The kinds write into `values` what they measured, by the rule's id."""

    tx: Executor
    now: int
    data_dir: Path
    worker_memory: int
    memory: Callable[[], float] = field(default=lambda: psutil.virtual_memory().percent)
    zone: Any = UTC
    values: dict[int, float | None] = field(default_factory=dict)

    def since(self, rule: Rule) -> int:
        """The start of the rule's window, in ms."""
        return self.now - rule.window_min * MINUTE_MS

    def ended(self, rule: Rule, *statuses: str, by_type: bool = False) -> list[Ended]:
        """The outcomes in the rule's window and scope: in one row, or in one row for each type."""
        wanted = {column: value for column in SCOPES if (value := getattr(rule, column))}
        sql = "SELECT COALESCE(SUM(count), 0), COALESCE(SUM(time_ms), 0), MAX(job_type) FROM job_minutes"
        sql += f" WHERE minute_ms > :since AND status IN ({', '.join(map(repr, statuses))})"
        sql += "".join(f" AND {column} = :{column}" for column in wanted) + (" GROUP BY job_type" if by_type else "")
        rows = self.tx.fetch_all(sql, since=self.since(rule), **wanted)
        return [Ended(int(n), int(ms), name) for n, ms, name in rows]

    @cached_property
    def live(self) -> dict[str, Any]:
        """The counts of live rows, as `counts.count` returns them."""
        return counts.recent(self.tx)[0]

    @cached_property
    def workers(self) -> list[Worker]:
        """The workers that have not stopped."""
        sql = "SELECT worker_name, stale, memory, memory_start FROM worker_heartbeats WHERE status <> 'stopped'"
        return [Worker(*row) for row in self.tx.fetch_all(sql)]

    @cached_property
    def paused(self) -> set[str]:
        """Names of the paused queues and types."""
        return {name for (name,) in self.tx.fetch_all("SELECT name FROM queues WHERE paused_at IS NOT NULL")}

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
