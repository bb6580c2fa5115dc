"""What a graph of jobs means for people: boxes, the critical path, the predicted end, and why a job waits.

Graph -> `look`: forecasts of the jobs in a line, run times by type -> `forecast`: the chain that ends last, the end of
the whole -> `fold`: above MOST_BOXES jobs, one box a layer and type

The prediction is the larger of two bounds: the chain that ends last, and all the work divided by the workers. A job in
a line ends as the simulation of the queues says, after the jobs before it; one that waits for others begins when they
have ended. The prediction is not made (None, with the reason) where a forecast is missing.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from sqlalchemy import func, select

from app.extensions import db
from app.models import WorkerHeartbeat
from app.services.forecast.estimate import Estimate, Interval, JobForecast
from app.services.jobs import crew
from app.services.jobs.graph_walk import Graph, Node
from app.services.jobs.waiting import STUCK
from app.support.clock import now_ms
from app.support.layers import layers_of

MOST_BOXES, MOST_CAUSES, MOST_ASKED = 300, 5, 300
TEN_TO_NINETY = 1.2816  # standard deviations from the middle within which 8 of 10 lie
HALTED = ("held", "blocked")
UNKNOWN_MS = 1000.0  # of a type without a run, to compare chains; no prediction is made with it


@dataclass(frozen=True)
class Forecast:
    """`path`: the jobs of the longest remaining chain, in order; `chain_ms` and `work_ms`: what the chain and all jobs
    together still take; `end`: the predicted end, None when it is not known: then `why` is `types` (the list `types`),
    `cut`, or another code of a JobForecast. `begins` and `ends`: of each job, when the end is known. `done`: nothing is
    left to do."""

    path: list[str]
    chain_ms: float
    work_ms: float
    workers: int
    end: Interval | None = None
    why: str | None = None
    types: list[str] = field(default_factory=list)
    halting: list[str] = field(default_factory=list)
    done: bool = False
    begins: dict[str, Interval] = field(default_factory=dict)
    ends: dict[str, Interval] = field(default_factory=dict)


@dataclass(frozen=True)
class Outlook:
    """The forecasts of jobs by uuid, how long a run takes by type, and how many workers there are."""

    jobs: Mapping[str, JobForecast]
    runs: Mapping[str, Estimate]
    workers: int = field(default_factory=lambda: db.session.scalar(
        select(func.count()).select_from(WorkerHeartbeat).where(WorkerHeartbeat.status != "stopped")) or 0)

    def of(self, graph: Graph) -> Outlook:
        """That of the jobs of a part of the graph."""
        return replace(self, jobs={uuid: self.jobs[uuid] for uuid in graph.nodes if uuid in self.jobs})


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


def look(graph: Graph, most: int = MOST_ASKED) -> Outlook:
    """The forecasts of at most so many jobs that are in a line, or run, and how long a run of each live type takes."""
    live = [node for node in graph.nodes.values() if not node.ended]
    asked = [node.uuid for node in live if node.state != "waiting"][-most:]  # the last in line end last
    samples = {node.job_type: node.uuid for node in live}
    found = crew.forecasts([*asked, *set(samples.values()).difference(asked)])
    runs = {str(name): found[uuid].run for name, uuid in samples.items() if uuid in found and found[uuid].run}
    return Outlook({uuid: found[uuid] for uuid in asked if uuid in found}, runs)


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


def forecast(graph: Graph, outlook: Outlook) -> Forecast:
    """The critical path and the predicted end."""
    now, work, begins, ends = now_ms(), 0.0, {}, {}
    layer, above = layers_of(graph.nodes, graph.open_edges), defaultdict(list)
    for parent, child in graph.open_edges:
        above[child].append(parent)
    before: dict[str, str] = {}
    spread = 0.0
    for uuid in sorted(graph.nodes, key=layer.__getitem__):
        node, found, run = graph.nodes[uuid], outlook.jobs.get(uuid), outlook.runs.get(graph.nodes[uuid].job_type or "")
        left = remaining(node, run and run.mean_ms, now)
        work, spread = work + left, math.hypot(spread, run.spread_ms if run and left else 0.0)
        last = max(above[uuid], key=lambda parent: ends[parent].middle if parent in ends else now, default=None)
        start = latest([ends.get(parent, at_once(now)) for parent in above[uuid]]) if last else at_once(now)
        if last:
            before[uuid] = last
        begins[uuid] = start
        ends[uuid] = found.end if found and found.end else after(start, run.run if run and left else round(left))
    live = [uuid for uuid, node in graph.nodes.items() if not node.ended]
    path = [max(live, key=lambda uuid: ends[uuid].middle)] if live else []
    while path and (last := before.get(path[-1])) and last not in path:
        path.append(last)
    workers = outlook.workers
    known = {uuid for uuid, found in outlook.jobs.items() if found.end}
    halted = [uuid for uuid in halting(graph) if uuid not in known]
    given = {"path": path[::-1], "chain_ms": max(ends[path[0]].middle - now, 0) if path else 0.0, "work_ms": work,
             "workers": workers, "halting": halted}
    types = sorted({node.job_type or "" for node in graph.nodes.values()
                    if not node.ended and (node.job_type or "") not in outlook.runs and node.uuid not in known})
    if not live:
        return Forecast(**given, done=not graph.cut)
    unknown = next((found.why for found in outlook.jobs.values() if not found.end), None)
    code = ("person" if halted else unknown if unknown != "types" and unknown else "types" if types else
            "workers" if not workers else "cut" if graph.cut else unknown)
    if code:
        return Forecast(**given, why=code, types=types)
    each, wide = work / workers, TEN_TO_NINETY * spread / workers
    by_work = Interval(now + round(max(each - wide, 0)), now + round(each), now + round(each + wide))
    end = max(latest([ends[uuid] for uuid in live]), by_work, key=lambda end: end.middle)
    return Forecast(**given, end=end, begins=begins, ends=ends)


def at_once(now: int) -> Interval:
    """A time that is known exactly."""
    return Interval(now, now, now)


def after(start: Interval, run: Interval | int) -> Interval:
    """When something ends that begins at `start` and takes `run` ms; the two are independent, so their distances from
    the middle add up as squares."""
    if isinstance(run, int):
        return start.later(run)
    middle = start.middle + run.middle
    low = math.hypot(start.middle - start.low, run.middle - run.low)
    high = math.hypot(start.high - start.middle, run.high - run.middle)
    return Interval(middle - round(low), middle, middle + round(high))


def latest(intervals: list[Interval]) -> Interval:
    """When the last of some jobs ends. They stand in the same lines, so they are early or late together."""
    return Interval(*(max(getattr(i, name) for i in intervals) for name in ("low", "middle", "high")))


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
