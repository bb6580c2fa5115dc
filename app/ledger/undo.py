"""The rows of an action before and after it, and how it is taken back.

action -> `locked` (the rows as they are) -> the change -> `snapshot` -> audit_jobs, in the same transaction (what has
          changed: services/jobs/touched.py)
undo   -> `put_back`: the rows that are still as the action left them, each as it was
A row that another transaction holds is neither changed nor put back, and one that a later action names is not put back.
An action that was taken back itself, and an undo, do not count as later ones. Seats are not compared: the moves of
neighbours change them. Resting states (ready, for its time, for other jobs) count as one: they follow from the time and
from the jobs before.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from app.ledger.claimed_row import RESTING
from app.ledger.dialect import Executor
from app.ledger.rows import among
from app.support.validation import stored_object

_HELD, _AT = ("state", "hold_code", "reason", "reason_json"), ("available_ms", "available_at")
# action: the columns that an undo writes, and those that it compares with what the action left
PUT_BACK = {"move": (("queue", "rank", "seat"), ("queue", "rank")), "top": (("rank", "seat"), ("queue", "rank")),
            "hold": (_HELD, ("hold_code",)), "release": (_HELD, ("hold_code",)),
            "delay": ((*_HELD, *_AT), ("available_ms", "hold_code"))}
OF_BIN = ("delete", "restore")
UNDOABLE = (*PUT_BACK, *OF_BIN, "place")  # `was` of such an entry is NULL once it is taken back
_LATER = f"""SELECT DISTINCT n.uuid FROM audit_jobs n JOIN audit a ON a.id = n.audit_id WHERE {{uuids}}
 AND n.audit_id > :entry AND (n.was IS NOT NULL OR a.action NOT IN {(*UNDOABLE, "undo", "undo place")})"""
COLUMNS = {"jobs": ("state", "queue", "rank", "seat", "hold_code", "reason", "reason_json", "available_ms",
                    "available_at", "claim_no", "cancel_requested"), "failed_jobs": ("deleted_at",)}
_RESTS = ("pending", "scheduled", "waiting")
_WRITE = "UPDATE jobs SET {columns} WHERE id = :id AND state <> 'processing'"
_BACK_TO_REST = f"UPDATE jobs SET state = {RESTING} WHERE {{ids}} AND state IN {_RESTS}"
Row = dict[str, Any]


def snapshot(tx: Executor, table: str, ids: Sequence[int], lock: str = "", condition: str = "1 = 1") -> dict[int, Row]:
    """The rows of `jobs` or `failed_jobs` among `ids`, by id, with the columns that actions change."""
    names = ("uuid", *COLUMNS[table])
    rows = tx.fetch_all(f"SELECT j.id, {', '.join(f'j.{name}' for name in names)} FROM {table} j "
                        f"WHERE {among(ids, 'j.id')} AND {condition} ORDER BY j.id {lock}")
    return {row[0]: dict(zip(names, row[1:], strict=True)) for row in rows}


def locked(tx: Executor, table: str, ids: Sequence[int], running: bool) -> dict[int, Row]:
    """As `snapshot`, locked. With `running` (a cancel) the running ones first, and waited for: a settle locks its own
    row before those of its children."""
    first = snapshot(tx, table, ids, "{lock}", "j.state = 'processing'") if running else {}
    return first | snapshot(tx, table, ids, "{skip}", "j.state <> 'processing'" if running else "1 = 1")


def acted_on(tx: Executor, entry: int, uuids: Collection[str]) -> set[str]:
    """The jobs that a later entry of the log names. Their rows are locked: who changes one writes its entry first."""
    return {uuid for (uuid,) in tx.fetch_all(_LATER.format(uuids=among(uuids, "n.uuid")), entry=entry)}


def put_back(tx: Executor, entry: int, action: str, kept: Mapping[str, str]) -> list[str]:
    """Make those rows as they were (JSON of touched.py by uuid) that are as the action left them; returns their uuids.
    For an action of PUT_BACK; the bin is that of manual.py."""
    written, compared = PUT_BACK[action]
    ids = [row[0] for row in tx.fetch_all(f"SELECT id FROM jobs WHERE {among(kept, 'uuid')}")]
    rows, done, values = snapshot(tx, "jobs", ids, "{skip}"), [], []
    later = acted_on(tx, entry, kept)
    for id_, row in rows.items():
        was = stored_object(kept[row["uuid"]])
        left = was.get("left")
        as_left = row["uuid"] not in later and isinstance(left, dict) and all(
            left.get(name) == row[name] for name in (*compared, "claim_no"))
        rests = row["state"] in _RESTS or action in ("move", "top") and row["state"] != "processing"
        if as_left and (row["state"] == "held" if action == "hold" else rests) and all(n in was for n in written):
            done.append(row["uuid"])
            values.append({name: was[name] for name in written} | {"id": id_})
    tx.execute_many(_WRITE.format(columns=", ".join(f"{name} = :{name}" for name in written)), values)
    tx.execute(_BACK_TO_REST.format(ids=among(row["id"] for row in values)), now=tx.now())
    return done
