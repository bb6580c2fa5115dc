"""Dependencies: which jobs wait for which, and what happens to the children when a parent ends.

dispatch(after=...) -> `lock_parents` -> rows in state `waiting` with `waits` = open edges -> `add_edges`
parent completes -> `release_children`, in the transaction of its settle: each edge is closed once, `waits` falls, and
                    a row that waits for nothing more becomes ready
parent fails, is cancelled or deleted -> its children stay `waiting` until a person retries it, cancels them too
                    (`descendants`) or lets them run without it (`release_children`, `detach`)
A parent is read and marked in the transaction of the dispatch, so a job can only wait for jobs that exist: there is no
circle. Locks are taken in the order parent, then edges and children by id. What a crash leaves open, `repair` closes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from app.ledger.claimed_row import RESTING
from app.ledger.dialect import Connection, Executor
from app.ledger.rows import among, insert

_EDGE = insert("job_edges", ("parent_uuid", "child_uuid", "is_open"), "DO NOTHING")
_TREE = """WITH RECURSIVE tree(uuid) AS (SELECT child_uuid FROM job_edges WHERE {first} AND is_open = 1
 UNION SELECT e.child_uuid FROM job_edges e JOIN tree t ON e.parent_uuid = t.uuid WHERE e.is_open = 1)
 SELECT {columns} FROM tree t JOIN jobs j ON j.uuid = t.uuid ORDER BY j.id"""
_SOME = """WITH RECURSIVE tree(uuid) AS (SELECT child_uuid FROM (SELECT child_uuid FROM job_edges WHERE {first}
 AND is_open = 1 LIMIT {most}) f UNION SELECT e.child_uuid FROM job_edges e JOIN tree t ON e.parent_uuid = t.uuid
 WHERE e.is_open = 1) SELECT j.id FROM tree t JOIN jobs j ON j.uuid = t.uuid LIMIT {most}"""
_LOWER = """UPDATE jobs SET waits = CASE WHEN waits > :n THEN waits - :n ELSE 0 END,
 state = CASE WHEN state <> 'waiting' OR waits > :n THEN state WHEN available_ms > :now THEN 'scheduled'
 ELSE 'pending' END, available_ms = CASE WHEN available_ms < :now THEN :now ELSE available_ms END,
 retry_until_ms = retry_until_ms + CASE WHEN available_ms < :now THEN :now - available_ms ELSE 0 END
 WHERE id = :id"""
_STUCK = """SELECT DISTINCT e.parent_uuid FROM jobs c JOIN job_edges e ON e.child_uuid = c.uuid AND e.is_open = 1
 JOIN job_history h ON h.uuid = e.parent_uuid AND h.status = 'completed' WHERE c.waits > 0 AND c.state = 'waiting'"""
_OPEN = "(SELECT COUNT(*) FROM job_edges e WHERE e.child_uuid = jobs.uuid AND e.is_open = 1)"
_RECOUNT = f"UPDATE jobs SET waits = {_OPEN} WHERE state = 'waiting' AND waits <> {_OPEN}"
STEP = 500


class UnknownParents(LookupError):
    """Jobs to wait for that are not known; `uuids` names them."""

    def __init__(self, uuids: Sequence[str]) -> None:
        super().__init__(", ".join(uuids))
        self.uuids = list(uuids)


def lock_parents(tx: Executor, uuids: Collection[str], running: str | None = None) -> dict[str, bool]:
    """{uuid: whether a child has to wait for it} of the parents of new rows, which are marked and locked.

    A completed parent is not waited for; one that failed or was cancelled is, as a person may retry it. `running` is
    the job whose own code calls: its row is not written, because its worker writes it all the while.
    Raises UnknownParents.
    """
    wanted, found = sorted(set(uuids)), {}
    for start in range(0, len(wanted), STEP):
        some = wanted[start : start + STEP]
        # A failed parent that a person retries just now is waited for, and then found in jobs.
        tx.fetch_all(f"SELECT j.id FROM failed_jobs j WHERE {among(some, 'j.uuid')} ORDER BY j.id {{lock}}")
        ids = tx.fetch_all(f"SELECT id, uuid FROM jobs WHERE {among(some, 'uuid')} ORDER BY id")
        tx.execute_many("UPDATE jobs SET has_children = 1 WHERE id = :id",
                        [{"id": id_} for id_, uuid in ids if uuid != running])
        live = {row[0] for row in tx.fetch_all(f"SELECT uuid FROM jobs WHERE {among(some, 'uuid')}")}
        ended = dict(tx.fetch_all(f"SELECT uuid, status FROM job_history WHERE {among(some, 'uuid')}"))
        found |= {uuid: uuid in live or ended[uuid] != "completed" for uuid in some if uuid in live or uuid in ended}
    if unknown := [uuid for uuid in wanted if uuid not in found]:
        raise UnknownParents(unknown)
    return found


def add_edges(tx: Executor, edges: Iterable[tuple[str, str, bool]]) -> None:
    """Write edges (parent, child, whether it is open)."""
    tx.execute_many(_EDGE, [{"parent_uuid": parent, "child_uuid": child, "is_open": int(is_open)}
                            for parent, child, is_open in edges])


def wait_for(tx: Executor, child: str, fence: dict[str, object], fence_sql: str, uuids: Collection[str]) -> int:
    """Make a running job wait for others, which it has dispatched; returns for how many. Its row becomes `waiting`
    when its worker parks it. Raises UnknownParents, and ValueError when one of them waits for this job."""
    found = lock_parents(tx, uuids)
    circle = {child, *(row[0] for row in descendants(tx, [child], "j.uuid"))}.intersection(found)
    if circle:
        raise ValueError(", ".join(sorted(circle)))
    add_edges(tx, [(parent, child, is_open) for parent, is_open in found.items()])
    if waits := sum(found.values()):  # else the job goes on: a lock on its row would stop its own progress
        tx.execute(f"UPDATE jobs SET waits = {_OPEN} WHERE {fence_sql}", **fence)
    return waits


def release_children(tx: Executor, parents: Sequence[str]) -> int:
    """Close the open edges of these parents; children that wait for nothing more become ready. Returns how many edges
    were closed."""
    edges = tx.fetch_all("SELECT child_uuid, COUNT(*) FROM job_edges WHERE is_open = 1 AND "
                         f"{among(parents, 'parent_uuid')} GROUP BY child_uuid")
    if not edges:
        return 0
    lowered, now, children = dict(edges), tx.now(), sorted(uuid for uuid, _n in edges)
    rows: list[tuple] = []
    for start in range(0, len(children), STEP):  # the lock of a child comes before that of its edge
        rows += tx.fetch_all(f"SELECT j.id, j.uuid FROM jobs j WHERE {among(children[start : start + STEP], 'j.uuid')} "
                             "ORDER BY j.id {lock}")
    # Who has closed an edge meanwhile has lowered its child too.
    open_now = dict(tx.fetch_all("SELECT child_uuid, COUNT(*) FROM job_edges WHERE is_open = 1 AND "
                                 f"{among(parents, 'parent_uuid')} GROUP BY child_uuid"))
    tx.execute(f"UPDATE job_edges SET is_open = 0 WHERE is_open = 1 AND {among(parents, 'parent_uuid')}")
    tx.execute_many(_LOWER, [{"id": id_, "n": open_now[uuid], "now": now} for id_, uuid in sorted(rows)
                             if uuid in open_now])
    return sum(lowered.values())


def detach(tx: Executor, ids: Sequence[int]) -> int:
    """Waiting rows run without what they wait for; returns how many."""
    now, rows = tx.now(), tx.fetch_all(
        f"SELECT j.id, j.uuid FROM jobs j WHERE {among(ids, 'j.id')} AND j.state = 'waiting' ORDER BY j.id {{skip}}")
    found = [row[0] for row in rows]
    tx.execute(f"UPDATE job_edges SET is_open = 0 WHERE {among([row[1] for row in rows], 'child_uuid')}")
    tx.execute_many(_LOWER, [{"id": id_, "n": 2**31 - 1, "now": now} for id_ in found])
    return len(found)


def descendants(tx: Executor, uuids: Sequence[str], columns: str = "j.id") -> list[tuple]:
    """Live jobs that wait for these jobs, directly or through others: rows of `columns` (alias j), by id."""
    return tx.fetch_all(_TREE.format(first=among(uuids, "parent_uuid"), columns=columns))


def descendants_up_to(tx: Executor, uuids: Sequence[str], most: int) -> list[int]:
    """The ids of at most `most` of `descendants`, in no order: the others are not read (600,000 took 0.9 s)."""
    return [row[0] for row in tx.fetch_all(_SOME.format(first=among(uuids, "parent_uuid"), most=most))]


def repair(connection: Connection) -> int:
    """Release the children that wait for completed parents only, and count again what does not add up; returns the
    number of parents. For the monitor: a process may have died between two of its transactions."""
    parents = [row[0] for row in connection.fetch_all(f"{_STUCK} LIMIT {STEP}")]
    for parent in parents:
        with connection.transaction() as tx:
            release_children(tx, [parent])
    if connection.fetch_all(f"SELECT 1 FROM jobs WHERE state = 'waiting' AND (waits <> {_OPEN} OR waits = 0) LIMIT 1"):
        with connection.transaction() as tx:
            tx.execute(_RECOUNT)
            tx.execute(f"UPDATE jobs SET state = {RESTING} WHERE state = 'waiting' AND waits = 0", now=tx.now())
    return len(parents)
