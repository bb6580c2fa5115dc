"""Speed of jobs as ratios within one run, for scripts/bench: `throughput`, `dispatch` and `mixed`.

throughput: no-op jobs a second, all enqueued before the start: with groups and one by one against bare SqliteHuey, in
            alternating rounds, with 1 and 4 worker processes, all with logging at WARNING. With --database-url the
            ledger stands on that PostgreSQL database (its tables are dropped), and groups are compared with one by one.
dispatch:   10,000 jobs in one transaction, then one by one beside the floor (the same row in plain sqlite3) and bare
            Huey's enqueue.
mixed:      one job of 10 s among 10,000 short ones of its type: by how much a later one overtakes an earlier one.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSUMER = "-k process -g TERM -n -c 1 -d 0.05 -m 0.5 -t 10 -q".split()
BOUNDS = {1: 2.2, 4: 2.0}  # ratio to bare Huey by number of workers
MOST_DELAY_MS, MOST_MANY_S, MOST_OF_FLOOR = 100, 1.0, 2.5

BARE = """
from huey import SqliteHuey
huey = SqliteHuey("bare", filename={file!r}, results=False)
@huey.task()
def noop(n=0):
    return None
"""
JOBS = """
import time
from app.jobs import job
@job("BenchNoop", tries=1)
def noop(n: int = 0, s: int = 0):
    if s:
        time.sleep(s)
"""
_FILL = """
import json, sys
from app import create_app, registry
from app.extensions import db
from app.services.instance import migration
from sqlalchemy import text
app = create_app()
with app.app_context():
    if not app.extensions["settings"].sqlite:
        with db.engine.begin() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
    migration.prepare(app.extensions["settings"])
    registry.find("BenchNoop").dispatch_many(json.loads(sys.argv[1]))
    db.session.commit()
"""
_DISPATCH = """
import json, os, sqlite3, sys, time
from huey import SqliteHuey
from app import create_app, registry
from app.extensions import PRAGMAS, db
from app.services.instance import migration
from app.services.jobs import dispatch
app, folder, count = create_app(), sys.argv[1], int(sys.argv[2])
def bare(**options):
    huey = SqliteHuey("bare", filename=f"{folder}/bare-{len(options)}.db", results=False, **options)
    return huey.task()(lambda n=0: None)
