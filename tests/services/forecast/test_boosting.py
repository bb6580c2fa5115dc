"""The extra `ml`: chosen where it helps, not where it does not, and needed by nobody."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys

import pytest

from app.ledger.rows import insert
from app.services.forecast import boosting, outlook
from app.services.forecast.boosting import Past, fit, study
from app.services.forecast.run_times import TypeModel, size_class
from app.support.clock import DAY_MS, HOUR_MS, stamp

START = 1_700_000_000_000 // DAY_MS * DAY_MS


def history(n: int, length, seed: int = 1) -> list[Past]:
    """`n` runs over a week; `length(tenant, size, hour, dice)` is the run time in ms."""
    dice, runs = random.Random(seed), []
    for k in range(n):
        at = START + k * 7 * DAY_MS // n
        tenant, size = dice.choice((None, "a", "b", "c")), 2 ** dice.uniform(6, 16)
        runs.append(Past(tenant, int(size), round(length(tenant, size, at // HOUR_MS % 24, dice)), at))
    return runs


def by_size_and_hour(tenant, size, hour, dice) -> float:
    """Small ones are quick, large ones slow, the middle ones slowest at night: no multiple of the size."""
    step = math.log2(size) // 2 % 3
    return 500 * 4 ** step * (6 if step == 1 and hour < 8 else 1) * (2 if tenant == "b" else 1) * math.exp(dice.gauss(0, 0.15))


def test_it_is_chosen_where_size_and_hour_matter():
    gain, table = study(history(4000, by_size_and_hour))
    assert gain > 0.2 and table and set(table["tenants"]) == {"a", "b", "c"}
    model = TypeModel(learned=table)
    for run in history(600, by_size_and_hour, 2):
        model.learn(run.tenant, run.size, run.run_ms, run.at_ms)
    night, day = (model.estimate("a", 2 ** 8, START + hour * HOUR_MS) for hour in (2, 14))
    assert night.basis == day.basis == "learned"
    assert night.run.middle == pytest.approx(12_000, rel=0.25) and day.run.middle == pytest.approx(2000, rel=0.25)
    assert night.run.low < night.run.middle < night.run.high


def test_it_is_not_chosen_for_noise():
    for seed in range(3):
        gain, table = study(history(2500, lambda tenant, size, hour, dice: 1000 * math.exp(dice.gauss(0, 0.8)), seed))
        assert table is None and gain < boosting.GAIN


def test_the_table_holds_ordered_quantiles_and_the_mean():
    runs = history(3000, lambda tenant, size, hour, dice: dice.expovariate(1 / 5000))
    table = fit(runs)
    low, middle, high, mean, spread = (sum(row[n] for row in table["cells"].values()) / len(table["cells"]) for n in range(5))
    assert all(row[0] <= row[1] <= row[2] for row in table["cells"].values())
    assert mean == pytest.approx(5000, rel=0.15) and middle == pytest.approx(5000 * math.log(2), rel=0.15)
    assert spread == pytest.approx(5000, rel=0.3) and low < 1200 and high > 9000
    assert set(table["cells"]) <= {f"{who}|{size_class(2 ** n)}|{block}" for who in ("*", "a", "b", "c") for n in range(5, 17) for block in range(6)}
    json.dumps(table)


def test_tenants_beyond_the_most_frequent_are_the_others(monkeypatch):
    monkeypatch.setattr(boosting, "TENANTS", 1)
    table = fit([Past(tenant, 100, 1000 + n, START) for n in range(200) for tenant in ("a", "a", "b")])
    assert table["tenants"] == ["a"] and {key.split("|")[0] for key in table["cells"]} == {"a", "*"}


def write(ledger, job_type: str, runs: list[Past]) -> None:
    """Outcomes, as a worker writes them, of runs in the last week; and what was learned of the type without `ml`."""
    shift = ledger.connection.now() - START - 7 * DAY_MS - 1000
    metric = ("job_type tenant_id status processing_time attempts completed_at uuid round claim_no queue started_at wait_ms").split()
    old = ("uuid job_type tenant_id queue status payload attempts tries claim_no round created_ms finished_ms").split()
    rows = [dict(job_type=job_type, tenant_id=r.tenant, status="completed", processing_time=r.run_ms, attempts=1, completed_at=stamp(r.at_ms + shift),
                 uuid=f"{job_type}-{n}", round=1, claim_no=1, queue="default", started_at=stamp(r.at_ms + shift), wait_ms=0,
                 payload="x" * r.size, tries=1, created_ms=1, finished_ms=1) for n, r in enumerate(runs)]
    with ledger.connection.transaction() as tx:
        tx.execute_many(insert("job_metrics", metric), [{k: row[k] for k in metric} for row in rows])
        tx.execute_many(insert("job_history", old), [{k: row[k] for k in old} for row in rows])
        tx.execute("INSERT INTO run_time_models (job_type, model, learned, at_ms) VALUES (:t, '{}', '{}', 1)", t=job_type)


def test_the_command_writes_tables_where_they_help(ledger):
    small = 12  # bits of the sizes, so that the rows stay small

    def by_size(tenant, size, hour, dice):
        return by_size_and_hour(tenant, size, hour, dice)

    def cut(runs):
        return [run for run in runs if run.size < 2 ** small]

    write(ledger, "TestNoop", cut(history(3000, by_size)))
    write(ledger, "TestEcho", cut(history(1500, lambda tenant, size, hour, dice: 1000 * math.exp(dice.gauss(0, 0.8)))))
    write(ledger, "TestPair", history(40, by_size))
    out = ledger.app.test_cli_runner().invoke(args=["capacity", "--learn"])
    assert out.exit_code == 0, out.output
    learned = dict(ledger.connection.fetch_all("SELECT job_type, learned FROM run_time_models"))
    assert learned["TestEcho"] is None and learned["TestPair"] is None
    assert json.loads(learned["TestNoop"])["cells"]
    table, wanted = outlook.models(ledger.connection)("TestNoop").learned, json.loads(learned["TestNoop"])
    assert table == wanted | {"cells": {key: tuple(values) for key, values in wanted["cells"].items()}}, "readers get it"
    assert "TestPair\tnot used: fewer than 500 runs" in out.output and "TestEcho\tnot used" in out.output and "TestNoop\tused: the loss changes by -" in out.output


def test_without_scikit_learn_the_command_says_how_to_install_it(ledger, monkeypatch):
    monkeypatch.setattr(boosting, "find_spec", lambda name: None)
    runner = ledger.app.test_cli_runner()
    out = runner.invoke(args=["capacity", "--learn"])
    assert out.exit_code == 1 and out.stderr.strip() == "The extra ml is not installed: bash scripts/venv.sh ml"
    assert runner.invoke(args=["capacity", "--store"]).exit_code == 0, "all else works"


def test_nobody_else_imports_it(tmp_path):
    code = ("import sys, wsgi, app.worker, app.monitor.loop, app.cli.capacity, app.services.forecast.boosting\n"
            "print(sorted({'sklearn', 'numpy', 'scipy'} & set(sys.modules)))")
    import os

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=os.environ | {"DATA_DIR": str(tmp_path)})
    assert done.stdout.strip() == "[]", done.stderr
