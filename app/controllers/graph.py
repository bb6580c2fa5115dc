"""The graph of a job or of a batch: a drawing, the critical path, the predicted end, and why a job waits.

GET job/<uuid>/graph, batches/<id>/graph -> graph_walk reads -> graph_figures folds and predicts -> support/layers
places -> templates/admin/partials/graph.html draws it as SVG, with the same rows as a table below

The address has all choices, so each works without a script and can be sent to a colleague: `node` (the job whose wait
is explained), `open` (a folded box that is unfolded), `zoom`, and of the table `state`, `sort`, `page`. Unknown values
mean the default.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, request, url_for
from flask_babel import gettext as _

from app import registry
from app.controllers.responses import live, render_error
from app.services.forecast import words
from app.services.jobs import graph_figures, graph_walk, lookup, waiting, why as reasons
from app.services.jobs.graph_figures import Folded, Forecast, Group
from app.services.jobs.graph_walk import Graph, Node
from app.support import layers
from app.support.clock import now_ms, when
from app.support.formatting import number
from app.support.messages import translate_stored
from app.support.states import count_label, state_label
from app.support.validation import parse_id

bp = Blueprint("graph", __name__)
ZOOMS, SORTS, MOST_LISTED, LABEL_CHARS = (50, 75, 100, 150, 200), ("layer", "name", "state"), 500, 22


PAGE, CHOICES = 50, ("node", "open", "zoom", "state", "sort", "page")
# The usual sizes (px) of the frame, and the scale below which texts of 12 px cannot be read.
FRAME, PHONE, LEGIBLE = (1240, 680), 340, 0.6


@dataclass(frozen=True)
class BoxView:
    """A box as the page draws and lists it. `state` is its worst state, `label` at most 22 characters; `left_ms` is
    what its jobs still take together."""

    key: str
    x: int
    y: int
    layer: int
    name: str
    label: str
    second: str
    state: str
    url: str
    job_url: str | None
    waits: int
    left_ms: float
    critical: bool
    chosen: bool


@bp.get("/job/<uuid>/graph", endpoint="job")
def of_job(uuid: str):
    """The graph of a job with all its ancestors and descendants; 404 when the uuid is unknown."""
    found = lookup.find(uuid)
    if found is None:
        return render_error(404, _("There is no such job."))
    title = f"{found.label} {found.uuid[:8]}"
    return page(graph_walk.around(found.uuid), title, url_for("admin.jobs.job", uuid=found.uuid), found.uuid)


@bp.get("/batches/<id>/graph", endpoint="batch")
def of_batch(id: str):
    """The graph of the members of a batch; 404 when the id is unknown."""
    name = graph_walk.batch_name(id)
    if name is None:
        return render_error(404, _("There is no such batch."))
    back = url_for("admin.jobs.graph.batch", id=id).removesuffix("/graph")  # the page of the batch
    return page(graph_walk.of_batch(id), translate_stored(name), back, None)


def page(graph: Graph, title: str, back_url: str, own: str | None):
    """The page, its live part, or for scripts the jobs, edges and figures."""
    outlook = graph_figures.look(graph)
    forecast, mean = graph_figures.forecast(graph, outlook), {name: run.mean_ms for name, run in outlook.runs.items()}
    folded = graph_figures.fold(graph, request.args.get("open"))
    context = shape(graph, folded, forecast, mean, own) | {"title": title, "back_url": back_url}
    return live("admin/graph.html", context, "graph", plain=lambda: plain(graph, folded, forecast))


def plain(graph: Graph, folded: Folded, forecast: Forecast) -> dict[str, Any]:
    """The graph for scripts; `predicted_end` is a time or None, `ends` the same with its interval."""
    jobs = [{"uuid": n.uuid, "type": n.job_type, "state": n.state, "layer": folded.layers[n.uuid]}
            for n in graph.nodes.values()]
    edges = [{"parent": a, "child": b, "open": is_open} for (a, b), is_open in graph.edges.items()]
    end = forecast.end and when(forecast.end.middle)
    return {"jobs": jobs, "edges": edges, "cut": graph.cut, "critical_path": forecast.path, "predicted_end": end,
            "ends": words.plain(forecast.end)}


def address(**changed: Any) -> str:
    """This page with some choices changed; None leaves one out."""
    kept = {name: request.args[name] for name in CHOICES if request.args.get(name)}
    kept |= changed
    return url_for(request.endpoint or "", **(request.view_args or {}),
                   **{name: value for name, value in kept.items() if value is not None})


def shape(graph: Graph, folded: Folded, forecast: Forecast, mean: dict[str, float], own: str | None) -> dict[str, Any]:
    """The values of the template."""
    chosen = request.args.get("node") or own
    chosen = chosen if chosen in graph.nodes else None
    drawing = layers.draw(list(folded.groups), folded.edges, {key: g.layer for key, g in folded.groups.items()})
    path, now = set(forecast.path), now_ms()
    open_edges = [edge for edge, is_open in folded.edges.items() if is_open]

    def views(groups: Iterable[tuple[Group, layers.Box]], edges: list[tuple[str, str]]) -> list[BoxView]:
        waits = Counter(child for _parent, child in edges)
        return [view(group, box, waits[group.key], sum(graph_figures.remaining(
            n, mean.get(n.job_type or ""), now) for n in group.members), path, chosen) for group, box in groups]

    boxes = views(((folded.groups[key], box) for key, box in drawing.boxes.items()), open_edges)
    states, state, rows = Counter(node.state for node in graph.nodes.values()), request.args.get("state"), boxes
    if state in states:  # its jobs one by one, also those in folded boxes
        rows = views(((Group(n.uuid, n.job_type, folded.layers[n.uuid] // folded.band, [n]), layers.Box(0, 0, 0, 0))
                      for n in graph.nodes.values() if n.state == state), graph.open_edges)
    of = {node.uuid: key for key, group in folded.groups.items() for node in group.members}
    steps = {(of[a], of[b]) for a, b in zip(forecast.path, forecast.path[1:], strict=False)}
    lines = [{"d": curve(points), "open": folded.edges[edge], "critical": edge in steps}
             for edge, points in drawing.lines.items()]
    sort = request.args.get("sort") if request.args.get("sort") in SORTS else "layer"
    zoom = request.args.get("zoom", "")
    rows = sorted(rows, key=lambda b: (b.layer, "") if sort == "layer" else (str(getattr(b, sort)), b.name))
    last = max(-(-len(rows) // PAGE), 1)
    place = min(max(parse_id(request.args.get("page")) or 1, 1), last)
    width, height = drawing.width, drawing.height
    whole = min(FRAME[0] / max(width, 1), FRAME[1] / max(height, 1)) >= LEGIBLE
    first = next((b.key for b in boxes if b.critical), boxes[0].key if boxes else None)
    opened = folded.groups.get(request.args.get("open") or "")
    return {
        "boxes": boxes, "lines": sorted(lines, key=lambda line: line["critical"]), "sort": sort,
        "rows": rows[(place - 1) * PAGE : place * PAGE], "listed": len(rows), "place": place, "last": last,
        "pages": {step: address(page=place + step) for step in (-1, 1) if 1 <= place + step <= last},
        "sorts": {name: address(sort=None if name == "layer" else name, page=None) for name in SORTS},
        "state": state if state in states else None, "all_url": address(state=None, page=None),
        "first": None if chosen in folded.groups else first, "whole": whole, "narrow": width * LEGIBLE <= PHONE,
        "layer_names": {box.y: box.layer + 1 for box in drawing.boxes.values()},
        "size": (width, height), "zoom": int(zoom) if zoom in map(str, ZOOMS) else None,
        "zooms": [(None, address(zoom=None)), *((z, address(zoom=z)) for z in ZOOMS)], "band": folded.band,
        "total": len(graph.nodes), "cut": graph.cut, "most": graph_walk.MOST_JOBS, "folded": folded.is_folded,
        "box_size": (layers.WIDTH, layers.HEIGHT), "states": [
            (count_label(name, n, number(n)), address(state=name, page=None)) for name, n in states.most_common()],
        "forecast": told(forecast, graph),
        "why": chosen and why(graph, chosen), "fold_url": address(open=None) if request.args.get("open") else None,
        "opened": opened and {"name": many(opened), "total": len(opened.members), "members": [
            (named(node), node.state, url_for("admin.jobs.job", uuid=node.uuid))
            for node in opened.members[:MOST_LISTED]]},
    }


def view(group: Group, box: layers.Box, waits: int, left: float, path: set[str], chosen: str | None) -> BoxView:
    """One box."""
    node, states = group.node, group.states
    name = named(node) if node else many(group)
    label = registry.label_of(node.job_type or "") if node and node.job_type else name
    order = [*waiting.SENTENCES]
    worst = min((state for state, _n in states), key=lambda s: order.index(s) if s in order else len(order))
    second = f"{node.uuid[:8]} · {state_label(node.state)}" if node else counted(group.members)
    return BoxView(
        group.key, box.x, box.y, group.layer + 1, name, cut(label), cut(second, 30), worst,
        address(node=node.uuid) + "#why" if node else address(open=group.key) + "#rows",
        url_for("admin.jobs.job", uuid=node.uuid) if node and node.state != "erased" else None, waits, left,
        any(n.uuid in path for n in group.members), node is not None and node.uuid == chosen)


def curve(points: list[tuple[int, int]]) -> str:
    """The path of an SVG through these points, upright at each; it stays between each two of them."""
    parts = [f"M{points[0][0]} {points[0][1]}"]
    for (x1, y1), (x2, y2) in zip(points, points[1:], strict=False):
        middle = (y1 + y2) // 2
        parts.append(f"V{y2}" if x1 == x2 else f"C{x1} {middle} {x2} {middle} {x2} {y2}")
    return "".join(parts)


def named(node: Node) -> str:
    """'Csv Import 1a2b3c4d'."""
    return waiting.name_of(node.job_type, node.uuid)


def many(group: Group) -> str:
    """'Csv Import × 120'."""
    label = registry.label_of(group.job_type) if group.job_type else _("Erased")
    return f"{label} × {number(len(group.members))}"


def counted(nodes: Any) -> str:
    """'80 completed, 3 failed': how many jobs are in each state, the most frequent first."""
    states = Group("", None, 0, list(nodes)).states
    return ", ".join(count_label(state, n, number(n)) for state, n in states)


def cut(text: str, most: int = LABEL_CHARS) -> str:
    """At most so many characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


