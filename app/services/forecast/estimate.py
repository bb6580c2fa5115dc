"""Plain values of predictions, used by the modules of this package and by pages. Times are in ms."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Interval:
    """A time or a length in ms: the `middle` (median) and the bounds between which 8 of 10 lie."""

    low: int
    middle: int
    high: int

    def later(self, ms: int) -> Interval:
        """The same interval `ms` later."""
        return Interval(self.low + ms, self.middle + ms, self.high + ms)


@dataclass(frozen=True, slots=True)
class Estimate:
    """How long a run takes: `run` is the interval, `mean_ms` the mean, `spread_ms` the standard deviation.

    The mean itself is known to the share `doubt` (its standard error). It rests on the last `count` runs; `basis` says
    of what: `job_type`, with `tenant`, `size` (of the arguments) or both (`tenant and size`), or `learned` (the extra
    `ml`).
    """

    run: Interval
    mean_ms: float
    spread_ms: float
    count: int
    basis: str
    doubt: float = 0.0


@dataclass(frozen=True)
class QueueForecast:
    """When a queue will be empty: `empty` is an interval of times, None when that is not known or never happens; then
    `why` is a code: `paused` (until a person resumes it), `workers` (no worker serves it), `types` (no run of the types
    `names` is known), `growing` (more arrives than can be done), `stuck` (the ends of all jobs that
    run are not known).

    `busy` of `workers` that serve it have a job. `still_ms`: no job was started in it for so long although it has ready
    jobs and every worker is busy; None when it moves. `basis_runs` is the number of runs that the forecast rests on.
    `blind` workers are left out, because the end of their job is not known.
    """

    empty: Interval | None
    why: str | None
    names: tuple[str, ...]
    workers: int
    busy: int
    still_ms: int | None
    basis_runs: int
    blind: int = 0


@dataclass(frozen=True)
class JobForecast:
    """When a job begins and ends (intervals of times, None when not known; then `why` is a code as in `QueueForecast`,
    or `monitor` (there is no forecast), `parents` (it waits for others), `person` (somebody must do something first),
    `longer` (it has run longer than all runs that are known), or its hold code).

    `place` is its place among the ready jobs of its queue (from 1), None when it is in no line. `turns` is the number
    of other tenants whose turn comes before its own, None when its type takes no turns. `longer_than` is the share (0
    to 1) of its kind that ran shorter than it has run already, None unless it runs. `run` is the estimate of its run.
    `names` are the types of which no run is known.
    """

    begin: Interval | None
    end: Interval | None
    why: str | None
    place: int | None
    turns: int | None
    longer_than: float | None
    run: Estimate | None
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Accuracy:
    """How good the last predictions were: `inside` of `checked` jobs ended within their interval. `error_ms` is the
    median error of the predicted end, `average_error_ms` what "the average of its type" would have got; None without
    any."""

    checked: int
    inside: int
    error_ms: int | None
    average_error_ms: int | None

    @property
    def share(self) -> float | None:
        """The share (0 to 1) inside; None without any."""
        return self.inside / self.checked if self.checked else None
