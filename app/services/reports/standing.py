"""How far plans have come: the end of the last report of each, and why it rests; two queries for any number of plans.

A report counts when its period is over. One that was there before its period was over was written by a clock that was
ahead, or this clock is behind: `note_ahead` marks it, and it counts again once the time at which it was written has
come. So a clock that was wrong for a while neither stops reports nor sends one twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.ledger.dialect import Connection, Executor
from app.ledger.rows import among
from app.models.types import as_integer
from app.services.reports import readers
from app.services.reports.plan_values import Plan

COUNTS = "r.until_ms <= :now AND NOT (r.ahead = 1 AND r.created_ms > :now)"
# Of reports about as long as the period of the plan: it may have been one of days before it became one of weeks.
_REPORTED = f"""SELECT p.id, (SELECT r.until_ms FROM reports r WHERE r.plan_id = p.id AND {COUNTS}
  AND r.until_ms - r.from_ms BETWEEN 0.8 * p.length AND 1.25 * p.length ORDER BY r.from_ms DESC LIMIT 1)
 FROM (SELECT id, CASE period WHEN 'day' THEN 86400000 WHEN 'week' THEN 604800000 ELSE 2628000000 END AS length
  FROM report_plans) p WHERE p."""
_EARLY = "SELECT 1 FROM reports WHERE until_ms > :now AND ahead = 0 LIMIT 1"
_MARK = "UPDATE reports SET ahead = 1 WHERE until_ms > :now AND ahead = 0"


@dataclass(frozen=True)
class Standing:
    """`reported`: the end (ms) of the last report, 0 without any. `rests`: why nothing is sent, "" when it is."""

    reported: int
    rests: str


def of(tx: Executor, plans: Sequence[Plan], now: int) -> dict[int, Standing]:
    """Where plans stand at `now` (ms), by their ids."""
    if not plans:
        return {}
    rows = tx.fetch_all(_REPORTED + among(plan.id for plan in plans), now=now)
    reported = {id: as_integer(until, 0) or 0 for id, until in rows}
    rights = readers.rights_for(tx, [(plan.target, plan.made_by) for plan in plans])
    return {plan.id: Standing(reported.get(plan.id, 0), readers.refusal(rights, plan.target, plan.made_by))
            for plan in plans}


def note_ahead(connection: Connection, now: int) -> None:
    """Mark reports of periods that are not over at `now` (ms)."""
    if connection.fetch_all(_EARLY, now=now):
        with connection.transaction() as tx:
            tx.execute(_MARK, now=now)
