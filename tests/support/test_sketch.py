"""Sketches: quantiles within the stated error, exact merges, few bytes whatever is counted, damaged bytes are empty."""

from __future__ import annotations

import math
import random

import pytest

from app.support.sketch import ALPHA, MOST_BYTES, Sketch

chance = random.Random(17)
SETS = {
    "usual": [int(chance.lognormvariate(7, 1.2)) for _ in range(3000)],
    "all the same": [4100] * 500,
    "zeros and ones": [0] * 40 + [1] * 60,
    "small": list(range(40)),
    "two peaks": [chance.randint(90, 110) for _ in range(900)] + [chance.randint(600_000, 700_000) for _ in range(100)],
    "bytes": [chance.randint(40, 900) * 2**20 for _ in range(700)],
    "everything": [int(math.exp(chance.uniform(0, 43.6))) for _ in range(5000)],
    "one": [7],
}


def of(values) -> Sketch:
    sketch = Sketch()
    for value in values:
        sketch.add(value)
    return sketch


def rank(values, share: float) -> int:
    return sorted(values)[max(math.ceil(share * len(values)) - 1, 0)]


@pytest.mark.parametrize("values", SETS.values(), ids=SETS)
@pytest.mark.parametrize("most", [MOST_BYTES, 100, 60])
def test_a_quantile_is_within_the_stated_error_and_the_bytes_within_their_bound(values, most):
    data = of(values).to_bytes(most)
    sketch = Sketch.from_bytes(data)
    assert len(data) <= most and sketch.total == len(values)
    for share in (0, 0.01, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999, 1):
        exact = rank(values, share)
        assert abs(sketch.quantile(share) - exact) <= sketch.error * exact + 1e-6, (share, exact, sketch.error)


def test_the_error_is_two_percent_and_grows_only_when_the_bytes_would_not_fit():
    assert Sketch().error == pytest.approx(ALPHA)
    assert [Sketch.from_bytes(of(SETS[name]).to_bytes()).level for name in ("all the same", "small", "usual", "everything")] == [0, 0, 1, 3]
    assert Sketch.from_bytes(of(SETS["everything"]).to_bytes()).error == pytest.approx(0.159, abs=0.001)


def test_three_sketches_of_an_hour_take_less_than_a_kilobyte_whatever_they_count():
    worst = Sketch(0, dict.fromkeys(range(0, 1100), 2**63 - 1))
    assert 3 * len(worst.to_bytes()) <= 1024 and len(worst.to_bytes(60)) <= 60
    assert Sketch.from_bytes(worst.to_bytes()).total > 0


def test_merging_is_the_same_as_counting_together_in_any_order_and_at_any_level():
    values = SETS["everything"]
    parts = [values[n::7] for n in range(7)]
    whole = of(values)
    for order in (parts, parts[::-1]):
        merged = Sketch()
        for place, part in enumerate(order):
            merged.merge(Sketch.from_bytes(of(part).to_bytes(60 if place % 2 else MOST_BYTES)))
        coarse = Sketch.from_bytes(whole.to_bytes(60))
        while coarse.level < merged.level:
            coarse._coarsen(1)
        same = of(values)
        same._coarsen(merged.level)
        assert merged.counts == same.counts and merged.total == len(values)
    other = of([5])
    Sketch(3).merge(other)
    assert other.level == 0 and other.counts == of([5]).counts, "what is merged stays as it is"


@pytest.mark.parametrize("values", SETS.values(), ids=SETS)
@pytest.mark.parametrize("most", [2, 12, 30])
def test_bars_count_exactly_the_whole_numbers_between_their_bounds(values, most):
    bars = Sketch.from_bytes(of(values).to_bytes()).bars(most)
    assert len(bars) <= most + 1
    assert [sum(low <= value <= high for value in values) for low, high, _ in bars] == [n for *_, n in bars]
    assert sum(n for *_, n in bars) == len(values)
    assert all(before[1] < after[0] for before, after in zip(bars, bars[1:], strict=False))


def test_damaged_bytes_read_as_empty():
    data = of(SETS["usual"]).to_bytes()
    for damaged in (None, b"", b"S1", "text", 7, 7.5, data[:-1], data + b"x", b"x" + data[1:], data[: len(data) // 2], b"\0" * 340, data.decode("latin1")):
        assert Sketch.from_bytes(damaged).total == 0, damaged
    for place in range(len(data)):
        broken = data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1:]
        assert Sketch.from_bytes(broken).total == 0, place
    assert Sketch.from_bytes(memoryview(data)).total == len(SETS["usual"])


def test_no_values_have_no_quantile_and_no_bars():
    assert Sketch().quantile(0.5) is None and Sketch().bars(20) == [] and Sketch.from_bytes(Sketch().to_bytes()).total == 0
