"""Random graphs of jobs under kills, with failures and retries by hand, checked from outside against the graph.

    python -m tests.chaos.graphs --jobs 200 --kills 60 [--graphs 5] [--postgres URL]

A tenth of the jobs fails in its first round (some in the second too) and is retried by hand, as a person would, some time later;
a twentieth waits for jobs that it dispatches itself. Each writes a line into a file of ours when it begins and when it ends. Reported:
jobs that began before a parent had completed, rounds that ended not once, jobs that wait for ever, and spawned jobs too many or few.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from app import registry
from app.extensions import db
from app.services.jobs import actions
from tests.chaos.harness import WORKERS, Keeper, hit, migrated
from tests.process.product import Product


def dispatch(product: Product, marks: Path, jobs: int, chance: random.Random) -> tuple[list[str], list[list[int]], list[int], list[int]]:
    """Write a random graph; returns uuids, parents, rounds that fail and jobs that are spawned, by number."""
    uuids, parents, fails, spawns = [], [], [], []
    with product.app.app_context():
        node = registry.find("TestNode")
        for n in range(jobs):
            parents.append(sorted(chance.sample(range(max(n - 30, 0), n), min(n, chance.choice((0, 1, 1, 2, 3, 5))))))
            fails.append(chance.choice((1, 1, 2)) if chance.random() < 0.1 else 0)
            spawns.append(2 if chance.random() < 0.05 else 0)
            uuids.append(node.with_options(after=[uuids[p] for p in parents[n]]).dispatch(
                path=str(marks), n=n, ms=chance.choice((1, 5, 20, 80)), fails=fails[n], spawns=spawns[n], parents=len(parents[n])))
            if chance.random() < 0.2:
                db.session.commit()  # some parents run, and some have completed, before their children come
        db.session.commit()
        db.session.remove()
    return uuids, parents, fails, spawns


def retry_some(product: Product, chance: random.Random) -> None:
    """Retry failed jobs by hand, each with even odds."""
    for (uuid,) in product.all("SELECT uuid FROM failed_jobs WHERE deleted_at IS NULL"):
        if chance.random() < 0.5:
            with product.app.app_context():
                actions.retry(uuid, "a person")
                db.session.remove()


def run(product: Product, jobs: int, kills: int, seed: int) -> dict[str, object]:
    """One graph in a migrated database; returns the report."""
    chance, marks = random.Random(seed), product.data_dir.parent / "marks"
    marks.touch()
    keeper, struck = Keeper(product), []
    keeper.start()
    try:
        product.until(lambda: len(product.worker_pids()) >= WORKERS, 30, "the first workers")
        uuids, parents, fails, spawns = dispatch(product, marks, jobs, chance)
        stop = time.monotonic() + 120 + jobs
        while (left := product.one("SELECT COUNT(*) FROM jobs")) or product.one("SELECT COUNT(*) FROM failed_jobs"):
            if time.monotonic() > stop:
                break
            if len(struck) < kills:
                struck.append(hit(keeper, chance)[0])
            time.sleep(0.2 + chance.random() * 0.5)
            retry_some(product, chance)
        return report(product, uuids, parents, fails, spawns, marks, left) | {"kills": len(struck)}
    finally:
        keeper.over.set()
        keeper.join()
        product.stop()


def report(product: Product, uuids: list[str], parents: list[list[int]], fails: list[int], spawns: list[int], marks: Path, left: int) -> dict[str, object]:
    first_begin, first_end = {}, {}
    for at, line in enumerate(marks.read_text().splitlines()):
        kind, n = line.split()
        (first_begin if kind == "+" else first_end).setdefault(int(n), at)
    early = [n for n, above in enumerate(parents) for p in above if n in first_begin and not first_end.get(p, 10**9) < first_begin[n]]
    begun = dict(product.all("SELECT uuid, MIN(started_at) FROM job_metrics WHERE started_at IS NOT NULL GROUP BY uuid"))
    done = dict(product.all("SELECT uuid, MAX(completed_at) FROM job_metrics WHERE status = 'completed' GROUP BY uuid"))
    early += [n for n, above in enumerate(parents) for p in above if uuids[n] in begun and not (uuids[p] in done and done[uuids[p]] <= begun[uuids[n]])]
    finals = product.all("SELECT uuid, round, COUNT(*) FROM job_metrics WHERE status IN ('completed', 'failed', 'timeout', 'cancelled') GROUP BY uuid, round")
    rounds = {}
    for uuid, number, _count in finals:
        rounds.setdefault(uuid, []).append(number)
    edges = dict(product.all("SELECT child_uuid, COUNT(*) FROM job_edges GROUP BY child_uuid"))
    return {
        "jobs": len(uuids), "left": left, "began_early": len(early), "ended_twice_in_a_round": sum(1 for *_, count in finals if count != 1),
        "wrong_rounds": sum(1 for n, uuid in enumerate(uuids) if sorted(rounds.get(uuid, [])) != list(range(1, fails[n] + 2))),
        "not_completed": sum(1 for uuid in uuids if uuid not in done), "retried": sum(fails),
        "wrong_spawned": sum(1 for n, uuid in enumerate(uuids) if edges.get(uuid, 0) != len(parents[n]) + spawns[n]),
        "open_edges": product.one("SELECT COUNT(*) FROM job_edges WHERE is_open = 1"),
        "lost_attempts": product.one("SELECT COUNT(*) FROM job_metrics WHERE status = 'lost'"),
    }


def good(found: dict[str, object]) -> bool:
    return not any(found[name] for name in (
        "left", "began_early", "ended_twice_in_a_round", "wrong_rounds", "not_completed", "wrong_spawned", "open_edges"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--graphs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--postgres", metavar="URL", help="an empty database there, which is emptied again for each graph")
    given = parser.parse_args()
    for seed in range(given.seed, given.seed + given.graphs):
        folder = Path(tempfile.mkdtemp(prefix="chaos-graph-"))
        print(f"seed {seed}, in {folder}")
        if given.postgres:
            from tests.process.test_postgres import OnPostgres

            (folder / "data").mkdir(mode=0o700)
            product = OnPostgres(folder / "data", given.postgres)
        else:
            product = Product(migrated(folder), grace=3)
        found = run(product, given.jobs, given.kills, seed)
        print(json.dumps(found, indent=1))
        if not good(found):
            sys.exit(f"NOT GOOD; the folder is kept: {folder}")
        shutil.rmtree(folder)
    print("no job began early, each round ended once, nothing waits")


if __name__ == "__main__":
    main()
