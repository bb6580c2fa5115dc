"""Failures by group (type and kind of error), for the page of groups, the dashboard and the page of a job.

job_facts (index by group and time) -> `groups`: all groups of a window, counted exactly; of one page of them also the
tenants, the jobs that wait for a decision and the trend.     failed_jobs -> `undecided`: what Retry and Delete change
Facts follow within a second: failures past the watermark are counted as `behind`. Rows of other programs in failed_jobs
have no history and no facts: they are counted, and named, as `foreign`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo

from app import registry
from app.extensions import db
from app.ledger.dialect import SessionExecutor
from app.ledger.rows import among
from app.models.outcome_stats import watermark
from app.models.types import as_integer, as_text
from app.services.instance import deploys
from app.services.jobs import facts
from app.services.jobs.job_filter import FilterError, JobFilter
from app.support import privacy
from app.support.clock import DAY_MS, MINUTE_MS, iso, now_ms, when
from app.support.messages import cleaned, from_row, translate as _, translate_stored
from app.support.redaction import printable, redact
from app.support.validation import parse_id

PERIODS = {"24h": 1, "7d": 7, "30d": 30, "all": 0}  # days
ORDERS = ("failed", "last", "first")
SIZE, SLOTS, MOST_TENANTS, MOST_FOREIGN, MOST_ERROR = 50, 24, 20, 50, 2000
NO_END = 2**62
_IN = "f.finished_ms >= :low AND f.finished_ms < :high"
_GROUPS = f"""SELECT a.error_group, n, first_at, last_at, g.job_type, substr(g.title, 1, 400),
 substr(g.error, 1, {MOST_ERROR}), g.error_json, g.first_ms FROM (
 SELECT f.error_group, COUNT(*) AS n, MIN(f.finished_ms) AS first_at, MAX(f.finished_ms) AS last_at FROM job_facts f
 WHERE f.error_group {{wanted}} AND {_IN} GROUP BY f.error_group) a
 LEFT JOIN error_groups g ON g.error_group = a.error_group"""
_OPEN = "JOIN failed_jobs b ON b.uuid = f.uuid AND b.deleted_at IS NULL"
_DETAILS = f"""SELECT error_group, tenant_id, n, tenants, waits, nobody FROM (
 SELECT f.error_group, f.tenant_id, COUNT(*) AS n, COUNT(f.tenant_id) OVER (PARTITION BY f.error_group) AS tenants,
 SUM(CASE WHEN f.tenant_id IS NULL THEN COUNT(*) ELSE 0 END) OVER (PARTITION BY f.error_group) AS nobody,
 SUM(COUNT(b.id)) OVER (PARTITION BY f.error_group) AS waits,
 ROW_NUMBER() OVER (PARTITION BY f.error_group ORDER BY COUNT(*) DESC, f.tenant_id) AS place
 FROM job_facts f LEFT {_OPEN} WHERE {{keys}} AND {_IN} GROUP BY f.error_group, f.tenant_id) found
 WHERE place <= {MOST_TENANTS + 1}"""
_TREND = f"""SELECT f.error_group, (f.finished_ms - :begin) / :width, COUNT(*) FROM job_facts f
 WHERE {{keys}} AND {_IN}
 GROUP BY f.error_group, (f.finished_ms - :begin) / :width"""
_UNDECIDED = f"""SELECT b.id FROM job_facts f {_OPEN}
 WHERE f.error_group = :key AND {_IN} AND b.id <= :upto ORDER BY b.id"""
# Ids from the two indexes by uuid alone: rows of failed_jobs are long.
_FOREIGN = """deleted_at IS NULL AND id IN (SELECT b.id FROM failed_jobs b
 WHERE NOT EXISTS (SELECT 1 FROM job_history h WHERE h.uuid = b.uuid))"""
BEHIND = f"SELECT COUNT(*) FROM job_history WHERE status IN ('failed', 'timeout') AND id > {watermark(facts.KEY)}"


@dataclass(frozen=True)
class Window:
    """From `low` (ms) until before `high`; `query` says the same as parts of an address. `name` is the period or ''."""

    low: int
    high: int
    query: dict[str, str]
    name: str = ""


@dataclass(frozen=True)
class GroupView:
    """A group in a window, in the reader's language: `failed` jobs, `undecided` of them wait for a decision,
    `without_tenant` have no tenant, the others are of `tenants` (the largest in `largest`: names and numbers). `first`
    is when its first job failed, also before the window; `last` within it. `is_new`: first seen since the
    last deploy. `trend` has 24 numbers, oldest first."""

    key: str
    job_type: str
    label: str
    title: str
    error: str
    failed: int
    undecided: int
    without_tenant: int
    tenants: int
    largest: list[tuple[str, int]]
    first: datetime | None
    last: datetime | None
    is_new: bool
    trend: list[int]


@dataclass(frozen=True)
class GroupPage:
    """A page of groups; `total` groups and `failed` jobs are those of all pages. `slot_ms` is the width of a number of
    the trends. `foreign` rows have no history, the newest in `foreign_uuids`; `behind` failures are not grouped yet.
    `upto` is the highest id of failed_jobs."""

    rows: list[GroupView]
    total: int
    failed: int
    slot_ms: int
    foreign: int
    foreign_uuids: list[str]
    behind: int
    upto: int


def window(given: Mapping[str, str], zone: tzinfo) -> Window:
    """The window of an address: `deploy` (an id) with `since` and `until`, or `period`; 24 hours when it names none.
    Raises FilterError, a ValidationError."""
    wanted = JobFilter.read({name: given.get(name, "") for name in ("since", "until", "deploy")}, zone)
    deploy = deploys.one(parse_id(wanted.deploy)) if wanted.deploy else None
    if wanted.deploy and deploy is None:
        raise FilterError("deploy", _("There is no such deploy."))
    if wanted.query:
        low, high = (wanted.moment(name) if getattr(wanted, name) else end
                     for name, end in (("since", 0), ("until", NO_END)))
        low = max(low, deploy.at_ms) if deploy else low
        if low >= high:
            raise FilterError("until", _("The end lies before the beginning."))
        return Window(low, high, wanted.query)
    name = period if (period := given.get("period", "")) in PERIODS else "24h"
    if not PERIODS[name]:
        return Window(0, NO_END, {}, name)
    low = (now_ms() - PERIODS[name] * DAY_MS) // MINUTE_MS * MINUTE_MS
    return Window(low, NO_END, {"since": iso(low)[:16] + "Z"}, name)


def groups(over: Window, order: str = "failed", start: int = 0, key: str = "") -> GroupPage:
    """The page of groups from the place `start`, in one of ORDERS, the largest or latest first; with `key` only that
    group."""
    tx = SessionExecutor(db.session)
    bounds = {"low": over.low, "high": over.high}
    of_key = {"key": key} if key else {}
    found = tx.fetch_all(_GROUPS.format(wanted="= :key" if key else "IS NOT NULL"), **bounds, **of_key)
    place = {"failed": 1, "last": 3, "first": 8}[order]
    found.sort(key=lambda row: (as_integer(row[place], 0) or 0, as_integer(row[3], 0) or 0), reverse=True)
    page = found[start:start + SIZE]
    keys = [row[0] for row in page]
    begin, width = _slots(over, page)
    details, trends = _details(tx, keys, bounds), _trends(tx, keys, bounds, begin, width)
    since = next((deploy.at_ms for deploy in deploys.newest()), NO_END)
    foreign = tx.fetch_all(f"SELECT uuid, COUNT(*) OVER () FROM failed_jobs WHERE {_FOREIGN} ORDER BY id DESC "
                           f"LIMIT {MOST_FOREIGN}")
    return GroupPage(
        [_view(row, since, *details[row[0]], trends[row[0]]) for row in page], len(found),
        sum(as_integer(row[1], 0) or 0 for row in found), width, foreign[0][1] if foreign else 0,
        [as_text(row[0]) or "" for row in foreign], tx.fetch_all(BEHIND)[0][0], highest())


def highest() -> int:
    """The highest id of failed_jobs now: later failures have higher ones."""
    return SessionExecutor(db.session).fetch_all("SELECT COALESCE(MAX(id), 0) FROM failed_jobs")[0][0]


def undecided(key: str, over: Window, upto: int | None) -> list[int]:
    """The ids of the failed jobs of a group that wait for a decision, up to the id `upto`."""
    values = {"key": key, "low": over.low, "high": over.high, "upto": NO_END if upto is None else upto}
    return [row[0] for row in SessionExecutor(db.session).fetch_all(_UNDECIDED, **values)]


def title_of(key: str) -> tuple[str, str] | None:
    """(type, title) of a group; None when there is none."""
    rows = SessionExecutor(db.session).fetch_all(
        "SELECT job_type, substr(title, 1, 400) FROM error_groups WHERE error_group = :key", key=key)
    return (as_text(rows[0][0]) or "", clean_title(as_text(rows[0][1]))) if rows else None


def alike(uuids: Collection[str]) -> dict[str, tuple[str, int]]:
    """{uuid: (key of its group, number of all failed jobs in it)} of finished jobs; those without a group are left
    out."""
    if not (uuids := list(uuids)[:500]):
        return {}
    known = f"SELECT uuid, error_group FROM job_facts WHERE error_group IS NOT NULL AND {among(uuids, 'uuid')}"
    rows = SessionExecutor(db.session).fetch_all(
        f"WITH known AS ({known}), counted AS (SELECT error_group, COUNT(*) AS n FROM job_facts "
        "WHERE error_group IN (SELECT error_group FROM known) GROUP BY error_group) "
        "SELECT k.uuid, k.error_group, c.n FROM known k JOIN counted c ON c.error_group = k.error_group")
    return {as_text(uuid) or "": (as_text(key) or "", n) for uuid, key, n in rows}


def _slots(over: Window, page: list[tuple]) -> tuple[int, int]:
    """The begin of the trends (ms), and the width of a slot, of whole minutes."""
    earliest = min((as_integer(row[2], 0) or 0 for row in page), default=over.low)
    begin, end = max(over.low, earliest if not over.name or over.name == "all" else over.low), min(over.high, now_ms())
    return begin, max(-(-(end - begin + 1) // (SLOTS * MINUTE_MS)), 1) * MINUTE_MS


def _details(tx: SessionExecutor, keys: list[str], bounds: dict[str, int]) -> dict[str, tuple[int, int, int, list]]:
    """{key: (jobs that wait for a decision, jobs without a tenant, tenants, the largest of these)}."""
    found: dict[str, tuple[int, int, int, list]] = defaultdict(lambda: (0, 0, 0, []))
    sql = _DETAILS.format(keys=among(keys, "f.error_group"))
    for key, tenant, n, tenants, waits, nobody in tx.fetch_all(sql, **bounds):
        largest = [*found[key][-1], *([((as_text(tenant) or "")[:64], n)] if tenant is not None else [])]
        largest = sorted(largest, key=lambda one: -one[1])[:MOST_TENANTS]
        found[key] = as_integer(waits, 0) or 0, int(nobody), tenants, largest
    return found


def _trends(tx: SessionExecutor, keys: list[str], bounds: dict[str, int], begin: int, width: int) -> dict[str, list]:
    trends: dict[str, list[int]] = defaultdict(lambda: [0] * SLOTS)
    sql = _TREND.format(keys=among(keys, "f.error_group"))
    for key, slot, n in tx.fetch_all(sql, begin=begin, width=width, **bounds):
        trends[key][min(max(as_integer(slot, 0) or 0, 0), SLOTS - 1)] += n
    return trends


def _view(row: tuple, since: int, waits: int, nobody: int, tenants: int, largest: list, trend: list[int]) -> GroupView:
    key, n, first_at, last_at, job_type, title, error, stored, first = row
    job_type, first = (as_text(job_type) or "")[:255], as_integer(first, as_integer(first_at))
    error = from_row(privacy.shown(as_text(error), ""), as_text(stored)) or ""
    return GroupView(
        as_text(key) or "", job_type, registry.label_of(job_type), clean_title(as_text(title)),
        translate_stored(cleaned(error, lambda part: redact(printable(part)))) or "", n, waits, nobody, tenants,
        largest, when(first), when(as_integer(last_at)), first is not None and first >= since, trend)


def clean_title(title: str | None) -> str:
    """A stored title without secrets and signs that cannot be printed, in the reader's language; '' for one who does
    not see data."""
    return translate_stored(redact(printable(privacy.shown(title, "") or ""))) or ""
