"""The fact `forecast` of `meta`: a plan and the sides of its intervals, as JSON that pages read.

In JSON a time that never comes is -1, one that is not known is null.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from app.ledger import counts
from app.ledger.dialect import Executor
from app.services.forecast.plan import Plan

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
        return _read(dict(kept[0]), kept[1])  # type: ignore[call-overload]
    except (TypeError, KeyError, ValueError, AttributeError, IndexError, OverflowError):
        return None


def _read(value: dict[str, Any], age_ms: int) -> Fact:
    """Every part is converted, so that one of another kind is found here and not on a page."""
    numbers = {name: int(value[name]) for name in ("at_ms", "workers", "busy", "runs", "newest")}
    curves = {name: _each(value[name], lambda curve: [[float(at), _in(ms), float(spread)] for at, ms, spread in curve])
              for name in ("ready", "limited", "later")}
    if not all(curve for lines in curves.values() for curve in lines.values()):
        raise ValueError("an empty curve")
    plan = Plan(
        **numbers, **curves, doubt=float(value["doubt"]),
        unknown=_each(value["unknown"], lambda names: [str(name) for name in names]),
        clear=_each(value["clear"], lambda three: [_in(three[0]), float(three[1]), _in(three[2])]),
        marks=_each(value["marks"], lambda marks: [[[int(rank), float(line)], int(at)] for (rank, line), at in marks]),
        free=_each(value["free"], lambda times: [_in(ms) for ms in times]))
    sides = _each(value["sides"], lambda pair: (float(pair[0]), float(pair[1])))
    starts = _each(value["last_start"], lambda at: None if at is None else int(at))
    return Fact(plan, age_ms, sides, _each(value["serving"], int), _each(value["busy_of"], int), starts,
                _each(value["paused"], _in))


def _each(part: Any, convert: Callable[[Any], Any]) -> dict[str, Any]:
    return {str(key): convert(one) for key, one in dict(part).items()}


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
