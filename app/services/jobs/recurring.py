"""Recurring jobs: schedules declared in code, run by the monitor, once a minute at most.

monitor, each second -> run_due: for each schedule the minutes from the last look to now, in APP_TIMEZONE
  -> the newest, if it is at most 90 s old: a row in recurring_runs (the key refuses a second one) and the job, in one transaction
  -> older ones were missed: shown, and one of them run if the schedule asks to catch up
Failure cases: two monitors (the key), a restart between look and commit (one transaction), a clock set back (no minute
between the last look and now, and the key), a clock set forward or a machine asleep (missed), a schedule switched off.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from itertools import islice, takewhile
from typing import Any

from cronsim import CronSim
from sqlalchemy import delete, select, text

from app import registry
from app.extensions import db
from app.ledger import counts
from app.ledger.dialect import SessionExecutor
from app.models import Recurring, RecurringRun
from app.services.audit import ActionRefused, audit
from app.services.jobs import lookup
from app.services.jobs.actions import not_from_web
from app.services.jobs.dispatch import dispatch
from app.support.clock import DAY_MS, MINUTE_MS, millis, now_ms, when
from app.support.messages import Message
from app.support.messages import translate as _

log = logging.getLogger(__name__)
ON_TIME_MS = 90_000
KEEP_MS = 90 * DAY_MS
MOST_MINUTES = 2000  # looked at in one go; older ones of a long sleep are missed all the same


def run_due(zone: Any, now: int | None = None) -> int:
    """Dispatch what is due; returns how many. One schedule that fails does not stop the others."""
    if not registry.schedules() or counts.paused_after_restore(SessionExecutor(db.session)):
        db.session.rollback()
        return 0
    now, done, failed = now_ms() if now is None else now, 0, None
    known = {row.name: row for row in db.session.scalars(select(Recurring))}
    for schedule in registry.schedules():
        row = known.get(schedule.name)
        if row is not None and now - now % MINUTE_MS <= row.looked_ms:
            continue  # looked at in this minute, or the clock was set back
        try:
            done += _look(schedule, zone, now)
            db.session.commit()
        except Exception as error:
            db.session.rollback()
            failed = error
    db.session.rollback()
    if failed is not None:
        raise failed
    return done


def _look(schedule: registry.Schedule, zone: Any, now: int) -> int:
    row = db.session.get(Recurring, schedule.name, populate_existing=True)
    if row is None:
        db.session.add(Recurring(name=schedule.name, enabled=1, since_ms=now, looked_ms=now))
        return 0
    minutes = due(schedule.cron, zone, row.looked_ms, now)
    row.looked_ms = max(now, row.looked_ms)
    if not minutes or not row.enabled:
        return 0
    late = now - minutes[-1] > ON_TIME_MS
    missed = minutes if late else minutes[:-1]
    if late and not schedule.catch_up:
        row.missed_ms, row.missed_at_ms = missed[-1], now
        log.warning("recurring %s missed %d run(s)", schedule.name, len(missed))
        return 0
    if missed and not late:
        row.missed_ms, row.missed_at_ms = missed[-1], now
    return _run(schedule, minutes[-1], now)


def due(cron: str, zone: Any, after: int, until: int) -> list[int]:
    """Minutes (ms) of a schedule in (after, until], at most MOST_MINUTES."""
    moments = CronSim(cron, datetime.fromtimestamp(after / 1000, zone))
    return list(islice(takewhile(lambda at: at <= until, (millis(m) for m in moments)), MOST_MINUTES))


def _run(schedule: registry.Schedule, minute: int, now: int) -> int:
    values = {"name": schedule.name, "minute": minute, "now": now}
    new = db.session.execute(text("INSERT INTO recurring_runs (name, minute_utc, created_ms) VALUES (:name, :minute, :now) "
                                  "ON CONFLICT (name, minute_utc) DO NOTHING"), values).rowcount
    if not new:
        return 0
    uuid = dispatch(schedule.definition, schedule.args, **schedule.definition.given, created_by=f"recurring {schedule.name}"[:255])
    db.session.execute(text("UPDATE recurring_runs SET uuid = :uuid WHERE name = :name AND minute_utc = :minute"), values | {"uuid": uuid})
    return 1


def sweep() -> None:
    """Forget runs of 90 days ago."""
    db.session.execute(delete(RecurringRun).where(RecurringRun.created_ms < now_ms() - KEEP_MS))
    db.session.commit()


@dataclass(frozen=True)
class RecurringView:
    """A declared schedule; `next_at` in its zone, None while it is off; `missed_at`: the last run that was missed.

    `last_state`: live state or final status of the last run's job; `web`: whether a page may run it now.
    """

    name: str
    cron: str
    job_type: str
    label: str
    enabled: bool
    next_at: datetime | None
    last_at: datetime | None
    last_uuid: str | None
    last_state: str | None
    missed_at: datetime | None
    catch_up: bool
    changed_by: str | None
    web: bool


def listing(zone: Any) -> list[RecurringView]:
    """Each declared schedule, by name."""
    known, now, result = {row.name: row for row in db.session.scalars(select(Recurring))}, now_ms(), []
    for schedule in registry.schedules():
        row = known.get(schedule.name)
        runs = select(RecurringRun).where(RecurringRun.name == schedule.name)
        last = db.session.scalar(runs.order_by(RecurringRun.minute_utc.desc()).limit(1))
        enabled = row is None or bool(row.enabled)
        upcoming = next(CronSim(schedule.cron, datetime.fromtimestamp(now / 1000, zone)), None) if enabled else None
        result.append(RecurringView(
            name=schedule.name, cron=schedule.cron,
            job_type=schedule.definition.name, label=schedule.definition.label, enabled=enabled, next_at=upcoming,
            last_at=when(last.minute_utc) if last else None, last_uuid=last and last.uuid,
            last_state=lookup.state_of(last.uuid) if last and last.uuid else None,
            missed_at=when(row.missed_ms) if row else None, catch_up=schedule.catch_up,
            changed_by=row and row.changed_by, web=schedule.definition.options.web))
    return result


def _find(name: str) -> registry.Schedule:
    for schedule in registry.schedules():
        if schedule.name == name:
            return schedule
    raise ActionRefused(_("There is no such recurring job."), unknown=True)


def switch(name: str, on: bool, actor: str) -> None:
    """Switch a schedule on or off; minutes that pass while it is off are not missed."""
    _find(name)
    row = db.session.get(Recurring, name)
    if row is None:
        row = Recurring(name=name, since_ms=now_ms(), looked_ms=now_ms())
        db.session.add(row)
    if on and not row.enabled:
        row.looked_ms = now_ms()
    row.enabled, row.changed_by, row.missed_ms = int(on), actor[:255], None if on else row.missed_ms
    audit(actor, Message("switch on") if on else Message("switch off"), name, Message("done"))
    db.session.commit()


def run_now(name: str, actor: str) -> str:
    """Dispatch it once beside its schedule; returns the uuid."""
    schedule = _find(name)
    if not schedule.definition.options.web:
        raise ActionRefused(not_from_web(schedule.definition), forbidden=True)
    uuid = dispatch(schedule.definition, schedule.args, **schedule.definition.given, created_by=actor)
    audit(actor, Message("run recurring"), name, uuid)
    db.session.commit()
    return uuid
