"""Run times of one job type: what they were, and how long the next one takes. Pure functions of plain values.

outcome (tenant, size of the arguments, run time) -> unless it is one of a flood of early failures (early.py), among the
  last 256 run times of each kind it belongs to
question (tenant, size) -> the expert that did best lately -> quantiles 10, 50 and 90 %, mean and standard deviation

Kinds: all runs of the type, those of the tenant, those of the size (a power of 2 of the bytes of the arguments), both.
An expert is a kind with a half-life: newer runs weigh more, by 2^(-age / half-life), age in runs. Each outcome is first
predicted by every expert; the one with the least pinball loss of late (of the logarithm, so that short and long ones
count alike) answers. A kind with fewer than LEAST runs answers with that of the type. So drift, tenants and sizes are
used where they help and cost nothing where they do not. A table that the extra `ml` has made (boosting.py) is one more
expert.

The interval is widened and narrowed by what happened (adaptive conformal inference, Gibbs and Candes 2021): each side
by 8 in 100 after a run beyond it, back by 1 in 100 after one within, so that in the long run 1 in 10 lies beyond each
side whatever the distribution.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.services.forecast.early import SURE, Early
from app.services.forecast.estimate import Estimate, Interval

KEPT, LEAST = 256, 8
HALF_LIVES = (12.0, 60.0, 1e9)
MOST_KINDS = 100
MOST_MS = 10**12  # 30 years: what is longer was never measured
QUANTILES = (0.1, 0.5, 0.9)
FORGET = 0.98  # of an expert's loss with each outcome: about the last 50 count
GAIN = 0.08
LEAST_WIDTH = 0.01  # of a side, as a logarithm: run times are not known to less than 1 %
BASIS = {"": "job_type", "t": "tenant", "s": "size", "b": "tenant and size", "l": "learned"}


@dataclass(slots=True)
class Sides:
    """How much wider than first thought each side of an interval must be; 1: as thought."""

    low: float = 1.0
    high: float = 1.0

    def learn(self, below: bool, above: bool) -> None:
        """Take in one outcome that lay below the interval, above it, or (neither) within."""
        self.low = min(max(self.low * math.exp(GAIN * (below - 0.1)), 0.05), 20.0)
        self.high = min(max(self.high * math.exp(GAIN * (above - 0.1)), 0.05), 20.0)


@dataclass(slots=True)
class Kind:
    """The last run times of a kind in ms, oldest first, and what was found from them by half-life."""

    runs: list[int]
    found: dict[float, tuple] = field(default_factory=dict)
    fresh: int = 0  # runs since `found` was computed

    def add(self, run_ms: int) -> None:
        """Take in the next run time."""
        self.runs.append(run_ms)
        del self.runs[:-KEPT]
        self.fresh += 1
        if self.fresh * 24 >= len(self.runs):
            self.found.clear()
            self.fresh = 0

    def values(self, half_life: float) -> tuple[float, float, float, float, float]:
        """Quantiles 10, 50 and 90 %, mean and standard deviation, in ms."""
        if half_life not in self.found:
            self.found[half_life] = _values(self.runs, half_life)
        return self.found[half_life]


def _weighted(runs: list[int], half_life: float) -> list[tuple[int, float]]:
    newest = len(runs) - 1
    return sorted((ms, 2.0 ** ((n - newest) / half_life)) for n, ms in enumerate(runs))


def _quantiles(pairs: list[tuple[int, float]], wanted: tuple[float, ...]) -> list[float]:
    """Weighted quantiles of sorted (value, weight), linear between the middles of the weights."""
    total, below, points = sum(w for _ms, w in pairs), 0.0, []
    for ms, weight in pairs:
        points.append(((below + weight / 2) / total, ms))
        below += weight
    result, n = [], 0
    for share in wanted:
        while n < len(points) and points[n][0] < share:
            n += 1
        if n in (0, len(points)):
            result.append(float(points[min(n, len(points) - 1)][1]))
            continue
        (a, low), (b, high) = points[n - 1], points[n]
        result.append(low + (high - low) * (share - a) / (b - a))
    return result


def _values(runs: list[int], half_life: float) -> tuple[float, float, float, float, float]:
    pairs = _weighted(runs, half_life)
    total = sum(weight for _ms, weight in pairs)
    mean = sum(ms * weight for ms, weight in pairs) / total
    variance = sum(weight * (ms - mean) ** 2 for ms, weight in pairs) / total
    low, middle, high = _quantiles(pairs, QUANTILES)
    return low, middle, high, mean, math.sqrt(variance)


def pinball(run_ms: float, values: tuple[float, ...]) -> float:
    """The pinball loss of the logarithms of quantiles 10, 50 and 90 % against a run time."""
    loss, y = 0.0, math.log(run_ms + 1.0)
    for share, value in zip(QUANTILES, values, strict=False):
        over = y - math.log(value + 1.0)
        loss += max(share * over, (share - 1.0) * over)
    return loss


def size_class(size: int) -> int:
    """The class of a number of bytes: the power of 2 below it."""
    return max(int(size), 1).bit_length()


class TypeModel:
    """What is known of one type. `learned` is the table of the extra `ml`: {"tenants": [...], "cells":
    {"tenant|size|block of 4 hours": [low, middle, high, mean, spread]}} in ms; the tenant of all others is "*"."""

    def __init__(self, stored: Mapping[str, Any] | None = None, learned: Mapping[str, Any] | None = None) -> None:
        """Raises TypeError, ValueError or AttributeError for what `as_json` never gave."""
        kept = stored or {}
        self.kinds = {str(name): Kind([_whole(ms) for ms in runs][-KEPT:]) for name, runs in dict(
            kept.get("kinds", {})).items()}
        if self.kinds and not all(kind.runs for kind in (self.kinds.get("", Kind([])), *self.kinds.values())):
            raise ValueError("a kind without runs")
        self.loss = {str(name): _number(loss) for name, loss in dict(kept.get("loss", {})).items()}
        low, high = kept.get("sides", (1.0, 1.0))
        self.sides, self.count = Sides(_number(low), _number(high)), _whole(kept.get("count", 0))
        self.early = Early(kept.get("early"))
        cells = dict((learned or {}).get("cells", {}))
        self.learned = learned and {"tenants": [str(name) for name in learned.get("tenants", ())], "cells": {
            str(key): tuple(_number(ms) for ms in values) for key, values in cells.items() if len(values) == 5}}

    def as_json(self) -> dict[str, Any]:
        """What `stored` takes."""
        return {"kinds": {name: kind.runs for name, kind in self.kinds.items()}, "count": self.count,
                "loss": {name: round(loss, 5) for name, loss in self.loss.items()},
                "sides": [round(self.sides.low, 4), round(self.sides.high, 4)], "early": self.early.as_json()}

    @property
    def mean_ms(self) -> float:
        """The mean run time of all runs that are kept; 0 without any."""
        return self.kinds[""].values(HALF_LIVES[2])[3] if self.kinds else 0.0

    def learn(self, tenant: str | None, size: int, run_ms: int, at_ms: int = 0, completed: bool = True) -> None:
        """Take in the outcome of one run that began at `at_ms`."""
        run_ms = min(max(int(run_ms), 0), MOST_MS)
        if not self.early.counts(completed, run_ms):
            return
        if completed and len(self.early.done) == SURE:
            self.kinds = {name: Kind(self.early.thinned(kind.runs)) for name, kind in self.kinds.items()}
        if "" in self.kinds:
            interval = self._interval(self._choose(tenant, size, at_ms)[1])
            self.sides.learn(run_ms < interval[0], run_ms > interval[2])
        names = _names(tenant, size)
        for expert, values in self._answers(names, tenant, size, at_ms):
            loss = pinball(run_ms, values)
            before = self.loss.get(expert)
            self.loss[expert] = loss if before is None else FORGET * before + (1 - FORGET) * loss
        for name in names.values():
            if name not in self.kinds and len(self.kinds) >= MOST_KINDS:
                del self.kinds[min((n for n in self.kinds if n), key=lambda n: len(self.kinds[n].runs))]
            kind = self.kinds.setdefault(name, Kind([]))
            kind.add(run_ms)
        self.count += 1

    def _answers(self, names: Mapping[str, str], tenant: str | None, size: int | None, at_ms: int):
        """(expert, values) of each expert; those of a kind with few runs answer with the type's."""
        whole = self.kinds.get("")
        if whole is None:
            return
        for letter, name in names.items():
            kind = self.kinds.get(name)
            use = kind if kind is not None and len(kind.runs) >= LEAST else whole
            for half_life in HALF_LIVES:
                yield f"{letter}{half_life:.0f}", use.values(half_life)
        if (values := self._from_table(tenant, size, at_ms)) is not None:
            yield "l", values

    def _from_table(self, tenant: str | None, size: int | None, at_ms: int) -> tuple[float, ...] | None:
        if not self.learned or size is None:
            return None
        who = tenant if tenant in self.learned.get("tenants", ()) else "*"
        block = at_ms // 14_400_000 % 6
        values = self.learned.get("cells", {}).get(f"{who}|{size_class(size)}|{block}")
        return tuple(values) if values else None

    def _choose(self, tenant: str | None, size: int | None, at_ms: int) -> tuple[str, tuple[float, ...], int]:
        """The best expert's letter, its values and the number of runs that they rest on."""
        names = _names(tenant, size)
        expert, values = min(self._answers(names, tenant, size, at_ms), key=lambda pair: self.loss.get(pair[0], 9.0))
        kind = self.kinds.get(names.get(expert[0] if expert[0].isalpha() else "", ""))
        letter = expert[0] if expert[0].isalpha() else ""
        if letter == "l":
            return letter, values, self.count
        if kind is None or len(kind.runs) < LEAST:
            letter, kind = "", self.kinds[""]
        return letter, values, len(kind.runs)

    def _interval(self, values: tuple[float, ...]) -> tuple[float, float, float]:
        low, middle, high = (math.log(value + 1.0) for value in values[:3])
        low = middle - max(middle - low, LEAST_WIDTH) * self.sides.low
        high = middle + max(high - middle, LEAST_WIDTH) * self.sides.high
        return math.exp(low) - 1.0, values[1], math.exp(high) - 1.0

    def estimate(self, tenant: str | None, size: int | None, at_ms: int = 0) -> Estimate | None:
        """How long a run takes whose arguments have `size` bytes (None: not known); None without any outcome."""
        if not self.kinds:
            return None
        letter, values, count = self._choose(tenant, size, at_ms)
        low, middle, high = self._interval(values)
        mean, spread, weight = self._mean(letter, values, tenant, size, count)
        doubt = min(spread / mean / math.sqrt(weight), 1.0) if mean > 0 else 0.0
        return Estimate(Interval(max(round(low), 0), round(middle), round(high)), mean, spread, count, BASIS[letter],
                        doubt)

    def _mean(self, letter: str, values: tuple[float, ...], tenant: str | None, size: int | None,
              count: int) -> tuple[float, float, float]:
        """Mean, standard deviation and the number of runs that count. Waits are sums of many runs, for which the mean
        of the last dozen is too uncertain: it is that of the middle half-life at least."""
        if letter == "l":
            return values[3], values[4], float(count)
        middle = HALF_LIVES[1]
        mine = self.kinds[_names(tenant, size)[letter]].values(middle)
        if values[3:] != self.kinds[_names(tenant, size)[letter]].values(HALF_LIVES[2])[3:]:
            return mine[3], mine[4], min(count, middle / math.log(2))
        return values[3], values[4], float(count)

    def remaining(self, tenant: str | None, size: int | None, ran_ms: int, most_ms: int, share: float | None = None,
                  at_ms: int = 0) -> tuple[Interval, float, float] | None:
        """What a run still takes that has run for `ran_ms`: interval, mean and standard deviation. `most_ms` is what
        its time limit leaves, `share` (0 to 1) its own progress. None without any outcome, unless it tells its
        progress."""
        most_ms = max(most_ms, 0)
        if share is not None and 0.02 <= share <= 1 and ran_ms > 0:
            left, doubt = ran_ms * (1 - share) / share, 0.1 + 0.5 * (1 - share)
            cut = [min(round(left * factor), most_ms) for factor in (math.exp(-doubt), 1.0, math.exp(doubt))]
            return Interval(*cut), float(cut[1]), left * doubt / 1.28
        if not self.kinds:
            return None
        pairs = [(ms, w) for ms, w in _weighted(self._runs(tenant, size, at_ms), HALF_LIVES[1]) if ms > ran_ms]
        if not pairs:
            return None
        if len(pairs) < 3:  # longer than all but two: it may take as long again as it has taken
            cut = [min(round(ran_ms * factor), most_ms) for factor in (0.1, 1.0, 5.0)]
            return Interval(*cut), float(cut[1]), float(cut[1])
        total = sum(w for _ms, w in pairs)
        mean = sum(ms * w for ms, w in pairs) / total
        spread = math.sqrt(sum(w * (ms - mean) ** 2 for ms, w in pairs) / total)
        low, middle, high = _quantiles(pairs, QUANTILES)
        wide = middle + (high - middle) * self.sides.high
        cut = [min(max(round(ms - ran_ms), 0), most_ms) for ms in (low, middle, max(wide, middle))]
        return Interval(*cut), min(mean - ran_ms, most_ms), spread

    def _runs(self, tenant: str | None, size: int | None, at_ms: int) -> list[int]:
        letter = self._choose(tenant, size, at_ms)[0]
        return self.kinds[_names(tenant, size).get("" if letter == "l" else letter, "")].runs

    def longer_than(self, tenant: str | None, size: int | None, ran_ms: int) -> float | None:
        """The share (0 to 1) of its kind that ran shorter than `ran_ms`; None without any run, and with fewer than
        LEAST when some ran longer."""
        if not self.kinds:
            return None
        runs = self._runs(tenant, size, 0)
        if len(runs) < LEAST and any(ms >= ran_ms for ms in runs):
            return None
        return sum(1 for ms in runs if ms < ran_ms) / len(runs)


def _whole(value: Any) -> int:
    if not isinstance(value, int) or not 0 <= value <= MOST_MS:
        raise ValueError("no number of ms or runs")
    return value


def _number(value: Any) -> float:
    if not isinstance(value, int | float) or not 0 <= value <= MOST_MS:
        raise ValueError("no number")
    return float(value)


def _names(tenant: str | None, size: int | None) -> dict[str, str]:
    """The kinds of a run: by letter the name under which they are kept."""
    if size is None:
        return {"": "", "t": f"t{tenant or ''}"}
    n = size_class(size)
    return {"": "", "t": f"t{tenant or ''}", "s": f"s{n}", "b": f"b{n} {tenant or ''}"}
