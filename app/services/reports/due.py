"""The monitor's duty "reports": writes the reports that are due, and a mail for each.

enabled plans -> the latest period that is due and has no report -> figures, collected outside any transaction -> one
transaction: `reports` (unique by plan and period) and, if that made a row, `mails`. So a period is sent
once, whatever restarts and however many monitors run. After a time without a monitor the latest period is sent; how
many before it are left out is said in its mail. A period that ends before the end of an earlier report (the time zone
changed) is not sent; of clocks that were wrong see standing.py. A plan that fails is tried again with backoff, as the
page says, and stops no other. A plan rests while its reader or its maker has not the right (readers.py). Figures are
kept whole: what a reader may see is decided when the mail is sent.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import tzinfo

from flask import Flask

from app.ledger import counts
from app.ledger.dialect import Connection
from app.services.outbox import backoff
from app.services.reports import due_times, figures, plan_values, standing
from app.services.reports.model import ReportFigures, ReportFilter
from app.services.reports.periods import Window, last
from app.services.reports.plan_values import FIELDS, Damaged, Plan
from app.services.reports.standing import Standing
from app.support import error_texts
from app.support.messages import Message, text_of, to_json

log = logging.getLogger(__name__)
FACT, LAST_S = "report plans", 120.0
_COLUMNS = ", ".join(FIELDS.split())
_PLANS = f"SELECT {_COLUMNS} FROM report_plans WHERE enabled = 1 ORDER BY id"
_PLAN = f"SELECT {_COLUMNS} FROM report_plans WHERE id = :id AND enabled = 1"
_REPORT = """INSERT INTO reports (plan_id, from_ms, until_ms, figures, created_ms)
 VALUES (:plan, :since, :until, :figures, :now) ON CONFLICT (plan_id, from_ms, until_ms) DO UPDATE
 SET figures = excluded.figures, created_ms = excluded.created_ms, ahead = 0
 WHERE reports.ahead = 1 AND reports.created_ms > excluded.created_ms RETURNING id"""
_EARLY_MAIL = "DELETE FROM mails WHERE plan_id = :plan AND report_id = :report AND state = 'waiting'"
_MAIL = """INSERT INTO mails (kind, target, language, plan_id, report_id, body, next_ms, created_ms)
 VALUES ('report', :target, :language, :plan, :report, :body, :now, :now)"""


@dataclass
class Failure:
    """Why the report of a plan could not be made after `times` attempts, and when (ms) it is tried again."""

    why: str
    times: int
    next_ms: int


class Reports:
    """The duty, in a thread of its own: figures of many jobs take seconds, and the monitor has no time for that."""

    def __init__(self, app: Flask, clock: Callable[[], int] | None = None,
                 collect: Callable[[Window, ReportFilter], ReportFigures] = figures.collect) -> None:
        self.app, self.clock, self.collect = app, clock, collect
        self.settings = app.extensions["settings"]
        self.failures: dict[int, Failure] = {}
        self._thread: threading.Thread | None = None
        self._broke = ""

    def run(self) -> None:
        """Start a round, unless the last one still runs. Raises RuntimeError with the plans that fail."""
        if not (self._thread and self._thread.is_alive()):
            self._thread = threading.Thread(target=self._run, name="reports", daemon=True)
            self._thread.start()
        if told := self.trouble():
            raise RuntimeError("; ".join(told))

    def trouble(self) -> list[str]:
        """Why the last round broke off, or 'plan ID: why' of those that fail."""
        return [self._broke] if self._broke else [f"plan {id}: {one.why}" for id, one in self.failures.items()]

    def finish(self, seconds: float = LAST_S) -> list[str]:
        """Wait for the round under way, at most `seconds`; returns `trouble`."""
        if self._thread:
            self._thread.join(seconds)
        return self.trouble()

    def _run(self) -> None:
        connection = Connection(self.settings.database_url, synchronous="FULL", wait_s=30)
        try:
            self.round(connection)
            self._broke = ""
        except Exception as error:
            self._broke = error_texts.describe(error)
        finally:
            connection.close()

    def round(self, connection: Connection) -> int:
        """Write what is due; returns how many reports were written. Nothing is due while a restore has paused alerts.
        """
        if counts.paused_after_restore(connection):
            return 0
        now = self.clock() if self.clock else connection.now()
        standing.note_ahead(connection, now)
        written, before = 0, dict(self.failures)
        rows = connection.fetch_all(_PLANS)
        self.failures = {id: one for id, one in self.failures.items() if id in {row[0] for row in rows}}
        for row in rows:
            failed = self.failures.get(row[0])
            if failed and now < failed.next_ms <= now + backoff(failed.times):
                continue
            try:
                written += self._one(connection, row, now)
                self.failures.pop(row[0], None)
            except Damaged:
                self.failures.pop(row[0], None)  # the page says it; trying again changes nothing
            except Exception as error:
                times = failed.times + 1 if failed else 0
                self.failures[row[0]] = Failure(_why(error), times, now + backoff(times))
                if not failed:
                    log.warning("the report of plan %s failed (%s); it is tried again", row[0], _why(error))
        if before != self.failures:
            with connection.transaction() as tx:
                counts.save(tx, FACT, {str(id): {"why": str(one.why), "json": to_json(one.why), "next": one.next_ms}
                                       for id, one in self.failures.items()})
        return written

    def _one(self, connection: Connection, row: tuple, now: int) -> int:
        """Write the report of a plan if one is due; returns 1 then. Raises what the figures raise."""
        plan, zone = plan_values.read(row), self.settings.timezone
        if (found := wanted(plan, standing.of(connection, [plan], now)[plan.id], now, zone)) is None:
            return 0
        window, skipped = found
        with self.app.app_context():
            told = figures.to_json(self.collect(window, plan.limits))
        with connection.transaction() as tx:
            if tx.fetch_all(_PLAN, id=plan.id) != [row]:
                return 0  # somebody has changed it meanwhile: the next round reads it anew
            made = tx.fetch_all(_REPORT, plan=plan.id, since=window.since, until=window.until, figures=told, now=now)
            for (report,) in made:
                tx.execute(_EARLY_MAIL, plan=plan.id, report=report)
                tx.execute(_MAIL, target=plan.target, language=plan.language, plan=plan.id, report=report,
                           body=json.dumps(skipped), now=now)
        return len(made)


def wanted(plan: Plan, stands: Standing, now: int, zone: tzinfo) -> tuple[Window, int] | None:
    """The period of which a report is to be made at `now`, and how many before it are left out; None without any."""
    window = last(plan.period, now, zone)
    if plan.since_ms != asked_now(window):
        window = due_times.due(plan.period, plan.day, plan.hour, now, zone)
    length = window.until - window.since
    # Ends of days differ by hours when the time zone changes: half a period later is another period.
    if window.until < plan.since_ms or window.until - stands.reported < length / 2 or stands.rests:
        return None
    return window, due_times.skipped(window, max(plan.since_ms - 1, stands.reported), zone)


def asked_now(window: Window) -> int:
    """The `since_ms` of a plan whose period `window` is sent at once, before its hour: 1 ms before its end."""
    return window.until - 1


def _why(error: Exception) -> str:
    return text_of(error) if type(text_of(error)) is Message else error_texts.describe(error)
