"""Benchmarks as ratios within one run: `scripts/bench throughput|dispatch|mixed|stats|predict|viewers|budget`.

throughput, dispatch, mixed: see scripts/throughput.py.
stats:      server time of /admin/jobs/realtime-stats on an empty database and on one with 1,000,000 outcomes and
            100,000 pending jobs; its figures against a full count; then the dashboard, the jobs list, searches and
            all alert rules on the full database.
predict:    see scripts/predict.py.
viewers:    see scripts/viewers.py.
budget:     lines of Python, length of files and lines; with the pid of a launcher, processes and PSS of a running
            product. Each with its bound.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import io
import statistics
import subprocess
import sys
import tempfile
import time
import tokenize
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts import predict, throughput, viewers  # noqa: E402
from scripts.throughput import JOBS, environment  # noqa: E402

CORE = ("ledger", "execution", "monitor", "queue", "registry", "signature")
WIDTH = 120


def stats(metrics: int, pending: int, calls: int) -> bool:
    """Print the median server time of realtime-stats on an empty and on a full database; True when the full one takes
    less than 10 ms and at most 1.3 times as long."""
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
                monitors.append(subprocess.Popen([*flask, "monitor"], env=env, cwd=ROOT, stdout=subprocess.DEVNULL,
                                                 stderr=subprocess.DEVNULL))
                clients[kind] = env
            _calm(monitors)
            times = {kind: _times(env, calls) for kind, env in clients.items()}
        finally:
            for monitor in monitors:
                monitor.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    monitor.wait(10)
        empty, full = statistics.median(times["empty"]), statistics.median(times["full"])
        print(f"realtime-stats, server time, median of {calls}: empty {empty:.2f} ms, full {full:.2f} ms, "
              f"ratio {full / empty:.2f}")
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
from app.monitor.loop import Monitor
from app.services.jobs import listing, search_index
monitor = Monitor(app)
while monitor.duties and search_index.advance(monitor.connection, 50): pass
with app.test_request_context("/"):
    wanted, cursor = listing.JobFilter.read({}, app.extensions["settings"].timezone), ""
    for _ in range(999):
        cursor = listing.page(wanted, before=cursor).older or ""
        db.session.rollback()
paths = {"dashboard": "/admin/jobs/", "jobs, page 1": "/admin/jobs/list",
         "jobs, page 1,000": f"/admin/jobs/list?before={cursor}", "search": "/admin/jobs/list?q=meta_description",
         "search, no hit": "/admin/jobs/list?q=nowhere", "a rare type": "/admin/jobs/list?type=Nothing",
         "failed of a tenant": "/admin/jobs/list?state=failed&tenant=lumen",
         "a day": "/admin/jobs/list?since=2026-11-20&until=2026-11-20&state=ended"}
for name, path in paths.items():
    took = []
    for _ in range(7):
        start = time.perf_counter()
        answer = client.get(path)
        took.append((time.perf_counter() - start) * 1000)
        assert answer.status_code == 200, (path, answer.status_code)
    print(f"# {name}: {sorted(took)[3]:.1f} ms, {len(answer.data) // 1024} KB of HTML", file=sys.stderr)
with app.app_context():
    from app.services.jobs import rollups
    from app.services.stats.job_monitoring import JobMonitoringService
    from app.support.clock import now_ms, stamp, DAY_MS
    from sqlalchemy import text
    now = now_ms()
    ended = "SELECT COUNT(*) FROM job_metrics WHERE completed_at >= :a AND status IN ('completed', 'failed', 'timeout')"
    total = db.session.execute(text(ended), {"a": stamp(now - DAY_MS)}).scalar()
    from app.models import outcome_stats
    assert outcome_stats.day_totals(now).total == total, (outcome_stats.day_totals(now).total, total)
    db.session.rollback()
    from app.services.alerts import incidents
    from app.services.alerts.snapshot import Snapshot
    while rollups.advance(monitor.connection, 50): pass
    took = []
    for _ in range(7):
        start = time.perf_counter()
        look = Snapshot(monitor.connection, monitor.connection.now(), monitor.settings.data_dir, 2**27)
        assert incidents.check(look, monitor.connection, monitor.settings) == []
        took.append((time.perf_counter() - start) * 1000)
    print(f"# all alert rules: {sorted(took)[3]:.1f} ms", file=sys.stderr)
"""


