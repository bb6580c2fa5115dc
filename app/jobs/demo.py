"""The job that `flask demo` queues: it sleeps for the given time and nothing else."""

from __future__ import annotations

import time

from app.registry import job


@job("DemoWork", queue="low", tries=1, timeout=60, web=False, label="Demo")
def demo_work(ms: int = 100) -> dict[str, int]:
    """Sleep `ms` milliseconds (10 s at most)."""
    time.sleep(min(max(ms, 0), 10_000) / 1000)
    return {"slept_ms": ms}
