"""The layered drawing: no box over another, every edge down, no line through a box, from 2 to 300 nodes."""

from __future__ import annotations

import itertools
import random

import pytest

from app.support.layers import HEIGHT, PER_ROW, WIDTH, draw, layers_of


def graph(n: int, seed: int, share: float) -> tuple[list[int], list[tuple[int, int]]]:
    chance = random.Random(seed)
    nodes = list(range(n))
    edges = [(chance.randrange(child), child) for child in nodes[1:] for _ in range(chance.choice((0, 1, 1, 2, 3))) if chance.random() < share]
    chance.shuffle(nodes)
    return nodes, edges


SHAPES = [
    *(graph(n, seed, share) for seed, (n, share) in enumerate(itertools.product((2, 3, 10, 40, 120, 300), (0.0, 0.5, 1.0)))),
    (list(range(300)), [(0, n) for n in range(1, 300)]),  # one before all others
    (list(range(300)), [(n, n + 1) for n in range(299)]),  # a chain
    (list(range(30)), [(0, 29), *((n, n + 1) for n in range(29))]),  # an edge past all layers
    (list(range(60)), [(a, b) for a in range(30) for b in range(30, 60)]),  # all to all
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: f"{len(s[0])}-{len(s[1])}")
def test_boxes_stand_apart_edges_go_down_and_no_line_crosses_a_box(shape):
    nodes, edges = shape
    found = draw(nodes, edges)
    assert set(found.boxes) == set(nodes) and set(found.lines) == set(edges)
    for one, two in itertools.combinations(found.boxes.values(), 2):
        assert abs(one.x - two.x) >= WIDTH or abs(one.y - two.y) >= HEIGHT
    assert all(box.x >= 0 and box.x + WIDTH <= found.width and box.y + HEIGHT <= found.height for box in found.boxes.values())
    for (parent, child), line in found.lines.items():
        assert line[0][1] == found.boxes[parent].y + HEIGHT and line[-1][1] == found.boxes[child].y
        assert all(a[1] <= b[1] and 0 <= a[0] <= found.width for a, b in itertools.pairwise(line)) and line[0][1] < line[-1][1]
        for (x1, y1), (x2, y2) in itertools.pairwise(line):
            for box in found.boxes.values():
                inside = box.y < max(y1, y2) and min(y1, y2) < box.y + HEIGHT  # between two rows there is no box
                assert not inside or x1 == x2 and not box.x < x1 < box.x + WIDTH
    rows = [(box.row, box.x) for box in found.boxes.values()]
    assert rows == sorted(rows), "in reading order"
    assert max(sum(1 for box in found.boxes.values() if box.row == row) for row, _x in rows) <= PER_ROW


def test_a_layer_is_the_longest_way_from_a_source():
    assert layers_of("abcd", [("a", "b"), ("b", "c"), ("a", "c"), ("c", "d")]) == {"a": 0, "b": 1, "c": 2, "d": 3}


def test_few_edges_cross():
    """Two chains whose nodes come mixed up: barycentres put them side by side."""
    nodes = ["a0", "b0", "b1", "a1", "a2", "b2"]
    found = draw(nodes, [("a0", "a1"), ("a1", "a2"), ("b0", "b1"), ("b1", "b2")])
    for one, two in itertools.combinations(found.lines.values(), 2):
        if one[0][1] == two[0][1]:
            assert (one[0][0] - two[0][0]) * (one[-1][0] - two[-1][0]) > 0


def test_a_circle_and_unknown_ends_do_no_harm():
    assert layers_of("ab", [("a", "b"), ("b", "a"), ("a", "a"), ("x", "a")]) == {"a": 0, "b": 0}
    assert draw("ab", [("a", "b"), ("b", "a")]).lines == {}
    assert draw([], []).boxes == {}


def test_given_layers_hold_and_an_edge_against_them_is_left_out():
    found = draw("abc", [("a", "b"), ("b", "c"), ("c", "a")], {"a": 0, "b": 0, "c": 3})
    assert set(found.lines) == {("b", "c")} and found.boxes["c"].row == 1
