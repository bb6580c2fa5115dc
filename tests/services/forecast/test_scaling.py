"""The policy of autoscaling as a table of situations, and days of load with a clock of their own."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest

from app.services.forecast.estimate import Interval, QueueForecast
from app.services.forecast.scaling import (
    MB,
    MOST_COUNTED,
    NONE,
    REFUSE,
    RETIRE,
    START,
    Facts,
    Memory,
    Rule,
    decide,
    time_to_clear,
)
from app.support.messages import Message

NOW = 10_000.0
PLAIN, TIMED = Rule(1, 4), Rule(1, 4, target_s=600)
IDLE = {"running": 3, "idle": 1}
QUIET, CALM = {"quiet_since": NOW - 300}, {"calm_since": NOW - 300, "busy": 1.0, "at": NOW - 2}
NARROW = {"free": 200 * MB, "total": 1000 * MB}

TABLE = [  # what it is, rule, facts, memory, action, part of the reason
    ("more than 100 wait", PLAIN, {"running": 1, "pending": 101}, {}, START, "101 jobs wait, more than 100"),
    ("100 are not more than 100", PLAIN, {"running": 1, "pending": 100}, {}, NONE, ""),
    ("not all were counted", PLAIN, {"running": 1, "pending": MOST_COUNTED}, {}, START, "at least 10000 jobs wait"),
    ("15 s after the last start", PLAIN, {"running": 2, "pending": 500}, {"started": NOW - 15}, START, "500"),
    ("14 s after the last start", PLAIN, {"running": 2, "pending": 500}, {"started": NOW - 14}, NONE, ""),
    ("a start right after an end: the load has risen", PLAIN, {"running": 2, "pending": 500}, {"retired": NOW - 1}, START, "500"),
    ("no more than WORKERS_MAX", PLAIN, {"running": 4, "pending": 500}, {}, REFUSE, "500 jobs wait, more than 100; but WORKERS_MAX is 4"),
    ("a place that a person emptied counts", PLAIN, {"running": 3, "empty": 1, "pending": 500}, {}, REFUSE, "WORKERS_MAX"),
    ("said a minute ago", PLAIN, {"running": 4, "pending": 500}, {"refused": {"most": NOW - 60}}, NONE, ""),
    ("said for the last time 5 minutes ago", PLAIN, {"running": 4, "pending": 500}, {"refused": {"most": NOW - 300}}, REFUSE, "WORKERS_MAX"),
    ("another obstacle was said", PLAIN, {"running": 4, "pending": 500}, {"refused": {"cpu": NOW - 60}}, REFUSE, "WORKERS_MAX"),
    ("the obstacle shows after the last start had its 15 s", PLAIN, {"running": 4, "pending": 500}, {"started": NOW - 3}, NONE, ""),
    ("under a tenth of the memory would stay", PLAIN, {"running": 1, "pending": 500, **NARROW, "free": 159 * MB}, {}, REFUSE, "159 MB of memory are free"),
    ("a tenth of the memory stays", PLAIN, {"running": 1, "pending": 500, **NARROW}, {}, START, "500"),
    ("the largest worker counts", PLAIN, {"running": 1, "pending": 500, **NARROW, "largest": 101 * MB}, {}, REFUSE, "needs 101 MB"),
    ("less than a worker would stay", PLAIN, {"running": 1, "pending": 500, "free": 119 * MB, "total": 300 * MB}, {}, REFUSE, "60 MB stay free"),
    ("a saturated processor", PLAIN, {"running": 1, "pending": 500, "cpu": 0.97, "wanting": 1}, {}, REFUSE, "busy by 97 %"),
    ("more workers than cores, which wait for others", PLAIN, {"running": 3, "pending": 500, "cpu": 0.3}, {}, START, "500"),
    ("others saturate it, the jobs here wait", PLAIN, {"running": 3, "pending": 500, "cpu": 1.0, "wanting": 0.3}, {}, START, "500"),
    ("all compute, and there is room", PLAIN, {"running": 1, "pending": 500, "cpu": 0.6, "wanting": 1}, {}, START, "500"),
    ("one busy moment does not saturate", PLAIN, {"running": 1, "pending": 500, "cpu": 1.0, "wanting": 1}, {"cpu": 0.5, "wanting": 1}, START, "500"),
    ("5 minutes without one waiting", PLAIN, IDLE, QUIET, RETIRE, "no job has waited and a worker was free for 5 min"),
    ("a little less than 5 minutes", PLAIN, IDLE, {"quiet_since": NOW - 299}, NONE, ""),
    ("one waits now", PLAIN, {**IDLE, "pending": 1}, QUIET, NONE, ""),
    ("all are busy: none ends", PLAIN, {"running": 3, "idle": 0}, QUIET, NONE, ""),
    ("not below WORKERS_MIN", PLAIN, {"running": 1, "idle": 1}, QUIET, NONE, ""),
    ("an emptied place does not let the last one end", PLAIN, {"running": 1, "idle": 1, "empty": 2}, QUIET, NONE, ""),
    ("one is ending already", PLAIN, {**IDLE, "retiring": 1}, QUIET, NONE, ""),
    ("60 s after the last end", PLAIN, IDLE, {**QUIET, "retired": NOW - 60}, RETIRE, "5 min"),
    ("59 s after the last end", PLAIN, IDLE, {**QUIET, "retired": NOW - 59}, NONE, ""),
    ("59 s after the last start", PLAIN, IDLE, {**QUIET, "started": NOW - 59}, NONE, ""),
    ("fewer than WORKERS_MIN, at once", Rule(2, 4), {"running": 1}, {"started": NOW - 1}, START, "1 of at least 2 workers"),
    ("a person emptied a place: WORKERS_MIN has it", Rule(2, 4), {"running": 1, "empty": 1}, {}, NONE, ""),
    ("fewer than WORKERS_MIN, but no memory", Rule(2, 4), {"running": 1, "free": MB}, {}, REFUSE, "1 MB of memory"),
    ("above the target", TIMED, {"running": 2, "pending": 30, "clear_s": 900}, {}, START, "begins within 15 min, the target is 10 min"),
    ("it grows", TIMED, {"running": 2, "pending": 30, "clear_s": math.inf}, {}, START, "more jobs arrive than begin"),
    ("thousands that begin soon need none", TIMED, {"running": 2, "pending": 5000, "clear_s": 540}, {}, NONE, ""),
    ("the time is not known: the number counts", TIMED, {"running": 2, "pending": 101, "clear_s": None}, {}, START, "101 jobs wait"),
    ("without the setting the time does not count", PLAIN, {"running": 2, "pending": 30, "clear_s": 9000}, {}, NONE, ""),
    ("calm though some wait", TIMED, {**IDLE, "pending": 4, "clear_s": 100}, CALM, RETIRE, "one worker fewer would do"),
    ("calm for 4 minutes", TIMED, {**IDLE, "pending": 4, "clear_s": 100}, {**CALM, "calm_since": NOW - 240}, NONE, ""),
    ("one fewer would need more than half the target", TIMED, {**IDLE, "everyone": 3, "pending": 4, "clear_s": 201}, CALM, NONE, ""),
    ("one fewer would need half the target", TIMED, {**IDLE, "everyone": 3, "pending": 4, "clear_s": 200}, CALM, RETIRE, "5 min"),
    ("those that stay would be too busy", TIMED, {**IDLE, "pending": 4, "clear_s": 100}, {**CALM, "busy": 1.7}, NONE, ""),
    ("a job of hours in one, the other free", PLAIN, {"running": 2, "idle": 1}, {**QUIET, "busy": 1.0, "at": NOW - 2}, RETIRE, "was free"),
    ("the time is not known any more", TIMED, {**IDLE, "pending": 4}, CALM, NONE, ""),
]


@pytest.mark.parametrize(("rule", "facts", "memory", "action", "reason"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_each_situation_has_its_decision(rule, facts, memory, action, reason):
    found = decide(Facts(now=NOW, **facts), Memory(**memory), rule)
    assert found.action == action, found.reason
    assert reason in (found.reason or "") and (found.reason is None) == (action == NONE)
    assert found.reason is None or type(found.reason) is Message


def queue(empty: float | None = None, why: str | None = None) -> QueueForecast:
    interval = None if empty is None else Interval(*[int(empty * 1000)] * 3)
    return QueueForecast(interval, why, (), 2, 1, None, 10)


@pytest.mark.parametrize(("forecasts", "expected"), [
    ({}, 0), ({"high": queue(90)}, 90), ({"high": queue(90), "low": queue(700)}, 700), ({"default": queue(900)}, 0),
    ({"high": queue(why="growing"), "low": queue(9)}, math.inf), ({"high": queue(why="types"), "low": queue(9)}, None),
    ({"high": queue(why="types"), "low": queue(700)}, 700), ({"high": queue(why="paused"), "low": queue(9)}, 9),
    ({"high": queue(), "low": queue(9)}, 9), ({"high": queue(why="workers")}, None),
])
def test_the_time_to_clear_is_that_of_the_slowest_queue_that_is_served(forecasts, expected):
    assert time_to_clear(forecasts, ("high", "low"), 0, 600) == expected


class Site:
    """Jobs of one length that come in a rhythm, and workers; one second a step, a decision each 2 s."""

    def __init__(self, rule: Rule, seconds: float) -> None:
        self.rule, self.seconds = rule, seconds
        self.memory, self.workers, self.waiting, self.credit = Memory(), [0.0] * rule.least, 0.0, 0.0
        self.log: list[tuple[int, str, int]] = []
        self.history: list[int] = []

    def run(self, load, until: int) -> None:
        for now in range(until):
            self.waiting += load(now)
            for n, free_at in enumerate(self.workers):
                while self.waiting >= 1 and max(free_at, now) < now + 1:
                    free_at = max(free_at, now) + self.seconds
                    self.waiting -= 1
                self.workers[n] = free_at
            if now % 2 == 0:
                self.decide(now)
            self.history.append(len(self.workers))

    def decide(self, now: int) -> None:
        idle = [n for n, free_at in enumerate(self.workers) if free_at <= now]
        clear_s = self.waiting * self.seconds / len(self.workers)
        facts = Facts(now=now, running=len(self.workers), idle=len(idle), pending=int(self.waiting), clear_s=clear_s, everyone=len(self.workers))
        decision = decide(facts, self.memory, self.rule)
        self.memory = decision.memory
        if decision.action in (START, RETIRE):
            if decision.action == START:
                self.workers.append(float(now))
            else:
                del self.workers[idle[-1]]
        if decision.reason:
            self.log.append((now, decision.action, len(self.workers)))

    def turns(self) -> int:
        """How often an end follows a start, or a start an end."""
        actions = [action for _, action, _ in self.log if action != REFUSE]
        return sum(a != b for a, b in pairwise(actions))


@pytest.mark.parametrize("rule", [Rule(1, 8), Rule(1, 8, target_s=60)], ids=["number", "time"])
def test_a_day_that_rises_stands_and_falls_is_followed_without_flapping(rule):
    """4 h of night, a rise over 4 h, 8 h at 2.6 workers' worth, a fall over 4 h, night; jobs of 2 s."""
    hour = 3600

    def load(now: int) -> float:
        height = min(max((now / hour - 4) / 4, 0), 1, max((20 - now / hour) / 4, 0))
        return 0.05 + 1.25 * height

    site = Site(rule, 2.0)
    site.run(load, 24 * hour)
    assert site.history[3 * hour] == 1 and site.history[-1] == 1
    assert min(site.history[9 * hour:15 * hour]) >= 3, "the load that stands is met"
    assert max(site.history) <= 5
    assert site.turns() <= 5 and len(site.log) < 25, site.log


