"""Which failures of a type count as run times: a flood of early ones says little of the jobs that still wait.

outcome (completed or failed, run time) -> counted as a run or not

A failure is early when it took less than the middle completed run of the type. Jobs that fail at once come in floods (a
group that is retried), and 340 of them would push every run of work out of the 256 that are kept. So of early failures
in a row only LEAST count, or twice as many as the type usually has between two other runs: a type of which 9 in 10 fail
at once is forecast as that. After BELIEVED in a row all count: the type no longer works. Before the first completed run
all count too, because nothing else is known; when SURE have completed, what the first flood left is thinned as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

LEAST, BELIEVED, SURE = 8, 1000, 8
DONE, GAPS = 64, 15


class Early:
    """The last DONE completed run times in ms, the early failures since the last other run (`gap`), and the last GAPS
    of such numbers."""

    def __init__(self, stored: Mapping[str, Any] | None = None) -> None:
        """Raises TypeError, ValueError or AttributeError for what `as_json` never gave."""
        kept = dict(stored or {})
        self.done = [_whole(ms) for ms in kept.get("done", ())][-DONE:]
        self.gaps = [_whole(n) for n in kept.get("gaps", ())][-GAPS:]
        self.gap = _whole(kept.get("gap", 0))

    def as_json(self) -> dict[str, Any]:
        """What `stored` takes."""
        return {"done": self.done, "gaps": self.gaps, "gap": self.gap}

    def counts(self, completed: bool, run_ms: int) -> bool:
        """Take in an outcome; whether its run time is one of work."""
        if not completed and self.done and run_ms < median(self.done):
            self.gap += 1
            return self.gap <= max(LEAST, 2 * median(self.gaps or [0])) or self.gap > BELIEVED
        self.gaps = [*self.gaps, self.gap][-GAPS:]
        self.gap = 0
        if completed:
            self.done = [*self.done, run_ms][-DONE:]
        return True

    def thinned(self, runs: list[int]) -> list[int]:
        """Run times from before the first completed one (oldest first): of those shorter than half the shortest
        completed one the newest LEAST stay."""
        short = [n for n, ms in enumerate(runs) if ms < min(self.done) / 2]
        gone = set(short[:-LEAST])
        return [ms for n, ms in enumerate(runs) if n not in gone]


def _whole(value: Any) -> int:
    if not isinstance(value, int) or value < 0:
        raise ValueError("no number of ms or failures")
    return value
