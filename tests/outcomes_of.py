"""The outcomes that an address of the list means by `outcome`, `failed` or `rescued`, counted from the rows by hand."""

from __future__ import annotations

from werkzeug.datastructures import MultiDict

from app.models.types import as_text
from app.services.jobs.job_filter import JobFilter
from app.support.clock import stored_ms

STATUSES = {"outcome": ("completed", "failed", "timeout"), "failed": ("failed", "timeout"), "rescued": ("lost",)}
ROWS = ("SELECT uuid, status, CAST(completed_at AS VARCHAR(40)), job_type, tenant_id, worker, processing_time, wait_ms FROM job_metrics m "
        "WHERE EXISTS (SELECT 1 FROM job_history h WHERE h.uuid = m.uuid) OR EXISTS (SELECT 1 FROM jobs j WHERE j.uuid = m.uuid)")


def outcomes_of(ledger, given: MultiDict, zone) -> list[str] | None:
    """The uuid of each such outcome, of one job more than once; None when the address names none of the three."""
    wanted = JobFilter.read(given, zone)
    part = next((name for name in STATUSES if wanted.between(name)), None)
    if part is None:
        return None
    start, end = wanted.between(part)
    found = []
    for uuid, status, at, *names, run, wait in ledger.connection.fetch_all(ROWS):
        fits = as_text(status) in STATUSES[part] and start <= stored_ms(at) < end
        fits = fits and all(asked in ("", name) for asked, name in zip((wanted.type, wanted.tenant, wanted.worker), names, strict=True))
        fits = fits and (not wanted.longer or run >= wanted.amount("longer")) and (not wanted.shorter or run < wanted.amount("shorter"))
        if fits and (not wanted.waited or wait is not None and wanted.amount("waited") <= wait < (wanted.waited_below() or 2**62)):
            found.append(uuid)
    return found
