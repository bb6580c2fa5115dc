"""Kill anything at any instant, and count outside the product what became of each job.

    python -m tests.chaos.harness --jobs 10000 --kills 200

Two consumers with two workers each and a monitor run under a keeper that starts again what dies, as supervisord does. Jobs are
dispatched all along; each writes a line into a file of ours when it begins. Victims are drawn from: a worker, a consumer, a
consumer's scheduler, the monitor, everything at once; and a worker frozen (SIGSTOP) for some seconds. Reported: jobs lost (no final
outcome), ended twice, run again, run though nobody lost them, seconds from a kill to the rescue, and the most tickets there were.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import psutil

from app import create_app
from app.config import load_settings
from app.services.instance import migration
from tests.process.product import ROOT, Product

WORKERS, CONSUMERS = 2, 2
STEP = 1000  # jobs a commit
GROUP, KILLERS = 32, 3  # rows of a group at most; jobs that kill their worker
VICTIMS = ("worker", "worker", "worker", "consumer", "scheduler", "monitor", "everything", "freeze")


class Keeper(threading.Thread):
    """Starts again what died, half a second later."""

    def __init__(self, product: Product) -> None:
        super().__init__(daemon=True)
        self.product, self.over = product, threading.Event()
        self.slots = {"monitor": product.monitor()} | {f"consumer {n}": product.workers(WORKERS) for n in range(CONSUMERS)}

    def run(self) -> None:
        while not self.over.wait(0.5):
            for name, process in list(self.slots.items()):
                if process.poll() is not None:
                    self.slots[name] = self.product.monitor() if name == "monitor" else self.product.workers(WORKERS)

    def pids(self, kind: str) -> list[int]:
        if kind == "monitor":
            return [self.slots["monitor"].pid]
        consumers = [p.pid for name, p in self.slots.items() if name != "monitor" and p.poll() is None]
        if kind == "consumer":
            return consumers
        workers = set(self.product.worker_pids())
        if kind in ("worker", "freeze"):
            return sorted(workers)
        children = []
        for pid in consumers:
            with contextlib.suppress(psutil.Error):
                children += [c.pid for c in psutil.Process(pid).children()]
        return [c for c in children if c not in workers] if kind == "scheduler" else children + consumers + [self.slots["monitor"].pid]


def migrated(folder: Path) -> Path:
    data = folder / "data"
    data.mkdir(mode=0o700, exist_ok=True)
    app = create_app(load_settings({"DATA_DIR": str(data)}))
    with app.app_context():
        migration.prepare(app.extensions["settings"])
    return data


def run(folder: Path, jobs: int, kills: int, seed: int = 0, say=print) -> dict[str, object]:
    """One campaign in `folder` (a migrated data folder is made in it); returns the report."""
    chance = random.Random(seed)
    data, marks = migrated(folder), folder / "marks"
    marks.touch()
    product = Product(data, grace=3)
    keeper, struck, tickets, uuids = Keeper(product), [], 0, {}
    keeper.start()
    try:
        product.until(lambda: len(product.worker_pids()) >= WORKERS, 30, "the first workers")
        sent = 0
        for strike in range(kills):
            wave = jobs * (strike + 1) // kills - sent
            for n in range(sent, sent + wave):
                uuids[n] = product.dispatch("TestMark", path=str(marks), n=n, ms=chance.choice((1, 5, 20, 80, 300)))[0]
            sent += wave
            time.sleep(chance.random() * 0.6)
            tickets = max(tickets, count_tickets(data))
            struck.append((time.time(), *hit(keeper, chance)))
            say(f"{strike + 1}/{kills} {struck[-1][1]}, {product.one('SELECT COUNT(*) FROM jobs')} left") if strike % 20 == 0 else None
        product.ended(120 + jobs // 20)
        return report(product, uuids, marks, struck, tickets)
    finally:
        keeper.over.set()
        keeper.join()
        product.stop()


def short(folder: Path, jobs: int, kills: int, seed: int = 0, say=print) -> dict[str, object]:
    """`jobs` short ones, which workers take in groups, and among them some that kill their worker."""
    chance = random.Random(seed)
    data, marks = migrated(folder), folder / "marks"
    marks.touch()
    product = Product(data, grace=3)
    keeper, struck, tickets, uuids, killers = Keeper(product), [], 0, {}, []
    keeper.start()
    try:
        product.until(lambda: len(product.worker_pids()) >= WORKERS, 30, "the first workers")
        for strike in range(kills):
            first, last = len(uuids), jobs * (strike + 1) // kills
            made = product.dispatch_many("TestMark", [{"path": str(marks), "n": n, "ms": 0} for n in range(first, last)])
            uuids |= dict(enumerate(made, first))
            if strike < KILLERS:
                killers += product.dispatch("TestSuicide")
            time.sleep(chance.random() * 0.4)
            tickets = max(tickets, count_tickets(data))
            struck.append((time.time(), *hit(keeper, chance)))
        product.ended(180 + jobs // 200)
        deaths = sum(len(pids) for _at, _kind, pids in struck) + 4 * KILLERS
        found = report(product, uuids, marks, struck, tickets)
        guilty = {row[0] for row in product.all("SELECT uuid FROM failed_jobs WHERE error LIKE '%killing its worker%'")}
        return found | {"killers": KILLERS, "poisoned": len(guilty), "innocents_poisoned": len(guilty - set(killers)),
                        "grouped": product.one("SELECT COUNT(*) FROM (SELECT 1 FROM job_metrics WHERE status = 'completed' "
                                               "GROUP BY completed_at, worker HAVING COUNT(*) > 1)"),
                        "bound_of_reruns": GROUP * deaths, "bound_of_tickets": found["bound_of_tickets"] + KILLERS}
    finally:
        keeper.over.set()
        keeper.join()
        product.stop()


def pauses(folder: Path, jobs: int) -> dict[str, object]:
    """`jobs` pending, their queue paused under 4 workers until the store is empty, resumed, drained; tickets counted all along."""
    data = migrated(folder)
    product, most = Product(data, grace=3), 0

    def seen() -> int:
        nonlocal most
        most = max(most, found := count_tickets(data))
        return found

    def cli(*words: str) -> None:
        subprocess.run([sys.executable, "-m", "flask", "--app", "wsgi", "jobs", *words], env=product.env, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)

    try:
        for n in range(0, jobs, STEP):
            product.dispatch("TestNoop", count=min(STEP, jobs - n))
        dispatched = seen()
        cli("pause", "default")
        product.monitor(), product.workers(WORKERS), product.workers(WORKERS)
        emptied = product.until(lambda: not seen(), 60 + jobs // 500, "the paused queue's tickets are used up")
        kept = product.one("SELECT COUNT(*) FROM jobs WHERE state = 'pending'")
        quiet_until = time.monotonic() + 8  # longer than the 5 s after which the monitor looks for lost tickets
        product.until(lambda: seen() > WORKERS * CONSUMERS or time.monotonic() > quiet_until, 20)
        paused = seen()
        cli("resume", "default")
        drained = product.until(lambda: seen() < 0 or product.one("SELECT COUNT(*) FROM jobs") == 0, 120 + jobs // 200, "drained")
        finals = product.finals()
    finally:
        product.stop()
    return {"jobs": jobs, "kept_while_paused": kept, "tickets_dispatched": dispatched, "tickets_while_paused": paused, "most_tickets": most,
            "bound_of_tickets": jobs + WORKERS * CONSUMERS, "emptied_s": round(emptied, 1), "drained_s": round(drained, 1),
            "lost": jobs - len(finals), "ended_twice": sum(1 for n in finals.values() if n > 1)}


def hit(keeper: Keeper, chance: random.Random) -> tuple[str, set[int]]:
    """Strike once; returns what was struck and the pids that die of it (children end with their consumer)."""
    kind = chance.choice(VICTIMS)
    pids = keeper.pids(kind)
    if not pids:
        return "nobody", set()
    if kind == "freeze":
        pid = chance.choice(pids)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            threading.Timer(chance.uniform(1, 6), lambda: _continue(pid)).start()
        return kind, set()
    chosen = pids if kind == "everything" else [chance.choice(pids)]
    dying = set(chosen)
    for pid in chosen:
        with contextlib.suppress(psutil.Error):
            dying |= {child.pid for child in psutil.Process(pid).children(recursive=True)}
    for pid in chosen:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return kind, dying


def _continue(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def count_tickets(data: Path) -> int:
    """Tickets in the newest file, read from outside."""
    files = sorted((data / "tickets").glob("tickets-*.sqlite3"))
    if not files:
        return 0
    connection = sqlite3.connect(files[-1], timeout=5)
    try:
        return connection.execute("SELECT COUNT(*) FROM task").fetchone()[0]
    except sqlite3.Error:
        return 0
    finally:
        connection.close()


def report(product: Product, uuids: dict[int, str], marks: Path, struck: list[tuple[float, str, set[int]]], tickets: int) -> dict[str, object]:
    began = Counter(int(line) for line in marks.read_text().split())
    finals = product.finals()
    lost = dict(product.all("SELECT uuid, COUNT(*) FROM job_metrics WHERE status = 'lost' GROUP BY uuid"))
    poisoned = product.one("SELECT COUNT(*) FROM failed_jobs WHERE error LIKE '%killing its worker%'")
    again = [n for n in uuids if began[n] > 1]
    rescues = product.all("SELECT (julianday(completed_at) - 2440587.5) * 86400.0, worker FROM job_metrics WHERE status = 'lost'")
    waits = [w for at, worker in rescues if (w := _seconds(at, int(worker.rsplit("_", 1)[1]), struck)) is not None]
    return {
        "jobs": len(uuids), "kills": len(struck), "lost": sum(1 for u in uuids.values() if u not in finals),
        "ended_twice": sum(1 for n in finals.values() if n > 1), "never_began": sum(1 for n in uuids if not began[n]),
        "ran_again": len(again), "ran_again_without_loss": sum(1 for n in again if began[n] - 1 > lost.get(uuids[n], 0)),
        "lost_attempts": sum(lost.values()), "poisoned": poisoned, "late": product.one("SELECT COUNT(*) FROM job_metrics WHERE status = 'late'"),
        "rescues_timed": len(waits), "slowest_rescue_s": round(max(waits, default=0.0), 1), "most_tickets": tickets,
        "bound_of_tickets": len(uuids) + WORKERS * CONSUMERS * (len(struck) + 1),
    }


def _seconds(rescued: float, pid: int, struck: list[tuple[float, str, set[int]]]) -> float | None:
    """From the kill of a worker to the rescue of what it held; None when it was not we who killed it."""
    kills = [at for at, _kind, pids in struck if pid in pids and at <= rescued + 0.1]
    return max(rescued - kills[-1], 0.0) if kills else None


def good(found: dict[str, object]) -> bool:
    return not (found["lost"] or found["ended_twice"] or found["never_began"] or found["ran_again_without_loss"]) and (
        found["slowest_rescue_s"] <= 15 and found["most_tickets"] <= found["bound_of_tickets"])


def fair(found: dict[str, object]) -> bool:
    """Of a campaign of short jobs: also that no innocent is poisoned and that a kill repeats a group at most."""
    return good(found) and not found["innocents_poisoned"] and found["poisoned"] == found["killers"] and found["grouped"] > 0 and (
        found["ran_again"] <= found["bound_of_reruns"])


def calm(found: dict[str, object]) -> bool:
    return not (found["lost"] or found["ended_twice"]) and found["kept_while_paused"] == found["jobs"] and (
        found["tickets_while_paused"] <= WORKERS * CONSUMERS and found["most_tickets"] <= found["bound_of_tickets"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--short", action="store_true", help="short jobs, which run in groups, and some that kill their worker")
    parser.add_argument("--paused", type=int, metavar="N", help="instead: N pending jobs, paused and resumed; counts tickets")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    print(f"seed {given.seed}, in {folder}")
    campaign = short if given.short else run
    found = pauses(folder, given.paused) if given.paused else campaign(folder, given.jobs, given.kills, given.seed)
    print(json.dumps(found, indent=1))
    if not (calm if given.paused else fair if given.short else good)(found):
        sys.exit(f"NOT GOOD; the folder is kept: {folder}")
    shutil.rmtree(folder)
    print("nothing lost, nothing ended twice, tickets bounded")


if __name__ == "__main__":
    main()
