"""What has changed since the last look, as names of the parts of pages that show it.

one statement (_MARKS) -> {mark: its rows as text} -> the marks that differ -> the parts that show them (PARTS)
A mark is a highest id, a fact of `meta`, or the few rows that change in place: running jobs, workers, open batches.
Each is one step of an index, so a look takes less than 0.3 ms however many jobs there are. Parts also change with time
alone: while something runs, waits or is due within a minute they are named every 5 s. Pages let ages grow by
themselves.
While the database does not answer nobody knows what has changed: all parts are named every 5 s, and the pages find out
by asking. At the first answer afterwards all are named once more.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from app.config import ROOT
from app.ledger.dialect import Connection, database_errors
from app.services.stats.job_monitoring import LATE_MS
from app.support.clock import MINUTE_MS, now_ms, unfollowed_s
from app.support.validation import stored_json

TICK_S, FOLLOW_S = 5.0, 30.0
MOST_ROWS = 200
_HIGHEST = ("jobs", "job_metrics", "failed_jobs", "job_logs", "audit", "alerts", "alert_messages", "notices", "mails",
            "deploys")
_FACTS = ("live_counts", "monitor", "disk", "paused_after_restore", "facts_reach", "search_reach")
_RUNNING = ("id", "claim_no", "cancel_requested", "over_time", "COALESCE(progress_done, 0)",
            "COALESCE(progress_total, 0)", "COALESCE(progress_note, '')")
_ROWS = {  # marks of rows that change in place, by name: their columns and where they stand
    "running": (_RUNNING, "jobs WHERE state = 'processing'"),
    "soon": (("COALESCE(MIN(available_ms), 0)",), "jobs WHERE state = 'scheduled'"),
    "paused": (("name", "COALESCE(paused_at, 0)", "COALESCE(paused_until, 0)"), "queues WHERE paused_at IS NOT NULL"),
    "workers": (("worker_id", "status", "stale", "COALESCE(job_uuid, '')", "COALESCE(command, '')",
                 "COALESCE(reason, '')"), "worker_heartbeats WHERE status <> 'stopped'"),
    "consumers": (("consumer_id", "wanted", "stale", "COALESCE(note_ms, 0)"), "consumers"),
    "open_alerts": (("id", "told", "COALESCE(acked_ms, 0)", "COALESCE(snoozed_ms, 0)"),
                    "alerts WHERE closed_ms IS NULL"),
    "outbox": (("COUNT(*)",), "alert_messages WHERE state IN ('waiting', 'sending')"),
    "posting": (("id", "state", "attempts"), "mails WHERE state IN ('waiting', 'sending')"),
    "schedules": (("COUNT(*)", "COALESCE(SUM(enabled), 0)", "COALESCE(MAX(missed_at_ms), 0)"), "recurring"),
    "batches": (("id", "total_jobs", "pending_jobs", "failed_jobs", "COALESCE(paused_ms, 0)", "COALESCE(sealed_ms, 0)"),
                "job_batches WHERE closed_ms IS NULL ORDER BY id DESC"),
}
_JOBS = {"live_counts", "jobs", "job_metrics", "running", "audit", "paused"}
_BATCHES = {"batches", "jobs", "job_metrics", "audit"}
_LATE = {"monitor", "late"}
HEAD = "head"  # the numbers outside all parts: the title, the badge of alerts, the footer
FEED = "notices_feed"  # a row of notices or alerts is new
PARTS: dict[str, set[str]] = {
    "actions": {"failed_jobs", "live_counts", "audit"},
    "alerts": {"alerts", "measured", "open_alerts", "alert_messages", "outbox", "audit"},
    "batch": _BATCHES | {"running"},
    "batches_live": _BATCHES,
    "batches_table": _BATCHES,
    "cards": {"live_counts", "job_metrics", "workers", "consumers", "audit"} | _LATE,
    "charts": {"job_metrics", "deploys"},
    "connections": {"job_metrics", "audit"},
    "costs_budgets": {"job_metrics", "audit"},
    "costs_tables": {"job_metrics"},
    "error_groups": {"failed_jobs", "facts_reach", "deploys", "audit"},
    "failed_table": {"failed_jobs", "live_counts", "facts_reach", "audit"},
    "graph": _JOBS,
    "job": _JOBS | {"job_logs", "batches"},
    "jobs_table": _JOBS | {"failed_jobs", "facts_reach", "search_reach"},
    "live_jobs": _JOBS,
    "notices": {"live_counts", "job_metrics", "open_alerts", "paused", "workers", "consumers", "disk",
                "paused_after_restore", "audit"} | _LATE,
    "queue_order": _JOBS,
    "queues": _JOBS,
    "recurring_one": {"schedules", "jobs", "job_metrics", "audit"},
    "recurring_table": {"schedules", "jobs", "audit"},
    "report_plans": {"mails", "posting", "audit"},
    "workers_table": {"workers", "consumers", "running", "audit"} | _LATE,
    HEAD: {"failed_jobs", "open_alerts"} | _LATE,
    FEED: {"alerts", "notices"},
}
SECONDS = {"alerts", "report_plans", "workers_table"}  # measured values, times of tries, heartbeats: these always move
TIMELESS = {HEAD, FEED, "charts"}
PLACES = frozenset(name for path in (ROOT / "templates").rglob("*.html")
                   for name in re.findall(r'data-partial="([a-z_]+)"', path.read_text()))
EVERY = PLACES | set(PARTS)  # a part that is not in the table changes with everything


def _rows(name: str, columns: tuple[str, ...], place: str) -> str:
    chosen = ", ".join(f"{column} AS c{n}" for n, column in enumerate(columns))
    text = " || ' ' || ".join(f"CAST(c{n} AS VARCHAR)" for n in range(len(columns)))
    return f"SELECT '{name}', {text} FROM (SELECT {chosen} FROM {place} LIMIT {MOST_ROWS}) {name}_rows"


_MARKS = " UNION ALL ".join((
    f"SELECT key, value FROM meta WHERE key IN ({', '.join(map(repr, _FACTS))})",
    "SELECT 'measured', value FROM meta WHERE key = 'alerts'",
    "SELECT 'monitor_at', CAST(at_ms AS VARCHAR) FROM meta WHERE key = 'monitor'",
    *(f"SELECT '{table}', CAST(MAX(id) AS VARCHAR) FROM {table}" for table in _HIGHEST),
    *(_rows(name, *parts) for name, parts in _ROWS.items())))


@dataclass(frozen=True)
class Look:
    """`changed` are names of parts; `log_moved`: the log of actions has a new row, so somebody's session may have
    ended; `monitor` is {"late", "age_s"}, None while the database does not answer."""

    changed: frozenset[str]
    log_moved: bool
    monitor: dict[str, Any] | None


class Watch:
    """Looks with a connection of its own; one thread at a time."""

    def __init__(self, url: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.connection, self.monotonic = Connection(url), monotonic
        self._marks: dict[str, Any] | None = {}
        self._named: dict[str, float] = {}  # when a part was named last

    def look(self) -> Look:
        """What has changed since the last look; nothing at the first one. Raises no error of the database."""
        now = self.monotonic()
        try:
            marks = self._read()
        except database_errors():  # the connection opens itself again when it is broken
            if self._marks is not None:
                self._marks, self._named = None, {}
            return Look(self._due(now, EVERY), False, None)
        before, self._marks = self._marks, marks
        names = before and {name for name in marks.keys() | before.keys() if marks.get(name) != before.get(name)}
        changed = EVERY if before is None else frozenset(parts_of(names or set()))
        self._named |= dict.fromkeys(changed, now)
        aging = frozenset(EVERY - TIMELESS if self._is_busy(marks) else SECONDS)
        log_moved = before is None or bool(names and "audit" in names)
        return Look(changed | self._due(now, aging), log_moved, marks["age"])

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def _due(self, now: float, parts: frozenset[str]) -> frozenset[str]:
        """Those of `parts` that were not named for 5 s; they are named now."""
        due = frozenset(part for part in parts if now - self._named.get(part, now - TICK_S) >= TICK_S)
        self._named |= dict.fromkeys(due, now)
        return due

    def _read(self) -> dict[str, Any]:
        """{mark: its rows, sorted}, and "age": {"late", "age_s"} of the monitor, which is no mark of PARTS."""
        if not self.connection.sqlite and unfollowed_s() > FOLLOW_S:
            self.connection.now()
        found: dict[str, Any] = {}
        for name, text in self.connection.fetch_all(_MARKS):
            found.setdefault(name, []).append(str(text))
        marks: dict[str, Any] = {name: sorted(rows) for name, rows in found.items()}
        at = _number(marks.pop("monitor_at", None))
        age = None if at is None else max(now_ms() - at, 0)
        late = age is None or age > LATE_MS
        return marks | {"late": late, "age": {"late": late, "age_s": None if age is None else age / 1000}}

    @staticmethod
    def _is_busy(marks: dict[str, Any]) -> bool:
        """Whether pages show seconds: a job runs, waits or is due within a minute, or the monitor is late."""
        counts = stored_json(marks.get("live_counts", [""])[0])
        pending = counts.get("pending") if isinstance(counts, dict) else 0
        due = _number(marks.get("soon"))
        return bool(marks.get("running") or pending or marks["late"] or due and due < now_ms() + MINUTE_MS)


def parts_of(marks: set[str]) -> set[str]:
    """The parts that show one of these marks; with any mark also those that the table does not know."""
    told = marks - {"age"}
    return {part for part in EVERY if told and (part not in PARTS or PARTS[part] & told)}


def _number(rows: list[str] | None) -> int | None:
    return int(rows[0]) if rows and rows[0].isascii() and rows[0].isdigit() else None