def _calm(monitors: list[subprocess.Popen], seconds: float = 900) -> None:
    """Wait until the monitors have read what was filled in: until then the full database shares its cores with them."""
    import psutil

    watched, until = [psutil.Process(monitor.pid) for monitor in monitors], time.monotonic() + seconds
    while time.monotonic() < until:
        before = [sum(process.cpu_times()[:2]) for process in watched]
        time.sleep(5)
        if all(sum(p.cpu_times()[:2]) - b < 1.5 for p, b in zip(watched, before, strict=True)):
            return


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
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        if documented and ast.get_docstring(node, clean=False) is not None:
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(lines)


class Bound(NamedTuple):
    """One bound of the code's size: what is measured, its value, the most that is allowed."""

    what: str
    value: float
    most: int


def code_bounds() -> list[Bound]:
    """The size of app/ with its bounds; `tests/test_house.py` checks them."""
    files = sorted((ROOT / "app").rglob("*.py"))
    sizes = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in files}
    longest = max(sizes, key=sizes.__getitem__)
    core = [p for p in files if p.relative_to(ROOT / "app").parts[0].removesuffix(".py") in CORE]
    return [
        Bound(f"lines of code of the core ({', '.join(CORE)})", sum(map(lines_of_code, core)), 4450),
        Bound(f"lines of code of app/ ({len(files)} files)", sum(map(lines_of_code, files)), 36750),
        Bound("median lines of a file", statistics.median(sizes.values()), 99),
        Bound(f"lines of the longest file ({longest})", sizes[longest], 300),
    ]


def wide_lines() -> dict[str, int]:
    """The number of lines over WIDTH characters in each Python file that has one, by its path."""
    found = {}
    for path in sorted(p for folder in ("app", "scripts", "deploy") for p in (ROOT / folder).rglob("*.py")):
        if count := sum(len(line) > WIDTH for line in path.read_text().splitlines()):
            found[str(path.relative_to(ROOT))] = count
    return found


def budget(pid: int | None) -> bool:
    """Print all bounds; with a pid also the number of its processes and their PSS. True when all are kept."""
    wide = wide_lines()
    bounds = [*code_bounds(), Bound(f"lines over {WIDTH} characters ({len(wide)} files of app/, scripts/, deploy/)",
                                    sum(wide.values()), 0)]
    if pid:
        import psutil

        top = psutil.Process(pid)
        family = [top, *top.children(recursive=True)]
        pss = sum(p.memory_full_info().pss for p in family) / 2**20
        bounds += [Bound("processes", len(family), 10), Bound("MB PSS", pss, 300)]
    for bound in bounds:
        over = "" if bound.value <= bound.most else "   OVER"
        print(f"{bound.value:8.0f}  at most {bound.most:6}  {bound.what}{over}")
    return all(bound.value <= bound.most for bound in bounds)


def main() -> None:
    """Run one benchmark; exit code 1 when a bound is broken."""
    parser = argparse.ArgumentParser(prog="scripts/bench")
    parser.add_argument("what", choices=("throughput", "dispatch", "mixed", "stats", "predict", "viewers", "budget"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--metrics", type=int, default=1_000_000)
    parser.add_argument("--pending", type=int, default=100_000)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--pid", type=int)
    parser.add_argument("--viewers", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=60, help="viewers: of each measurement")
    parser.add_argument("--history", action="append", default=[], help="predict: a CSV (see scripts/predict.py)")
    parser.add_argument("--seed", type=int, default=1, help="predict: of the made-up histories")
    parser.add_argument("--database-url", help="throughput on this PostgreSQL database, whose tables are dropped")
    args = parser.parse_args()
    good = {
        "throughput": lambda: throughput.throughput(args.rounds, args.jobs, args.database_url),
        "dispatch": lambda: throughput.dispatch(500),
        "mixed": throughput.mixed,
        "stats": lambda: stats(args.metrics, args.pending, args.calls),
        "predict": lambda: predict.predict(args.history, min(args.jobs, 6000), args.seed),
        "viewers": lambda: viewers.viewers(args.viewers, args.seconds),
        "budget": lambda: budget(args.pid),
    }[args.what]()
    print("within the bound" if good else "OVER THE BOUND")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
