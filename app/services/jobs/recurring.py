"""Recurring jobs: the monitor runs each schedule (schedules.py) at most once a minute.

monitor, each second -> run_due: for each schedule the due minutes since the last check, in APP_TIMEZONE
  -> the newest, if it is at most 90 s old: a row in recurring_runs (its key refuses a second one) and the job, in one
     transaction
  -> older ones were missed: each has a row that says so, and one job is run for all of them if the schedule has
     `catch_up`
Failures that are covered: two monitors (the key), a restart between check and commit (one transaction), a clock that is
set back (no minute is due since the last check; also the key), a clock that is set forward or a machine that slept
(missed minutes), a schedule that is switched off, one whose job cannot be written (its minute counts as missed).
When the clocks change, a schedule with fixed hours and minutes runs once a day: at the first of two equal times, or
right after the gap (02:30 at 03:00). One whose minute or hour begins with `*` follows real time, in both equal hours.

A run that is due while a job of an earlier run is live, in whatever state (it runs, waits for a retry, is held):
  overlap="allow": it is dispatched all the same
  overlap="skip": its row in recurring_runs gets no job
  overlap="wait": its job is held; monitor, each second -> release_waiting: the earlier one has ended in any way
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from itertools import islice, takewhile
from typing import Any

from sqlalchemy import delete, select

from app.extensions import db
from app.ledger import control, counts
from app.ledger.dialect import Connection, SessionExecutor
from app.models import Recurring, RecurringRun
from app.models.job import BY_OVERLAP
from app.models.types import as_integer
from app.registry import InvalidArguments
from app.services.audit import ActionRefused, audit
from app.services.jobs import recurring_runs, schedules
from app.services.jobs.actions import not_from_web
from app.services.jobs.dispatch import dispatch
from app.services.jobs.recurring_runs import Run
from app.services.jobs.schedules import Planned
from app.support.clock import DAY_MS, MINUTE_MS, now_ms, when
from app.support.crontab import in_words, moments
from app.support.disk import DiskLow
from app.support.messages import Message, tell
from app.support.validation import ValidationError

log = logging.getLogger(__name__)
ON_TIME_MS = 90_000
KEEP_MS = 90 * DAY_MS
MOST_MINUTES = 2000  # a check counts no more due minutes; after a longer sleep the rest is missed too
MOST_RUNS = 1000  # the latest runs of a schedule, in which live jobs are looked for
HELD = Message("It waits until the run before has ended.")
_LIVE = f"""SELECT j.id FROM (SELECT uuid FROM recurring_runs WHERE name = :name AND uuid IS NOT NULL
 ORDER BY minute_utc DESC LIMIT {MOST_RUNS}) r JOIN jobs j ON j.uuid = r.uuid"""
_WAITING = f"SELECT id, created_by FROM jobs WHERE state = 'held' AND hold_code = '{BY_OVERLAP}' ORDER BY id"
BY = "recurring "  # by whom the jobs of a schedule are created: this and its name
_INSERT_RUN = """INSERT INTO recurring_runs (name, minute_utc, created_ms, why) VALUES (:name, :minute, :now, :why)
 ON CONFLICT (name, minute_utc) DO NOTHING"""

_SET_JOB = "UPDATE recurring_runs SET uuid = :uuid WHERE name = :name AND minute_utc = :minute"


def run_due(zone: Any, now: int | None = None) -> int:
    """Dispatch the due jobs; returns how many. A schedule that fails does not stop the others; its error is raised
    after them."""
    now, tx = now_ms() if now is None else now, SessionExecutor(db.session)
    # Both times are older than the schedules, so that a change made meanwhile is due from its own minute on.
    looked = {name: as_integer(at) for name, at in db.session.execute(select(Recurring.name, Recurring.looked_ms))}
    plans = schedules.everything(tx)
    if not plans or counts.paused_after_restore(tx):
        db.session.rollback()
        return 0
    done, failed, idle = 0, None, []
    for plan in plans:
        at = looked.get(plan.name)
        if plan.job_type is None or at is not None and now - now % MINUTE_MS <= at:
            continue  # checked in this minute already, or the clock was set back
        try:
            if at is not None and not due(plan.cron, zone, at, now):
                idle.append({"name": plan.name, "now": now, "seen": at})
                continue
            done += _check(plan.name, zone, now)
            db.session.commit()
        except Exception as error:
            db.session.rollback()
            failed = error
    tx.execute_many("UPDATE recurring SET looked_ms = :now WHERE name = :name AND looked_ms = :seen", idle)
    db.session.commit()
    if failed is not None:
        raise failed
    return done


def _check(name: str, zone: Any, now: int) -> int:
    """Dispatch the schedule's job if a minute is due since the last check; returns the number of jobs (0 or 1)."""
    row = db.session.get(Recurring, name, populate_existing=True, with_for_update=True)
    plan = schedules.current(SessionExecutor(db.session), name)  # a change of its time waits for the lock
    if plan is None or plan.job_type is None:
        return 0
    if row is None:
        db.session.add(Recurring(name=name, enabled=1, since_ms=now, looked_ms=now))
        return 0
    looked = as_integer(row.looked_ms, now)
    minutes = due(plan.cron, zone, looked, now)
    row.looked_ms = max(now, looked)
    if not minutes or not row.enabled:
        return 0
    late = now - minutes[-1] > ON_TIME_MS
    merged = plan.catch_up  # the run of the newest minute stands for the others, on time or not
    missed = minutes[:-1] if merged or not late else minutes
    SessionExecutor(db.session).execute_many(_INSERT_RUN, [
        {"name": plan.name, "minute": at, "now": now, "why": "merged" if merged else "missed"} for at in missed])
    if missed and not merged:
        row.missed_ms, row.missed_at_ms = missed[-1], now
    if late and not merged:
        log.warning("recurring %s missed %d run(s)", plan.name, len(missed))
        return 0
    return _run(plan, minutes[-1], now, row)


