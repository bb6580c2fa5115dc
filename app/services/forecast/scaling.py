"""When a consumer starts a worker more or ends one: a pure function of plain values.

autoscaler (each 2 s): ledger, forecast, machine -> Facts -> decide(facts, memory, rule) -> Decision, with the memory
that the next call gets

* Start: more than 100 jobs wait. With WORKERS_CLEAR_MIN and a known time to clear: that time is above it, whatever the
  number of jobs. A time that is not known, or is too old, leaves the number.
* End an idle one: for 5 minutes no job has waited and at each look a worker was free. (Without the second half a load
  of 2.6 workers would lose its third every 5 minutes and get it back a minute later.) Or: for 5 minutes one worker
  fewer would have cleared what waits in half of WORKERS_CLEAR_MIN, and those left would have been busy by 80 % at most.
* 15 s between two starts: a worker is there after 2 s and the forecast, which is made each 2 s, must show it. 60 s
  between an end and the start or end before: to end late costs memory only, to end early costs waiting.
* A start that memory, the processor or WORKERS_MAX forbids is refused, and the refusal is said once: again only after
  nobody wanted a worker for 5 minutes.
* The number of cores is no bound by itself, because many jobs wait for others. None is started while the processor is
  busy by more than 90 % and at least half of the workers want it: of jobs that compute, more at once end no sooner.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from app.services.forecast.estimate import QueueForecast
from app.support.messages import Message

START, RETIRE, REFUSE, STAY, NONE = "start", "retire", "refuse", "stay", "none"
NOTED = {START: Message("worker started"), RETIRE: Message("worker retired"), REFUSE: Message("no worker started"),
         STAY: Message("worker not retired")}  # the names in the log of actions
MOST_COUNTED = 10_000  # ready jobs are counted up to here: 2 ms; a reason says "at least" then
MB = 2**20


@dataclass(frozen=True)
class Pace:
    """The fixed numbers of the rules; times in seconds."""

    pending: int = 100
    calm_s: float = 300
    start_gap_s: float = 15
    retire_gap_s: float = 60
    smooth: float = 0.3  # weight of the newest 2 s in what is told of the processor: the last 6 s or so count
    saturated: float = 0.9
    computing: float = 0.5
    filled: float = 0.8  # busy share of the workers that are left, up to which one fewer is enough
    reserve: float = 0.1  # of the memory of the machine or the container stays free
    worker_bytes: int = 60 * MB  # what a worker needs at least


@dataclass(frozen=True)
class Rule:
    """Between how many workers, and the target in seconds (None: only the number of jobs counts)."""

    least: int
    most: int
    target_s: float | None = None
    pace: Pace = Pace()


@dataclass(frozen=True)
class Facts:
    """What a consumer sees at `now` (seconds of a monotonic clock). Of its workers, `running` should run, `idle` have
    no job and no command, `retiring` were told to end; `empty` places were emptied by a person. `everyone` counts the
    workers of all consumers.

    `pending`: ready rows that its workers may take, at most MOST_COUNTED. `clear_s`: seconds until all of them have
    begun, inf when more arrives than begins, None when not known. `cpu`: busy share (0 to 1) since the facts before,
    None when not known; `wanting`: processes of its jobs that compute, for each worker. `free`, `total` and `largest`
    (a worker) in bytes.
    """

    now: float
    running: int
    idle: int = 0
    retiring: int = 0
    empty: int = 0
    everyone: int = 0
    pending: int = 0
    clear_s: float | None = None
    cpu: float | None = None
    wanting: float = 0
    free: int = 2**40
    total: int = 2**40
    largest: int = 0


@dataclass(frozen=True)
class Memory:
    """What the next decision must know: times of the same clock (`at`: the last look), smoothed values of the facts,
    and when each kind of refusal was last due."""

    at: float | None = None
    quiet_since: float | None = None
    calm_since: float | None = None
    started: float = -math.inf
    retired: float = -math.inf
    cpu: float | None = None
    wanting: float | None = None
    busy: float | None = None
    refused: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """`action` is START, RETIRE, REFUSE (a start that is not possible; said once) or NONE; `reason` is None only for
    NONE."""

    action: str
    reason: Message | None
    memory: Memory


def decide(facts: Facts, memory: Memory, rule: Rule) -> Decision:
    """What to do now. The caller keeps the memory of the answer once it has done it."""
    memory, pace, now = _observed(facts, memory, rule), rule.pace, facts.now
    places = facts.running + facts.empty
    if places < rule.least:
        why = Message("%(n)s of at least %(least)s workers", n=places, least=rule.least)
    else:
        why = _too_many_wait(facts, rule)
    if why and (places < rule.least or now - memory.started >= pace.start_gap_s):
        kind, obstacle = _obstacle(facts, memory, rule, places, why)
        if obstacle is None:
            return Decision(START, why, replace(memory, started=now))
        said = now - memory.refused.get(kind, -math.inf) < pace.calm_s
        kept = replace(memory, refused={**memory.refused, kind: now})
        return Decision(NONE, None, kept) if said else Decision(REFUSE, obstacle, kept)
    rested = now - max(memory.started, memory.retired) >= pace.retire_gap_s
    spare = facts.idle and not facts.retiring and facts.running > rule.least
    if rested and spare and not why and (why := _calm(memory, rule, now)):
        return Decision(RETIRE, why, replace(memory, retired=now))
    return Decision(NONE, None, memory)


def time_to_clear(forecasts: Mapping[str, QueueForecast], queues: Iterable[str], now_ms: int,
                  target_s: float) -> float | None:
    """Seconds until all that waits in `queues` has begun; inf when a queue grows; None when it is not known in a queue
    and no other is above the target. A paused queue waits for a person, not for workers. A queue in which nothing
    waited at the last forecast counts as 0: the next one is made within 5 s."""
    worst, known = 0.0, True
    for forecast in (forecasts[queue] for queue in queues if queue in forecasts):
        if forecast.why == "growing":
            return math.inf
        if forecast.empty is not None:
            worst = max(worst, (forecast.empty.middle - now_ms) / 1000)
        elif forecast.why not in (None, "paused"):
            known = False
    return worst if known or worst > target_s else None


def _observed(facts: Facts, memory: Memory, rule: Rule) -> Memory:
    """The memory with what these facts add."""
    pace, all_of_them = rule.pace, max(facts.everyone or facts.running, 2)
    passed = 0.0 if memory.at is None else facts.now - memory.at
    busy = _mixed(memory.busy, facts.running - facts.idle, 1 - math.exp(-3 * passed / pace.calm_s))
    calm = (facts.clear_s is not None and rule.target_s is not None and busy <= pace.filled * (facts.running - 1)
            and facts.clear_s * all_of_them / (all_of_them - 1) <= rule.target_s / 2)
    return replace(
        memory, at=facts.now, busy=busy, calm_since=_since(calm, memory.calm_since, facts.now),
        quiet_since=_since(facts.pending == 0 and facts.idle > 0, memory.quiet_since, facts.now),
        cpu=memory.cpu if facts.cpu is None else _mixed(memory.cpu, facts.cpu, pace.smooth),
        wanting=_mixed(memory.wanting, facts.wanting, pace.smooth))


def _mixed(before: float | None, value: float, weight: float) -> float:
    """The exponentially weighted mean."""
    return value if before is None else before * (1 - weight) + value * weight


def _since(holds: bool, before: float | None, now: float) -> float | None:
    return None if not holds else now if before is None else before


def _too_many_wait(facts: Facts, rule: Rule) -> Message | None:
    """Why a worker more is wanted."""
    if rule.target_s and facts.clear_s is not None:
        if facts.clear_s <= rule.target_s:
            return None
        target = round(rule.target_s / 60)
        if math.isinf(facts.clear_s):
            return Message("more jobs arrive than begin; the target is %(target)s min", target=target)
        return Message("what waits begins within %(n)s min, the target is %(target)s min",
                       n=math.ceil(facts.clear_s / 60), target=target)
    if facts.pending <= rule.pace.pending:
        return None
    limit = rule.pace.pending
    if facts.pending >= MOST_COUNTED:
        return Message("at least %(n)s jobs wait, more than %(limit)s", n=facts.pending, limit=limit)
    return Message("%(n)s jobs wait, more than %(limit)s", n=facts.pending, limit=limit)


def _obstacle(facts: Facts, memory: Memory, rule: Rule, places: int, why: Message) -> tuple[str, Message | None]:
    """Why none is started although one is wanted: (kind, sentence); ("", None) when one can be started."""
    need = max(facts.largest, rule.pace.worker_bytes)
    spare = max(need, int(facts.total * rule.pace.reserve))
    if places >= rule.most:
        return "most", Message("%(why)s; but WORKERS_MAX is %(n)s", why=why, n=rule.most)
    if facts.free - need < spare:
        return "memory", Message(
            "%(why)s; but %(free)s MB of memory are free, a worker needs %(need)s MB and %(spare)s MB stay free",
            why=why, free=facts.free // MB, need=need // MB, spare=spare // MB)
    if (memory.cpu or 0) > rule.pace.saturated and (memory.wanting or 0) >= rule.pace.computing:
        return "cpu", Message("%(why)s; but the processor is busy by %(n)s %%", why=why, n=round(memory.cpu * 100))
    return "", None


def _calm(memory: Memory, rule: Rule, now: float) -> Message | None:
    """Why a worker fewer is enough."""
    quiet_s, calm_s = (0.0 if since is None else now - since for since in (memory.quiet_since, memory.calm_since))
    if quiet_s >= rule.pace.calm_s:
        return Message("no job has waited and a worker was free for %(n)s min", n=round(quiet_s / 60))
    if calm_s >= rule.pace.calm_s:
        return Message("one worker fewer would do: what waits would begin within %(n)s min, for %(m)s min by now",
                       n=math.ceil((rule.target_s or 0) / 120), m=round(calm_s / 60))
    return None
