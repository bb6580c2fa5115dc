"""Numbers of the members of a batch, and the columns of `job_batches` that keep them.

jobs (live), job_history (completed, cancelled), failed_jobs (failed, or in the bin) -> `members`, in one statement, so
that a member which ends meanwhile is counted once -> `recount`: the monitor each second while the batch is open, its
closing, and the actions that put failed members into the bin or take them out of it
`total_jobs` is written by `batches.join` only: rows of old members are deleted some day, the number stays.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from app.ledger.dialect import Connection, Executor
from app.models.job import LIVE_STATES
from app.models.types import as_text

MOST_IDS = 1000
BIN = "bin"
_MEMBERS = f"""SELECT state, COUNT(*) FROM jobs WHERE batch_id = :b GROUP BY state
 UNION ALL SELECT status, COUNT(*) FROM job_history WHERE batch_id = :b AND status IN ('completed', 'cancelled')
 GROUP BY status
 UNION ALL SELECT CASE WHEN deleted_at IS NULL THEN status ELSE '{BIN}' END, COUNT(*) FROM failed_jobs
 WHERE batch_id = :b GROUP BY CASE WHEN deleted_at IS NULL THEN status ELSE '{BIN}' END"""
_FAILED = f"SELECT uuid FROM failed_jobs WHERE batch_id = :b AND deleted_at IS NULL ORDER BY id LIMIT {MOST_IDS}"
_DIFFERS = """id = :b AND (pending_jobs <> :pending OR failed_jobs <> :failed
 OR COALESCE(failed_job_ids, '') <> :ids)"""
_KEEP = f"""UPDATE job_batches SET pending_jobs = :pending, failed_jobs = :failed, failed_job_ids = :ids
 WHERE {_DIFFERS}"""


def members(tx: Executor, batch_id: str) -> dict[str, int]:
    """Numbers of members by live state or final status; failed ones in the bin count as "bin" only."""
    return {as_text(state) or "": n for state, n in tx.fetch_all(_MEMBERS, b=batch_id)}


def failed_of(found: dict[str, int]) -> int:
    """How many members failed and wait for a decision; `found` is of `members`."""
    return found.get("failed", 0) + found.get("timeout", 0)


def _counted(tx: Executor, batch_id: str) -> dict[str, object]:
    found = members(tx, batch_id)
    failed = failed_of(found)
    ids = [row[0] for row in tx.fetch_all(_FAILED, b=batch_id)] if failed else []
    pending = sum(found.get(state, 0) for state in LIVE_STATES)
    return {"b": batch_id, "pending": pending, "failed": failed, "ids": json.dumps(ids)}


def recount(tx: Executor, batch_ids: Iterable[str | None]) -> None:
    """Write the numbers of these batches, and the uuids of the failed members, at most 1,000."""
    for batch_id in sorted({batch_id for batch_id in batch_ids if batch_id}):
        tx.execute(_KEEP, **_counted(tx, batch_id))


def recount_open(connection: Connection, batch_id: str) -> None:
    """The same for an open batch, without the write lock while the members are counted. A count that is older than the
    last change is written for a second; over the counts of the closing it is never written."""
    values = _counted(connection, batch_id)
    if connection.fetch_all(f"SELECT 1 FROM job_batches WHERE {_DIFFERS}", **values):
        with connection.transaction() as tx:
            tx.execute(f"{_KEEP} AND closed_ms IS NULL", **values)
