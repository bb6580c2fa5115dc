"""Predictions held against what happened, on histories: `scripts/bench predict [--history FILE.csv ...]`.

history (when each job became ready, its run time) -> a queue of workers in simulated time; each few seconds the state
that a monitor would see -> plan -> intervals of up to 3 jobs, written down -> compared when the job ends

The same modules answer as in the product (app/services/forecast); they see only what lies before the moment. The
baseline is "the average of its type": the mean time from ready to end of its jobs so far. A CSV has a header with
`ready` and `run` in seconds, and may have `type`, `tenant`, `size` (bytes of the arguments), `queue` (high, default,
low) and `workers` (in its first row; 3 without).
"""

from __future__ import annotations

import csv
import heapq
import math
import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from app.services.forecast import calibration, plan as plans
from app.services.forecast.calibration import Calibration
from app.services.forecast.estimate import Interval
from app.services.forecast.plan import Arrivals, Group, Running, Situation
from app.services.forecast.run_times import TypeModel
from app.services.forecast.simulation import Rows, Server, simulate

QUEUES = ("high", "default", "low")
LOOK_MS, WINDOW_MS, TIMEOUT_MS = 5_000, 600_000, 86_400_000
WARM = 0.1  # of the jobs: what is predicted before is not judged, as there is no history yet


@dataclass(slots=True)
class Job:
    """One job of a history; times in ms."""

    ready: int
    run: int
    job_type: str = "job"
    tenant: str | None = None
    size: int = 200
    queue: str = "default"
    began: int | None = None
    worker: str = ""


@dataclass(frozen=True, slots=True)
class Written:
    """A prediction that was written down: the first intervals to learn from and those that were shown, in ms from
    `made`."""

    made: int
    kind: str
    first: tuple[Interval | None, Interval | None]
    begin: Interval | None
    end: Interval
    average: float


@dataclass
class Score:
    """What became of the predictions."""

    name: str
    inside: int = 0
    below: int = 0
    checked: int = 0
    begin_inside: int = 0
    begin_checked: int = 0
    errors: list[float] = None
    averages: list[float] = None

    def line(self) -> str:
        """One line for people."""
        begins = f"{self.begin_inside / self.begin_checked:6.1%}" if self.begin_checked else "     –"
        return (f"{self.name:24} {self.checked:6} predictions, ends inside {self.inside / self.checked:6.1%} "
                f"(before {self.below / self.checked:5.1%}), begins inside {begins}, median error "
                f"{statistics.median(self.errors) / 1000:8.2f} s, average of the type "
                f"{statistics.median(self.averages) / 1000:8.2f} s")

    @property
    def good(self) -> bool:
        """Between 75 and 85 % inside, and a median error below that of the average of the type."""
        share = self.inside / self.checked
        return 0.75 <= share <= 0.85 and statistics.median(self.errors) < statistics.median(self.averages)


def replay(name: str, jobs: list[Job], workers: int, seed: int = 1) -> Score:
    """Run a history and judge what was predicted on the way."""
    rnd, score = random.Random(seed), Score(name, errors=[], averages=[])  # noqa: S311
    models: dict[str, TypeModel] = {}
    sides, written = Calibration(), {}
    totals: dict[str, list[float]] = {}
    jobs = sorted(jobs, key=lambda job: job.ready)
    free = [f"w{n}" for n in range(workers)]
    waiting: dict[str, list[tuple[int, Job]]] = {queue: [] for queue in QUEUES}
    running: list[tuple[int, int, Job]] = []
    arrived: list[Job] = []
    following, ended, now, look = 0, 0, jobs[0].ready, jobs[0].ready + LOOK_MS
    while following < len(jobs) or running or any(waiting.values()):
        events = [jobs[following].ready] if following < len(jobs) else []
        now = min(look, *events, *(running[0][:1] if running else ()))
        while running and running[0][0] <= now:
            at, number, job = heapq.heappop(running)
            free.append(job.worker)
            ended += 1
            models.setdefault(job.job_type, TypeModel()).learn(job.tenant, job.size, job.run, job.began)
            _judge(score, sides, job, at, written.pop(id(job), None), ended > WARM * len(jobs))
            sums = totals.setdefault(job.job_type, [0, 0.0])
            sums[0] += 1
            sums[1] += at - job.ready
        while following < len(jobs) and jobs[following].ready <= now:
            job = jobs[following]
            waiting[job.queue].append((following, job))
            arrived.append(job)
            following += 1
        _serve(free, waiting, running, now)
        if look <= now:
            look = now + LOOK_MS
            if not running and following < len(jobs) and not any(waiting.values()):
                look = max(look, jobs[following].ready)  # nothing to predict until then
            _predict(rnd, models, sides, totals, waiting, running, free, arrived, written, now)
    return score


