"""Figures for Prometheus, from the ledger and the rollups: counters survive restarts and are the same in each process.

Names and units follow its conventions: seconds, `_total` for counters. The extra `prometheus` is necessary.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

from sqlalchemy import text

from app.extensions import db
from app.ledger import counts
from app.ledger.dialect import SessionExecutor
from app.models.job import LIVE_STATES
from app.models.types import as_integer, as_text
from app.services.jobs.rollups import BOUNDS_MS, NO_BOUND
from app.services.stats.job_monitoring import JobMonitoringService, monitor_state
from app.support.clock import now_ms

_TOTALS = "SELECT job_type, status, SUM(count), SUM(time_ms) FROM rollup_types GROUP BY job_type, status"
_LABELS = [*(str(bound / 1000) for bound in BOUNDS_MS), "+Inf"]  # of a histogram's buckets: seconds
_CELLS = "SELECT job_type, queue, what, le, count, sum_ms FROM job_histograms"


class Ledger:
    """A collector for prometheus_client; it reads all figures at each scrape."""

    def collect(self) -> Iterator[Any]:
        """The metric families."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        live, _age = counts.recent(SessionExecutor(db.session))
        help_ = "Outcomes of attempts since the first job."
        outcomes = CounterMetricFamily("ainstein_job_outcomes", help_, labels=["type", "status"])
        for job_type, status, n, _ms in db.session.execute(text(_TOTALS)):
            outcomes.add_metric([as_text(job_type), as_text(status)], as_integer(n, 0))
        yield outcomes
        yield from self._gauges(GaugeMetricFamily, live)
        cells: dict[tuple[str, str, str], dict[int, tuple[int, int]]] = defaultdict(dict)
        for job_type, queue, what, le, n, ms in db.session.execute(text(_CELLS)):
            cells[as_text(job_type), as_text(queue), what][le] = (as_integer(n, 0), as_integer(ms, 0))
        for what, name, help_ in (("run", "ainstein_job_run_seconds", "Run time of completed attempts."),
                                  ("wait", "ainstein_job_wait_seconds", "From ready to start, of all attempts.")):
            family = HistogramMetricFamily(name, help_, labels=["type", "queue"])
            for (job_type, queue, kind), found in sorted(cells.items()):
                if kind == what:
                    reached = accumulate(found.get(bound, (0, 0))[0] for bound in (*BOUNDS_MS, NO_BOUND))
                    buckets = list(zip(_LABELS, reached, strict=True))
                    family.add_metric([job_type, queue], buckets, sum(ms for _n, ms in found.values()) / 1000)
            yield family

    @staticmethod
    def _gauges(gauge: Any, live: dict[str, Any]) -> Iterator[Any]:
        def family(name: str, help_: str, label: str, values: dict[str, float]) -> Any:
            found = gauge(name, help_, labels=[label])
            for key, value in values.items():
                found.add_metric([key], value)
            return found

        now, queues, workers = now_ms(), live["queues"], JobMonitoringService.count_workers()
        yield family("ainstein_jobs", "Live jobs by state.", "state", {state: live[state] for state in LIVE_STATES})
        depths = {name: queue["depth"] for name, queue in queues.items()}
        yield family("ainstein_queue_jobs", "Ready jobs by queue.", "queue", depths)
        waits = {name: max(now - (queue["since"] or now), 0) / 1000 for name, queue in queues.items()}
        help_ = "How long the longest waiting ready job has waited."
        yield family("ainstein_queue_oldest_seconds", help_, "queue", waits)
        yield gauge("ainstein_failed_jobs", "Failed jobs that wait for a decision.", value=live["failed"])
        states = {"busy": workers.active - workers.idle, "idle": workers.idle, "stale": workers.stale}
        yield family("ainstein_workers", "Workers by state.", "state", states)
        age = monitor_state().age_s
        if age is not None:
            yield gauge("ainstein_monitor_age_seconds", "Since the monitor's last round.", value=age)


def exposition() -> bytes:
    """All figures in the text format of Prometheus."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Ledger())  # type: ignore[arg-type]
    return generate_latest(registry)
