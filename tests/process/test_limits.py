"""Limits with real workers that are killed: never more at once than allowed, and every job ends."""

from __future__ import annotations

import contextlib
import os
import signal
from collections import Counter

import pytest

from app import registry
from app.extensions import db


def most_at_once(lines: list[str], ended: dict[str, float]) -> Counter[str]:
    """The most jobs of each shop at the same time, by what they wrote themselves; one that was killed left no end."""
    most: Counter[str] = Counter()
    now: dict[str, set[str]] = {}
    for line in lines:
        sign, shop, pid, _at = line.split()
        alive = now.setdefault(shop, set())
        if sign == "+":
            alive.difference_update({other for other in alive if ended.get(other, 1e18) < float(_at)})
            alive.add(pid)
        else:
            alive.discard(pid)
        most[shop] = max(most[shop], len(alive))
    return most


@pytest.mark.timeout(240)
def test_never_more_at_once_than_allowed_and_all_end_when_workers_are_killed(product, tmp_path):
    path, ended = tmp_path / "pairs", {}
    path.touch()
    with product.app.app_context():
        registry.find("TestPairs").dispatch_many([{"shop": "abc"[n % 3], "path": str(path), "ms": 40} for n in range(90)])
        db.session.commit()
    product.monitor()
    product.workers(3), product.workers(3)
    import time

    for done in (10, 30, 50):
        product.until(lambda done=done: product.one("SELECT COUNT(*) FROM job_history") >= done, 90, f"{done} have ended")
        for pid in product.worker_pids()[:2]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                ended[str(pid)] = time.time()
    product.ended(90)
    assert set(product.finals().values()) == {1} and len(product.finals()) == 90
    most = most_at_once(path.read_text().splitlines(), ended)
    assert set(most) == {"a", "b", "c"} and max(most.values()) == 2, most
    assert product.one("SELECT COUNT(*) FROM job_history WHERE status = 'completed'") == 90
