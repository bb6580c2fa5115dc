"""The monitor's housekeeping: retention in small steps, stopped workers, blocked rows, files."""

from __future__ import annotations

import json
import logging
import stat
import time
from pathlib import Path

from app import registry
from app.ledger import worker_slots
from app.ledger.dialect import Connection
from app.ledger.rescue import unblock
from app.models.outcome_stats import KEEP_MINUTES_MS, KEEP_SECONDS_MS
from app.models.upload import UPLOAD_ID
from app.support.clock import DAY_MS, stamp
from app.support.messages import Message, to_json
from app.support.process import inside
from app.support.redaction import one_line

log = logging.getLogger(__name__)
STEP, MOST_STEPS = 500, 200
EXPIRED = Message("no monitor had this channel for 8 days")
KEEP_DAYS, KEEP_FAILED_DAYS, KEEP_BIN_DAYS, KEEP_STOPPED_DAYS = 32, 90, 7, 1
ORPHAN_S = 3600
KEEP_UNSENT_DAYS = 8

_NOT_FAILED = "('completed', 'cancelled', 'retried', 'lost', 'late')"
_EMPTY = f"COALESCE(stop_code, '') = '{worker_slots.EMPTY}'"  # a place that can be filled again
_OLD = (  # table, condition, days kept, and whether its time is text; STEP rows by id are deleted in a transaction
    ("job_metrics", f"completed_at < :old AND status IN {_NOT_FAILED}", KEEP_DAYS, True),
    ("job_metrics", "completed_at < :old", KEEP_FAILED_DAYS, True),
    ("job_logs", "at_ms < :old", KEEP_FAILED_DAYS, False),
    ("failed_jobs", "deleted_at IS NOT NULL AND deleted_at < :old", KEEP_BIN_DAYS, False),
    ("worker_heartbeats", f"status = 'stopped' AND stopped_ms < :old AND NOT {_EMPTY}", KEEP_STOPPED_DAYS, False),
    ("worker_heartbeats", "status = 'stopped' AND stopped_ms < :old", KEEP_DAYS, False),
    ("import_rejects", "uuid IN (SELECT uuid FROM import_runs WHERE touched_ms < :old)", KEEP_FAILED_DAYS, False),
)


def delete_old(connection: Connection) -> int:
    """Delete raw rows past their time (32 days; failed 90; bin 7; stopped workers 1); returns how many."""
    now, total = connection.now(), 0
    for table, condition, days, is_text in _OLD:
        old = now - days * DAY_MS
        rows = f"SELECT id FROM {table} WHERE {condition} LIMIT {STEP}"
        for _ in range(MOST_STEPS):
            with connection.transaction() as tx:
                done = tx.execute(f"DELETE FROM {table} WHERE id IN ({rows})", old=stamp(old) if is_text else old)
            total += done
            if done < STEP:
                break
    return total + _old_history(connection, now - KEEP_DAYS * DAY_MS, now - KEEP_FAILED_DAYS * DAY_MS)


def delete_old_minutes(connection: Connection) -> None:
    """Figures by the minute past 26 hours, incidents past 90 days and messages past 30; a message that no monitor could
    send for 8 days is given up, as the page says (what a channel refuses, the courier gives up after 7)."""
    now = connection.now()
    with connection.transaction() as tx:
        for table in ("job_minutes", "queue_minutes"):
            tx.execute(f"DELETE FROM {table} WHERE minute_ms < :old", old=now - KEEP_MINUTES_MS)
        tx.execute("DELETE FROM queue_seconds WHERE second_ms < :old", old=now - KEEP_SECONDS_MS)
        tx.execute("DELETE FROM alerts WHERE closed_ms < :old", old=now - KEEP_FAILED_DAYS * DAY_MS)
        tx.execute("UPDATE alert_messages SET state = 'expired', ended_ms = :now, "
                "error = :why, error_json = :json WHERE state IN ('waiting', 'sending') AND created_ms < :old",
                now=now, old=now - KEEP_UNSENT_DAYS * DAY_MS, why=EXPIRED, json=to_json(EXPIRED))
        tx.execute("DELETE FROM alert_messages WHERE ended_ms < :old", old=now - KEEP_DAYS * DAY_MS)


def _old_history(connection: Connection, old: int, old_failed: int) -> int:
    """Old rows of job_history, walking by id (which rises with the time) until the first that is young enough."""
    last, total = 0, 0
    for _ in range(MOST_STEPS):
        with connection.transaction() as tx:
            rows = tx.fetch_all(
                "SELECT h.id, h.status, h.finished_ms, f.id FROM job_history h LEFT JOIN failed_jobs f ON f.uuid = h.uuid "
                f"WHERE h.id > :last ORDER BY h.id LIMIT {STEP}", last=last,
            )
            gone = [r[0] for r in rows if r[2] < (old if r[1] in ("completed", "cancelled") else old_failed) and r[3] is None]
            tx.execute_many("DELETE FROM job_history WHERE id = :id", [{"id": id_} for id_ in gone])
        total += len(gone)
        if len(rows) < STEP or rows[-1][2] >= old:
            break
        last = rows[-1][0]
    return total


def unblock_fitting(connection: Connection) -> int:
    """Blocked rows whose type and arguments fit again become ready."""
    rows = connection.fetch_all("SELECT uuid, job_type, payload FROM jobs WHERE state = 'blocked' ORDER BY id LIMIT 1000")
    fitting = []
    for uuid, job_type, payload in rows:
        definition = registry.find(job_type)
        try:
            if definition is not None:
                definition.fit(json.loads(payload)["args"])
                fitting.append(uuid)
        except (registry.InvalidArguments, ValueError, KeyError):
            continue
    return unblock(connection, fitting) if fitting else 0


def sweep_uploads(connection: Connection, folder: Path) -> int:
    """Delete uploads whose job is final and out of the bin, and files that no row knows; returns how many."""
    removed = 0
    rows = connection.fetch_all(
        """SELECT id, job_uuid FROM uploads WHERE created_ms < :old
         AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.uuid = uploads.job_uuid)
         AND NOT EXISTS (SELECT 1 FROM failed_jobs WHERE failed_jobs.uuid = uploads.job_uuid)
         AND NOT EXISTS (SELECT 1 FROM job_history WHERE job_history.uuid = uploads.job_uuid AND finished_ms > :kept)""",
        old=connection.now() - ORPHAN_S * 1000, kept=connection.now() - KEEP_BIN_DAYS * DAY_MS,
    )
    for upload_id, owner in rows:
        with connection.transaction() as tx:  # a preview that was open for an hour may have given it to a job since
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
