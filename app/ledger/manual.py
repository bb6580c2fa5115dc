"""What people do to rows, some thousand at a time. Every statement is guarded, so an action that is sent twice, or by
two people at once, happens once.

Each function takes row ids and works in the caller's transaction. Rows that changed meanwhile are left out
of the number it returns; on PostgreSQL rows that another transaction holds are skipped, never waited for.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import NamedTuple

from app.config import QUEUES
from app.ledger.batch_counts import recount
from app.ledger.dialect import Connection, Executor
from app.ledger.fairness import assign_fair_ranks
from app.ledger.rows import HISTORY, METRIC, NEW_JOB, OF_A_ROUND, among, insert
from app.support.clock import DAY_MS, stamp
from app.support.messages import to_json
from app.support.validation import stored_object

_FOREIGN = """SELECT id, uuid, payload, tenant_id, queue FROM failed_jobs
 WHERE {where} AND (job_type IS NULL OR created_ms IS NULL)"""
_REQUEUE = insert(
    "jobs", [*NEW_JOB, *OF_A_ROUND, "has_children"], "(uuid) DO NOTHING RETURNING id, queue, tenant_id, job_type",
    "failed_jobs WHERE {where} ORDER BY id",
    queue=f"CASE WHEN queue IN {QUEUES} THEN queue ELSE 'default' END", state="'pending'", round="round + 1",
    attempts="0", failures="0", crashes="0", created_at="created_ms / 1000", available_at=":now / 1000",
    available_ms=":now", retry_until_ms=":until",
    has_children="CASE WHEN EXISTS (SELECT 1 FROM job_edges e WHERE e.parent_uuid = failed_jobs.uuid "
                 "AND e.is_open = 1) THEN 1 ELSE 0 END")
_CANCELLED = insert(
    "job_metrics", METRIC, "DO NOTHING", "jobs WHERE {where}", worker="NULL", status="'cancelled'", processing_time="0",
    wait_ms="{wait}", memory_used="NULL", error_message=":why", error_json=":why_json", metadata="NULL",
    started_at="NULL", completed_at=":at", created_at=":at", code_version="NULL", traceback="NULL")
_HISTORY = insert(
    "job_history", HISTORY, "(uuid) DO NOTHING", "jobs WHERE {where} ORDER BY id", status="'cancelled'", error=":why",
    error_json=":why_json", result="NULL", traceback="NULL", finished_ms=":now")
_WAIT = "CASE WHEN available_ms < :now THEN :now - available_ms ELSE 0 END"


def _mine(tx: Executor, table: str, ids: Sequence[int], condition: str) -> str:
    """A condition for the rows among `ids` that fit `condition` and that nobody else has locked; they are locked until
    the transaction ends."""
    wanted = f"{among(ids, 'j.id')} AND {condition}"
    return among(row[0] for row in tx.fetch_all(f"SELECT j.id FROM {table} j WHERE {wanted} ORDER BY j.id {{skip}}"))


def requeue(tx: Executor, ids: Sequence[int], fair: Collection[str]) -> list[str]:
    """Put failed jobs back into the ledger: same uuid, next round, attempt 1, ready at once; those of `fair` types get
    a fair rank (fairness.py). Returns the uuids."""
    now, where = tx.now(), _mine(tx, "failed_jobs", ids, "j.deleted_at IS NULL AND LENGTH(j.uuid) <= 36")
    for row in tx.fetch_all(_FOREIGN.format(where=where)):
        _complete(tx, *row, now=now)
    assign_fair_ranks(tx, tx.fetch_all(_REQUEUE.format(where=where), now=now, until=now + DAY_MS), fair)
    for table in ("job_history", "job_facts"):
        tx.execute(f"DELETE FROM {table} WHERE uuid IN (SELECT uuid FROM failed_jobs WHERE {where})")
    gone = tx.fetch_all(f"DELETE FROM failed_jobs WHERE {where} RETURNING uuid, batch_id")
    for batch_id in sorted({row[1] for row in gone if row[1]}):  # an open one too: its lock keeps it from closing
        tx.execute("UPDATE job_batches SET closed_ms = NULL, finished_at = NULL WHERE id = :b", b=batch_id)
    return [row[0] for row in gone]


def _complete(tx: Executor, id_: int, uuid: str, payload: str, tenant: str | None, queue: str, now: int) -> None:
    """Rows written by others lack our columns: the type is in the payload, the rest has defaults."""
    found = stored_object(payload)
    name = found.get("displayName")
    name = name[:255] if isinstance(name, str) and name else "Unknown"
    if "args" not in found:
        payload = json.dumps({"uuid": uuid, "displayName": name, "args": found, "tenant_id": tenant, "queue": queue})
    tx.execute("UPDATE failed_jobs SET job_type = COALESCE(job_type, :t), payload = :p, "
               "created_ms = COALESCE(created_ms, :now) WHERE id = :id", t=name, p=payload, now=now, id=id_)


def to_bin(tx: Executor, ids: Sequence[int]) -> int:
    """Failed jobs into the bin; returns how many."""
    return _change_bin(tx, ids, ":now", "IS NULL")


def restore(tx: Executor, ids: Sequence[int]) -> int:
    """Failed jobs out of the bin; returns how many."""
    return _change_bin(tx, ids, "NULL", "IS NOT NULL")


def _change_bin(tx: Executor, ids: Sequence[int], at: str, was: str) -> int:
    values = {"now": tx.now()} if at == ":now" else {}
    rows = tx.fetch_all(f"UPDATE failed_jobs SET deleted_at = {at} WHERE {among(ids)} AND deleted_at {was} "
                        "RETURNING batch_id", **values)
    recount(tx, [row[0] for row in rows])
    return len(rows)


def erase(tx: Executor, ids: Sequence[int]) -> int:
    """Delete failed jobs in the bin, with their history and log lines; figures stay. Returns how many."""
    binned = f"FROM failed_jobs WHERE {among(ids)} AND deleted_at IS NOT NULL"
    for table in ("job_history", "job_facts", "job_logs", "job_edges"):
        key = "child_uuid" if table == "job_edges" else "uuid"
        tx.execute(f"DELETE FROM {table} WHERE {key} IN (SELECT uuid {binned})")
    return tx.execute(f"DELETE {binned}")


def stop_at(tx: Executor, ids: Sequence[int], at: int) -> int:
    """Ask running jobs to stop; returns how many. After `at` (ms) the monitor may kill the workers of those that still
    run."""
    earliest = "CASE WHEN stop_ms < :at THEN stop_ms ELSE :at END"
    return tx.execute(f"UPDATE jobs SET cancel_requested = 1, stop_ms = {earliest} "
                      f"WHERE {among(ids)} AND state = 'processing'", at=at)


def run_now(tx: Executor, ids: Sequence[int]) -> int:
    """Scheduled jobs become ready at once; returns how many."""
    return tx.execute("UPDATE jobs SET state = 'pending', available_ms = :now, available_at = :now / 1000 "
                      f"WHERE {among(ids)} AND state = 'scheduled'", now=tx.now())


class Cancelled(NamedTuple):
    """Numbers of rows: `gone` were waiting and have their outcome; `asked` are running and were asked to stop
    (`due_to_stop`)."""

    gone: int
    asked: int


def cancel(tx: Executor, ids: Sequence[int], why: str | None = None) -> Cancelled:
    """End waiting rows and ask running ones to stop. Running ones are locked first: a settle locks its own row before
    those of its children."""
    asked = _ask_to_stop(tx, ids, "state = 'processing'", "{lock}")
    now, where = tx.now(), _mine(tx, "jobs", ids, "j.state <> 'processing'")
    values = {"now": now, "why": why, "why_json": to_json(why)}
    tx.execute(_CANCELLED.format(where=where, wait=_WAIT), at=stamp(now), **values)
    tx.execute(_HISTORY.format(where=where), **values)
    gone = tx.execute(f"DELETE FROM jobs WHERE {where}")
    asked += _ask_to_stop(tx, ids, "state = 'processing' AND j.cancel_requested = 0", "{skip}")  # claimed meanwhile
    return Cancelled(gone, asked)


def _ask_to_stop(tx: Executor, ids: Sequence[int], condition: str, lock: str) -> int:
    rows = tx.fetch_all(f"SELECT j.id FROM jobs j WHERE {among(ids, 'j.id')} AND j.{condition} ORDER BY j.id {lock}")
    found = among(row[0] for row in rows)
    return tx.execute(f"UPDATE jobs SET cancel_requested = 1 WHERE {found} AND state = 'processing'") if rows else 0


def due_to_stop(connection: Connection, grace_ms: int) -> set[int]:
    """Ids of running jobs that should have stopped by now. A cancel sets no time: the monitor adds `grace_ms` when it
    first reads the request, so that the GRACE of the instance counts and not that of somebody's shell."""
    now = connection.now()
    asked = connection.fetch_all("SELECT id, stop_ms FROM jobs WHERE state = 'processing' AND cancel_requested = 1")
    if new := [id_ for id_, at in asked if at is None]:
        with connection.transaction() as tx:
            tx.execute(f"UPDATE jobs SET stop_ms = :at WHERE {among(new)} AND state = 'processing' AND stop_ms IS NULL",
                       at=now + grace_ms)
    return {id_ for id_, at in asked if at is not None and at <= now}
