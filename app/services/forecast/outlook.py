"""What pages ask: when a job begins and ends, when a queue is empty, how good predictions were.

monitor: outcomes -> run_times (learned by type) -> simulation of the queues -> the fact `forecast` of `meta`, each 5 s
page: a row of `jobs`, its place in the queue -> the curve of the fact -> intervals

The fact may be missing or old (no monitor): then nothing is predicted and `why` is `monitor`.
"""

from __future__ import annotations

from collections.abc import Mapping

from app.ledger.dialect import Executor
from app.services.forecast.estimate import Accuracy, JobForecast, QueueForecast


def of_queues(tx: Executor) -> tuple[dict[str, QueueForecast], int | None]:
    """{queue: forecast} and the age of the forecast in ms; ({}, None) without one."""
    return {}, None


def of_job(tx: Executor, uuid: str) -> JobForecast:
    """The forecast of a live job."""
    return JobForecast(None, None, "monitor", None, None, None, None)


def of_jobs(tx: Executor, uuids: list[str]) -> Mapping[str, JobForecast]:
    """The forecasts of at most 100 live jobs, by uuid."""
    return {uuid: of_job(tx, uuid) for uuid in uuids}


def accuracy(tx: Executor, job_type: str | None = None) -> Accuracy:
    """How good the last predictions of a type, or of all types, were."""
    return Accuracy(0, 0, None, None)
