"""Which of the ticked jobs, or of all that match a filter, an action can change, and why it cannot change the others.

ticked uuids | filter and bounds of the click -> rows by table and state -> `Choice`: the ids, and sentences with
numbers for what is left out. Jobs that have ended are counted up to 10,000 only, as no action is done to them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from time import monotonic
from typing import Any

from flask_babel import ngettext
from sqlalchemy import select

from app.extensions import db
from app.ledger.dialect import SessionExecutor, TooSlow, limited
from app.ledger.rows import among
from app.models import FailedJob, Job, JobHistory
from app.models.job import BY_LIMIT, BY_RATE
from app.models.types import as_integer
from app.services.jobs import listing
from app.services.jobs.job_filter import JobFilter
from app.support.clock import now_ms
from app.support.formatting import number
from app.support.messages import translate as _
from app.support.validation import ValidationError, parse_uuid

WAITING = ("hold", "release", "run_now", "delay", "move", "top", "cancel")  # actions on live jobs
_RESTING = ("pending", "scheduled", "waiting")
FITS = {"hold": _RESTING, "release": ("held",), "run_now": ("scheduled",), "delay": (*_RESTING, "held"),
        "move": (*_RESTING, "held", "blocked"), "top": ("pending",)}  # by state; jobs that a limit holds: see `_fault`
MOST_ENDED, MOST_S = 10_000, 10.0


@dataclass(frozen=True)
class Choice:
    """Sorted row ids (of `jobs`, or of `failed_jobs`) that the action can change, how many jobs were meant, whether
    that number is exact, and sentences for those that are left out."""

    ids: list[int]
    total: int
    exact: bool
    left: list[str]


def ticked(action: str, uuids: list[str], **options: Any) -> Choice:
    """The choice among these jobs; `options` are those of the action."""
    keys = [key for uuid in uuids if (key := parse_uuid(uuid))]
    live = list(db.session.scalars(select(Job.id).where(Job.uuid.in_(keys))))
    rows = db.session.execute(select(FailedJob.id, FailedJob.deleted_at).where(FailedJob.uuid.in_(keys))).all()
    states = dict(db.session.execute(select(JobHistory.uuid, JobHistory.status).where(JobHistory.uuid.in_(keys))).all())
    ended = Counter(states.values())
    ended["gone"] = len(keys) - len(live) - len(states)
    return _choice(action, live, [row[0] for row in rows if row[1] is None],
                   [row[0] for row in rows if row[1] is not None], ended, options)


def matching(action: str, wanted: JobFilter, top: dict[str, int], **options: Any) -> Choice:
    """The choice among all that match, up to the ids `top` of the moment of the click. Raises ValidationError when they
    are not found within MOST_S. For readings only: it can end the transaction."""
    until = monotonic() + MOST_S
    try:
        with limited(db.session, MOST_S):
            live = listing.live_ids(wanted, top, until)
            failed, binned = ([], []) if action in WAITING else listing.failed_ids(wanted, top, until)
            ended = listing.ended(wanted, top, MOST_ENDED, until)
    except TooSlow:
        raise ValidationError(_("These jobs are not found within %(n)s s: narrow the filter, or choose a shorter time.",
                                n=round(MOST_S))) from None
    return _choice(action, live, failed, binned, ended, options)


def _choice(action: str, live: list[int], failed: list[int], binned: list[int], ended: Counter[str],
            options: dict[str, Any]) -> Choice:
    others = ended.total() - len(failed) - len(binned) if ended.total() <= MOST_ENDED else MOST_ENDED + 1
    exact, faults = ended.total() <= MOST_ENDED, Counter()
    if action in WAITING:
        ids = _live(action, live, options, faults)
        faults["ended"] = max(len(failed) + len(binned) + others, 0) if exact else MOST_ENDED
    else:
        ids, other = (binned, failed) if action in listing.OF_BIN else (failed, binned)
        faults |= {"live": len(live), "binned" if ids is failed else "not binned": len(other),
                   "not failed": max(others, 0) if exact else MOST_ENDED}
    total = len(ids) + faults.total()
    return Choice(sorted(ids), total, exact, [_said(code, n, exact) for code, n in sorted(faults.items()) if n])


def _live(action: str, ids: list[int], options: dict[str, Any], faults: Counter[str]) -> list[int]:
    """The ids of `jobs` that fit; the others are counted by what stands against it."""
    if action == "cancel":
        return ids
    tx, fitting = SessionExecutor(db.session), []
    at = now_ms() + int(options["seconds"] * 1000) if "seconds" in options else None
    for start in range(0, len(ids), 2000):
        some = among(ids[start : start + 2000])
        for id_, *row in tx.fetch_all(f"SELECT id, state, hold_code, queue, available_ms FROM jobs WHERE {some}"):
            if fault := _fault(action, *row, options.get("queue"), at):
                faults[fault] += 1
            else:
                fitting.append(id_)
    return fitting


def _fault(action: str, state: Any, hold_code: Any, own: Any, due: Any, queue: str | None,
           at: int | None) -> str | None:
    limited = state == "held" and hold_code in (BY_LIMIT, BY_RATE)
    if state in FITS[action] or limited and action in ("hold", "top"):
        if at is not None and state != "held" and as_integer(due, 0) >= at:
            return "later"
        return "there" if action == "move" and own == queue else None
    if state == "processing":
        return "running"
    return {"hold": "held", "release": "not held", "run_now": "not scheduled", "top": "not ready"}.get(
        action, "blocked") if not (action == "hold" and state == "blocked") else "blocked"


def _said(code: str, n: int, exact: bool) -> str:
    """A sentence for `n` jobs that are left out."""
    shown = number(n)
    if not exact and code in ("ended", "not failed"):
        return _("More than %(n)s have ended.", n=shown)
    return {
        "ended": ngettext("%(n)s has ended.", "%(n)s have ended.", n, n=shown),
        "live": ngettext("%(n)s has not ended yet.", "%(n)s have not ended yet.", n, n=shown),
        "binned": ngettext("%(n)s lies in the bin.", "%(n)s lie in the bin.", n, n=shown),
        "not binned": ngettext("%(n)s does not lie in the bin.", "%(n)s do not lie in the bin.", n, n=shown),
        "not failed": ngettext("%(n)s has not failed.", "%(n)s have not failed.", n, n=shown),
        "running": ngettext("%(n)s is running.", "%(n)s are running.", n, n=shown),
        "there": ngettext("%(n)s is in that queue already.", "%(n)s are in that queue already.", n, n=shown),
        "later": ngettext("%(n)s is due later than that.", "%(n)s are due later than that.", n, n=shown),
        "held": ngettext("%(n)s is held already.", "%(n)s are held already.", n, n=shown),
        "not held": ngettext("%(n)s is not held.", "%(n)s are not held.", n, n=shown),
        "not scheduled": ngettext("%(n)s waits for no time.", "%(n)s wait for no time.", n, n=shown),
        "not ready": ngettext("%(n)s is not ready.", "%(n)s are not ready.", n, n=shown),
        "blocked": ngettext("%(n)s is blocked.", "%(n)s are blocked.", n, n=shown),
    }[code]
