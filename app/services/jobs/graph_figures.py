"""What a graph of jobs means for people: boxes, the critical path, the predicted end, and why a job waits.

Graph -> `forecast`: what each job still takes (average of its type over the last day, less what it has run), the chain
that takes longest, the end of the whole -> `fold`: above MOST_BOXES jobs, one box a layer and type

The prediction is the larger of two bounds: the longest chain, and all the work divided by the workers. It is not made
(None, with the reason) when a job waits for a person, when a type has no run in the last day, or when no worker runs.
Other jobs in the queues are not counted; the page says so.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import func, select

from app import registry
from app.extensions import db
from app.models import WorkerHeartbeat, outcome_stats
from app.services.jobs.graph_walk import Graph, Node
from app.services.jobs.waiting import STUCK
from app.support.clock import DAY_MS, now_ms
from app.support.layers import layers_of

MOST_BOXES, MOST_CAUSES = 300, 5
HALTED = ("held", "blocked")
UNKNOWN_MS = 1000.0  # of a type without a run, to compare chains; no prediction is made with it


@dataclass(frozen=True)
class Forecast:
    """`path`: the jobs of the longest remaining chain, in order; `chain_ms` and `work_ms`: what the chain and all jobs
    together still take; `end_ms`: the predicted end (a time), None when it is not known: then `why` is `person`,
    `types` (their labels in `names`), `workers` or `cut`. `done`: nothing is left to do."""

    path: list[str]
    chain_ms: float
    work_ms: float
    workers: int
    end_ms: int | None = None
    why: str | None = None
    names: list[str] = field(default_factory=list)
    halting: list[str] = field(default_factory=list)
    done: bool = False


@dataclass(frozen=True)
class Group:
    """A box: one job (`node`), or all jobs of a type in a layer or in some layers; `key` names it in addresses."""

    key: str
    job_type: str | None
    layer: int
    members: list[Node]

    @property
    def node(self) -> Node | None:
        """The job, when the box stands for one."""
        return self.members[0] if self.key == self.members[0].uuid else None

    @property
    def states(self) -> list[tuple[str, int]]:
        """(state, number), the most frequent first."""
        return Counter(node.state for node in self.members).most_common()


@dataclass(frozen=True)
class Folded:
    """Boxes and edges to draw; `band` is how many layers a box stands for; `layers` the layer of each job."""

    groups: dict[str, Group]
    edges: dict[tuple[str, str], bool]
    layers: dict[str, int]
    band: int

    @property
    def is_folded(self) -> bool:
        """Whether a box may stand for several jobs."""
        return any(group.node is None for group in self.groups.values())


def averages() -> dict[str, float]:
    """Mean run time in ms by type over the last day."""
    now = now_ms()
    sums = outcome_stats.by_type(now - DAY_MS, now + 1)
    return {name: total.average_ms for name, total in sums.items() if total.average_ms is not None}


def remaining(node: Node, mean: float | None, now: int) -> float:
    """What a job still takes in ms: 0 when it has ended. A running one goes by its progress, else by the average."""
    if node.ended:
        return 0.0
    usual = UNKNOWN_MS if mean is None else mean
    ran = max(now - node.reserved_ms, 0) if node.state == "processing" and node.reserved_ms else 0
    if ran and node.share:
        return ran * (1 - node.share) / node.share
    later = max((node.available_ms or now) - now, 0) if node.state == "scheduled" else 0
    return later + max(usual - ran, 0.0)


def halting(graph: Graph) -> list[str]:
    """The jobs for which others, or they themselves, wait until a person does something."""
    parents = {parent for parent, _child in graph.open_edges if graph.nodes[parent].state in STUCK}
    return [uuid for uuid, node in graph.nodes.items() if uuid in parents or node.state in HALTED]


def forecast(graph: Graph, mean: Mapping[str, float]) -> Forecast:
    """The critical path and the predicted end."""
    now, left = now_ms(), {}
    for uuid, node in graph.nodes.items():
        left[uuid] = remaining(node, mean.get(node.job_type or ""), now)
    layer, above = layers_of(graph.nodes, graph.open_edges), defaultdict(list)
    for parent, child in graph.open_edges:
        above[child].append(parent)
    chain: dict[str, float] = {}
    before: dict[str, str] = {}
    for uuid in sorted(graph.nodes, key=layer.__getitem__):
        last = max(above[uuid], key=lambda parent: chain.get(parent, 0.0), default=None)
        chain[uuid] = left[uuid] + (chain.get(last, 0.0) if last else 0.0)
        if last:
            before[uuid] = last
    live = [uuid for uuid, node in graph.nodes.items() if not node.ended]
    path = [max(live, key=chain.__getitem__)] if live else []
    while path and (last := before.get(path[-1])) and last not in path:
        path.append(last)
    workers = db.session.scalar(
        select(func.count()).select_from(WorkerHeartbeat).where(WorkerHeartbeat.status != "stopped")) or 0
    found = {"path": path[::-1], "chain_ms": chain[path[0]] if path else 0.0, "work_ms": sum(left.values()),
             "workers": workers, "halting": halting(graph)}
    names = sorted({registry.label_of(node.job_type or "") for node in graph.nodes.values()
                    if not node.ended and (node.job_type or "") not in mean})
    if not live:
        return Forecast(**found, done=not graph.cut)
    code = ("person" if found["halting"] else "types" if names else "workers" if not workers else
            "cut" if graph.cut else None)
    if code:
        return Forecast(**found, why=code, names=names)
    return Forecast(**found, end_ms=now + round(max(found["chain_ms"], found["work_ms"] / workers)))


def fold(graph: Graph, opened: str | None = None, most: int = MOST_BOXES) -> Folded:
    """One box a job up to `most` jobs, else one a layer and type; when even these are too many, some layers together.
    The members of the box `opened` are drawn one by one where they fit."""
    layers, band = layers_of(graph.nodes, graph.edges), 1
    if len(graph.nodes) <= most:
        groups = {uuid: Group(uuid, node.job_type, layers[uuid], [node]) for uuid, node in graph.nodes.items()}
        return Folded(groups, graph.edges, layers, band)
    while len(keys := {(layers[n.uuid] // band, n.job_type) for n in graph.nodes.values()}) > most and (
            band <= len(graph.nodes)):
        band *= 2
    numbers = {name: place for place, name in enumerate(sorted({str(name) for _layer, name in keys}))}
    members: dict[str, list[Node]] = defaultdict(list)
    for node in graph.nodes.values():
        members[f"{layers[node.uuid] // band}-{numbers[str(node.job_type)]}"].append(node)
    members = defaultdict(list, {nodes[0].uuid if len(nodes) == 1 else key: nodes for key, nodes in members.items()})
    if opened in members and len(members) + len(members[opened]) - 1 <= most:
        members |= {node.uuid: [node] for node in members.pop(opened)}
    of = {node.uuid: key for key, nodes in members.items() for node in nodes}
    groups = {key: Group(key, nodes[0].job_type, layers[nodes[0].uuid] // band, nodes)
              for key, nodes in members.items()}
    edges: dict[tuple[str, str], bool] = {}
    for (parent, child), is_open in graph.edges.items():
        edge = of[parent], of[child]
        if groups[edge[0]].layer < groups[edge[1]].layer:
            edges[edge] = edges.get(edge, False) or is_open
    return Folded(groups, edges, layers, band)


def causes(graph: Graph, uuid: str) -> list[Node]:
    """The jobs at the upper ends of all chains for which a job waits, those first that need a person; at most 5."""
    above, found = defaultdict(list), {}
    for parent, child in graph.open_edges:
        above[child].append(parent)
    level, seen = [uuid], {uuid}
    while level:
        parents = [parent for child in level for parent in above[child] if parent not in seen]
        found |= {child: None for child in level if not above[child] and child != uuid}
        seen.update(parents)
        level = list(dict.fromkeys(parents))
    return sorted(_known(graph, found), key=lambda n: (n.state not in STUCK, n.state not in HALTED))[:MOST_CAUSES]


def _known(graph: Graph, uuids: Iterable[str]) -> list[Node]:
    return [graph.nodes[uuid] for uuid in uuids if uuid in graph.nodes]
