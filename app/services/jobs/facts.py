"""Copies facts of finished jobs, and the groups of their errors, into tables with the indexes that lists need.

job_history (one row a finished job) -> `advance` (the monitor, each second, in the order of the ids) -> job_facts,
error_groups, the watermark `facts_reach`, and where the ids are out of order (history_order.py). So a settle pays for
none of these indexes, rows of older versions and of other programs get theirs, and pages are up to a second old. A
retry by hand deletes the row with that of job_history; retention sweeps what another program left. A row that was
changed is copied again (`copy`, from search_index.py). A type that writes random words into its messages gets
MOST_KINDS groups; its further kinds are grouped by the class of the exception, and once there are MOST_GROUPS of the
type, all in one group, OTHERS.
"""

from __future__ import annotations

from app.ledger import watermark
from app.ledger.dialect import Connection, Executor
from app.ledger.rows import among, insert, replacing
from app.models.types import as_integer, as_text
from app.services.jobs import history_order
from app.support.error_kinds import GAP, group_of, head_of
from app.support.messages import Message, to_json

KEY = "facts_reach"
FAILURES = ("failed", "timeout")
MOST_KINDS, MOST_GROUPS = 200, 250  # groups of a type: by message; with those by class
OTHERS = Message("Errors of further kinds")
# Locked: a job that is retried meanwhile gets no facts, and one with another outcome gets them again.
_READ = """SELECT j.id, uuid, job_type, tenant_id, status, finished_ms, attempts, claim_no, error, error_json
 FROM job_history j WHERE {ids} ORDER BY j.id {{lock}}"""
_COPIED = "uuid job_type tenant_id status finished_ms attempts"
_MEASURED = "lost worker code_version wait_ms run_ms memory error_group"
_WRITE = insert("job_facts", f"id {_COPIED} {_MEASURED}".split(), f"(id) {replacing(f'{_COPIED} {_MEASURED}')}")
_ATTEMPTS = """SELECT uuid, claim_no, status, worker, code_version, wait_ms, processing_time, memory_used
 FROM job_metrics WHERE status <> 'late' AND """
_GROUP = insert("error_groups", "error_group job_type title error error_json first_ms last_ms".split(),
                """(error_group) DO UPDATE SET
 error = CASE WHEN excluded.last_ms < error_groups.last_ms THEN error_groups.error ELSE excluded.error END, error_json =
 CASE WHEN excluded.last_ms < error_groups.last_ms THEN error_groups.error_json ELSE excluded.error_json END,
 first_ms = CASE WHEN excluded.first_ms < error_groups.first_ms THEN excluded.first_ms ELSE error_groups.first_ms END,
 last_ms = CASE WHEN excluded.last_ms > error_groups.last_ms THEN excluded.last_ms ELSE error_groups.last_ms END""")


def advance(connection: Connection, steps: int = 5) -> int:
    """Copy the facts of the next finished jobs, at most 2,000 a step; returns how many."""
    history_order.seed(connection)
    return watermark.advance(connection, KEY, "job_history", "id", lambda rows, _now: [row[0] for row in rows],
                             lambda tx, ids: history_order.note(tx, copy(tx, ids)), steps)


def copy(tx: Executor, ids: list[int]) -> list[tuple[int, int]]:
    """Write the facts of these rows of job_history, in the open transaction, in place of those that they had; returns
    ids and finishing times, in their order."""
    rows = tx.fetch_all(_READ.format(ids=among(ids, "j.id")))
    facts, groups, group_for = [], {}, _Groups(tx, [(as_text(row[2]), as_text(row[4]), *row[8:]) for row in rows])
    attempts = _attempts(tx, [as_text(row[1]) or "" for row in rows])
    for id_, *texts, finished, tried, claim_no, error, stored in rows:
        uuid, job_type, tenant, status = map(as_text, texts)
        finished, group = as_integer(finished, 0), None
        if status in FAILURES:
            error, stored = as_text(error) or "", as_text(stored)
            group, title = group_for(job_type or "", error, stored)
            first = groups.get(group, (finished,))[0]
            groups[group] = (min(first, finished), job_type or "", title, error, stored, finished)
        lost, last = attempts.get(uuid, (0, {}))
        facts.append((id_, uuid, job_type, tenant, status, finished, as_integer(tried, 0), lost,
                      *last.get((as_integer(claim_no), status), (None,) * 5), group))
    tx.execute_many(_WRITE, facts)
    tx.execute_many(_GROUP, [(key, job_type, title, error, stored, first, last)
                             for key, (first, job_type, title, error, stored, last) in sorted(groups.items())])
    return [(row[0], row[5]) for row in facts]


class _Groups:
    """Chooses the group of each failure among `rows` (type, status, error, its JSON)."""

    def __init__(self, tx: Executor, rows: list[tuple]) -> None:
        self.wanted = {given: group_of(*given) for given in {
            (job_type or "", as_text(error) or "", as_text(stored)) for job_type, status, error, stored in rows
            if status in FAILURES}}
        keys = sorted({key for key, _title in self.wanted.values()})
        self.known = {as_text(row[0]) for start in range(0, len(keys), 500) for row in tx.fetch_all(
            "SELECT error_group FROM error_groups WHERE " + among(keys[start:start + 500], "error_group"))}
        self.counts: dict[str, int] = {}
        for job_type in {given[0] for given, (key, _title) in self.wanted.items() if key not in self.known}:
            of_type = tx.fetch_all("SELECT error_group FROM error_groups WHERE job_type = :t", t=job_type)
            self.known |= {as_text(row[0]) for row in of_type}
            self.counts[job_type] = len(of_type)

    def __call__(self, job_type: str, error: str, stored: str | None) -> tuple[str, str]:
        """(key, title)."""
        group = self.wanted[job_type, error, stored]
        if group[0] not in self.known and self.counts[job_type] >= MOST_KINDS:
            head = head_of(error)
            group = group_of(job_type, f"{head}: {GAP}" if head else "")
            if not head or group[0] not in self.known and self.counts[job_type] >= MOST_GROUPS:
                group = group_of(job_type, OTHERS, to_json(OTHERS))
        if group[0] not in self.known:
            self.known.add(group[0])
            self.counts[job_type] += 1
        return group


def _attempts(tx: Executor, uuids: list[str]) -> dict[str, tuple[int, dict]]:
    """{uuid: (lost attempts, {(claim_no, status): worker, code version, wait, run time, peak of memory})}."""
    found: dict[str, tuple[int, dict]] = {}
    for start in range(0, len(uuids), 500):
        for row in tx.fetch_all(_ATTEMPTS + among(uuids[start:start + 500], "uuid")):
            uuid, status = as_text(row[0]) or "", as_text(row[2])
            lost, last = found.get(uuid, (0, {}))
            last[as_integer(row[1]), status] = (as_text(row[3]), as_text(row[4]), *map(as_integer, row[5:]))
            found[uuid] = (lost + (status == "lost"), last)
    return found
