"""The simulation against a simulation that takes each row by itself, and what must always hold."""

from __future__ import annotations

import math
import random

import pytest

from app.services.forecast import simulation
from app.services.forecast.simulation import NEVER, STEPS, Begun, Limit, Rows, Server, simulate

QUEUES = ("high", "default", "low")


def one_by_one(rows, servers, limits, paused):
    """Each free worker takes the best ready row; nothing is taken together."""
    jobs = [(max(r.ready_ms, paused.get(r.queue, 0)), r.order, n) for n, r in enumerate(rows) for _ in range(r.count)]
    free, begun = [s.free_ms for s in servers], [[] for _ in rows]
    ends = {name: list(limit.busy) for name, limit in limits.items()}
    starts = {name: sorted(limit.started) for name, limit in limits.items()}

    def allowed(name):
        """From when a row of this limit may start."""
        if name is None:
            return 0
        limit, at = limits[name], 0
        if limit.concurrency is not None and len(ends[name]) >= limit.concurrency:
            at = sorted(ends[name])[-limit.concurrency]
        if limit.rate_count and len(starts[name]) >= limit.rate_count:
            at = max(at, starts[name][-limit.rate_count] + limit.rate_ms)
        return at

    while jobs:
        at = {job: max(job[0], allowed(rows[job[2]].limit), 0) for job in jobs}
        turns = [(max(free[w], min(mine)), w) for w, s in enumerate(servers)
                 if (mine := [t for job, t in at.items() if rows[job[2]].queue in s.queues])]
        now, w = min(turns, default=(NEVER, 0))
        if now == NEVER:
            break
        best = min((servers[w].queues.index(rows[job[2]].queue), job[1], job) for job, t in at.items()
                   if t <= now and rows[job[2]].queue in servers[w].queues)[2]
        jobs.remove(best)
        begun[best[2]].append(now)
        free[w] = now + rows[best[2]].run_ms
        if (name := rows[best[2]].limit) is not None:
            ends[name].append(free[w])
            starts[name].append(now)
    return [(min(found, default=NEVER), max(found) if len(found) == rows[n].count else NEVER)
            for n, found in enumerate(begun)]


def situation(rnd: random.Random, limited: bool):
    limits = {"a": Limit(concurrency=rnd.choice([1, 2]), busy=(rnd.randint(1, 900),)),
              "b": Limit(rate_count=rnd.choice([1, 3]), rate_ms=700, started=(-300, -20))} if limited else {}
    queue_of = {"a": "default", "b": "low"}
    chosen = [rnd.choice([None, *limits]) for _ in range(rnd.randint(1, 8))]
    rows = [Rows(queue_of.get(limit) or rnd.choice(QUEUES), rnd.choice([1, 1, 2, 5, 17]), rnd.choice([11, 103, 1007]),
                 ready_ms=rnd.choice([0, 0, 0, rnd.randint(1, 3000)]), order=(n,), limit=limit)
            for n, limit in enumerate(chosen)]
    servers = [Server(rnd.choice([0, rnd.randint(1, 2000), NEVER] if n else [0]), 0, QUEUES) for n in range(rnd.randint(1, 4))]
    return rows, servers, limits, rnd.choice([{}, {}, {"high": 500}, {"default": NEVER}])


@pytest.mark.parametrize("limited", [False, True])
def test_it_finds_what_one_by_one_finds(limited):
    rnd = random.Random(3)
    for case in range(1500):
        rows, servers, limits, paused = situation(rnd, limited)
        found = [at for begun in simulate(rows, servers, limits, paused) for at in (begun.first_ms, begun.last_ms)]
        wanted = [at for pair in one_by_one(rows, servers, limits, paused) for at in pair]
        assert found == pytest.approx(wanted, abs=1e-6), (case, rows, servers, limits, paused)


def test_a_long_one_among_thousands_of_short_ones():
    """With two workers, the hour occupies one of them; the thousands go through the other."""
    rows = [Rows("default", 1, 3_600_000, order=(0,)), Rows("default", 2000, 1000, order=(1,))]
    long, short = simulate(rows, [Server(0, 0, QUEUES)] * 2)
    assert (long.first_ms, short.first_ms, short.last_ms) == (0, 0, 1_999_000)
    (behind,) = simulate([Rows("default", 10, 1000)], [Server(3_600_000, 0, QUEUES)] * 2)
    assert behind.first_ms == 3_600_000  # both workers have jobs of an hour: nothing begins before


def test_what_never_begins():
    rows = [Rows("low", 1, 10), Rows("high", 5, 10)]
    assert [b.first_ms for b in simulate(rows, [Server(0, 0, ("high",))])] == [NEVER, 0]
    assert [b.first_ms for b in simulate(rows, [])] == [NEVER, NEVER]
    assert [b.first_ms for b in simulate(rows, [Server(NEVER, 0, QUEUES)])] == [NEVER, NEVER]
    assert [b.first_ms for b in simulate(rows, [Server(0, 0, QUEUES)], {}, {"high": NEVER, "low": 70})] == [70, NEVER]


def test_what_is_not_known():
    """From the begin of a row of unknown run time nothing is known, but all before it is."""
    rows = [Rows("high", 2, 10, order=(0,)), Rows("high", 1, math.nan, order=(1,)), Rows("low", 1, 10, order=(2,))]
    before, unknown, after = simulate(rows, [Server(0, 0, QUEUES)])
    assert (before.first_ms, before.last_ms, unknown.first_ms) == (0, 10, 20)
    assert math.isnan(after.first_ms)


def test_the_spread_of_a_wait_grows_with_the_root_of_its_jobs():
    """100 jobs of 1,000 +- 300 ms on one worker: the last begins at 99,000 +- 300 * sqrt(99); four workers share it."""
    (one,) = simulate([Rows("default", 100, 1000, 300)], [Server(0, 0, QUEUES)])
    assert one == Begun(0, 99_000, pytest.approx(300 * math.sqrt(99)))
    (four,) = simulate([Rows("default", 400, 1000, 300)], [Server(0, 0, QUEUES)] * 4)
    assert four.last_ms == 99_000 and four.spread_ms == pytest.approx(300 * math.sqrt(99) / 2, rel=0.02)


def test_more_workers_never_make_the_last_begin_later():
    rnd = random.Random(5)
    for _ in range(300):
        runs = [rnd.choice([10, 100, 5000]) for _ in range(60)]
        rows = [Rows("default", 1, ms, ready_ms=rnd.choice([0, 900]), order=(n,)) for n, ms in enumerate(runs)]
        last = [max(b.first_ms for b in simulate(rows, [Server(0, 0, QUEUES)] * n)) for n in (1, 2, 4, 8)]
        assert last == sorted(last, reverse=True)


@pytest.mark.parametrize("limited", [False, True])
def test_a_hundred_thousand_rows_cost_few_steps(limited):
    """500 groups of 200 rows: a step or two each; with a limit at most twice STEPS."""
    steps = []

    class Counted(simulation._Run):
        def _note(self, *values):
            steps.append(1)
            super()._note(*values)

    rnd = random.Random(1)
    rows = [Rows(rnd.choice(QUEUES), 200, rnd.choice([1000, 60_000]), 300, order=(n,), limit="a" if limited else None)
            for n in range(500)]
    run = Counted(rows, [Server(0, 0, QUEUES)] * 4, {"a": Limit(2)} if limited else {}, {})
    run.run()
    assert not any(run.left) and len(steps) <= (2 * STEPS if limited else 1100)