def timed(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
def synchronous(level):  # of the one connection of the pool
    raw = db.engine.raw_connection()
    raw.driver_connection.execute(f"PRAGMA synchronous={level}")
    raw.close()
    plain.execute(f"PRAGMA synchronous={level}")
with app.app_context():
    migration.prepare(app.extensions["settings"])
    job, path = registry.find("BenchNoop"), f"{folder}/data/ainstein.sqlite3"
    def many(size=10_000):
        job.dispatch_many([{"n": n} for n in range(size)])
        db.session.commit()
    def ours(n):
        job.dispatch(n=n)
        db.session.commit()
    plain = sqlite3.connect(path, isolation_level=None)
    for pragma in PRAGMAS:
        plain.execute(f"PRAGMA {pragma}").fetchall()
    plain.row_factory = sqlite3.Row
    def floor(n):
        row["uuid"] = dispatch.new_uuid()
        plain.execute("BEGIN IMMEDIATE")
        plain.execute(dispatch.INSERT, row)
        plain.execute("COMMIT")
    found = {"many": timed(many)}
    ours(0)
    row = dict(plain.execute("SELECT * FROM jobs ORDER BY id DESC LIMIT 1").fetchone())
    row |= {"now": row["created_ms"], "at": row["available_ms"], "until": row["retry_until_ms"]}
    synced, not_synced, size = bare(), bare(fsync=False), 0
    while (before := size) < (size := os.path.getsize(path + "-wal")):  # a file that grows syncs twice as slowly
        many(4000)
    for n in range(1000):
        synced(n)
        not_synced(n)
    for _ in range(10):
        for level, calls in (("FULL", {"floor": floor, "ours": ours, "bare": synced}),
                             ("OFF", {"floor cpu": floor, "ours cpu": ours, "bare cpu": not_synced})):
            synchronous(level)
            for name, call in calls.items():
                found.setdefault(name, []).append(timed(lambda: [call(n) for n in range(count)]) / count * 1e6)
    print(json.dumps(found))
"""


def environment(folder: Path) -> dict[str, str]:
    """The environment of a benchmark's processes, with DATA_DIR below `folder`."""
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG")}
    path = f"{folder}{os.pathsep}{ROOT}"
    return kept | {"DATA_DIR": str(folder / "data"), "JOB_MODULES": "benchjobs", "PYTHONPATH": path,
                   "APP_TIMEZONE": "Europe/Rome"}


@contextlib.contextmanager
def consumer(target: str, workers: int, env: dict[str, str], folder: Path):
    """Huey's consumer on `target` while the block runs."""
    with open(folder / "consumer.log", "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "huey.bin.huey_consumer", target, "-w", str(workers), *CONSUMER],
            env=env, cwd=folder, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def drain(count_left, count: int) -> float:
    """Rows per second between the first and the last of `count` that `count_left()` counts."""
    first, end = None, time.monotonic() + 300
    while time.monotonic() < end:
        left = count_left()
        if first is None and left < count:
            first = (time.monotonic(), left)
        if left == 0:
            return first[1] / max(time.monotonic() - first[0], 1e-9)
        time.sleep(0.01)
    raise SystemExit("the workers did not finish")


def bare(workers: int, count: int) -> float:
    """No-op jobs per second of SqliteHuey alone."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "barejobs.py").write_text(BARE.format(file=str(folder / "bare.db")))
        env = environment(folder)
        code = f"import barejobs\nfor n in range({count}): barejobs.noop(n)"
        subprocess.run([sys.executable, "-c", code], env=env, cwd=folder, check=True)
        reader = sqlite3.connect(folder / "bare.db", timeout=5, isolation_level=None)
        with contextlib.closing(reader), consumer("barejobs.huey", workers, env, folder):
            return drain(lambda: reader.execute("SELECT COUNT(*) FROM task").fetchone()[0], count)


@contextlib.contextmanager
def filled(many: list[dict], database: str | None = None, group: int = 32):
    """A folder with `many` jobs in its ledger, its environment, and a connection that reads."""

    from app.ledger.dialect import Connection  # here: bench.py sets the path first

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "benchjobs.py").write_text(JOBS)
        env = environment(folder) | {"GROUP_SIZE": str(group)} | ({"DATABASE_URL": database} if database else {})
        fill = [sys.executable, "-c", _FILL, json.dumps(many)] if len(many) < 2000 else [
            sys.executable, "-c", _FILL.replace("sys.argv[1]", "sys.stdin.read()")]
        subprocess.run(fill, env=env, cwd=folder, check=True, capture_output=True, input=json.dumps(many).encode())
        url = database or f"sqlite:///{folder / 'data' / 'ainstein.sqlite3'}"
        with contextlib.closing(Connection(url.replace("postgresql+psycopg:", "postgresql:"))) as reader:
            yield folder, env, reader


def ledger(workers: int, count: int, group: int = 32, database: str | None = None) -> float:
    """No-op jobs per second of this product, in groups of at most `group`."""
    jobs = [{"n": n} for n in range(count)]
    with filled(jobs, database, group) as (folder, env, reader), consumer("app.worker.huey", workers, env, folder):
        return drain(lambda: reader.fetch_all("SELECT COUNT(*) FROM jobs")[0][0], count)


def throughput(rounds: int, count: int, database: str | None = None) -> bool:
    """Print a row for each number of workers; True when the median ratios keep BOUNDS (on PostgreSQL: twice one by
    one)."""
    good = True
    print(f"no-op jobs a second, {count} jobs, {rounds} rounds in turn (median)")
    for workers in (1, 4):
        found: list[tuple[float, ...]] = []
        for _ in range(rounds):
            first = () if database else (bare(workers, count),)
            found.append((*first, ledger(workers, count, 1, database), ledger(workers, count, 32, database)))
        names = ["one by one", "groups"] if database else ["bare", "one by one", "groups"]
        ratio = statistics.median(row[-1] / row[0] for row in found)
        medians = "  ".join(f"{name} {statistics.median(row[n] for row in found):7.0f}" for n, name in enumerate(names))
        print(f"{workers} worker(s): {medians}  groups / {names[0]} {ratio:.2f}")
        good &= ratio >= (2.0 if database else BOUNDS[workers])
    return good


def dispatch(count: int) -> bool:
    """Print what a dispatch costs, beside its floor and bare Huey, `count` calls of each in ten rounds; True when
    10,000 in one transaction take less than 1 s and one by one takes at most MOST_OF_FLOOR times the floor.

    The floor is the INSERT of the row and its COMMIT in plain sqlite3. Bare Huey has SqliteHuey's defaults, which sync
    each enqueue too: it writes 2 pages, where the row of a job and its indexes are 5, so its floor is lower.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "benchjobs.py").write_text(JOBS)
        env = environment(folder)
        out = subprocess.run([sys.executable, "-c", _DISPATCH, name, str(count)], env=env, cwd=folder, check=True,
                             capture_output=True).stdout
    found = json.loads(out.splitlines()[-1])
    print(f"10,000 in one transaction: {found['many']:.2f} s")
    us = {name: statistics.median(values) for name, values in found.items() if name != "many"}
    print("one by one, each commit synced (synchronous=FULL), median of 10 rounds in turn; then without the sync:")
    for name, what in {"ours": "dispatch and db.session.commit()", "floor": "its INSERT and COMMIT in plain sqlite3",
                       "bare": "bare Huey's enqueue, with its defaults"}.items():
        print(f"  {what:40} {us[name]:5.0f} microseconds, {1e6 / us[name]:6.0f} a second; {us[name + ' cpu']:4.0f}")
    ratio = us["ours"] / us["floor"]
    print(f"dispatch / floor {ratio:.2f}, dispatch / bare Huey {us['ours'] / us['bare']:.2f}, floor / bare Huey "
          f"{us['floor'] / us['bare']:.2f}")
    if us["ours"] > us["bare"]:
        print(f"One by one is slower than bare Huey. The bound is {MOST_OF_FLOOR} times the floor, not bare Huey.")
    return found["many"] < MOST_MANY_S and ratio <= MOST_OF_FLOOR


def mixed(workers: int = 2) -> bool:
    """Print by how much a short job ended after one that was dispatched later; True below 100 ms."""
    many = [{"n": n, "s": 10 if n == 4000 else 0} for n in range(10_000)]
    with filled(many) as (folder, env, reader):
        with consumer("app.worker.huey", workers, env, folder):
            while reader.fetch_all("SELECT COUNT(*) FROM jobs")[0][0] > 1:
                time.sleep(0.1)
        rows = reader.fetch_all("SELECT CAST(julianday(m.completed_at) * 86400000 AS INTEGER), h.payload "
                                "FROM job_metrics m JOIN job_history h ON h.uuid = m.uuid")

    ended = {json.loads(payload)["args"]["n"]: at for at, payload in rows}
    earliest, worst = 2**63, 0
    for n in sorted(ended, reverse=True):
        if n != 4000:
            worst, earliest = max(worst, ended[n] - earliest), min(earliest, ended[n])
    print(f"{workers} workers, one job of 10 s among 10,000: no short one ended more than {worst} ms after a later one")
    return worst <= MOST_DELAY_MS
