"""The figures of the dashboard and of the specification's JSON, from rollups and the monitor's counts of live rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select

from app import registry
from app.extensions import db
from app.ledger import counts, workforce
from app.ledger.dialect import SessionExecutor
from app.models import Job, JobMetric, outcome_stats
from app.models.job import LIVE_STATES
from app.services.jobs import actions, lookup
from app.services.stats.colours import colour_of
from app.support.clock import DAY_MS, HOUR_MS, day_of, iso, midnight, millis, now_ms, when
from app.support.formatting import tenths
from app.support.messages import _
from app.support.settings import settings
from app.support.validation import ValidationError

PERIODS = {"24h": 24, "7d": 7, "30d": 30}
LATE_MS = 10_000


def start_of_day(now: int, days_ago: int = 0) -> int:
    """Midnight in APP_TIMEZONE (ms) of the day of `now` (ms), or of a day `days_ago` before it."""
    zone = settings().timezone
    return midnight(day_of(now, zone) - timedelta(days=days_ago), zone)


@dataclass(frozen=True)
class WorkerCounts:
    """Workers: `active` are alive, `idle` of them have no job; `stale` do not respond; `total` = active + stale.

    `expected` should run (None: not known), `missing` of them have no process; `troubles` as ledger.workforce.Trouble.
    """

    active: int
    total: int
    idle: int
    stale: int
    expected: int | None
    missing: int
    troubles: list[dict[str, Any]]


@dataclass(frozen=True)
class JobCounts:
    """Live jobs by state, outcomes since midnight in APP_TIMEZONE, and failed jobs that wait for a decision (`failed`).

    Live jobs were counted `counted_ms_ago`; `oldest_wait` in ms; `queues`: ready jobs by queue.
    """

    pending: int
    processing: int
    completed_today: int
    failed_today: int
    scheduled: int
    waiting: int
    held: int
    blocked: int
    failed: int
    counted_ms_ago: int
    oldest_wait: int | None
    queues: dict[str, int]


@dataclass(frozen=True)
class DayFigures:
    """The last 24 hours: mean run time in ms and success rate in percent (None without jobs), jobs that ended."""

    avg_processing_time: float | None
    success_rate: float | None
    total_processed_24h: int


@dataclass(frozen=True)
class Bucket:
    """Jobs that ended in an hour (`date` as 2026-11-26T09:00:00Z) or on a day (2026-11-26); `avg_time` in ms."""

    date: str
    total: int
    completed: int
    failed: int
    avg_time: float | None


@dataclass(frozen=True)
class TypeFigures:
    """Outcomes of a type from `since` to before `until` (ISO 8601, UTC); `avg_time` in ms. `colour` is the number of
    its colour in charts."""

    job_type: str
    label: str
    total: int
    completed: int
    failed: int
    avg_time: float | None
    colour: int
    since: str
    until: str


@dataclass(frozen=True)
class MonitorView:
    """The monitor's last round: `age_s` seconds ago (None: never); `code`: its code version; `errors`: failing duties.
    """

    late: bool
    age_s: float | None
    code: str | None
    errors: list[str]


class JobMonitoringService:
    """The specification's service. It returns dictionaries that are the JSON, and reads no request."""

    def get_dashboard_stats(self) -> dict[str, dict[str, Any]]:
        """{"workers": WorkerCounts, "jobs": JobCounts, "metrics": DayFigures} as dictionaries; live counts may be 1 s
        old."""
        now = now_ms()
        live, age = counts.recent(SessionExecutor(db.session))
        today = outcome_stats.window(start_of_day(now), now + 1)
        day = outcome_stats.day_totals(now)
        jobs = JobCounts(
            **{state: live[state] for state in LIVE_STATES}, failed=live["failed"], completed_today=today.completed,
            failed_today=today.failed, counted_ms_ago=age, oldest_wait=counts.oldest(live, now),
            queues={name: queue["depth"] for name, queue in live["queues"].items()})
        figures = DayFigures(_tenths(day.average_ms), tenths(day.success_rate, 2), day.total)
        return {"workers": vars(self.count_workers()), "jobs": vars(jobs), "metrics": vars(figures)}

    @staticmethod
    def count_workers() -> WorkerCounts:
        """The workers that have not stopped, counted now; those that hold a job are busy, whatever they report."""
        now = workforce.look(SessionExecutor(db.session))
        return WorkerCounts(now.active, now.active + now.stale, now.active - now.busy, now.stale, now.expected,
                            now.missing, [vars(trouble) for trouble in now.troubles])

    def get_jobs_by_status(self) -> dict[str, list[dict[str, Any]]]:
        """The first 50 live jobs (`pending`, running ones also in `processing`) as QueuedJob, the first 50 `failed` as
        FailedJobView."""
        queued = [vars(job) for job in lookup.queued()]
        processing = [job for job in queued if job["state"] == "processing"]
        return {"pending": queued, "failed": [vars(job) for job in lookup.failed()], "processing": processing}

    @staticmethod
    def has_history(job_type: str | None = None) -> bool:
        """Whether there is any outcome, or any of a job type."""
        mine = {} if job_type is None else {"job_type": job_type}
        return db.session.scalar(select(JobMetric.id).filter_by(**mine).limit(1)) is not None

    def retry_failed_job(self, uuid: str, actor: str = "service") -> bool:
        """Requeue a failed job; returns True. Raises ActionRefused."""
        actions.retry(uuid, actor)
        return True

    def retry_all_failed(self, actor: str = "service", max_id: int | None = None) -> int:
        """Requeue all failed jobs, with `max_id` those with ids up to it; returns how many."""
        return actions.retry_all(actor, max_id)

    def delete_failed_job(self, uuid: str, actor: str = "service") -> bool:
        """Move a failed job to the bin; returns True. Raises ActionRefused."""
        actions.delete_failed(uuid, actor)
        return True

    def flush_failed_jobs(self, actor: str = "service", max_id: int | None = None) -> int:
        """Move all failed jobs to the bin, with `max_id` those with ids up to it; returns how many."""
        return actions.delete_all(actor, max_id)

    def get_metrics(self, period: str = "24h", job_type: str | None = None, bucket: str | None = None,
                    group: str | None = None) -> list[dict[str, Any]]:
        """The buckets of a period as Bucket, oldest first; with `group='type'` its types as TypeFigures, the largest
        first.

        Raises ValidationError for an unknown period, type, bucket or group.
        """
        if period not in PERIODS:
            known = ", ".join(PERIODS)
            raise ValidationError(_("Unknown period %(name)s. Use %(known)s.", name=repr(period[:20]), known=known))
        natural = "hour" if period == "24h" else "day"
        if bucket not in (None, natural):
            raise ValidationError(_("Unknown bucket %(name)s for %(period)s. Use %(known)s.",
                                    name=repr(bucket[:20]), period=period, known=natural))
        if group not in (None, "type"):
            raise ValidationError(_("Unknown group %(name)s. Use %(known)s.", name=repr(group[:20]), known="type"))
        if job_type is not None and registry.find(job_type) is None and not self.has_history(job_type):
            raise ValidationError(_("Unknown job type %(name)s.", name=repr(job_type[:60])))
        now = now_ms()
        bounds = self._bounds(now, period)
        if group == "type":
            start = now - DAY_MS if natural == "hour" else bounds[0]  # as the cards, and not from a full hour
            rows = [TypeFigures(name, registry.label_of(name), s.total, s.completed, s.failed, _tenths(s.average_ms),
                                colour_of(name), iso(start), iso(now + 1))
                    for name, s in outcome_stats.by_type(start, now + 1).items() if job_type in (None, name)]
            return [vars(row) for row in sorted(rows, key=lambda r: (-r.total, r.job_type)) if row.total]
        hours, zone = natural == "hour", settings().timezone
        names = [iso(b).replace(".000Z", "Z") if hours else day_of(b, zone).isoformat() for b in bounds[:-1]]
        found = zip(names, outcome_stats.buckets(bounds, job_type), strict=True)
        return [vars(Bucket(name, s.total, s.completed, s.failed, _tenths(s.average_ms))) for name, s in found]

    @staticmethod
    def _bounds(now: int, period: str) -> list[int]:
        """Starts of the buckets (ms), oldest first, and the end of the current one."""
        if period == "24h":
            hour = now - now % HOUR_MS
            return [hour - back * HOUR_MS for back in range(23, -2, -1)]
        return [start_of_day(now, back) for back in range(PERIODS[period] - 1, -2, -1)]


