"""The kinds of alert rules that count jobs of the list: each finding leads to exactly the jobs that it counts.

snapshot -> number in the rule's window or view -> Finding, with the address of the list for that window or view
Failures are counted as outcomes; their list has each job once, and the sentence says both numbers.
"""

from __future__ import annotations

from time import monotonic
from urllib.parse import urlencode

from app import registry
from app.extensions import reading
from app.models.types import as_integer
from app.services.alerts.snapshot import SCOPES, Finding, Rule, Snapshot
from app.services.jobs import listing, saved_views
from app.support.clock import MINUTE_MS, iso, stamp

_FAILED = """SELECT COUNT(DISTINCT uuid) FROM job_metrics WHERE status IN ('failed', 'timeout')
 AND completed_at >= :since AND completed_at < :until{}"""


def jobs_link(**query: str) -> str:
    """The address of the list with a filter."""
    return f"/admin/jobs/list?{urlencode(query)}"


def _ended(snapshot: Snapshot, rule: Rule, state: str, **scope: str) -> str:
    """The list of what has ended in the rule's window: from its first millisecond until now."""
    return jobs_link(state=state, **scope, since=iso(snapshot.since(rule)), until=iso(snapshot.now + 1))


def _failed(snapshot: Snapshot, rule: Rule, n: int, job_type: str | None = None) -> tuple[dict[str, int], str]:
    """(the facts of `n` failures: also of how many `jobs`, the list of these jobs, whatever became of them). A job that
    was retried failed more than once."""
    since, until = snapshot.since(rule), snapshot.now + 1
    wanted = {column: value for column in SCOPES if (value := getattr(rule, column))}
    wanted |= {"job_type": job_type} if job_type else {}
    narrow = "".join(f" AND COALESCE({column}, '') = :{column}" for column in wanted)
    rows = snapshot.tx.fetch_all(_FAILED.format(narrow), since=stamp(since), until=stamp(until), **wanted)
    link = jobs_link(failed=f"{iso(since)}..{iso(until)}", **{SCOPES[column]: wanted[column] for column in wanted})
    return {"n": n, "jobs": as_integer(rows[0][0], 0) or n, "minutes": snapshot.minutes(rule)}, link


def failures(snapshot: Snapshot, rule: Rule) -> list[Finding]:
    """More than `threshold` final failures in the window."""
    n = snapshot.values[rule.id] = snapshot.ended(rule, "failed", "timeout")[0].count
    if n <= rule.threshold:
        return []
    facts, link = _failed(snapshot, rule, n)
    return [Finding("", facts | {"limit": rule.threshold, **rule.scope}, link)]


def slow(snapshot: Snapshot, rule: Rule) -> list[Finding]:
    """The mean run time is over `threshold` minutes. Only completed jobs count, as on the dashboard: a failure that
    ends at once does not say how long jobs take."""
    n, total_ms, _ = snapshot.ended(rule, "completed")[0]
    snapshot.values[rule.id] = total_ms / n / MINUTE_MS if n else None
    if n < max(rule.minimum, 1) or total_ms / n <= rule.threshold * MINUTE_MS:
        return []
    facts = {"ms": round(total_ms / n), "n": n, "minutes": snapshot.minutes(rule), "limit": rule.threshold}
    return [Finding("", facts | rule.scope, _ended(snapshot, rule, "completed", **rule.scope))]


def critical_job(snapshot: Snapshot, rule: Rule) -> list[Finding]:
    """Types marked as critical with more than `threshold` final failures in the window."""
    marked = {d.name for d in registry.known_types() if d.options.critical}
    rows = [row for row in snapshot.ended(rule, "failed", "timeout", by_type=True) if row.job_type in marked]
    snapshot.values[rule.id] = sum(row.count for row in rows)
    told = [(name, *_failed(snapshot, rule, n, name)) for n, _ms, name in rows if n > rule.threshold]
    return [Finding(name, facts | {"type": name}, link) for name, facts, link in told]


def rescued(snapshot: Snapshot, rule: Rule) -> list[Finding]:
    """More than `threshold` jobs were lost with their worker in the window."""
    n = snapshot.values[rule.id] = snapshot.ended(rule, "lost")[0].count
    if n <= rule.threshold:
        return []
    # The window counts attempts; a job that was lost twice is one job.
    scope = "".join(f" AND COALESCE({column}, '') = :{column}" for column in SCOPES if getattr(rule, column))
    sql = f"""SELECT COUNT(DISTINCT uuid) FROM job_metrics WHERE status = 'lost' AND completed_at >= :since
 AND completed_at < :until{scope}"""
    since, until = snapshot.since(rule), snapshot.now + 1
    rows = snapshot.tx.fetch_all(sql, since=stamp(since), until=stamp(until),
                                 **{column: getattr(rule, column) for column in SCOPES if getattr(rule, column)})
    n = snapshot.values[rule.id] = as_integer(rows[0][0], 0) or n
    link = jobs_link(rescued=f"{iso(since)}..{iso(until)}", **rule.scope)
    return [Finding("", {"n": n, "minutes": snapshot.minutes(rule)}, link)] if n > rule.threshold else []


def view(snapshot: Snapshot, rule: Rule) -> list[Finding]:
    """More than `threshold` jobs are in a view. Raises LookupError when the view is gone, ValidationError when it
    cannot be read, RuntimeError when counting takes longer than 1 s, or of all views of the check longer than 3 s."""
    if snapshot.views_s <= 0:
        raise RuntimeError(f"the views before that of rule {rule.id} took the time of this check: shorten their times")
    begun = monotonic()
    try:
        with reading():  # a transaction of the session would take SQLite's write lock, and keep it when this raises
            name, wanted = saved_views.wanted(rule.view_id, snapshot.zone)
            most, seconds = int(rule.threshold) + listing.COUNTED, min(listing.COUNT_S, snapshot.views_s)
            n, exact = listing.count(wanted, most=most, seconds=seconds)
    finally:
        snapshot.views_s -= monotonic() - begun
    if not exact and n <= rule.threshold:
        raise RuntimeError(f"counting the view {name!r} takes too long: give it a shorter time")
    snapshot.values[rule.id] = n
    facts = {"name": name, "n": n, "limit": rule.threshold, "more": not exact}
    return [Finding("", facts, jobs_link(**wanted.query))] if n > rule.threshold else []
