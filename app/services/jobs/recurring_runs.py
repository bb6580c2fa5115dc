"""The runs of schedules as pages show them: outcome, duration and lateness of each due minute, for 90 days.

recurring_runs (a row a due minute) -> what is known of its job in jobs, job_history, job_facts and job_metrics
Failure cases: a job whose rows were deleted meanwhile ("gone": completed ones are kept 32 days), a minute without a
job (missed, merged, broken or skipped), a row of any values (it has no time, or an unknown outcome).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from app.extensions import db
from app.ledger.dialect import SessionExecutor
from app.ledger.rows import among
from app.models import Audit
from app.models.types import as_integer, as_text
from app.services.audit import AuditRow
from app.support.clock import LAST_MS, now_ms, stored_ms, when
from app.support.messages import from_row

STRIP, STEP = 30, 500  # runs of a strip; uuids of a statement
WHYS = ("missed", "merged", "broken")
ACTIONS = ("make a schedule", "change a schedule", "retime a schedule", "delete a schedule", "switch on", "switch off",
           "run recurring")
LATE_MS = 60_000  # a run that begins later than this is marked

_RUNS = """SELECT minute_utc, uuid, why FROM recurring_runs WHERE name = :name AND minute_utc < :before
 ORDER BY minute_utc DESC LIMIT :n"""
_LAST = """SELECT minute_utc, uuid, why FROM recurring_runs WHERE name = :name AND uuid IS NOT NULL
 ORDER BY minute_utc DESC LIMIT 1"""


@dataclass(frozen=True)
class Run:
    """A due minute (`at`, UTC; `at_ms`). `outcome` is the live state or final status of its job, "gone" when nothing
    is kept of it, or missed, merged, broken, skipped where no job ran. `by_hand`: "Run now". `run_ms` is the time of
    the last attempt, `late_ms` from the minute to the start of the first one."""

    at: datetime | None
    at_ms: int
    outcome: str
    uuid: str | None = None
    by_hand: bool = False
    run_ms: int | None = None
    late_ms: int | None = None

    @property
    def late(self) -> bool:
        """Whether it began more than a minute late."""
        return (self.late_ms or 0) > LATE_MS

    @property
    def state(self) -> str | None:
        """The state of its job; None without one."""
        return self.outcome if self.uuid and self.outcome != "gone" else None


def latest(names: list[str]) -> dict[str, list[Run]]:
    """The latest 30 runs of each schedule, the newest first."""
    tx = SessionExecutor(db.session)
    found = {name: tx.fetch_all(_RUNS, name=name, before=LAST_MS, n=STRIP) for name in names}
    facts = _facts(tx, [row for rows in found.values() for row in rows])
    return {name: [_run(row, facts) for row in rows] for name, rows in found.items()}


def history(name: str, before: int | None, size: int = 50) -> tuple[list[Run], bool]:
    """At most `size` runs before a minute (ms), the newest first, and whether there are more."""
    tx = SessionExecutor(db.session)
    rows = tx.fetch_all(_RUNS, name=name, before=LAST_MS if before is None else before, n=size + 1)
    facts = _facts(tx, rows[:size])
    return [_run(row, facts) for row in rows[:size]], len(rows) > size


def last(name: str) -> Run | None:
    """The latest run that has a job."""
    tx = SessionExecutor(db.session)
    rows = tx.fetch_all(_LAST, name=name)
    return _run(rows[0], _facts(tx, rows)) if rows else None


def changes(name: str, size: int = 50) -> list[AuditRow]:
    """What people did to a schedule, the latest first."""
    query = select(Audit).where(Audit.action.in_(ACTIONS), Audit.subject == name[:255])
    return [AuditRow(row.id, when(row.at_ms), row.actor, from_row(row.action, row.action_json), name,
                     from_row(row.result, row.result_json), None)
            for row in db.session.scalars(query.order_by(Audit.id.desc()).limit(size))]


def _facts(tx: SessionExecutor, rows: list[tuple]) -> dict[str, dict[str, Any]]:
    """What is known of the jobs of these runs, by uuid."""
    uuids = [text for row in rows if (text := as_text(row[1]))]
    found: dict[str, dict[str, Any]] = {}
    for start in range(0, len(uuids), STEP):
        some = uuids[start : start + STEP]
        for uuid, state, since in tx.fetch_all(
                f"SELECT uuid, state, reserved_ms FROM jobs WHERE {among(some, 'uuid')}"):
            begun = as_integer(since) if state == "processing" else None
            found[uuid] = {"outcome": as_text(state), "begun": begun, "run_ms": begun and max(now_ms() - begun, 0)}
        for uuid, status, ran in tx.fetch_all(
                "SELECT h.uuid, h.status, f.run_ms FROM job_history h LEFT JOIN job_facts f ON f.id = h.id "
                f"WHERE {among(some, 'h.uuid')}"):
            found.setdefault(uuid, {"outcome": as_text(status), "begun": None, "run_ms": as_integer(ran)})
        for uuid, started in tx.fetch_all(
                f"SELECT uuid, MIN(started_at) FROM job_metrics WHERE {among(some, 'uuid')} GROUP BY uuid"):
            if uuid in found:
                found[uuid]["begun"] = stored_ms(started) or found[uuid]["begun"]
    return found


def _run(row: tuple, facts: dict[str, dict[str, Any]]) -> Run:
    at, uuid, why = as_integer(row[0], 0), as_text(row[1]), as_text(row[2])
    if not uuid:
        return Run(when(at), at, why if why in WHYS else "skipped")
    known = facts.get(uuid, {"outcome": "gone", "begun": None, "run_ms": None})
    late = None if known["begun"] is None else max(known["begun"] - at, 0)
    return Run(when(at), at, known["outcome"] or "gone", uuid, why == "hand", known["run_ms"], late)
