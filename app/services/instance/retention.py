"""The monitor's housekeeping: deletes old rows and files in small steps, and unblocks jobs."""

from __future__ import annotations

import json
import logging
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from app import registry
from app.ledger import limits, worker_slots
from app.ledger.dialect import Connection
from app.ledger.rescue import unblock
from app.ledger.rows import among
from app.models import UPLOAD_ID
from app.models.outcome_stats import KEEP_MINUTES_MS, KEEP_SECONDS_MS
from app.services.instance import sweeps
from app.support.clock import DAY_MS, stamp
from app.support.messages import Message, to_json
from app.support.process import inside
from app.support.redaction import one_line

log = logging.getLogger(__name__)
STEP, MOST_STEPS = 500, 200
EXPIRED = Message("no monitor had this channel for 8 days")
UNSENT = Message("no monitor could send it for 30 days: SMTP_URL, or its channel, was not set")
KEEP_DAYS, KEEP_FAILED_DAYS, KEEP_BIN_DAYS, KEEP_STOPPED_DAYS = 32, 90, 7, 1
ORPHAN_S = 3600
KEEP_UNSENT_DAYS, KEEP_MAIL_DAYS, KEEP_NOTICE_DAYS = 8, 30, 7
KEEP_USAGE_DAYS = 400  # a year, and the month before it

_NEEDED = "SELECT e.parent_uuid FROM job_edges e JOIN jobs c ON c.uuid = e.child_uuid WHERE "
_NOT_FAILED = "('completed', 'cancelled', 'retried', 'lost', 'late', 'released')"
_EMPTY = f"COALESCE(stop_code, '') = '{worker_slots.EMPTY}'"  # a worker's place that can be filled again
_OLD = (  # table, condition, days kept, whether its time is text
    ("job_metrics", f"completed_at < :old AND status IN {_NOT_FAILED}", KEEP_DAYS, True),
    ("job_metrics", "completed_at < :old", KEEP_FAILED_DAYS, True),
    ("job_logs", "at_ms < :old", KEEP_FAILED_DAYS, False),
    ("failed_jobs", "deleted_at IS NOT NULL AND deleted_at < :old", KEEP_BIN_DAYS, False),
    ("worker_heartbeats", f"status = 'stopped' AND stopped_ms < :old AND NOT {_EMPTY}", KEEP_STOPPED_DAYS, False),
    ("worker_heartbeats", "status = 'stopped' AND stopped_ms < :old", KEEP_DAYS, False),
    ("job_batches", "closed_ms < :old AND " + " AND ".join(  # its members name it as long as they are kept
        f"NOT EXISTS (SELECT 1 FROM {table} m WHERE m.batch_id = job_batches.id)"
        for table in ("jobs", "job_history", "failed_jobs")), KEEP_FAILED_DAYS, False),
    ("saved_views", "created_ms < :old AND owner <> '' AND owner NOT IN (SELECT email FROM users) AND id NOT IN "
     "(SELECT view_id FROM alert_rules WHERE view_id IS NOT NULL)", KEEP_STOPPED_DAYS, False),  # nobody sees it
    ("reports", "created_ms < :old", KEEP_USAGE_DAYS, False),
    ("mails", "ended_ms < :old", KEEP_MAIL_DAYS, False),
    ("sync_actions", "at_ms < :old", KEEP_FAILED_DAYS, False),
    ("import_rejects", "uuid IN (SELECT uuid FROM import_runs WHERE touched_ms < :old)", KEEP_FAILED_DAYS, False))


def delete_old(connection: Connection) -> int:
    """Delete old rows: outcomes after 32 days, failures after 90, the bin after 7, stopped workers after 1, sent
    mails after 30, reports after 400; returns how many."""
    now, total = connection.now(), 0
    for table, condition, days, is_text in _OLD:
        old = now - days * DAY_MS
        total += delete_in_steps(connection, table, condition, MOST_STEPS, STEP, old=stamp(old) if is_text else old)
    total += sweeps.sweep(connection, KEEP_FAILED_DAYS)
    return total + _old_history(connection, now - KEEP_DAYS * DAY_MS, now - KEEP_FAILED_DAYS * DAY_MS)


def delete_in_steps(connection: Connection, table: str, condition: str, steps: int, step: int, **params: Any) -> int:
    """Delete the matching rows of a table, `step` rows a transaction, at most `steps` transactions; returns how many.

    `condition` is SQL with `params`; the table has a column `id`.
    """
    total, rows = 0, f"SELECT id FROM {table} WHERE {condition} LIMIT {step}"
    for _ in range(steps):
        with connection.transaction() as tx:
            done = tx.execute(f"DELETE FROM {table} WHERE id IN ({rows})", **params)
        total += done
        if done < step:
            break
    return total


