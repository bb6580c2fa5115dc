"""Colours of types in charts: none is shared without need, each stands out from the page and from the others for all eyes."""

from __future__ import annotations

import math
import re
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import pytest

import app.jobs  # noqa: F401  (declares the types of the product)
from app import registry
from app.services.stats.colours import COLOURS, colour_of

CSS = (Path(__file__).resolve().parents[3] / "static" / "app.css").read_text()
OWN = [d.name for d in registry.known_types() if d.function.__module__.startswith("app.jobs.")]
# Machado, Oliveira and Fernandes 2009: linear RGB as it is seen without one kind of cones
EYES = {
    "all cones": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}
# Of all, and of those of the product with the grey of all others. Tritanopia is a thousand times rarer than the others.
NEAR = {eye: (0.06, 0.1) if eye == "tritanopia" else (0.08, 0.14) for eye in EYES}


def linear(name: str, theme: int) -> tuple[float, ...]:
    """A colour of app.css in the light (0) or dark (1) theme, as linear RGB."""
    digits = re.search(rf"--{name}: light-dark\(#(\w{{6}}), #(\w{{6}})\)", CSS)[theme + 1]
    parts = (int(digits[at:at + 2], 16) / 255 for at in (0, 2, 4))
    return tuple(c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)


def brightness(rgb: tuple[float, ...]) -> float:
    return 0.2126 * rgb[0] + 0.7152 * rgb[1] + 0.0722 * rgb[2]


def seen(rgb: tuple[float, ...], eye: str) -> tuple[float, ...]:
    """Oklab, in which distances are as people see them: 0.02 is just visible side by side."""
    r, g, b = (min(max(sum(map(math.prod, zip(row, rgb, strict=True))), 0), 1) for row in EYES[eye])
    l, m, s = (math.cbrt(x) for x in (0.41222147 * r + 0.53633254 * g + 0.05144599 * b,  # noqa: E741
                                      0.21190350 * r + 0.68069955 * g + 0.10739696 * b, 0.08830246 * r + 0.28171884 * g + 0.62997870 * b))
    return (0.21045426 * l + 0.79361779 * m - 0.00407205 * s, 1.97799850 * l - 2.42859221 * m + 0.45059371 * s,
            0.02590404 * l + 0.78277177 * m - 0.80867577 * s)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_each_colour_stands_out_from_the_page(theme):
    """3 to 1, as WCAG AA asks of graphics. A gap of the page's colour lies between two slices, so each stands out from its neighbours."""
    page = brightness(linear("surface", theme))
    for number in (*COLOURS, 5):
        dark, light = sorted((page, brightness(linear(f"chart-{number}", theme))))
        assert (light + 0.05) / (dark + 0.05) >= 3, number


@pytest.mark.parametrize("eye", EYES)
@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_no_two_colours_look_alike(theme, eye):
    own = {*COLOURS[:len(OWN)], 5}
    for one, other in combinations((*COLOURS, 5), 2):
        apart = math.dist(*(seen(linear(f"chart-{number}", theme), eye) for number in (one, other)))
        assert apart >= NEAR[eye][{one, other} <= own], (one, other, apart)


def test_each_colour_is_known_to_the_style_sheet():
    assert len(COLOURS) >= 12 and 5 not in COLOURS
    for number in COLOURS:
        for rule in (f"@property --chart-{number} {{", f".swatch.k{number} {{", f".bars rect.k{number} {{"):
            assert rule in CSS


def test_types_of_the_product_share_no_colour(monkeypatch):
    theirs = {name: colour_of(name) for name in OWN}
    assert len(OWN) >= 6 and len({*theirs.values()}) == len(OWN)
    team = {f"{letter}Team": SimpleNamespace(name=f"{letter}Team", function=linear) for letter in "ABCDEFGHZ"}
    monkeypatch.setattr(registry, "_known", {name: registry.find(name) for name in OWN} | team)
    assert {name: colour_of(name) for name in OWN} == theirs, "whatever a team declares"
    few = [colour_of(name) for name in list(team)[:len(COLOURS) - len(OWN)]]
    assert len({*few}) == len(few)
    for name in (*team, "Unknown", "Gone", "\ud800", *map(str, range(50))):
        assert colour_of(name) in COLOURS and colour_of(name) not in theirs.values()
