"""From a begin and a run time to intervals that hold 80 %, held against what happened.

begin and its standard deviation (plan.py) + estimate of the run (run_times.py) -> a first interval, whose sides are
scaled so that of the last predictions of its kind 1 in 10 lay beyond each (split conformal prediction, Vovk 2005, over
a window)

Times are ms from the moment of the prediction. Kinds: the begin in a queue, the end of a type, the end of a type for
jobs that ran already when they were predicted. A wait of many jobs errs for all of them together, so of the predictions
of a kind made within SPACED_MS only one is learned from. A prediction of a job that was retried or moved in
between counts as well: people see it too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from app.services.forecast.estimate import Estimate, Interval

Z = 1.2816  # 10 % of a normal distribution lie beyond it on each side
DOUBT = 0.04  # of a wait, besides the doubt of the mean run times
LEAST_DOUBT_MS = 300.0  # a claim, a ticket and a write
BEYOND = 0.095  # of the last errors beyond each side, so that 10 % of the next ones are: the past is not the future
KEPT, SPACED_MS, MOST_KINDS = 400, 10_000, 300
PRIOR = tuple(round(0.07 * n - 1.4, 2) for n in range(41))  # of a new kind: first intervals that nearly hold 80 %


@dataclass
class Calibration:
    """`errors` by kind: the last errors as multiples of the first interval's side, negative below its middle."""

    errors: dict[str, list[float]] = field(default_factory=dict)
    made: dict[str, int] = field(default_factory=dict)
    found: dict[str, tuple[float, float]] = field(default_factory=dict)

    @classmethod
    def read(cls, stored: Any) -> Calibration:
        """From what `as_json` gave; anything else begins anew."""
        try:
            return cls({str(kind): [float(error) for error in errors] for kind, errors in dict(stored or {}).items()})
        except (TypeError, ValueError):
            return cls()

    def as_json(self) -> dict[str, list[float]]:
        """Plain values for `read`."""
        return self.errors

    def sides(self, kind: str) -> tuple[float, float]:
        """By how much the sides of the first interval of a kind are scaled: (low, high)."""
        if kind not in self.found:
            errors = self.errors.get(kind, [])
            prior = PRIOR if len(errors) < len(PRIOR) else ()
            ordered = sorted((*prior, *errors)) or [0.0]
            n = max(math.floor(BEYOND * (len(ordered) + 1)) - 1, 0)
            self.found[kind] = (max(-ordered[n], 0.05), max(ordered[-1 - n], 0.05))
        return self.found[kind]

    def wants(self, kind: str, now: int) -> bool:
        """Whether a prediction that is made now (ms) is one to learn from. It is decided now: of those made together
        the first one to end would be the shortest."""
        if now < self.made.get(kind, -SPACED_MS) + SPACED_MS:
            return False
        self.made[kind] = now
        return True

    def learn(self, kind: str, happened: float, first: Interval) -> None:
        """Take in what happened to a prediction that was made from the interval `first`."""
        side = first.high - first.middle if happened > first.middle else first.middle - first.low
        error = min(max((happened - first.middle) / max(side, 1), -50.0), 50.0)
        if kind not in self.errors and len(self.errors) >= MOST_KINDS:
            del self.errors[next(iter(self.errors))]
        kept = self.errors.setdefault(kind, [])
        kept.append(round(error, 3))
        del kept[:-KEPT]
        self.found.pop(kind, None)


def scaled(first: Interval, sides: tuple[float, float]) -> Interval:
    """The interval of which 80 % hold, from the first one and the sides of its kind."""
    low, high = sides
    return Interval(max(round(first.middle - (first.middle - first.low) * low), 0), first.middle,
                    round(first.middle + (first.high - first.middle) * high))


def begin(ms: float, spread_ms: float, doubt: float = 0.0) -> Interval:
    """The first interval of a begin that the simulation puts at `ms`; `doubt` is that of the plan."""
    half = Z * math.sqrt(spread_ms ** 2 + (DOUBT ** 2 + doubt ** 2) * ms ** 2 + LEAST_DOUBT_MS ** 2)
    return Interval(round(ms - half), round(ms), round(ms + half))


def end(begins: Interval, run: Estimate) -> Interval:
    """The first interval of an end, from that of the begin as it is shown, and the estimate of the run."""
    middle = begins.middle + run.run.middle
    low = math.hypot(begins.middle - begins.low, run.run.middle - run.run.low)
    high = math.hypot(begins.high - begins.middle, run.run.high - run.run.middle)
    return Interval(round(middle - low), middle, round(middle + high))


def after(end: Interval, begin: Interval, run: Estimate) -> Interval:
    """An end that its begin allows: not before the earliest begin, nor surely over before the latest one."""
    return Interval(max(end.low, begin.low), max(end.middle, begin.low), max(end.high, begin.high + run.run.low))


def cut(interval: Interval, least: int, most: int) -> Interval:
    """An interval within bounds."""
    return Interval(*(min(max(ms, least), most) for ms in (interval.low, interval.middle, interval.high)))


def kinds(queue: str, job_type: str, runs: bool) -> Sequence[str]:
    """The kinds of a prediction: that of the begin, that of the end."""
    return f"begin {queue}", f"{'run' if runs else 'end'} {job_type}"
