"""The figures of the dashboard and of the specification's JSON, from rollups and the monitor's counts."""

from __future__ import annotations

from datetime import datetime, timedelta
from math import floor
from typing import Any

from flask import current_app
from sqlalchemy import case, func, select

from app import registry
from app.extensions import db
from app.ledger import counts
from app.ledger.dialect import SessionExecutor
from app.models import JobMetric, WorkerHeartbeat, outcome_stats
from app.services.jobs import actions, lookup
from app.support.clock import HOUR_MS, iso, millis, now_ms, when
from app.support.messages import translate as _
from app.support.validation import ValidationError

PERIODS = {"24h": 24, "7d": 7, "30d": 30}
LATE_MS = 10_000


def zone():
    return current_app.extensions["settings"].timezone


def start_of_day(now: int, days_ago: int = 0) -> int:
    """Midnight in APP_TIMEZONE, today or so many calendar days ago, in ms."""
    local = when(now).astimezone(zone())
    day = (local - timedelta(days=days_ago)).date()
    return millis(datetime(day.year, day.month, day.day, tzinfo=zone()))


class JobMonitoringService:
    """The specification's service: plain values out, no request in."""

    def get_dashboard_stats(self) -> dict[str, Any]:
        """`workers`, `jobs` and `metrics` as specified; live counts may be 1 s old, the rest is exact."""
        now = now_ms()
        live, age = counts.recent(SessionExecutor(db.session))
        today = outcome_stats.window(start_of_day(now), now + 1)
        day = outcome_stats.day_totals(now)
        return {
            "workers": self._workers(),
            "jobs": {
                "pending": live["pending"], "processing": live["processing"], "completed_today": today.completed,
                "failed_today": today.failed, "scheduled": live["scheduled"], "waiting": live["waiting"], "held": live["held"],
                "blocked": live["blocked"], "failed": live["failed"], "counted_ms_ago": age,
                "oldest_wait": oldest_wait(live, now), "queues": {name: queue["depth"] for name, queue in live["queues"].items()},
            },
            "metrics": {
                "avg_processing_time": None if day.average_ms is None else round(day.average_ms, 1),
                "success_rate": None if day.success_rate is None else floor(day.success_rate * 100 + 1e-6) / 100,
                "total_processed_24h": day.total,
            },
        }

    @staticmethod
    def _workers() -> dict[str, int]:
        w = WorkerHeartbeat
        alive = (w.status != "stopped") & (w.stale == 0)
        active, idle, stale = db.session.execute(
            select(
                func.coalesce(func.sum(case((alive, 1), else_=0)), 0),
                func.coalesce(func.sum(case((alive & (w.job_uuid.is_(None)), 1), else_=0)), 0),
                func.coalesce(func.sum(case(((w.status != "stopped") & (w.stale == 1), 1), else_=0)), 0),
            )
        ).one()
        return {"active": int(active), "total": int(active + stale), "idle": int(idle), "stale": int(stale)}

    def get_jobs_by_status(self) -> dict[str, Any]:
        """First 50 live and failed jobs as the tables show them."""
        queued = lookup.queued()
        return {"pending": queued, "failed": lookup.failed(), "processing": [j for j in queued if j["state"] == "processing"]}

    @staticmethod
    def has_history() -> bool:
        """Whether any outcome was ever written."""
        return db.session.scalar(select(JobMetric.id).limit(1)) is not None

    def retry_failed_job(self, uuid: str, actor: str = "service") -> bool:
        actions.retry(uuid, actor)
        return True

    def retry_all_failed(self, actor: str = "service", upto: int | None = None) -> int:
        """How many were requeued."""
        return actions.retry_all(actor, upto)

    def delete_failed_job(self, uuid: str, actor: str = "service") -> bool:
        actions.delete_failed(uuid, actor)
        return True

    def flush_failed_jobs(self, actor: str = "service", upto: int | None = None) -> int:
        """How many went into the bin."""
        return actions.delete_all(actor, upto)

    def get_metrics(
        self, period: str = "24h", job_type: str | None = None, bucket: str | None = None, group: str | None = None
    ) -> list[dict[str, Any]]:
        """Rows `date, total, completed, failed, avg_time` (ms) a bucket, or by type with `group='type'`.

        Raises ValidationError for an unknown period, type, bucket or group.
        """
        if period not in PERIODS:
            raise ValidationError(_("Unknown period %(name)s. Use %(known)s.", name=repr(period[:20]), known=", ".join(PERIODS)))
        natural = "hour" if period == "24h" else "day"
        if bucket not in (None, natural):
            raise ValidationError(_("Unknown bucket %(name)s for %(period)s. Use %(known)s.", name=repr(bucket[:20]), period=period, known=natural))
        if group not in (None, "type"):
            raise ValidationError(_("Unknown group %(name)s. Use %(known)s.", name=repr(group[:20]), known="type"))
        if job_type is not None and registry.find(job_type) is None and not self._in_history(job_type):
            raise ValidationError(_("Unknown job type %(name)s.", name=repr(job_type[:60])))
        now = now_ms()
        bounds = self._bounds(now, period)
        if group == "type":
            return self._by_type(bounds[0], now + 1, job_type)
        names = [self._name(b, natural) for b in bounds[:-1]]
        return [{"date": name} | self._row(sums) for name, sums in zip(names, outcome_stats.buckets(bounds, job_type), strict=True)]

    @staticmethod
    def _bounds(now: int, period: str) -> list[int]:
        """Starts of the buckets, oldest first, and the end of the running one."""
        if period == "24h":
            hour = now - now % HOUR_MS
            return [hour - back * HOUR_MS for back in range(23, -2, -1)]
        return [start_of_day(now, back) for back in range(PERIODS[period] - 1, -2, -1)]

    @staticmethod
    def _name(bound: int, bucket: str) -> str:
        return iso(bound).replace(".000Z", "Z") if bucket == "hour" else when(bound).astimezone(zone()).date().isoformat()

    @staticmethod
    def _row(sums: outcome_stats.OutcomeTotals) -> dict[str, Any]:
        average = sums.average_ms
        return {"total": sums.total, "completed": sums.completed, "failed": sums.failed, "avg_time": None if average is None else round(average, 1)}

    def _by_type(self, start: int, end: int, job_type: str | None) -> list[dict[str, Any]]:
        found = outcome_stats.by_type(start, end)
        rows = [
            {"job_type": name, "label": registry.label_of(name)} | self._row(sums)
            for name, sums in found.items() if sums.total and job_type in (None, name)
        ]
        return sorted(rows, key=lambda r: (-r["total"], r["job_type"]))

    @staticmethod
    def _in_history(job_type: str) -> bool:
        return db.session.scalar(select(JobMetric.id).where(JobMetric.job_type == job_type).limit(1)) is not None


def oldest_wait(live: dict[str, Any], now: int) -> int | None:
    """How long the longest waiting ready job has waited, in ms; None without any."""
    since = [queue["since"] for queue in live["queues"].values() if queue["since"] is not None]
    return max(now - min(since), 0) if since else None


def monitor_state() -> dict[str, Any]:
    """How late the monitor is: `{"late": bool, "age_s": seconds or None, "code": hash}`."""
    kept = counts.load(SessionExecutor(db.session), "monitor")
    if kept is None:
        return {"late": True, "age_s": None, "code": None, "errors": []}
    value, age = kept
    value = value if isinstance(value, dict) else {}
    code, errors = value.get("code"), value.get("errors")
    return {"late": age > LATE_MS, "age_s": age / 1000, "code": code if isinstance(code, str) else None,
            "errors": errors if isinstance(errors, list) else []}


