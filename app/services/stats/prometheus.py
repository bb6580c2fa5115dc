"""Figures for Prometheus, from the ledger and the rollups: counters go on over restarts and are the same for every
process.

Names and units by its conventions: seconds, `_total` for counters. Needs the extra `prometheus`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from sqlalchemy import text

from app.extensions import db
from app.ledger import counts
from app.ledger.dialect import SessionExecutor
from app.ledger.rollups import BOUNDS_MS, NO_BOUND
from app.models.job import LIVE_STATES
from app.models.types import as_integer, as_text
from app.services.stats.job_monitoring import JobMonitoringService, monitor_state
from app.support.clock import now_ms

_TOTALS = "SELECT job_type, status, SUM(count), SUM(time_ms) FROM rollup_types GROUP BY job_type, status"
_CELLS = "SELECT job_type, queue, what, le, count, sum_ms FROM job_histograms"


class Ledger:
    """A collector for prometheus_client; reads everything anew at each scrape."""

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        live, _age = counts.recent(SessionExecutor(db.session))
        outcomes = CounterMetricFamily("ainstein_job_outcomes", "Outcomes of attempts since the first job.", labels=["type", "status"])
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
                    below, buckets = 0, []
                    for bound in BOUNDS_MS:
                        below += found.get(bound, (0, 0))[0]
                        buckets.append((str(bound / 1000), below))
                    buckets.append(("+Inf", below + found.get(NO_BOUND, (0, 0))[0]))
                    family.add_metric([job_type, queue], buckets, sum(ms for _n, ms in found.values()) / 1000)
            yield family

    @staticmethod
    def _gauges(gauge: Any, live: dict[str, Any]) -> Iterator[Any]:
        now = now_ms()
        states = gauge("ainstein_jobs", "Live jobs by state.", labels=["state"])
        for state in LIVE_STATES:
            states.add_metric([state], live[state])
        yield states
        depth = gauge("ainstein_queue_jobs", "Ready jobs by queue.", labels=["queue"])
        oldest = gauge("ainstein_queue_oldest_seconds", "How long the longest waiting ready job has waited.", labels=["queue"])
        for name, queue in live["queues"].items():
            depth.add_metric([name], queue["depth"])
            oldest.add_metric([name], max(now - (queue["since"] or now), 0) / 1000)
        yield depth
        yield oldest
        yield gauge("ainstein_failed_jobs", "Failed jobs that wait for a decision.", value=live["failed"])
        workers = gauge("ainstein_workers", "Workers by state.", labels=["state"])
        found = JobMonitoringService.count_workers()
        for state, n in (("busy", found.active - found.idle), ("idle", found.idle), ("stale", found.stale)):
            workers.add_metric([state], n)
        yield workers
        age = monitor_state().age_s
        if age is not None:
            yield gauge("ainstein_monitor_age_seconds", "Since the monitor's last round.", value=age)


def exposition() -> bytes:
    """The text format of Prometheus."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Ledger())  # type: ignore[arg-type]
    return generate_latest(registry)
