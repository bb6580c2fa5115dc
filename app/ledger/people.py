"""What people do to rows. Every statement is guarded, so pressing twice or two at once does it once."""

from __future__ import annotations

import json
from typing import Any

from app.config import QUEUES
from app.ledger.claim import COLUMNS, Claim
from app.ledger.dialect import Runner
from app.ledger.settle import Outcome, finish

_KEPT = "uuid, queue, payload, job_type, tenant_id, claim_no, round, tries, backoff, timeout, durable, created_ms, created_by"
_INSERT = """INSERT INTO jobs (uuid, queue, payload, attempts, available_at, created_at, state, job_type, tenant_id, claim_no, round,
 failures, crashes, tries, backoff, timeout, durable, created_ms, available_ms, retry_until_ms, created_by) VALUES (:uuid, :queue,
 :payload, 0, :now / 1000, :created_ms / 1000, 'pending', :job_type, :tenant_id, :claim_no, :round + 1, 0, 0, :tries, :backoff,
 :timeout, :durable, :created_ms, :now, :now + 86400000, :created_by)"""
_BATCH = """SELECT id FROM failed_jobs WHERE deleted_at IS NULL AND id <= :upto ORDER BY id LIMIT :step"""


def take_failed(run: Runner, uuid: str) -> dict[str, Any] | None:
    """Take one failed job out of `failed_jobs`; None when it is not there (any more)."""
    rows = run.all(f"DELETE FROM failed_jobs WHERE uuid = :u AND deleted_at IS NULL RETURNING {_KEPT}", u=uuid)
    return dict(zip(_KEPT.split(", "), rows[0], strict=True)) if rows else None


def requeue(run: Runner, row: dict[str, Any]) -> None:
    """Write a failed job into the ledger again: same uuid, next round, attempt 1, ready at once."""
    now = run.now()
    row = _complete(row, now)
    run.all("DELETE FROM job_history WHERE uuid = :u RETURNING id", u=row["uuid"])
    run.run(_INSERT, now=now, **row)


def _complete(row: dict[str, Any], now: int) -> dict[str, Any]:
    """Rows written by others lack our columns: the type is in the payload, an unknown queue becomes default."""
    try:
        payload = json.loads(row["payload"])
    except ValueError:
        payload = {}
    if not row["job_type"]:
        name = payload.get("displayName") if isinstance(payload, dict) else None
        row["job_type"] = str(name or "Unknown")[:255]
    if not isinstance(payload, dict) or "args" not in payload:
        row["payload"] = json.dumps({"uuid": row["uuid"], "displayName": row["job_type"], "args": payload if isinstance(payload, dict) else {},
                                     "tenant_id": row["tenant_id"], "queue": row["queue"]})
    row["queue"] = row["queue"] if row["queue"] in QUEUES else "default"
    row["created_ms"] = row["created_ms"] or now
    return row


def requeue_many(run: Runner, upto: int, step: int) -> int:
    """Requeue the first `step` failed jobs with id <= upto; returns how many."""
    rows = run.all(f"DELETE FROM failed_jobs WHERE id IN ({_BATCH}) AND deleted_at IS NULL RETURNING {_KEPT}, id", upto=upto, step=step)
    names = [*_KEPT.split(", "), "id"]
    found = sorted((dict(zip(names, row, strict=True)) for row in rows), key=lambda r: r.pop("id"))
    for row in found:
        requeue(run, row)
    return len(found)


def bin_one(run: Runner, uuid: str) -> bool:
    """Put one failed job into the bin."""
    return bool(run.run("UPDATE failed_jobs SET deleted_at = :now WHERE uuid = :u AND deleted_at IS NULL", now=run.now(), u=uuid))


def bin_many(run: Runner, upto: int, step: int) -> int:
    """Put the first `step` failed jobs with id <= upto into the bin; returns how many."""
    return run.run(f"UPDATE failed_jobs SET deleted_at = :now WHERE id IN ({_BATCH}) AND deleted_at IS NULL", now=run.now(), upto=upto, step=step)


def run_now(run: Runner, uuid: str) -> bool:
    """A scheduled job becomes ready at once."""
    now = run.now()
    return bool(run.run(
        "UPDATE jobs SET state = 'pending', available_ms = :now, available_at = :now / 1000 WHERE uuid = :u AND state = 'scheduled'",
        now=now, u=uuid,
    ))


def cancel(run: Runner, uuid: str, store: str) -> str | None:
    """'cancelled' (a waiting row is gone, its outcome written), 'asked' (a running one), or None."""
    rows = run.all(f"DELETE FROM jobs WHERE uuid = :u AND state <> 'processing' RETURNING {COLUMNS}", u=uuid)
    if rows:
        job = Claim(*rows[0])
        job.reserved_ms = None  # no attempt ran under this outcome
        finish(run, job, "cancelled", run.now(), Outcome("cancelled"), store)
        return "cancelled"
    asked = run.run("UPDATE jobs SET cancel_requested = 1 WHERE uuid = :u AND state = 'processing'", u=uuid)
    return "asked" if asked else None