def due(cron: str, zone: Any, after: int, until: int) -> list[int]:
    """Due minutes (ms) of a schedule in (after, until], at most MOST_MINUTES; `after` and `until` are in ms."""
    return list(islice(takewhile(lambda at: at <= until, moments(cron, zone, after)), MOST_MINUTES))


def _run(plan: Planned, minute: int, now: int, row: Recurring) -> int:
    """Dispatch the job of this minute (ms) unless another monitor has; returns the number of jobs (0 or 1)."""
    tx, key = SessionExecutor(db.session), {"name": plan.name, "minute": minute}
    if not tx.execute(_INSERT_RUN, **key, now=now, why=None):
        return 0
    live = plan.overlap != "allow" and bool(tx.fetch_all(f"{_LIVE} LIMIT 1", name=plan.name))
    if live and plan.overlap == "skip":
        log.info("recurring %s: a run is left out, as an earlier one has not ended", plan.name)
        return 0
    try:
        definition, args = plan.ready()
        uuid = dispatch(definition, args, **definition.given, created_by=f"{BY}{plan.name}"[:255])
    except DiskLow:
        raise  # the disk may have room again in a second
    except (ValidationError, InvalidArguments) as error:
        log.warning("recurring %s: no job was written: %s", plan.name, error)
        row.missed_ms, row.missed_at_ms = minute, now
        tx.execute("UPDATE recurring_runs SET why = 'broken' WHERE name = :name AND minute_utc = :minute", **key)
        return 0
    if live:
        control.keep_back(tx, uuid, BY_OVERLAP, HELD)
    tx.execute(_SET_JOB, **key, uuid=uuid)
    return 1


