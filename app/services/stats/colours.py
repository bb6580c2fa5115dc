"""The colour of a job type in charts: the same on every page and at any time, as long as the code is the same.

The types of the product have the first colours, so no other type ever has one of theirs. The types of a team take the
colours after these, by name, and share them when there are more types than colours. A type that no code declares has
one of the same colours by a hash of its name. The colours (`--chart-N` of app.css) differ for colour-blind eyes too:
tests/services/stats/test_colours.py measures that.
"""

from __future__ import annotations

from zlib import crc32

from app import registry

COLOURS = (1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13)  # 5 is grey and means all others
_PRODUCT = "app.jobs."


def colour_of(name: str) -> int:
    """The number of a type's colour, one of COLOURS."""
    known = registry.known_types()
    own = [d.name for d in known if d.function.__module__.startswith(_PRODUCT)]
    if name in own:
        return COLOURS[own.index(name) % len(COLOURS)]
    others, free = [d.name for d in known if d.name not in own], COLOURS[len(own):] or COLOURS
    place = others.index(name) if name in others else crc32(name.encode("utf-8", "replace"))
    return free[place % len(free)]
