"""Who is dead, who is silent, who is stuck: the judgement of one monitor round (ledger rule 5).

Facts come in as plain values and a verdict comes out, so the rules are tested as a table.
Time is the monitor's own monotonic clock; stored times are never compared.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.support.messages import Message

SILENT_S = 120.0
HARD_S = 30.0


@dataclass
class Seen:
    """What the monitor remembers of one worker between rounds (monotonic seconds); `lock_held`: it has seen the lock
    held."""

    beat: int
    beat_at: float
    cpu: int | None = None
    cpu_at: float = 0.0
    other_claim: tuple[str, int] | None = None
    other_beat: int = 0
    stuck_claim: tuple[str, int] | None = None
    stuck_at: float = 0.0
    lock_held: bool = False


@dataclass(frozen=True)
class Facts:
    """One worker as read in this round; `here` means that its pid means something to this monitor, `gone` that it is
    proved to have ended: its pid is no longer that process, or its lock, which this monitor has seen held, can be
    taken."""

    beat: int
    here: bool
    gone: bool
    stopped: bool
    cpu: int | None


@dataclass(frozen=True)
class Verdict:
    """`dead`: free its rows now; `stale`: flag it; `why` is for people."""

    dead: bool = False
    stale: bool = False
    why: str | None = None


def judge(facts: Facts, seen: Seen, now: float) -> Verdict:
    """Dead at once when it is proved; else by 120 s of silence, and on this host only if it also stands still."""
    if facts.gone:
        return Verdict(dead=True, why=Message("the process is gone"))
    if facts.beat != seen.beat:
        seen.beat, seen.beat_at = facts.beat, now
    if facts.cpu != seen.cpu:
        seen.cpu, seen.cpu_at = facts.cpu, now
    silent = now - seen.beat_at
    if silent < SILENT_S:
        return Verdict()
    if not facts.here:
        return Verdict(dead=True, stale=True, why=Message("unheard for %(n)s s", n=int(silent)))
    if facts.stopped or now - seen.cpu_at >= SILENT_S:
        still = Message("unheard for %(n)s s and standing still", n=int(silent))
        return Verdict(dead=True, stale=True, why=Message("frozen") if facts.stopped else still)
    return Verdict(stale=True, why=Message("busy, not reporting"))


def over_time(seen: Seen, held: tuple[str, int], timeout_s: int, first_seen_run_s: float, now: float) -> bool:
    """Whether a job has run past timeout + 30 s, by the monitor's own clock.

    `first_seen_run_s` is how long it had run by stored times when first seen, at most its timeout:
    a clock that jumped can then never kill a job early.
    """
    if seen.stuck_claim != held:
        seen.stuck_claim, seen.stuck_at = held, now - min(max(first_seen_run_s, 0.0), float(timeout_s))
    return now - seen.stuck_at > timeout_s + HARD_S


def holds_something_else(seen: Seen, row: tuple[str, int], reported: tuple[str, int] | None, beat: int) -> bool:
    """A row under a live worker that reports something else in two later beats is nobody's."""
    if reported == row:
        seen.other_claim = None
        return False
    if seen.other_claim != row:
        seen.other_claim, seen.other_beat = row, beat
        return False
    return beat >= seen.other_beat + 2
