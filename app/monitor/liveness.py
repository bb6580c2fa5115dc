"""Which workers are dead, silent or stuck: the judgement of one round of the monitor.

The functions take plain values and return a verdict, so that the tests of the rules are tables. Time is the monitor's
own monotonic clock; no stored time decides that a worker is dead. (The run time of a job is a stored time:
`over_time`.)
"""

from __future__ import annotations

from dataclasses import dataclass, field

from app.support.messages import Message

QUIET_S, SILENT_S = 30.0, 120.0  # three beats; twelve
HARD_S = 30.0
FROZEN = Message("frozen: a signal has stopped its process")


@dataclass
class Seen:
    """What the monitor remembers of one worker between rounds (monotonic seconds). `lock_held`: in an earlier round the
    worker had its lock."""

    beat: int
    beat_at: float
    cpu: int | None = None
    cpu_at: float = 0.0
    not_reported: dict[tuple[str, int], int] = field(default_factory=dict)  # claim: the beat that did not name it first
    stuck_since: dict[tuple[str, int], float] = field(default_factory=dict)
    lock_held: bool = False


@dataclass(frozen=True)
class Facts:
    """One worker as read in this round. `here`: its pid is one of this machine and namespace. `gone`: it has ended for
    certain, because its pid is no longer that process, or because its lock, which it had in an earlier round, is
    free."""

    beat: int
    here: bool
    gone: bool
    stopped: bool
    cpu: int | None


@dataclass(frozen=True)
class Verdict:
    """`dead`: its rows are freed now, and it is killed when it runs here; `stale`: its row is marked; `why` is a
    sentence for people, also while nothing is concluded yet."""

    dead: bool = False
    stale: bool = False
    why: str | None = None


def judge(facts: Facts, seen: Seen, now: float) -> Verdict:
    """The verdict on a worker at `now` (monotonic s). It is dead at once when `gone`; otherwise after 120 s without a
    beat, and on this machine only if it uses no CPU time either. After 30 s the reason says what is seen; a process
    that a signal has stopped is marked then."""
    if facts.gone:
        return Verdict(dead=True, why=Message("the process is gone"))
    if facts.beat != seen.beat:
        seen.beat, seen.beat_at = facts.beat, now
    if facts.cpu != seen.cpu:
        seen.cpu, seen.cpu_at = facts.cpu, now
    silent, still = now - seen.beat_at, now - seen.cpu_at
    if silent < QUIET_S:
        return Verdict()
    if facts.stopped:  # one that held the interpreter was silent before it was stopped
        dead = silent >= SILENT_S and still >= SILENT_S
        return Verdict(dead, silent >= SILENT_S or still >= QUIET_S, FROZEN)
    busy = Message("busy, not reporting")
    if silent < SILENT_S:
        return Verdict(why=busy if facts.here and still < QUIET_S else Message("not reporting"))
    if not facts.here:
        return Verdict(dead=True, stale=True, why=Message("unheard for %(n)s s", n=int(silent)))
    if still >= SILENT_S:
        return Verdict(dead=True, stale=True, why=Message("unheard for %(n)s s and standing still", n=int(silent)))
    return Verdict(stale=True, why=busy)


def over_time(seen: Seen, held: tuple[str, int], timeout_s: int, first_seen_run_s: float, now: float) -> bool:
    """Whether a job has run past timeout + 30 s, by the monitor's own clock.

    `first_seen_run_s` is how long it had run by stored times when it was first seen. At most its timeout counts, so
    that a clock that jumped never kills a job early.
    """
    since = seen.stuck_since.setdefault(held, now - min(max(first_seen_run_s, 0.0), float(timeout_s)))
    return now - since > timeout_s + HARD_S


def holds_something_else(seen: Seen, row: tuple[str, int], reported: set[tuple], beat: int) -> bool:
    """Whether a live worker has lost this row: two later beats have not named it among the claims `reported`."""
    if row in reported:
        seen.not_reported.pop(row, None)
        return False
    return beat >= seen.not_reported.setdefault(row, beat) + 2


def forget(seen: Seen, rows: set[tuple[str, int]]) -> None:
    """Keep what is remembered of these claims only."""
    for memory in (seen.not_reported, seen.stuck_since):
        for gone in memory.keys() - rows:
            del memory[gone]
