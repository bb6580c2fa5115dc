"""Run times by tenant, size of the arguments and hour of the day, learned by the extra `ml` (scikit-learn).

outcomes of a week of a type -> quantile gradient boosting of the older 80 % -> a table
  -> does it help to predict the newest 20 %? -> the table of the whole week, in `run_time_models.learned`, else NULL

The table is one more expert of run_times.py, so readers need no scikit-learn. It is kept only where the whole of the
experts gets better by GAIN with it than without. Only the process of `flask capacity` imports scikit-learn.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

from app.ledger.dialect import Connection
from app.services.forecast.early import Early
from app.services.forecast.run_times import QUANTILES, TypeModel, pinball, size_class
from app.support.clock import DAY_MS, HOUR_MS, stamp, stored_ms
from app.support.messages import Message

LEAST, MOST = 500, 10_000  # runs of a type: fewer are not tried, and only the newest are read
GAIN, NEWEST, WARM = 0.02, 0.2, 600
TENANTS, CELLS, OTHERS, BLOCK_MS = 30, 1000, "*", 4 * HOUR_MS
MISSING = Message("The extra ml is not installed: bash scripts/venv.sh ml")
_TYPES = "SELECT job_type FROM run_time_models ORDER BY job_type"
_RUNS = f"""SELECT m.tenant_id, LENGTH(h.payload), m.processing_time, m.started_at, m.status FROM job_metrics m
 JOIN job_history h ON h.uuid = m.uuid WHERE m.job_type = :type
 AND m.status IN ('completed', 'failed', 'timeout', 'retried') AND m.completed_at >= :since AND m.started_at IS NOT NULL
 ORDER BY m.id DESC LIMIT {MOST}"""


class Past(NamedTuple):
    """A run that began at `at_ms` and took `run_ms`; `size` is that of its arguments in bytes."""

    tenant: str | None
    size: int
    run_ms: int
    at_ms: int


def installed() -> bool:
    """Whether scikit-learn is there."""
    return find_spec("sklearn") is not None


def learn(connection: Connection) -> dict[str, float | None]:
    """Write the table of each type whose predictions get better with it, and NULL for the others. Returns by how much
    they get better (0.1: the loss is 10 % less), None for types with fewer than LEAST runs in the last week."""
    gains: dict[str, float | None] = {}
    for (job_type,) in connection.fetch_all(_TYPES):
        rows = connection.fetch_all(_RUNS, type=job_type, since=stamp(connection.now() - 7 * DAY_MS))
        early = Early()
        runs = [Past(tenant, size, run_ms, at_ms) for tenant, size, run_ms, at, status in reversed(rows)
                if isinstance(run_ms, int) and (at_ms := stored_ms(at)) and early.counts(status == "completed", run_ms)]
        gains[job_type], table = study(runs) if len(runs) >= LEAST else (None, None)
        with connection.transaction() as tx:
            tx.execute("UPDATE run_time_models SET learned = :learned WHERE job_type = :type", type=job_type,
                       learned=json.dumps(table) if table else None)
    return gains


def study(runs: Sequence[Past]) -> tuple[float, dict[str, Any] | None]:
    """(by how much predictions of the newest of `runs`, oldest first, get better; the table, or None below GAIN)."""
    cut = len(runs) - round(len(runs) * NEWEST)
    with_table, without = _loss(runs, cut, fit(runs[:cut])), _loss(runs, cut, None)
    gain = 1 - with_table / without if without else 0.0
    return gain, fit(runs) if gain >= GAIN else None


def _loss(runs: Sequence[Past], cut: int, table: dict[str, Any] | None) -> float:
    """The sum of the losses of predictions of the runs from `cut` on, each made from those before it."""
    model, loss = TypeModel(learned=table), 0.0
    for n in range(max(cut - WARM, 0), len(runs)):
        tenant, size, run_ms, at_ms = runs[n]
        if n >= cut and (said := model.estimate(tenant, size, at_ms)):
            loss += pinball(run_ms, (said.run.low, said.run.middle, said.run.high))
        model.learn(tenant, size, run_ms, at_ms)
    return loss


def fit(runs: Sequence[Past]) -> dict[str, Any]:
    """The table of `run_times.TypeModel` for the tenants, sizes and blocks of hours that occur: quantiles of boosting;
    mean and standard deviation by what the runs were in multiples of the middle one."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when scikit-learn is loaded; the other cores are for jobs
    import numpy
    from sklearn.ensemble import HistGradientBoostingRegressor

    most = Counter(run.tenant for run in runs if run.tenant).most_common(TENANTS)
    codes = {tenant: n for n, (tenant, _count) in enumerate(most, 1)}
    keys = [(codes.get(run.tenant or "", 0), size_class(run.size), run.at_ms // BLOCK_MS % 6) for run in runs]
    values = numpy.log([run.run_ms + 1.0 for run in runs])
    cells = [key for key, _count in Counter(keys).most_common(CELLS)]
    rows = []
    for share in QUANTILES:
        model = HistGradientBoostingRegressor(loss="quantile", quantile=share, max_iter=80, max_leaf_nodes=15,
                                              categorical_features=[0], early_stopping=False, random_state=0)
        model.fit(numpy.array(keys), values)
        rows.append(model.predict(numpy.array(cells)))
        if share == 0.5:
            ratios = numpy.exp(values - model.predict(numpy.array(keys)))
    mean, spread = float(ratios.mean()), float(ratios.std())
    names = {n: tenant for tenant, n in codes.items()} | {0: OTHERS}
    table = {}
    for (code, size, block), logs in zip(cells, zip(*rows, strict=True), strict=True):
        low, middle, high = sorted(max(math.exp(log) - 1.0, 0.0) for log in logs)
        table[f"{names[code]}|{size}|{block}"] = [round(v) for v in (low, middle, high, middle * mean, middle * spread)]
    return {"tenants": list(codes), "cells": table}
