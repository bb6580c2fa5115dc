"""The pauses of the dashboard: who stopped what, until when, and how many jobs wait because of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from app import registry
from app.extensions import db
from app.ledger import control, counts
from app.ledger.dialect import SessionExecutor
from app.support.clock import when
from app.support.messages import translate_stored


@dataclass(frozen=True)
class Paused:
    """A paused queue, or with `job_type` a paused type, whose `name` is `type:X`. `until` is None when it lasts until
    somebody resumes it, `by` when the platform paused. `waiting` jobs would be ready without it."""

    name: str
    job_type: str | None
    label: str
    since: datetime | None
    until: datetime | None
    by: str | None
    reason: str | None
    waiting: int


def listing(depths: Mapping[str, int]) -> list[Paused]:
    """All pauses, the longest first. `depths` are the numbers of ready jobs by queue."""
    tx, rows = SessionExecutor(db.session), []
    for name, pause in control.pauses(tx).items():
        job_type = name.removeprefix(control.TYPE) if name.startswith(control.TYPE) else None
        rows.append(Paused(name, job_type, registry.label_of(job_type) if job_type else name, when(pause.since),
                           when(pause.until), translate_stored(pause.by), translate_stored(pause.reason),
                           control.kept_back(tx, name, depths)))
    return rows


def after_restore() -> bool:
    """Whether schedules and alerts are paused since a restore."""
    return counts.paused_after_restore(SessionExecutor(db.session))
