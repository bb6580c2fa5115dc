"""Recurring jobs: schedules are declared in code; the monitor runs each of them at most once a minute.

monitor, each second -> run_due: for each schedule the due minutes since the last check, in APP_TIMEZONE
  -> the newest, if it is at most 90 s old: a row in recurring_runs (its key refuses a second one) and the job, in one
     transaction
  -> older ones were missed: pages show them, and one job is run for all of them if the schedule has `catch_up`
Failures that are covered: two monitors (the key), a restart between check and commit (one transaction), a clock that is
set back (no minute is due since the last check; also the key), a clock that is set forward or a machine that slept
(missed minutes), a schedule that is switched off.
When the clocks change, a schedule with fixed hours and minutes runs once a day: at the first of two equal times, or
right after the gap (02:30 at 03:00). One whose minute or hour begins with `*` follows real time, in both equal hours.

A run that is due while a job of an earlier run is live, in whatever state (it runs, waits for a retry, is held):
  overlap="allow": it is dispatched all the same
  overlap="skip": its row in recurring_runs gets no job
  overlap="wait": its job is held; monitor, each second -> release_waiting: the earlier one has ended in any way
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice, takewhile
from typing import Any

from cronsim import CronSim
from sqlalchemy import delete, select

from app import registry
from app.extensions import db
from app.ledger import control, counts
from app.ledger.dialect import Connection, SessionExecutor
from app.models import Recurring, RecurringRun
from app.models.job import BY_OVERLAP
from app.services.audit import ActionRefused, audit
from app.services.jobs import lookup
from app.services.jobs.actions import not_from_web
from app.services.jobs.dispatch import dispatch
from app.support.clock import DAY_MS, MINUTE_MS, millis, now_ms, when
from app.support.messages import Message, translate as _

log = logging.getLogger(__name__)
ON_TIME_MS = 90_000
KEEP_MS = 90 * DAY_MS
MOST_MINUTES = 2000  # a check counts no more due minutes; after a longer sleep the rest is missed too
REPEATED = timedelta(hours=3)  # no change of the clocks repeats more
MOST_RUNS = 1000  # the latest runs of a schedule, in which live jobs are looked for
HELD = Message("It waits until the run before has ended.")
_LIVE = f"""SELECT j.id FROM (SELECT uuid FROM recurring_runs WHERE name = :name AND uuid IS NOT NULL
 ORDER BY minute_utc DESC LIMIT {MOST_RUNS}) r JOIN jobs j ON j.uuid = r.uuid"""
_WAITING = f"SELECT id, created_by FROM jobs WHERE state = 'held' AND hold_code = '{BY_OVERLAP}' ORDER BY id"
BY = "recurring "  # by whom the jobs of a schedule are created: this and its name
_INSERT_RUN = """INSERT INTO recurring_runs (name, minute_utc, created_ms) VALUES (:name, :minute, :now)
 ON CONFLICT (name, minute_utc) DO NOTHING"""


def run_due(zone: Any, now: int | None = None) -> int:
    """Dispatch the due jobs; returns how many. A schedule that fails does not stop the others; its error is raised
    after them."""
    if not registry.schedules() or counts.paused_after_restore(SessionExecutor(db.session)):
        db.session.rollback()
        return 0
    now, done, failed = now_ms() if now is None else now, 0, None
    checked = dict(db.session.execute(select(Recurring.name, Recurring.looked_ms)).all())
    for schedule in registry.schedules():
        if now - now % MINUTE_MS <= checked.get(schedule.name, -1):
            continue  # checked in this minute already, or the clock was set back
        try:
            done += _check(schedule, zone, now)
            db.session.commit()
        except Exception as error:
            db.session.rollback()
            failed = error
    db.session.rollback()
    if failed is not None:
        raise failed
    return done


def _check(schedule: registry.Schedule, zone: Any, now: int) -> int:
    """Dispatch the schedule's job if a minute is due since the last check; returns the number of jobs (0 or 1)."""
    row = db.session.get(Recurring, schedule.name, populate_existing=True)
    if row is None:
        db.session.add(Recurring(name=schedule.name, enabled=1, since_ms=now, looked_ms=now))
        return 0
    minutes = due(schedule.cron, zone, row.looked_ms, now)
    row.looked_ms = max(now, row.looked_ms)
    if not minutes or not row.enabled:
        return 0
    late = now - minutes[-1] > ON_TIME_MS
    missed = minutes[:-1] if not late else [] if schedule.catch_up else minutes
    if missed:
        row.missed_ms, row.missed_at_ms = missed[-1], now
    if late and missed:
        log.warning("recurring %s missed %d run(s)", schedule.name, len(missed))
        return 0
    return _run(schedule, minutes[-1], now)


def due(cron: str, zone: Any, after: int, until: int) -> list[int]:
    """Due minutes (ms) of a schedule in (after, until], at most MOST_MINUTES; `after` and `until` are in ms."""
    return list(islice(takewhile(lambda at: at <= until, _moments(cron, zone, after)), MOST_MINUTES))


def _moments(cron: str, zone: Any, after: int) -> Iterator[int]:
    """The minutes (ms) of a schedule after `after` (ms), without end.

    CronSim computes fixed times on local clocks and answers the first of two equal ones. After the clocks were set back
    it would thus answer times that are over. The walk begins before the repeated time and leaves those out.
    """
    walk = CronSim(cron, datetime.fromtimestamp(after / 1000, zone))
    if walk.fixup_tz is not None:
        walk.dt -= REPEATED
    return (at for at in map(millis, walk) if at > after)


