"""A histogram of whole numbers from 0 on, in buckets on a log scale, that merges exactly and fits in a few bytes.

values -> `add` -> buckets -> `to_bytes` (at most `most` bytes) -> `from_bytes` -> `merge` -> `quantile`, `bars`
Bucket 0 holds the value 0, bucket k + 1 the values in (G^(k - 1), G^k]. At level 0, G = 1.02 / 0.98: a quantile is off
by at most 2 %. Bytes that would be too many merge neighbouring buckets: each level squares G, and `error` says by how
much a quantile may then be off (4, 8, 16 %). Sketches of two levels merge at the coarser one. Damaged bytes are empty.
"""

from __future__ import annotations

import math
import zlib
from itertools import accumulate
from struct import calcsize, error as StructError, pack, unpack

ALPHA = 0.02
LEVELS = 9  # at the last one a bucket spans a factor of 28 million: four hold every whole number of 64 bits
MOST_BYTES = 340  # three of them are less than 1 KB
_LOG = math.log((1 + ALPHA) / (1 - ALPHA))
_HEAD = "<2sBcL"  # what it is, level, width of the counts, checksum of the rest
_WIDTHS = {"B": 2**8, "H": 2**16, "I": 2**32, "Q": 2**64}


class Sketch:
    """Counts by bucket, all of one `level`."""

    __slots__ = ("counts", "level")

    def __init__(self, level: int = 0, counts: dict[int, int] | None = None) -> None:
        self.level, self.counts = level, counts if counts is not None else {}

    @property
    def total(self) -> int:
        """How many values were added."""
        return sum(self.counts.values())

    @property
    def error(self) -> float:
        """The largest relative error of a quantile: (G - 1) / (G + 1)."""
        return math.tanh(_LOG * 2**self.level / 2)

    def add(self, value: int) -> None:
        """Count a value; a negative one counts as 0."""
        place = _coarser(place_of(value), self.level)
        self.counts[place] = self.counts.get(place, 0) + 1

    def merge(self, other: Sketch) -> None:
        """Add the values of another sketch, which stays as it is."""
        if other.level > self.level:
            self._coarsen(other.level - self.level)
        counts, shift = self.counts, self.level - other.level
        get = counts.get
        for place, n in other.counts.items():
            if shift:  # a call more for each bucket would take half as long again
                place = _coarser(place, shift)
            counts[place] = get(place, 0) + n

    def _coarsen(self, levels: int) -> None:
        found: dict[int, int] = {}
        for place, n in self.counts.items():
            place = _coarser(place, levels)
            found[place] = found.get(place, 0) + n
        self.level, self.counts = self.level + levels, found

    def quantile(self, share: float) -> float | None:
        """The value below or at which `share` (0 to 1) of the values are, off by at most `error`; None without values.
        """
        rank = max(math.ceil(share * self.total - 1e-9), 1)
        for place, reached in zip(sorted(self.counts), accumulate(n for _, n in sorted(self.counts.items())),
                                  strict=True):
            if reached >= rank:
                return 0.0 if not place else max(self.above(place) * (1 - self.error), 1.0)
        return None

    def above(self, place: int) -> float:
        """The upper bound of a bucket, which belongs to it."""
        return math.exp(_LOG * 2**self.level * (place - 1)) if place else 0.0

    def bars(self, most: int) -> list[tuple[int, int, int]]:
        """(from, to, count) of neighbouring buckets, at most `most` (2 or more) besides that of 0, in the order of
        values, those between without a value too. Both bounds are whole numbers that belong to the bar, so each count
        is exact."""
        if not self.counts:
            return []
        levels = 0
        first, last = (max(end(self.counts), 1) for end in (min, max))
        while _coarser(last, levels) - _coarser(first, levels) >= most:
            levels += 1
        coarse = Sketch(self.level, self.counts)
        coarse._coarsen(levels)
        rows = [(0, 0, coarse.counts[0])] if 0 in coarse.counts else []
        for place in range(_coarser(first, levels), _coarser(last, levels) + 1):
            low = math.floor(coarse.above(place - 1) + 1e-6) + 1 if place > 1 else 1
            high = math.floor(coarse.above(place) + 1e-6)
            if high >= low:  # between 3 and 4 stands no whole number, and no value
                rows.append((low, high, coarse.counts.get(place, 0)))
        return rows

    def to_bytes(self, most: int = MOST_BYTES) -> bytes:
        """At most `most` bytes (60 or more), with neighbouring buckets merged where they would be more."""
        sketch = Sketch(self.level, dict(self.counts))
        while len(data := sketch._packed()) > most and sketch.level < LEVELS:
            sketch._coarsen(1)
        return data

    def _packed(self) -> bytes:
        steps, counts, last = [], [], 0
        for place, n in sorted(self.counts.items()):
            while place - last > 255:
                steps, counts, last = [*steps, 255], [*counts, 0], last + 255
            steps, counts, last = [*steps, place - last], [*counts, min(n, 2**64 - 1)], place
        kind = next(kind for kind, bound in _WIDTHS.items() if max(counts, default=0) < bound)
        body = pack(f"<{len(steps)}B{len(counts)}{kind}", *steps, *counts)
        return pack(_HEAD, b"S1", self.level, kind.encode(), zlib.crc32(body, self.level)) + body

    @classmethod
    def from_bytes(cls, data: object) -> Sketch:
        """The sketch of some bytes; an empty one for None and for anything that is none."""
        try:
            name, level, kind, checksum = unpack(_HEAD, data[: calcsize(_HEAD)])  # type: ignore[index]
            body, kind = bytes(data[calcsize(_HEAD):]), kind.decode()  # type: ignore[index]
            n = len(body) // (1 + calcsize(kind)) if kind in _WIDTHS else 0
            if name != b"S1" or level > LEVELS or zlib.crc32(body, level) != checksum:
                return cls()
            steps = accumulate(body[:n])
            return cls(level, dict(zip(steps, unpack(f"<{n}{kind}", body[n:]), strict=True)))
        except (StructError, TypeError, ValueError, UnicodeDecodeError):
            return cls()


def place_of(value: int) -> int:
    """The bucket of a value at level 0."""
    # what rounding leaves over makes no bucket of its own: log(G^k) is not always k * log(G)
    return 0 if value < 1 else math.ceil(math.log(value) / _LOG - 1e-9) + 1


def _coarser(place: int, levels: int) -> int:
    """The bucket that a bucket falls into when its neighbours merge `levels` times."""
    return place if place < 2 else -(-(place - 1) // 2**levels) + 1
