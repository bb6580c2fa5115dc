"""Benchmarks as ratios within one run: `scripts/bench throughput|stats|budget`.

throughput: no-op jobs a second, enqueued first, the whole ledger beside bare SqliteHuey,
            rounds in turn, 1 and 4 process workers, logging at WARNING for both.
stats:      server time of /admin/jobs/realtime-stats on an empty database and on one with
            1,000,000 outcomes and 100,000 pending jobs; figures against a brute-force count;
            then the dashboard, the jobs list, searches and all alert rules on the full one.
budget:     processes and PSS of a running product (give its launcher's pid), lines of Python.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import io
import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import tokenize
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
CONSUMER = "-k process -g TERM -n -c 1 -d 0.05 -m 0.5 -t 10 -q".split()

BARE = """
from huey import SqliteHuey
huey = SqliteHuey("bare", filename={file!r}, results=False)
@huey.task()
def noop(n=0):
    return None
"""
JOBS = """
from app.jobs import job
@job("BenchNoop")
def noop(n: int = 0):
    return None
"""


def environment(folder: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG")}
    path = f"{folder}{os.pathsep}{ROOT}"
    return kept | {"DATA_DIR": str(folder / "data"), "JOB_MODULES": "benchjobs", "PYTHONPATH": path, "APP_TIMEZONE": "Europe/Rome"}


def drain(target: str, workers: int, env: dict[str, str], folder: Path, database: str, table: str, count: int) -> float:
    """Start a consumer on `count` waiting rows of `table`; returns rows a second from the first to the last taken."""
    log = open(folder / "consumer.log", "ab")
    consumer = subprocess.Popen(
        [sys.executable, "-m", "huey.bin.huey_consumer", target, "-w", str(workers), *CONSUMER], env=env, cwd=folder, stdout=log, stderr=log
    )
    reader = sqlite3.connect(database, timeout=5, isolation_level=None)
    first = None
    try:
        end = time.monotonic() + 300
        while time.monotonic() < end:
            left = reader.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]
            if first is None and left < count:
                first = (time.monotonic(), left)
            if left == 0:
                return first[1] / max(time.monotonic() - first[0], 1e-9)
            time.sleep(0.02)
        raise SystemExit(f"{target} did not finish; see {folder / 'consumer.log'}")
    finally:
        reader.close()
        consumer.send_signal(signal.SIGTERM)
        consumer.wait(30)
        log.close()


def bare(workers: int, count: int) -> float:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "barejobs.py").write_text(BARE.format(file=str(folder / "bare.db")))
        env = environment(folder)
        subprocess.run([sys.executable, "-c", f"import barejobs\nfor n in range({count}): barejobs.noop(n)"], env=env, cwd=folder, check=True)
        return drain("barejobs.huey", workers, env, folder, str(folder / "bare.db"), "task", count)


def ledger(workers: int, count: int) -> float:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "benchjobs.py").write_text(JOBS)
        env = environment(folder)
        code = (
            "from app import create_app, registry\nfrom app.extensions import db\nfrom app.services.instance import migration\n"
            "app = create_app()\nwith app.app_context():\n    migration.prepare(app.extensions['settings'])\n    job = registry.find('BenchNoop')\n"
            f"    for start in range(0, {count}, 500):\n        for n in range(start, min(start + 500, {count})): job.dispatch(n=n)\n        db.session.commit()\n"
        )
        subprocess.run([sys.executable, "-c", code], env=env, cwd=folder, check=True, capture_output=True)
        return drain("app.worker.huey", workers, env, folder, str(folder / "data" / "ainstein.sqlite3"), "jobs", count)


def throughput(rounds: int, count: int) -> bool:
    """Prints one row a worker number; True when the ledger is no slower than bare Huey (median of ratios >= 1)."""
    good = True
    print(f"no-op jobs a second, {count} jobs, {rounds} rounds in turn (median)")
    for workers in (1, 4):
        pairs = [(bare(workers, count), ledger(workers, count)) for _ in range(rounds)]
        ratio = statistics.median(b / a for a, b in pairs)
        print(f"{workers} worker(s): bare {statistics.median(a for a, _ in pairs):8.0f}  ledger {statistics.median(b for _, b in pairs):8.0f}  ratio {ratio:.2f}")
        good &= ratio >= 1
    return good


def stats(metrics: int, pending: int, calls: int) -> bool:
    """Median server time of realtime-stats, empty against full, in turn; and the figures counted by brute force."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "benchjobs.py").write_text(JOBS)
        monitors, clients = [], {}
        try:
            for kind, rows in (("empty", []), ("full", ["demo", "--metrics", str(metrics), "--pending", str(pending)])):
                env = environment(folder) | {"DATA_DIR": str(folder / kind)}
                flask = [sys.executable, "-m", "flask", "--app", "wsgi"]
                subprocess.run([*flask, "db-prepare"], env=env, cwd=ROOT, check=True, capture_output=True)
                if rows:
                    started = time.monotonic()
                    subprocess.run([*flask, *rows], env=env, cwd=ROOT, check=True, capture_output=True)
                    print(f"filled in {time.monotonic() - started:.0f} s")
                monitors.append(subprocess.Popen([*flask, "monitor"], env=env, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
                clients[kind] = env
            time.sleep(3)
            times = {kind: _times(env, calls) for kind, env in clients.items()}
        finally:
            for monitor in monitors:
                monitor.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    monitor.wait(10)
        empty, full = statistics.median(times["empty"]), statistics.median(times["full"])
        print(f"realtime-stats, server time, median of {calls}: empty {empty:.2f} ms, full {full:.2f} ms, ratio {full / empty:.2f}")
        return full < 10 and full / empty <= 1.3


_TIMES = """
import sys, time, json
from app import create_app
from app.extensions import db
from app.services.people import accounts
app = create_app()
app.config["WTF_CSRF_ENABLED"] = False
calls = int(sys.argv[1])
with app.app_context():
    try: accounts.create_user("bench@localhost", "super-admin", "bench password")
    except Exception: pass
client = app.test_client()
client.post("/login", data={"email": "bench@localhost", "password": "bench password"})
assert client.get("/admin/jobs/realtime-stats").status_code == 200
times = []
for _ in range(calls):
    start = time.perf_counter()
    client.get("/admin/jobs/realtime-stats")
    times.append((time.perf_counter() - start) * 1000)
    time.sleep(0.01)
print(json.dumps(times))
from app.services.jobs import listing
monitor = __import__("app.monitor.loop", fromlist=["Monitor"]).Monitor(app)
while monitor.duties and __import__("app.ledger.search", fromlist=["advance"]).advance(monitor.connection, 50): pass
with app.test_request_context("/"):
    wanted, cursor = listing.JobFilter.read({}, app.extensions["settings"].timezone), ""
    for _ in range(999):
        cursor = listing.page(wanted, before=cursor).older or ""
        db.session.rollback()
paths = {"dashboard": "/admin/jobs/", "jobs, page 1": "/admin/jobs/list", "jobs, page 1,000": f"/admin/jobs/list?before={cursor}",
         "search": "/admin/jobs/list?q=meta_description", "search, no hit": "/admin/jobs/list?q=nowhere", "a rare type": "/admin/jobs/list?type=Nothing",
         "failed of a tenant": "/admin/jobs/list?state=failed&tenant=lumen", "a day": "/admin/jobs/list?since=2026-11-20&until=2026-11-20&state=ended"}
for name, path in paths.items():
    took = []
    for _ in range(7):
        start = time.perf_counter()
        answer = client.get(path)
        took.append((time.perf_counter() - start) * 1000)
        assert answer.status_code == 200, (path, answer.status_code)
    print(f"# {name}: {sorted(took)[3]:.1f} ms, {len(answer.data) // 1024} KB of HTML", file=sys.stderr)
with app.app_context():
    from app.services.stats.job_monitoring import JobMonitoringService
    from app.support.clock import now_ms, stamp, DAY_MS
    from sqlalchemy import text
    now = now_ms()
    total = db.session.execute(text("SELECT COUNT(*) FROM job_metrics WHERE completed_at >= :a AND status IN ('completed','failed','timeout')"), {"a": stamp(now - DAY_MS)}).scalar()
    from app.models import outcome_stats
    assert outcome_stats.day_totals(now).total == total, (outcome_stats.day_totals(now).total, total)
    db.session.rollback()
    from app.ledger import rollups
    from app.services.alerts import incidents
    from app.services.alerts.checks import Snapshot
    while rollups.advance(monitor.connection, 50): pass
    took = []
    for _ in range(7):
        start = time.perf_counter()
        look = Snapshot(monitor.connection, monitor.connection.now(), monitor.settings.data_dir, 2**27)
        assert incidents.check(look, monitor.connection, monitor.settings) == []
        took.append((time.perf_counter() - start) * 1000)
    print(f"# all alert rules: {sorted(took)[3]:.1f} ms", file=sys.stderr)
"""


def _times(env: dict[str, str], calls: int) -> list[float]:
    import json

    done = subprocess.run([sys.executable, "-c", _TIMES, str(calls)], env=env, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    if "full" in env["DATA_DIR"]:
        print("".join(f"{line[2:]}\n" for line in done.stderr.splitlines() if line.startswith("# ")), end="")
    return json.loads(done.stdout.strip().splitlines()[-1])


def lines_of_code(path: Path) -> int:
    """Lines that hold code: not blank, not only a comment, not a docstring."""
    text, lines = path.read_text(), set()
    skip = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in skip:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, clean=False) is not None:
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(lines)


def budget(pid: int | None) -> bool:
    """Lines of Python in app/, the median and the longest file; with a pid, processes below it and their PSS."""
    files = sorted((ROOT / "app").rglob("*.py"))
    sizes = sorted((len(p.read_text().splitlines()), p.name) for p in files)
    code, middle, longest = sum(map(lines_of_code, files)), sizes[len(sizes) // 2][0], sizes[-1]
    print(f"app/: {code} lines of code ({sum(n for n, _ in sizes)} with comments, docstrings and blanks) in {len(sizes)} files, "
          f"median {middle}, longest {longest[0]} ({longest[1]})")
    good = code <= 14000 and middle <= 100 and longest[0] <= 300
    if pid:
        import psutil

        top = psutil.Process(pid)
        family = [top, *top.children(recursive=True)]
        pss = sum(p.memory_full_info().pss for p in family) / 2**20
        print(f"{len(family)} processes, {pss:.0f} MB PSS")
        good &= len(family) <= 10 and pss <= 300
    return good


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench")
    parser.add_argument("what", choices=("throughput", "stats", "budget"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=4000)
    parser.add_argument("--metrics", type=int, default=1_000_000)
    parser.add_argument("--pending", type=int, default=100_000)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--pid", type=int)
    args = parser.parse_args()
    good = {
        "throughput": lambda: throughput(args.rounds, args.jobs),
        "stats": lambda: stats(args.metrics, args.pending, args.calls),
        "budget": lambda: budget(args.pid),
    }[args.what]()
    print("within the bound" if good else "OVER THE BOUND")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
