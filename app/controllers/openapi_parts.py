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
    **{(p, name): some for name, some in (("state", _STATES), ("sort", _SORTS)) for p in ("list", "export", "bulk")},
    **{(f"syncs.{page}", "action"): sync_reports.ACTIONS for page in ("job", "json", "csv")},
    **{(page, "to"): content_list.SERVICES for page in ("contents.sync", "contents.sync-many")},
    **{(page, "state"): content_list.STATES for page in ("contents.index", "contents.sync-many")},
    ("errors.index", "sort"): error_pages.ORDERS, ("usage.index", "sort"): usage.SORTS,
    ("generations.index", "status"): generations.STATES, ("bulk", "action"): bulk.ACTIONS,
    "format": files.FORMATS, "lang": plan_values.LANGUAGES, "language": plan_values.LANGUAGES,
    "bucket": metrics_csv.BUCKETS, "group": ["type"], "queue": QUEUES, "to_queue": QUEUES, "hold": job_filter.HOLDS,
    "count": ["all"], "by": usage.SCOPES, "compare": usage_compare.COMPARED, "service": content_list.SERVICES,
    "scope": ["all"], "decision": sorted({name for some in decisions.DECISIONS.values() for name in some})}
_TIME = "A day (2026-11-23), or a time (2026-11-23T14:00) of APP_TIMEZONE"
WORDS = {
    "period": "day, week, month: the last whole one; others: until now", "since": _TIME, "from": _TIME, "until": _TIME,
    "bucket": "hour for at most two days, else day", "format": "pdf unless given; csv is a zip of CSVs",
    "lang": "Of the file; that of Accept-Language unless given", "language": "Another name of lang"}


def of(endpoint: str, name: str) -> dict[str, Any]:
    """The schema of a part, and its description if it has one."""
    page = endpoint.removeprefix("api.").removeprefix("admin.jobs.")
    values = VALUES.get((page, name), VALUES.get(name))
    schema = {"type": "string"} | ({"enum": list(values)} if values else {})
    return {"schema": schema} | ({"description": WORDS[name]} if name in WORDS else {})
