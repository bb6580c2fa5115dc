"""What parts of addresses and forms hold, for the OpenAPI document: their values where a page takes only these.

endpoint, name -> `of` -> {"schema", "description"}; the values are those that the pages themselves check against
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from app.config import QUEUES
from app.controllers import bulk, generations, metrics_csv
from app.models import FINAL, LIVE_STATES
from app.services.content import content_list, decisions, sync_reports
from app.services.jobs import error_pages, job_filter
from app.services.reports import files, periods, plan_values
from app.services.stats import capacity, job_monitoring, usage, usage_compare, usage_window

_WHOLE = [*periods.PERIODS, *(name for name in usage_window.PERIODS if name != "1h")]
_STATES = (*job_filter.GROUPS, *LIVE_STATES, *FINAL, *job_filter.OLD_NAMES)
_SORTS = ("when", *(sign + by for by in job_filter.SORTS for sign in ("", "-")))
# By the name, or by the last name of an endpoint and the name where pages differ.
VALUES: dict[str | tuple[str, str], Iterable[str]] = {
    **{(page, "period"): some for some, pages in (
        (job_monitoring.PERIODS, ["metrics"]), (_WHOLE, ["metrics-csv", "reports.report"]),
        (error_pages.PERIODS, ["errors.index"]), (capacity.PERIODS, ["capacity.index", "capacity.hours"]),
        (usage_window.PERIODS, ["usage.index", "usage.one"])) for page in pages},
    **{(page, name): some for name, some in (("state", _STATES), ("sort", _SORTS))
       for page in ("list", "export", "bulk")},
    **{(page, "action"): sync_reports.ACTIONS for page in ("syncs.job", "syncs.json", "syncs.csv")},
    **{(page, "to"): content_list.SERVICES for page in ("contents.sync", "contents.sync-many")},
    **{(page, "state"): content_list.STATES for page in ("contents.index", "contents.sync-many")},
    ("errors.index", "sort"): error_pages.ORDERS, ("usage.index", "sort"): usage.SORTS,
    ("generations.index", "status"): generations.STATES, ("bulk", "action"): bulk.ACTIONS,
    "format": files.FORMATS, "lang": plan_values.LANGUAGES, "language": plan_values.LANGUAGES,
    "bucket": metrics_csv.BUCKETS, "group": ["type"], "queue": QUEUES, "to_queue": QUEUES, "hold": job_filter.HOLDS,
    "count": ["all"], "by": usage.SCOPES, "compare": usage_compare.COMPARED, "service": content_list.SERVICES,
    "scope": ["all"], "decision": sorted({name for some in decisions.DECISIONS.values() for name in some})}
_TIME = "A day (2026-11-23) or a time (2026-11-23T14:00) of APP_TIMEZONE"
_AT_LEAST = "A time, as 10s, 5m or 2h"
WORDS = {
    ("reports.report", "period"): "day, week, month: the last whole one; others: until now; week unless given",
    ("metrics-csv", "period"): "24h unless there is a range; day, week, month: the last whole one",
    "bucket": "hour for at most two days, else day", "since": _TIME, "from": _TIME,
    "until": f"{_TIME}; the day is included",
    "format": "pdf unless given; csv is a zip of CSVs", "language": "Another name of lang",
    "lang": "Of the file; that of Accept-Language unless given",
    "tenant": "Only this tenant", "tenant_id": "Only this tenant", "type": "A job type",
    "job_type": "A job type", "currency": "Three letters, as USD", "longer": _AT_LEAST, "shorter": _AT_LEAST,
    "waited": f"{_AT_LEAST}, or from one to below another (10s-20s)", "heavier": "A size, as 100MB or 1GB",
    "attempt": "2, 2- or 2-4", "clock": "A time of day, as 22:00-06:00", "q": "A text, at most 200 characters",
    "before": "From the link to the page before", "after": "From the link to the next page",
    "compare": "The time just before, the day before, or the week before"}


def of(endpoint: str, name: str) -> dict[str, Any]:
    """The schema of a part, and its description if it has one."""
    page = endpoint.removeprefix("api.").removeprefix("admin.jobs.")
    values, words = (kept.get((page, name), kept.get(name)) for kept in (VALUES, WORDS))
    schema = {"type": "string"} | ({"enum": list(values)} if values else {})
    return {"schema": schema} | ({"description": words} if words else {})