def told(forecast: Forecast, graph: Graph) -> dict[str, Any]:
    """The forecast in words: `end`, or `text` when that is not known; `halting` (name, address)."""
    now, code = now_ms(), forecast.why
    texts = {
        "person": _("The end is not known: some jobs wait until a person does something."),
        "cut": _("The end is not known: the graph is larger than what is read.")}
    text = code and (texts.get(code) or _("The end is not known: %(why)s.", why=words.unknown(code, forecast.types)))
    nodes = [graph.nodes[uuid] for uuid in forecast.halting]
    return {"end": forecast.end and words.about(words.ENDS, forecast.end, now), "text": text,
            "done": forecast.done, "steps": len(forecast.path), "workers": forecast.workers,
            "chain_ms": None if forecast.types or forecast.chain_ms < 1 else forecast.chain_ms,
            "halts": len(nodes),
            "halting": [(named(n), n.state, address(node=n.uuid) + "#why") for n in nodes[:graph_figures.MOST_CAUSES]]}


def why(graph: Graph, uuid: str) -> dict[str, Any]:
    """Why a job waits, or what it does, and when it begins and ends; `causes` are the first jobs of the chains that it
    waits for."""
    node, found, now = graph.nodes[uuid], lookup.find(uuid), reasons.one(uuid)
    texts = {"completed": _("It has completed."), "cancelled": _("It was cancelled."),
             "erased": _("It was erased: nothing of it is kept.")}
    said = [now.cause, *now.more, *now.when] if now else [
        texts.get(node.state) or translate_stored(found and found.error) or state_label(node.state)]
    causes = graph_figures.causes(graph, uuid)
    return {"name": named(node), "state": node.state, "text": " ".join(said),
            "url": found and url_for("admin.jobs.job", uuid=uuid), "stuck": waiting.family(uuid).stuck,
            "causes": [(named(n), n.state, address(node=n.uuid) + "#why") for n in causes]}
