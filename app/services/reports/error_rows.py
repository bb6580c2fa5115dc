"""The groups of failures of a report: those whose first failure lies in the period, and the most frequent ones.

job_facts (index by group and time, 90 days) -> counts of the period and of the one before -> at most MOST_ROWS each,
and of the others what makes MOST_KINDS
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from app import registry
from app.extensions import db
from app.ledger.dialect import SessionExecutor
from app.ledger.rows import among
from app.models.types import as_integer, as_text
from app.services.jobs import error_pages
from app.services.reports import links
from app.services.reports.model import MOST_KINDS, MOST_ROWS, ErrorRow, ReportFilter

MOST_TENANTS = 5
_IN = "f.finished_ms >= :low AND f.finished_ms < :until"
_COUNTS = f"""SELECT a.error_group, a.n, a.before, g.first_ms, g.job_type, substr(g.title, 1, 400) FROM (
 SELECT f.error_group, SUM(CASE WHEN f.finished_ms >= :since THEN 1 ELSE 0 END) AS n,
 SUM(CASE WHEN f.finished_ms < :since THEN 1 ELSE 0 END) AS before
 FROM job_facts f WHERE f.error_group IS NOT NULL AND {_IN}{{of}} GROUP BY f.error_group) a
 LEFT JOIN error_groups g ON g.error_group = a.error_group WHERE a.n > 0"""
_TENANTS = f"""SELECT f.error_group, f.tenant_id, COUNT(*) FROM job_facts f
 WHERE {{keys}} AND {_IN}{{of}} GROUP BY f.error_group, f.tenant_id ORDER BY COUNT(*) DESC, f.tenant_id"""


def read(low: int, since: int, until: int, only: ReportFilter, with_before: bool) -> dict[str, Any]:
    """The fields of ReportFigures about errors: of [since, until), compared with [low, since), times in ms; and as
    `behind` how many failures have no group yet."""
    given = {name: value for name, value in vars(only).items() if value is not None}
    of = "".join(f" AND f.{name} = :{name}" for name in given)
    tx = SessionExecutor(db.session)
    found = [(as_text(key) or "", as_integer(n, 0) or 0, as_integer(before, 0) or 0, as_integer(first, 0) or 0,
              (as_text(job_type) or "")[:255], error_pages.clean_title(as_text(title)))
             for key, n, before, first, job_type, title in tx.fetch_all(
                 _COUNTS.format(of=of), low=low, since=since, until=until, **given)]
    found.sort(key=lambda row: (-row[1], row[0]))
    new = [row for row in found if since <= row[3] < until]
    told = {*found[:MOST_ROWS], *new[:MOST_ROWS]}
    more = [row for row in found[:MOST_KINDS] if row not in told]
    tenants: dict[str, list[tuple[str, int]]] = defaultdict(list)
    keys = among({row[0] for row in (*told, *more)}, "f.error_group")
    for key, tenant, n in tx.fetch_all(_TENANTS.format(keys=keys, of=of), low=since, until=until, **given):
        if tenant is not None:
            tenants[as_text(key) or ""].append(((as_text(tenant) or "")[:64], n))

    def row(key: str, n: int, before: int, first: int, job_type: str, title: str) -> ErrorRow:
        link = links.jobs(since, until, "unsuccessful", error=key, type=only.job_type, tenant=only.tenant_id)
        return ErrorRow(key, job_type, registry.label_of(job_type), title, n, before if with_before else None,
                        len(tenants[key]), tuple(tenants[key][:MOST_TENANTS]), first, since <= first < until, link)

    behind = tx.fetch_all(error_pages.BEHIND)[0][0]
    return {"behind": behind, "new_errors": tuple(row(*one) for one in new[:MOST_ROWS]), "new_error_count": len(new),
            "frequent_errors": tuple(row(*one) for one in found[:MOST_ROWS]), "error_count": len(found),
            "more_errors": tuple(row(*one) for one in more)}