def release_waiting(connection: Connection) -> int:
    """Release the runs that wait for the one before, when that has ended, or when their schedule waits no more; returns
    how many."""
    rows, total, seen = connection.fetch_all(_WAITING), 0, set()
    if not rows:
        return 0
    waits = {f"{BY}{s.name}"[:255]: s.name for s in schedules.everything(connection) if s.overlap == "wait"}
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
    """A schedule. `next_at` is in APP_TIMEZONE, and None while the schedule is off; `last_at` and `missed_at` are in
    UTC: the minutes of the last run and of the last missed run.

    `words` says the time in the reader's language, None when it cannot; `code_cron` is the code's own time of a
    retimed one. `made`: on the page; `shadowed`: the page has another one of its name. `trouble` says why its runs
    cannot be dispatched. `last_state` is the live state or final status of the last run's job; `web`: whether a page
    may run it now; `skipped_at` is the minute of the last run that was left out, as an earlier one had not ended, if it
    is later. `runs` are the latest 30, the oldest first.
    """

    name: str
    cron: str
    job_type: str | None
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
    words: str | None
    made: bool
    shadowed: bool
    code_cron: str | None
    retimed_by: str | None
    trouble: str | None
    runs: tuple[Run, ...]


def listing(zone: Any, plans: list[Planned] | None = None) -> list[RecurringView]:
    """Schedules by name, all of them by default."""
    plans = schedules.listed() if plans is None else plans
    known, now = {row.name: row for row in db.session.scalars(select(Recurring))}, now_ms()
    strips = recurring_runs.latest([plan.name for plan in plans])
    return [_view(plan, known.get(plan.name), strips[plan.name], zone, now) for plan in plans]


def _view(plan: Planned, row: Recurring | None, runs: list[Run], zone: Any, now: int) -> RecurringView:
    last = next((run for run in runs if run.uuid), None) or recurring_runs.last(plan.name)
    skipped = next((run for run in runs if run.outcome == "skipped"), None)
    if last and skipped and skipped.at_ms < last.at_ms:
        skipped = None
    enabled, definition, trouble = row is None or bool(row.enabled), plan.definition, plan.trouble
    upcoming = next(moments(plan.cron, zone, now), None) if enabled and plan.job_type else None
    return RecurringView(
        name=plan.name, cron=plan.cron, words=in_words(plan.cron), job_type=plan.job_type,
        label=definition.label if definition else plan.job_type or "", enabled=enabled,
        next_at=upcoming and datetime.fromtimestamp(upcoming / 1000, zone),
        last_at=last and last.at, last_uuid=last and last.uuid, last_state=last and last.state,
        missed_at=when(row.missed_ms) if row else None, catch_up=plan.catch_up, overlap=plan.overlap,
        skipped_at=skipped and skipped.at, changed_by=row and row.changed_by, made=plan.declared is None,
        web=bool(definition and definition.options.web and not trouble), shadowed=plan.shadowed,
        code_cron=plan.declared.cron if plan.declared and plan.retimed else None,
        retimed_by=plan.changed_by if plan.retimed else None, trouble=trouble, runs=tuple(runs[::-1]))


def coming(cron: str, zone: Any, count: int = 10) -> list[datetime]:
    """The next runs in the zone, each once over changes of the clocks."""
    return [datetime.fromtimestamp(at / 1000, zone) for at in islice(moments(cron, zone, now_ms()), count)]


def switch(name: str, on: bool, actor: str) -> None:
    """Switch a schedule on or off; minutes that pass while it is off do not count as missed. Raises ActionRefused."""
    schedules.find(name)
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
    """Dispatch the schedule's job once, now; returns the uuid. Raises ActionRefused for an unknown schedule, one whose
    job cannot be written, and a type with `web=False`."""
    plan = schedules.find(name)
    if plan.definition is not None and not plan.definition.options.web:
        raise ActionRefused(not_from_web(plan.definition), forbidden=True)
    try:
        definition, args = plan.ready()
        uuid, now = dispatch(definition, args, **definition.given, created_by=actor), now_ms()
    except DiskLow:
        raise
    except (ValidationError, InvalidArguments) as error:
        db.session.rollback()
        raise ActionRefused(tell(error)) from None
    tx, key = SessionExecutor(db.session), {"name": name, "minute": now}
    tx.execute(_INSERT_RUN, **key, now=now, why="hand")  # a run as the others are: the next one that is due sees it
    tx.execute(_SET_JOB, **key, uuid=uuid)
    audit(actor, Message("run recurring"), name, uuid)
    db.session.commit()
    return uuid