@pytest.mark.parametrize("rule", [Rule(1, 6), Rule(1, 6, target_s=60)], ids=["number", "time"])
@pytest.mark.parametrize("period", [20, 120, 240])
def test_a_load_that_flaps_faster_than_5_minutes_does_not_flap_the_workers(rule, period):
    site = Site(rule, 1.0)
    site.run(lambda now: 4.0 if now % period < period / 2 else 0.0, 4 * 3600)
    assert site.turns() <= 3 and max(site.history) - site.history[-1] <= 2, site.log


def test_bursts_an_hour_apart_each_get_their_workers_and_lose_them_one_a_minute():
    site = Site(Rule(1, 4), 1.0)
    site.run(lambda now: 2000.0 if now % 3600 == 0 else 0.0, 3 * 3600)
    starts = [now for now, action, _ in site.log if action == START]
    assert [now % 3600 for now in starts] == [0, 16, 32] * 3, "15 s apart, seen each 2 s"
    ends = [now for now, action, _ in site.log if action == RETIRE]
    assert len(ends) == 9 and all(b - a >= 60 for a, b in pairwise(ends)), "and never right after each other"
    assert sum(action == REFUSE for _, action, _ in site.log) == 3, "once a burst"


def test_the_share_of_the_processor_is_smoothed_and_survives_a_reading_that_failed():
    memory = Memory()
    for share in (0.2, 1.0, 1.0, 1.0, 1.0, None):
        memory = decide(Facts(now=1, running=1, cpu=share), memory, PLAIN).memory
    assert 0.7 < memory.cpu < 0.9
    assert decide(Facts(now=1, running=1), replace(memory, cpu=0.95, started=-99), PLAIN).action == NONE