def _serve(free: list[str], waiting: dict[str, list], running: list, now: int) -> None:
    for queue in QUEUES:
        while free and waiting[queue]:
            number, job = waiting[queue].pop(0)
            job.began, job.worker = now, free.pop()
            heapq.heappush(running, (now + job.run, number, job))


def _judge(score: Score, sides: Calibration, job: Job, at: int, made: Written | None, counts: bool) -> None:
    if made is None:
        return
    passed = at - made.made
    if made.first[1]:
        sides.learn(made.kind, passed, made.first[1])
    if made.begin is not None:
        begun = job.began - made.made
        if made.first[0]:
            sides.learn(f"begin {job.queue}", begun, made.first[0])
        score.begin_checked += counts
        score.begin_inside += counts and made.begin.low <= begun <= made.begin.high
    if counts:
        score.checked += 1
        score.inside += made.end.low <= passed <= made.end.high
        score.below += passed < made.end.low
        score.errors.append(abs(passed - made.end.middle))
        score.averages.append(abs(passed - made.average))


def _predict(rnd: random.Random, models: dict[str, TypeModel], sides: Calibration, totals: dict, waiting: dict,
             running: list, free: list[str], arrived: list[Job], written: dict[int, Written], now: int) -> None:
    """Write down what is predicted of up to 3 jobs that have no prediction yet."""
    wanted = [(queue, place, job) for queue in QUEUES for place, (_n, job) in enumerate(waiting[queue], 1)
              if id(job) not in written]
    wanted += [("", 0, job) for _at, _n, job in running if id(job) not in written]
    if not wanted:
        return
    groups = [Group(queue, place, 1, job.job_type, job.tenant, job.size, (number,))
              for queue in QUEUES for place, (number, job) in enumerate(waiting[queue], 1)]
    at_work = [Running(job.job_type, job.tenant, job.size, now - job.began, TIMEOUT_MS, job.worker)
               for _at, _n, job in running]
    names = {job.worker: QUEUES for _at, _n, job in running} | dict.fromkeys(free, QUEUES)
    plan = plans.make(Situation(now, groups, at_work, names, arrivals=_arrivals(arrived, models, now)), models.get)
    for queue, place, job in rnd.sample(wanted, min(3, len(wanted))):
        sums = totals.get(job.job_type)
        if (model := models.get(job.job_type)) is None or sums is None:
            continue
        average = max(sums[1] / sums[0] - (now - job.ready), 0.0)
        if not place:
            most = TIMEOUT_MS - (now - job.began)
            if (found := model.remaining(job.tenant, job.size, now - job.began, most, None, now)) is None:
                continue
            left = found[0]
            kind = f"run {job.job_type}"
            learn = left if sides.wants(kind, now) else None
            shown = calibration.scaled(left, sides.sides(kind))
            written[id(job)] = Written(now, kind, (None, learn), None, shown, average)
            continue
        ms, spread = plans.at_place(plan.ready[queue], place)
        if not math.isfinite(ms):
            continue
        first = calibration.begin(ms, spread, plan.doubt)
        begins = calibration.scaled(first, sides.sides(f"begin {queue}"))
        run = model.estimate(job.tenant, job.size, now)
        last = calibration.end(begins, run)
        kind = f"end {job.job_type}"
        learn = (first if sides.wants(f"begin {queue}", now) else None, last if sides.wants(kind, now) else None)
        shown = calibration.after(calibration.scaled(last, sides.sides(kind)), begins, run)
        written[id(job)] = Written(now, kind, learn, begins, shown, average)


def _arrivals(arrived: list[Job], models: dict[str, TypeModel], now: int) -> dict[str, Arrivals]:
    """The rate of each queue over the last 10 minutes, with the mean run times known so far."""
    while arrived and arrived[0].ready < now - WINDOW_MS:
        arrived.pop(0)
    found: dict[str, list[float]] = {}
    for job in arrived[-500:]:
        estimate = models[job.job_type].estimate(job.tenant, None) if job.job_type in models else None
        if estimate:
            found.setdefault(job.queue, []).append(estimate.mean_ms)
    counts = {queue: sum(1 for job in arrived if job.queue == queue) for queue in found}
    return {queue: Arrivals(counts[queue] / WINDOW_MS, statistics.fmean(means), statistics.fmean(means))
            for queue, means in found.items()}


