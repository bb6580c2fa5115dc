"""Rollups counted anew from the raw rows, an hour a transaction, for the hours whose raw rows are all there."""

from __future__ import annotations

from app.clock import DAY_MS, HOUR_MS, stamp
from app.config import Settings
from app.ledger.dialect import Connection, lock_tables
from app.services.upkeep import KEEP_DAYS

_SUMS = """COUNT(*), SUM(processing_time), SUM(COALESCE(wait_ms, 0)) FROM job_metrics
 WHERE completed_at >= :low AND completed_at < :high"""
_TYPES = f"""INSERT INTO rollup_types (hour, job_type, status, count, time_ms, wait_ms)
 SELECT :hour, job_type, status, {_SUMS} GROUP BY job_type, status"""
_TENANTS = f"""INSERT INTO rollup_tenants (hour, job_type, tenant_id, status, count, time_ms, wait_ms)
 SELECT :hour, job_type, COALESCE(tenant_id, ''), status, {_SUMS} GROUP BY job_type, COALESCE(tenant_id, ''), status"""


def rebuild(settings: Settings, connection: Connection | None = None) -> int:
    """Rebuild every hour of the last 32 days (raw rows older than that are gone); returns how many hours."""
    connection = connection or Connection(settings.database_url, synchronous="FULL", wait_s=30)
    now = connection.now()
    first = now - KEEP_DAYS * DAY_MS
    hour, hours = first - first % HOUR_MS + HOUR_MS, 0
    while hour <= now:
        with connection.transaction() as run:
            lock_tables(run, "rollup_types", "rollup_tenants")
            for table in ("rollup_types", "rollup_tenants"):
                run.run(f"DELETE FROM {table} WHERE hour = :hour", hour=hour)
            window = {"hour": hour, "low": stamp(hour), "high": stamp(hour + HOUR_MS)}
            run.run(_TYPES, **window)
            run.run(_TENANTS, **window)
        hour, hours = hour + HOUR_MS, hours + 1
    return hours