def _tenths(ms: float | None) -> float | None:
    return None if ms is None else round(ms, 1)


def monitor_state() -> MonitorView:
    """The monitor's last round; `late` when it was more than 10 s ago."""
    kept = counts.load(SessionExecutor(db.session), "monitor")
    if kept is None:
        return MonitorView(late=True, age_s=None, code=None, errors=[])
    value, age = kept[0] if isinstance(kept[0], dict) else {}, kept[1]
    code, errors = value.get("code"), value.get("errors")
    return MonitorView(age > LATE_MS, age / 1000, code if isinstance(code, str) else None,
                       errors if isinstance(errors, list) else [])


@dataclass(frozen=True)
class RecentEvent:
    """`kind` is lost (attempts lost with a dead worker in the 24 h before `until`, in ms) or blocked (now). `uuid` is
    one of the jobs, `at` the time when it was lost."""

    kind: str
    count: int
    uuid: str | None
    at: datetime | None
    until: int = 0


def recent_events(blocked: int) -> list[RecentEvent]:
    """Lost jobs, and the `blocked` ones that there are, for the dashboard; [] without any."""
    events, now = [], now_ms()
    if lost := outcome_stats.lost(now):
        query = select(JobMetric.uuid, JobMetric.completed_at).where(JobMetric.status == "lost")
        last = db.session.execute(query.order_by(JobMetric.id.desc()).limit(1)).first()
        events.append(RecentEvent("lost", lost, last and last.uuid, last and when(millis(last.completed_at)), now))
    if blocked:
        uuid = db.session.scalar(select(Job.uuid).where(Job.state == "blocked").limit(1))
        events.append(RecentEvent("blocked", blocked, uuid, None))
    return events
