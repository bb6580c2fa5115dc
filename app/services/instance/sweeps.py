"""Deletes rows of the monitor's and the log's own tables whose subject is gone or old, in windows of bounded size.

job_facts -> 20,000 rows a call, in turn: those without their row of job_history, which another program has deleted
audit_jobs -> after 7 days without what an undo needs; deleted after 90 days, unless the job is still there
The places where the next call goes on stand in `meta` (KEY); with a damaged value it begins at the first row.
"""

from __future__ import annotations

from app.ledger import counts
from app.ledger.dialect import Connection
from app.services.audit import UNDO_DAYS
from app.support.clock import DAY_MS

KEY, WINDOW, STEP, MOST_STEPS = "sweeps", 20_000, 500, 50
_WITHOUT = "NOT EXISTS (SELECT 1 FROM job_history h WHERE h.id = {}.id)"
_FACTS = f"""SELECT f.id, CASE WHEN {_WITHOUT.format('f')} THEN 1 ELSE 0 END FROM job_facts f WHERE f.id > :last
 ORDER BY f.id LIMIT {WINDOW}"""
_NEWEST = "SELECT id FROM audit WHERE at_ms < :old ORDER BY id DESC LIMIT 1"
_NOTES = f"""SELECT a.audit_id, a.uuid FROM audit_jobs a WHERE (a.audit_id, a.uuid) > (:id, :uuid)
 AND a.audit_id <= :newest AND {{}} ORDER BY a.audit_id, a.uuid LIMIT {STEP}"""
_GONE = " AND ".join(f"NOT EXISTS (SELECT 1 FROM {table} r WHERE r.uuid = a.uuid)" for table in ("jobs", "job_history"))


def sweep(connection: Connection, keep_days: int) -> int:
    """One window of facts, and what is old in audit_jobs, which are deleted after `keep_days`; returns how many rows
    were deleted."""
    kept = counts.load(connection, KEY)
    places = kept[0] if kept and isinstance(kept[0], dict) else {}
    facts, undo = (at if type(at := places.get(name)) is int else 0 for name in ("facts", "undo"))
    total, facts = _facts(connection, facts)
    now = connection.now()
    _done, undo = _notes(connection, now - UNDO_DAYS * DAY_MS, undo, "UPDATE audit_jobs SET was = NULL",
                         "a.was IS NOT NULL")
    gone, _last = _notes(connection, now - keep_days * DAY_MS, 0, "DELETE FROM audit_jobs", _GONE)
    if places != (places := {"facts": facts, "undo": undo}):
        with connection.transaction() as tx:
            counts.save(tx, KEY, places)
    return total + gone


def _facts(connection: Connection, last: int) -> tuple[int, int]:
    """(deleted facts, the id after which the next call looks)."""
    rows = connection.fetch_all(_FACTS, last=last)
    if gone := [{"id": id_} for id_, without in rows if without]:
        with connection.transaction() as tx:
            tx.execute_many("DELETE FROM job_facts WHERE id = :id AND " + _WITHOUT.format("job_facts"), gone)
    return len(gone), rows[-1][0] if len(rows) == WINDOW else 0


def _notes(connection: Connection, old: int, start: int, change: str, which: str) -> tuple[int, int]:
    """Change the rows of entries before `old` (ms) and after the id `start`; (how many, the id until which all are
    changed)."""
    newest = connection.fetch_all(_NEWEST, old=old)
    total, last = 0, {"id": start, "uuid": "g"}  # follows every uuid
    for _ in range(MOST_STEPS if newest else 0):
        rows = connection.fetch_all(_NOTES.format(which), newest=newest[0][0], **last)
        if rows:
            with connection.transaction() as tx:
                tx.execute_many(f"{change} WHERE audit_id = :id AND uuid = :uuid",
                                [{"id": id_, "uuid": uuid} for id_, uuid in rows])
        total += len(rows)
        if len(rows) < STEP:
            return total, max(newest[0][0], start)
        last = {"id": rows[-1][0], "uuid": rows[-1][1]}
    return total, max(last["id"] - 1, start)
