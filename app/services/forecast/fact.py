"""The fact `forecast` of `meta`: a plan and the sides of its intervals, as JSON that pages read.

In JSON a time that never comes is -1, one that is not known is null.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from app.ledger import counts
from app.ledger.dialect import Executor
from app.services.forecast.plan import Curve, Plan

KEY = "forecast"
OLD_MS = 60_000


@dataclass(frozen=True)
class Fact:
    """A plan as it was stored. `sides` by kind (calibration.py); `serving` and `busy` by queue: its live workers and
    those with a job; `last_start`: when the last job of them began (ms), None without one."""

    plan: Plan
    age_ms: int
    sides: dict[str, tuple[float, float]]
    serving: dict[str, int]
    busy: dict[str, int]
    last_start: dict[str, int | None]
    paused: dict[str, float]


def store(tx: Executor, plan: Plan, **more: Any) -> None:
    """Write the fact, in the open transaction."""
    value = {name: _out(getattr(plan, name)) for name in plan.__dataclass_fields__}
    counts.save(tx, KEY, value | {name: _out(part) for name, part in more.items()})


def load(tx: Executor) -> Fact | None:
    """The fact; None when it is missing, damaged or older than a minute."""
    kept = counts.load(tx, KEY)
    if kept is None or kept[1] > OLD_MS:
        return None
    try:
        value = dict(kept[0])  # type: ignore[call-overload]
        plan = Plan(**{name: value[name] for name in Plan.__dataclass_fields__})
        for name in ("ready", "limited", "later"):
            setattr(plan, name, {key: _curve(curve) for key, curve in getattr(plan, name).items()})
        plan.clear = {queue: [_in(ms), spread, _in(alone)] for queue, (ms, spread, alone) in plan.clear.items()}
        plan.free = {queue: [_in(ms) for ms in times] for queue, times in plan.free.items()}
        sides = {kind: (float(low), float(high)) for kind, (low, high) in value["sides"].items()}
        return Fact(plan, kept[1], sides, value["serving"], value["busy_of"], value["last_start"],
                    {queue: _in(until) for queue, until in value["paused"].items()})
    except (TypeError, KeyError, ValueError, AttributeError, IndexError):
        return None


def _curve(points: list) -> Curve:
    return [[at, _in(ms), spread] for at, ms, spread in points]


def _in(ms: float | None) -> float:
    return math.nan if ms is None else math.inf if ms == -1 else float(ms)


def _out(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _out(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_out(part) for part in value]
    if isinstance(value, float):
        return None if math.isnan(value) else -1 if math.isinf(value) else round(value, 4)
    return value