def delete_old_minutes(connection: Connection) -> None:
    """Delete figures by the second after 15 minutes and by the minute after 26 hours (of workers and of the machine
    after 32 days), hours of use after 400 days, incidents and groups of errors without jobs after 90 days, alert
    messages after 32 days, and notices of browsers after 7.

    A mail that could not be sent for 30 days is given up, with the last reason. A message that no monitor could send
    for 8 days expires, as the page says. One that its channel refuses expires after 7 days, in
    app/services/alerts/delivery.py.
    """
    now = connection.now()
    with connection.transaction() as tx:
        limits.forget_old_starts(tx)
        for table in ("job_minutes", "queue_minutes"):
            tx.execute(f"DELETE FROM {table} WHERE minute_ms < :old", old=now - KEEP_MINUTES_MS)
        for table in ("worker_minutes", "machine_minutes"):
            tx.execute(f"DELETE FROM {table} WHERE minute_ms < :old", old=now - KEEP_DAYS * DAY_MS)
        tx.execute("DELETE FROM usage_hours WHERE hour < :old", old=now - KEEP_USAGE_DAYS * DAY_MS)
        tx.execute("DELETE FROM queue_seconds WHERE second_ms < :old", old=now - KEEP_SECONDS_MS)
        tx.execute("DELETE FROM notices WHERE created_ms < :old", old=now - KEEP_NOTICE_DAYS * DAY_MS)
        tx.execute("DELETE FROM alerts WHERE closed_ms < :old", old=now - KEEP_FAILED_DAYS * DAY_MS)
        tx.execute("DELETE FROM error_groups WHERE last_ms < :old AND NOT EXISTS (SELECT 1 FROM job_facts f "
                   "WHERE f.error_group = error_groups.error_group)", old=now - KEEP_FAILED_DAYS * DAY_MS)
        tx.execute("UPDATE alert_messages SET state = 'expired', ended_ms = :now, error = :why, error_json = :json "
                   "WHERE state IN ('waiting', 'sending') AND created_ms < :old",
                   now=now, old=now - KEEP_UNSENT_DAYS * DAY_MS, why=EXPIRED, json=to_json(EXPIRED))
        tx.execute("UPDATE mails SET state = 'dropped', ended_ms = :now, error = COALESCE(error, :why), error_json = "
                   "CASE WHEN error IS NULL THEN :json ELSE error_json END WHERE state IN ('waiting', 'sending') "
                   "AND created_ms < :old",
                   now=now, old=now - KEEP_MAIL_DAYS * DAY_MS, why=UNSENT, json=to_json(UNSENT))
        tx.execute("DELETE FROM alert_messages WHERE ended_ms < :old", old=now - KEEP_DAYS * DAY_MS)


def _old_history(connection: Connection, old: int, old_failed: int) -> int:
    """Delete old rows of job_history, in the order of ids, which rise with the time, up to the first younger row."""
    last, total = 0, 0
    for _ in range(MOST_STEPS):
        with connection.transaction() as tx:
            rows = tx.fetch_all(
                "SELECT h.id, h.status, h.finished_ms, f.id, h.uuid FROM job_history h "
                f"LEFT JOIN failed_jobs f ON f.uuid = h.uuid WHERE h.id > :last ORDER BY h.id LIMIT {STEP}", last=last)
            gone = [{"id": id_, "u": uuid} for id_, status, finished, failed, uuid in rows
                    if failed is None and finished < (old if status in ("completed", "cancelled") else old_failed)]
            of_parents = among([row["u"] for row in gone], "e.parent_uuid")
            needed = {row[0] for row in tx.fetch_all(_NEEDED + of_parents)}
            gone = [row for row in gone if row["u"] not in needed]
            tx.execute_many("DELETE FROM job_edges WHERE child_uuid = :u", gone)
            tx.execute_many("DELETE FROM job_history WHERE id = :id", gone)
            tx.execute_many("DELETE FROM job_facts WHERE id = :id", gone)
        total += len(gone)
        if len(rows) < STEP or rows[-1][2] >= old:
            break
        last = rows[-1][0]
    return total


def unblock_fitting(connection: Connection) -> int:
    """Make blocked rows ready whose type and arguments fit again, of the first 1,000; returns how many."""
    query = "SELECT uuid, job_type, payload FROM jobs WHERE state = 'blocked' ORDER BY id LIMIT 1000"
    rows, fitting = connection.fetch_all(query), []
    for uuid, job_type, payload in rows:
        definition = registry.find(job_type)
        if definition is not None:
            with suppress(registry.InvalidArguments, ValueError, KeyError):
                definition.fit(json.loads(payload)["args"])
                fitting.append(uuid)
    return unblock(connection, fitting) if fitting else 0


def sweep_uploads(connection: Connection, folder: Path) -> int:
    """Delete uploads whose job is final and out of the bin, and files without a row; returns how many."""
    removed = 0
    rows = connection.fetch_all(
        """SELECT id, job_uuid FROM uploads WHERE created_ms < :old
         AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.uuid = uploads.job_uuid)
         AND NOT EXISTS (SELECT 1 FROM failed_jobs WHERE failed_jobs.uuid = uploads.job_uuid)
         AND NOT EXISTS (SELECT 1 FROM job_history h WHERE h.uuid = uploads.job_uuid AND h.finished_ms > :kept)""",
        old=connection.now() - ORPHAN_S * 1000, kept=connection.now() - KEEP_BIN_DAYS * DAY_MS)
    for upload_id, owner in rows:
        with connection.transaction() as tx:
            # A preview that was open for an hour may have given the upload to a job since: then it has another owner.
            sql = "DELETE FROM uploads WHERE id = :id AND COALESCE(job_uuid, '') = :owner"
            gone = tx.execute(sql, id=upload_id, owner=owner or "")
        if not gone:
            continue
        path = inside(folder, upload_id) if UPLOAD_ID.fullmatch(upload_id) else None
        if path is None:
            named = one_line(repr(upload_id), 100)
            log.warning("a row of uploads names no file of ours (%s): only the row is deleted", named)
        elif not path.is_dir():
            path.unlink(missing_ok=True)
        removed += 1
    for path in folder.glob("up_*") if folder.is_dir() else ():
        found = path.lstat()
        old = not stat.S_ISDIR(found.st_mode) and time.time() - found.st_mtime > ORPHAN_S
        if old and not connection.fetch_all("SELECT 1 FROM uploads WHERE id = :id", id=path.name):
            path.unlink(missing_ok=True)
            removed += 1
    return removed
