"""Places the nodes of a directed graph without circles in layers, as a drawing: pure arithmetic in pixels.

nodes, edges -> `layers_of` (longest path from a source) -> `_ordered` (barycentres, a few sweeps) -> rows of at most
`PER_ROW` boxes -> `_spread` (each box near its neighbours, none over another) -> `draw`

Every edge goes down, because a child's layer is below each of its parents' layers. A wide layer becomes several rows.
An edge that passes a row goes through a gap between two boxes or around the row, so no line crosses a box. An edge that
would close a circle is left out, so bad data gives a drawing and not an endless loop.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN, PER_ROW, SWEEPS = 184, 54, 28, 46, 16, 8, 4
NAMES = 28  # at the left: the number of the layer of each row
Key = Hashable
Edge = tuple[Key, Key]


@dataclass(frozen=True)
class Box:
    """The upper left corner of a node, its layer from 0, and the row that it stands in."""

    x: int
    y: int
    layer: int
    row: int


@dataclass(frozen=True)
class Drawing:
    """Boxes by node, in reading order (by row, then from the left); for each edge its points from the bottom of the
    parent to the top of the child; the size of the whole."""

    boxes: dict[Key, Box]
    lines: dict[Edge, list[tuple[int, int]]]
    width: int
    height: int


def layers_of(nodes: Iterable[Key], edges: Iterable[Edge]) -> dict[Key, int]:
    """{node: layer}: 0 without parents, else one more than the highest layer of its parents. Nodes of a circle come
    last."""
    nodes = list(nodes)
    layer, known = dict.fromkeys(nodes, 0), set(nodes)
    below: dict[Key, list[Key]] = defaultdict(list)
    open_parents = dict.fromkeys(nodes, 0)
    for parent, child in edges:
        if parent in known and child in known and parent != child:
            below[parent].append(child)
            open_parents[child] += 1
    ready, done = deque(node for node in nodes if not open_parents[node]), 0
    while ready:
        node, done = ready.popleft(), done + 1
        for child in below[node]:
            layer[child] = max(layer[child], layer[node] + 1)
            open_parents[child] -= 1
            if not open_parents[child]:
                ready.append(child)
    if done < len(nodes):
        last = max((layer[node] for node in nodes if not open_parents[node]), default=-1) + 1
        layer |= {node: last for node in nodes if open_parents[node]}
    return layer


def draw(nodes: Sequence[Key], edges: Iterable[Edge], layer: Mapping[Key, int] | None = None) -> Drawing:
    """The drawing of a graph. `layer` takes the place of `layers_of`; an edge that does not go down by it is left
    out."""
    edges = list(dict.fromkeys(edges))
    layer = layers_of(nodes, edges) if layer is None else layer
    edges = [(a, b) for a, b in edges if a in layer and b in layer and layer[a] < layer[b]]
    near: dict[Key, tuple[list[Key], list[Key]]] = {node: ([], []) for node in nodes}
    for parent, child in edges:
        near[child][0].append(parent)
        near[parent][1].append(child)
    rows = [order[at : at + size] for order in _ordered(nodes, layer, near)
            for size in [-(-len(order) // -(-len(order) // PER_ROW))] for at in range(0, len(order), size)]
    left = _spread(rows, near)
    shift = NAMES + MARGIN - min(left.values(), default=0)
    boxes = {node: Box(round(left[node] + shift), MARGIN + row * (HEIGHT + GAP_Y), layer[node], row)
             for row, members in enumerate(rows) for node in members}
    gaps = [_gaps([boxes[node].x for node in members]) for members in rows]
    lines = {edge: _line(boxes[edge[0]], boxes[edge[1]], gaps) for edge in edges}
    right = max([box.x + WIDTH for box in boxes.values()] + [x for line in lines.values() for x, _y in line], default=0)
    over = min([x for line in lines.values() for x, _y in line], default=NAMES + MARGIN) - NAMES - MARGIN // 2
    if over < 0:  # a line goes around the left end of a row
        boxes = {node: Box(box.x - over, box.y, box.layer, box.row) for node, box in boxes.items()}
        lines = {edge: [(x - over, y) for x, y in line] for edge, line in lines.items()}
    height = max(len(rows) * (HEIGHT + GAP_Y) - GAP_Y, 0) + 2 * MARGIN
    return Drawing(boxes, lines, right - min(over, 0) + MARGIN, height)


def _ordered(nodes: Sequence[Key], layer: Mapping[Key, int], near: Mapping[Key, tuple[list[Key], list[Key]]]
             ) -> list[list[Key]]:
    """The nodes of each layer from left to right, so that few edges cross: sorted by the mean place of their parents,
    then of their children, and so on."""
    found: dict[int, list[Key]] = defaultdict(list)
    for node in nodes:
        found[layer[node]].append(node)
    orders = [found[number] for number in sorted(found)]
    place = {node: at / max(len(order), 1) for order in orders for at, node in enumerate(order)}
    for sweep in range(SWEEPS):
        for order in orders if sweep % 2 == 0 else reversed(orders):
            mean = {node: _mean([place[other] for other in near[node][sweep % 2]], place[node]) for node in order}
            order.sort(key=mean.__getitem__)
            for at, node in enumerate(order):
                place[node] = (at + 0.5) / len(order)
    return orders


def _spread(rows: Sequence[Sequence[Key]], near: Mapping[Key, tuple[list[Key], list[Key]]]) -> dict[Key, float]:
    """The left end of each box: rows centred first, then each box as near to the mean of its neighbours as the order
    of its row allows."""
    step = WIDTH + GAP_X
    left = {node: (at - len(row) / 2) * step for row in rows for at, node in enumerate(row)}
    for sweep in range(SWEEPS):
        for row in rows if sweep % 2 == 0 else reversed(rows):
            wanted = [_mean([left[other] for other in near[node][sweep % 2]], left[node]) - at * step
                      for at, node in enumerate(row)]
            for at, (node, x) in enumerate(zip(row, _rising(wanted), strict=True)):
                left[node] = x + at * step
    return left


def _rising(values: Sequence[float]) -> list[float]:
    """The never falling numbers that lie nearest to `values` (least squares: pool adjacent violators)."""
    pools: list[tuple[float, int]] = []
    for value in values:
        mean, n = value, 1
        while pools and pools[-1][0] > mean:
            before, count = pools.pop()
            mean, n = (mean * n + before * count) / (n + count), n + count
        pools.append((mean, n))
    return [mean for mean, n in pools for _ in range(n)]


def _gaps(lefts: Sequence[int]) -> list[int]:
    """Where a line may pass a row, from left to right: beside its boxes and in the middle between two of them."""
    between = [(a + WIDTH + b) // 2 for a, b in zip(lefts, lefts[1:], strict=False)]
    return [lefts[0] - GAP_X // 2, *between, lefts[-1] + WIDTH + GAP_X // 2]


def _line(parent: Box, child: Box, gaps: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """The points of an edge: through the nearest gap of each row that it passes."""
    x, end = parent.x + WIDTH // 2, child.x + WIDTH // 2
    points = [(x, parent.y + HEIGHT)]
    for row in range(parent.row + 1, child.row):
        wanted = x + (end - x) / (child.row - row + 1)
        at = bisect_left(gaps[row], wanted)
        x = min(gaps[row][max(at - 1, 0) : at + 1], key=lambda gap: abs(gap - wanted))
        top = MARGIN + row * (HEIGHT + GAP_Y)
        points += [(x, top), (x, top + HEIGHT)]
    return [*points, (end, child.y)]


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise
