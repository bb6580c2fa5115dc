"""Reads the graph around some jobs: all their ancestors and descendants, with the facts that a drawing needs.

uuids (a job; the members of a batch) -> `walk`: up and down over job_edges, level by level, 500 keys a query, until
MOST_JOBS, MOST_EDGES or MOST_LEVELS -> `_facts` from jobs, failed_jobs and job_history -> Graph

The nearest jobs come first, so what is cut is the farthest; `Graph.cut` says that something was. A job whose rows were
erased is a node without a type. Costs grow with what is read, not with the size of the tables: each query goes through
an index of job_edges.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from sqlalchemy import select

from app.extensions import db
from app.ledger.dialect import SessionExecutor
from app.ledger.rows import among
from app.models import FINAL, JobBatch
from app.models.types import as_integer, as_text

STEP, MOST_JOBS, MOST_EDGES, MOST_LEVELS = 500, 12_000, 30_000, 500
_FACTS = (
    "SELECT uuid, job_type, status, NULL, NULL, NULL, NULL FROM job_history WHERE ",
    "SELECT uuid, job_type, CASE WHEN deleted_at IS NULL THEN status ELSE 'bin' END, NULL, NULL, NULL, NULL "
    "FROM failed_jobs WHERE ",
    "SELECT uuid, job_type, state, reserved_ms, available_ms, progress_done, progress_total FROM jobs WHERE ")


@dataclass(frozen=True, slots=True)
class Node:
    """A job of the graph. `state` is a live state, a final status, `bin` or `erased`; times are in ms; `share` is how
    much of it is done (0 to 1), None when it does not say."""

    uuid: str
    job_type: str | None
    state: str
    reserved_ms: int | None = None
    available_ms: int | None = None
    share: float | None = None

    @property
    def ended(self) -> bool:
        """Whether it has a final status."""
        return self.state in (*FINAL, "bin", "erased")


@dataclass(frozen=True)
class Graph:
    """Jobs by uuid; edges (parent, child) with whether the child still waits. `cut`: there is more than was read."""

    nodes: dict[str, Node]
    edges: dict[tuple[str, str], bool]
    cut: bool

    @property
    def open_edges(self) -> list[tuple[str, str]]:
        """The edges over which a child still waits."""
        return [edge for edge, is_open in self.edges.items() if is_open]


def around(uuid: str) -> Graph:
    """The graph of a job."""
    return walk([uuid])


def batch_name(batch_id: str) -> str | None:
    """The name of a batch; None when it is unknown."""
    return db.session.scalar(select(JobBatch.name).where(JobBatch.id == batch_id[:255]))


def of_batch(batch_id: str) -> Graph:
    """The graph of the members of a batch, with what they wait for and what waits for them."""
    tx, found = SessionExecutor(db.session), []
    for table in ("jobs", "job_history"):
        found += [row[0] for row in tx.fetch_all(
            f"SELECT uuid FROM {table} WHERE batch_id = :b ORDER BY id LIMIT {MOST_JOBS + 1}", b=batch_id)]
    members = list(dict.fromkeys(found))
    return walk(members[:MOST_JOBS], cut=len(members) > MOST_JOBS)


def before(uuids: list[str], most: int) -> Graph:
    """Some jobs and those that they still wait for, directly or through others: on these alone rests when they begin.
    With more than `most` it is cut."""
    return walk(uuids, before=most)


def parts(graph: Graph, groups: Mapping[str, Iterable[str]]) -> Iterator[tuple[str, Graph]]:
    """Out of a graph the jobs of each group with those that they still wait for."""
    above = defaultdict(list)
    for parent, child in graph.open_edges:
        above[child].append(parent)
    for name, uuids in groups.items():
        left, seen = [uuid for uuid in uuids if uuid in graph.nodes], {}
        while left:
            if (uuid := left.pop()) not in seen:
                seen[uuid] = graph.nodes[uuid]
                left += above[uuid]
        yield name, Graph(seen, {(parent, child): True for child in seen for parent in above[child]}, graph.cut)


def walk(seeds: list[str], cut: bool = False, before: int = 0) -> Graph:
    """The seeds with their ancestors and descendants, those of one level up and one level down before any farther. With
    `before` only that many, and only those that the seeds still wait for."""
    tx, edges, seen, most = SessionExecutor(db.session), {}, dict.fromkeys(seeds), before or MOST_JOBS
    ways = {mine: list(seeds) for mine in (("child_uuid",) if before else ("child_uuid", "parent_uuid"))}
    reached, which = {mine: set(seeds) for mine in ways}, "AND is_open = 1" if before else ""
    most_edges = MOST_EDGES * most // MOST_JOBS
    for depth in range(MOST_LEVELS + 1):
        for mine, level in ways.items():
            found = dict.fromkeys(
                _neighbours(tx, mine, level, edges, most_edges, which)) if depth < MOST_LEVELS else {}
            cut = cut or len(edges) > most_edges or bool(level and depth == MOST_LEVELS)
            ways[mine] = [uuid for uuid in found if uuid not in reached[mine]]
            reached[mine].update(found)
            seen |= dict.fromkeys(ways[mine])
        if cut or len(seen) > most or not any(ways.values()):
            break
    uuids = list(seen)[:most]
    nodes = {node.uuid: node for some in _chunks(uuids) for node in _facts(tx, some)}
    inside = {edge: is_open for edge, is_open in edges.items() if edge[0] in nodes and edge[1] in nodes}
    return Graph(nodes, inside, cut or len(seen) > most)


def _neighbours(tx: SessionExecutor, mine: str, level: list[str], edges: dict[tuple[str, str], bool], most: int,
                which: str) -> Iterator[str]:
    """The jobs at the other ends of the edges of `level`, which are added to `edges`, at most one more than the most.
    """
    other = 0 if mine == "child_uuid" else 1
    for some in _chunks(level):
        if len(edges) > most:
            return
        for parent, child, is_open in tx.fetch_all(
                f"SELECT parent_uuid, child_uuid, is_open FROM job_edges WHERE {among(some, mine)} {which} "
                f"LIMIT {most + 1}"):
            edges[parent, child] = bool(is_open)
            yield (parent, child)[other]


def _facts(tx: SessionExecutor, uuids: list[str]) -> Iterator[Node]:
    """The facts of some jobs, in their order; a live row is newer than a failed one, and that newer than the history.
    """
    found: dict[str, Node] = {}
    for statement in _FACTS:
        for uuid, job_type, state, *numbers in tx.fetch_all(statement + among(uuids, "uuid")):
            node = found[uuid] = Node(uuid, as_text(job_type), as_text(state))
            if node.state in ("processing", "scheduled"):  # of 10,000 jobs few
                reserved, available, done, total = map(as_integer, numbers)
                share = min(max(done / total, 0.0), 1.0) if done is not None and total else None
                found[uuid] = replace(node, reserved_ms=reserved, available_ms=available, share=share)
    return (found.get(uuid) or Node(uuid, None, "erased") for uuid in uuids)


def _chunks(uuids: Iterable[str]) -> Iterator[list[str]]:
    listed = list(uuids)
    for start in range(0, len(listed), STEP):
        yield listed[start : start + STEP]
