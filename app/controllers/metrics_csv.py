"""/admin/jobs/metrics.csv: the metrics of a period by time and type, for spreadsheets.

`period` (24h, 7d, 30d, day, week, month) or `from` and `until`, `job_type`, `tenant_id`, `bucket` (hour, day) -> a CSV
that is streamed; what cannot be read, and a type or tenant that nobody knows, is a 400 with a sentence
"""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

from flask import request
from flask_babel import gettext as _

from app import registry
from app.controllers.jobs import bp
from app.controllers.responses import csv_file
from app.integrations.csv_cells import write_rows
from app.services.jobs.job_filter import FilterError
from app.services.reports import metrics, periods
from app.services.reports.model import ReportFilter
from app.services.stats import usage_read
from app.services.stats.job_monitoring import start_of_day
from app.support.clock import DAY_MS, day_of, now_ms
from app.support.settings import settings
from app.support.validation import ValidationError, check_text, parse_tenant

DAYS = {"7d": 7, "30d": 30}
BUCKETS = ("hour", "day")
PARTS = ("period", "from", "until", "job_type", "tenant_id", "bucket")


@bp.get("/metrics.csv", endpoint="metrics-csv")
def export():
    """The rows of services/reports/metrics.py, by hour for at most two days, else by day, unless `bucket` says so."""
    zone, given = settings().timezone, {name: check_text(request.args.get(name, "")) for name in PARTS}
    if not (given["from"] or given["until"]):
        given["period"] = given["period"] or "24h"
    window = periods.parse(given["period"], given["from"], given["until"], now_ms(), zone)
    if window.period in DAYS:  # as the dashboard counts them: days of APP_TIMEZONE, of which today is the last
        window = replace(window, since=start_of_day(now_ms(), DAYS[window.period] - 1))
    bucket = given["bucket"] or ("hour" if window.until - window.since <= 2 * DAY_MS else "day")
    if bucket not in BUCKETS:
        raise FilterError("bucket", _("Unknown bucket %(name)s for %(period)s. Use %(known)s.", name=repr(bucket[:20]),
                                      period=window.period or _("a range"), known=", ".join(BUCKETS)))
    only = ReportFilter(given["job_type"].strip() or None, parse_tenant(given["tenant_id"]))
    if only.job_type and not registry.find(only.job_type) and not usage_read.is_known("type", only.job_type):
        raise ValidationError(_("No job type is called %(name)s.", name=only.job_type[:100]))
    if only.tenant_id and not usage_read.is_known("tenant", only.tenant_id):
        raise ValidationError(_("No tenant is called %(name)s.", name=only.tenant_id))
    named = "-".join(day_of(ms, zone).isoformat() for ms in (window.since, window.until - 1))
    rows = chain([metrics.COLUMNS], metrics.rows(window, only, bucket, zone))
    return csv_file(f"metrics-{named}.csv", write_rows(rows))