# ---- histories -------------------------------------------------------------------------------------------------------


def _lognormal(rnd: random.Random, median_s: float, sigma: float) -> int:
    return max(int(1000 * median_s * math.exp(rnd.gauss(0, sigma))), 1)


def steady(rnd: random.Random, n: int) -> Iterator[Job]:
    """Three types at an even rate, 85 % of three workers."""
    now = 0.0
    for _ in range(n):
        now += rnd.expovariate(1 / 4200)
        name, median, queue = rnd.choice((("write", 20, "default"), ("sync", 4, "high"), ("check", 1, "low")))
        yield Job(int(now), _lognormal(rnd, median, 0.5), name, f"t{rnd.randint(1, 5)}", 200, queue)


def bursts(rnd: random.Random, n: int) -> Iterator[Job]:
    """Batches of 20 to 300 jobs at once, with a trickle between them."""
    now, left = 0.0, 0
    for _ in range(n):
        if left:
            left -= 1
        else:
            now += rnd.expovariate(1 / 60_000)
            left = rnd.randint(20, 300) if rnd.random() < 0.05 else 0
        yield Job(int(now), _lognormal(rnd, 6, 0.6), "import" if left else "page", None, rnd.randint(100, 900))


def drifting(rnd: random.Random, n: int) -> Iterator[Job]:
    """A service that slows down to a fifth and recovers, with a size that matters."""
    now = 0.0
    for number in range(n):
        now += rnd.expovariate(1 / 4000)
        size = int(math.exp(rnd.uniform(5, 10)))
        slow = math.exp(0.8 * math.sin(number / 250))
        yield Job(int(now), _lognormal(rnd, 0.05 * math.sqrt(size) * slow, 0.3), "write", f"t{number % 3}", size)


def two_humped(rnd: random.Random, n: int) -> Iterator[Job]:
    """A type that is either a hit (1 s) or a miss (40 s), and one of an hour among thousands of seconds."""
    now = 0.0
    for number in range(n):
        now += rnd.expovariate(1 / 4500)
        if number % 900 == 450:
            yield Job(int(now), _lognormal(rnd, 3600, 0.1), "report")
        else:
            yield Job(int(now), _lognormal(rnd, 1 if rnd.random() < 0.8 else 40, 0.15), "cache")


HISTORIES: dict[str, Callable[[random.Random, int], Iterator[Job]]] = {
    "steady": steady, "bursts": bursts, "drifting": drifting, "two-humped": two_humped}


def read(path: Path) -> tuple[list[Job], int]:
    """The jobs of a CSV, and its number of workers."""
    with path.open(newline="") as source:
        rows = list(csv.DictReader(source))
    jobs = [Job(int(float(row["ready"]) * 1000), max(int(float(row["run"]) * 1000), 1), row.get("type") or "job",
                row.get("tenant") or None, int(row.get("size") or 200), row.get("queue") or "default") for row in rows]
    return jobs, int(rows[0].get("workers") or 3)


def deep() -> bool:
    """The simulation of 100,000 waiting rows, aggregated; True under 50 ms."""
    rnd = random.Random(1)  # noqa: S311
    rows = [Rows(rnd.choice(QUEUES), 67, rnd.choice([1000, 2000, 60_000]), 500, order=(n,)) for n in range(1500)]
    servers = [Server(n * 100.0, 0, QUEUES) for n in range(4)]
    took = []
    for _ in range(7):
        started = time.perf_counter()
        simulate(rows, servers)
        took.append((time.perf_counter() - started) * 1000)
    least = min(took)
    print(f"simulation of {sum(row.count for row in rows):,} rows in {len(rows)} groups: {least:.1f} ms")
    return least < 50


def predict(files: list[str], jobs: int, seed: int) -> bool:
    """Print a line for each history; True when all are good."""
    good = deep()
    histories = [(Path(name).stem, *read(Path(name))) for name in files] or [
        (name, list(make(random.Random(f"{name} {seed}"), jobs)), 3) for name, make in HISTORIES.items()]  # noqa: S311
    for name, history, workers in histories:
        score = replay(name, history, workers, seed)
        print(score.line() + ("" if score.good else "   OVER"))
        good &= score.good
    return good