def _run(schedule: registry.Schedule, minute: int, now: int) -> int:
    """Dispatch the job of this minute (ms) unless another monitor has; returns the number of jobs (0 or 1)."""
    tx, key = SessionExecutor(db.session), {"name": schedule.name, "minute": minute}
    if not tx.execute(_INSERT_RUN, **key, now=now):
        return 0
    live = schedule.overlap != "allow" and bool(tx.fetch_all(f"{_LIVE} LIMIT 1", name=schedule.name))
    if live and schedule.overlap == "skip":
        log.info("recurring %s: a run is left out, as an earlier one has not ended", schedule.name)
        return 0
    created_by = f"{BY}{schedule.name}"[:255]
    uuid = dispatch(schedule.definition, schedule.args, **schedule.definition.given, created_by=created_by)
    if live:
        control.keep_back(tx, uuid, BY_OVERLAP, HELD)
    tx.execute("UPDATE recurring_runs SET uuid = :uuid WHERE name = :name AND minute_utc = :minute", **key, uuid=uuid)
    return 1


def release_waiting(connection: Connection) -> int:
    """Release the runs that wait for the one before, when that has ended, or when their schedule waits no more; returns
    how many."""
    rows, total, seen = connection.fetch_all(_WAITING), 0, set()
    waits = {f"{BY}{s.name}"[:255]: s.name for s in registry.schedules() if s.overlap == "wait"}
    for id_, created_by in rows:
        name = waits.get(created_by)
        if name is None or name not in seen and all(
                other >= id_ for (other,) in connection.fetch_all(_LIVE, name=name)):
            with connection.transaction() as tx:
                total += control.release(tx, [id_], "")
        seen.add(name)
    return total


def sweep() -> None:
    """Delete the records of runs that are older than 90 days, and commit."""
    db.session.execute(delete(RecurringRun).where(RecurringRun.created_ms < now_ms() - KEEP_MS))
    db.session.commit()


@dataclass(frozen=True)
class RecurringView:
    """A declared schedule. `next_at` is in APP_TIMEZONE, and None while the schedule is off; `last_at` and `missed_at`
    are in UTC: the minutes of the last run and of the last missed run.

    `last_state` is the live state or final status of the last run's job; `web`: whether a page may run it now;
    `skipped_at` is the minute of the last run that was left out, as an earlier one had not ended, if it is later.
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
    overlap: str
    skipped_at: datetime | None
    changed_by: str | None
    web: bool


def listing(zone: Any) -> list[RecurringView]:
    """All declared schedules, in the order of `registry.schedules`."""
    known, now, result = {row.name: row for row in db.session.scalars(select(Recurring))}, now_ms(), []
    for schedule in registry.schedules():
        row = known.get(schedule.name)
        runs = select(RecurringRun).where(RecurringRun.name == schedule.name)
        last, skipped = (db.session.scalar(runs.where(which).order_by(RecurringRun.minute_utc.desc()).limit(1))
                         for which in (RecurringRun.uuid.is_not(None), RecurringRun.uuid.is_(None)))
        if last and skipped and skipped.minute_utc < last.minute_utc:
            skipped = None
        enabled = row is None or bool(row.enabled)
        upcoming = next(_moments(schedule.cron, zone, now), None) if enabled else None
        result.append(RecurringView(
            name=schedule.name, cron=schedule.cron, job_type=schedule.definition.name, label=schedule.definition.label,
            enabled=enabled, next_at=upcoming and datetime.fromtimestamp(upcoming / 1000, zone),
            last_at=when(last.minute_utc) if last else None,
            last_uuid=last and last.uuid, last_state=lookup.state_of(last.uuid) if last and last.uuid else None,
            missed_at=when(row.missed_ms) if row else None, catch_up=schedule.catch_up,
            overlap=schedule.overlap, skipped_at=when(skipped.minute_utc) if skipped else None,
            changed_by=row and row.changed_by, web=schedule.definition.options.web))
    return result


def _find(name: str) -> registry.Schedule:
    """The schedule of this name. Raises ActionRefused when there is none."""
    found = next((schedule for schedule in registry.schedules() if schedule.name == name), None)
    if found is None:
        raise ActionRefused(_("There is no such recurring job."), unknown=True)
    return found


def switch(name: str, on: bool, actor: str) -> None:
    """Switch a schedule on or off; minutes that pass while it is off do not count as missed. Raises ActionRefused."""
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
    """Dispatch the schedule's job once, now; returns the uuid. Raises ActionRefused for an unknown schedule or a type
    with `web=False`."""
    schedule = _find(name)
    if not schedule.definition.options.web:
        raise ActionRefused(not_from_web(schedule.definition), forbidden=True)
    uuid, now = dispatch(schedule.definition, schedule.args, **schedule.definition.given, created_by=actor), now_ms()
    SessionExecutor(db.session).execute(  # a run as the others are: the next one that is due sees it
        "INSERT INTO recurring_runs (name, minute_utc, uuid, created_ms) VALUES (:name, :now, :uuid, :now) "
        "ON CONFLICT (name, minute_utc) DO NOTHING", name=name, now=now, uuid=uuid)
    audit(actor, Message("run recurring"), name, uuid)
    db.session.commit()
    return uuid
