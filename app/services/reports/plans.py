"""Plans of reports: who gets which report and when. Each change adds a row to the log of actions.

A person makes plans for their own address; who manages (`manage`) also for channels and for other people's addresses,
and sees and changes the plans of all. A new plan does not send a period that was due before it, unless asked: the first
report is the one that is due next.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, or_, select

from app.extensions import db
from app.ledger import counts
from app.ledger.dialect import SessionExecutor
from app.ledger.rows import among
from app.models import Mail, ReportPlan
from app.services.alerts import channels
from app.services.audit import ActionRefused, commit_audited, row_of
from app.services.reports import due, due_times, plan_values, readers, standing
from app.services.reports.model import ReportFilter
from app.services.reports.periods import Window, last
from app.services.reports.plan_values import CHANNEL, MAIL, Damaged, Plan
from app.services.reports.standing import Standing
from app.support.clock import now_ms, when
from app.support.messages import Message, from_row, translate as _, translate_stored, translated
from app.support.settings import settings
from app.support.validation import ValidationError

MOST_PLANS, MOST_SHOWN = 50, 200
_MAIL = "(SELECT MAX(m.id) FROM mails m WHERE m.plan_id = p.id AND m.kind = '{}')"
_LAST = f"SELECT p.id, {_MAIL.format('report')}, {_MAIL.format('test')} FROM report_plans p WHERE p."
_END = f"""(SELECT r.{{}} FROM reports r WHERE r.plan_id = p.id AND {standing.COUNTS}
 ORDER BY r.from_ms DESC, r.until_ms DESC LIMIT 1)"""
_LAST_PERIOD = f"SELECT p.id, {_END.format('from_ms')}, {_END.format('until_ms')} FROM report_plans p WHERE p."


@dataclass(frozen=True)
class MailView:
    """The last mail of a plan: waiting, sending, sent or dropped; `error` says why it failed after `attempts`, and
    `next_at` when it is tried again. `at` is when it ended, else when it was written."""

    state: str
    error: str | None
    attempts: int
    repeated: bool
    at: datetime | None
    next_at: datetime | None


@dataclass(frozen=True)
class PlanView:
    """A plan as the page shows it; `plan` is None for a row that cannot be read. `report` and `test` are its last
    mails, `sent_from` and `sent_until` the last period that was reported. `next_at`: when the next report is due;
    `error` why it could not be made, tried again at `retry_at`. `served`: a running monitor can send to its target.
    `rests`: nothing is sent, and `why_rests` says why, "" otherwise. `next` is the period of the next report."""

    id: int
    name: str
    plan: Plan | None
    report: MailView | None
    test: MailView | None
    sent_from: datetime | None
    sent_until: datetime | None
    next_at: datetime | None
    next: Window | None
    error: str | None
    retry_at: datetime | None
    served: bool
    rests: bool
    why_rests: str


def senders() -> list[str]:
    """The sender of each running monitor that has SMTP_URL."""
    tx = SessionExecutor(db.session)
    return [name for name, age in channels.known(tx, channels.SENDERS).items() if age < channels.LIVE_MS]


def listing(reader: str, manage: bool) -> list[PlanView]:
    """The plans that a person sees, by name; at most 200."""
    p = ReportPlan
    rows = db.session.scalars(select(p).where(*_seen(reader, manage)).order_by(p.id).limit(MOST_SHOWN)).all()
    tx = SessionExecutor(db.session)
    kept, now = counts.load(tx, due.FACT), now_ms()
    failures = kept[0] if kept and isinstance(kept[0], dict) else {}
    live = {CHANNEL + name for name, age in channels.known(tx).items() if age < channels.LIVE_MS}
    live |= {MAIL} if senders() else set()
    read_ones = {row.id: read(row) for row in rows}
    stands = standing.of(tx, [plan for plan in read_ones.values() if plan], now)
    last = _newest(tx, list(read_ones), now)
    views = [_view(row, read_ones[row.id], stands.get(row.id), last, failures.get(str(row.id)), live, now)
             for row in rows]
    return sorted(views, key=lambda view: (view.name.casefold(), view.id))


@dataclass(frozen=True)
class _Newest:
    """By the id of a plan: its last report, and by (plan, kind) its last mail."""

    reports: dict[int, tuple[int, int]]
    mails: dict[tuple[int, str], MailView]


def _newest(tx: SessionExecutor, plans: list[int], now: int) -> _Newest:
    """What was last made of plans, by two queries however many they are."""
    ids = tx.fetch_all(_LAST + among(plans), now=now) if plans else []
    wanted = [id for _plan, *both in ids for id in both if id is not None]
    mails = db.session.scalars(select(Mail).where(Mail.id.in_(wanted))).all() if wanted else []
    failing = select(Mail).where(Mail.state == "waiting", Mail.error.is_not(None)).order_by(Mail.id.desc())
    stuck = db.session.scalars(failing.limit(MOST_SHOWN)).all() if any(
        mail.state == "waiting" and not mail.error for mail in mails) else []
    ends = tx.fetch_all(_LAST_PERIOD + among(plans), now=now) if plans else []
    return _Newest({plan: (since, until) for plan, since, until in ends if since is not None},
                   {(mail.plan_id, mail.kind): _mail(mail, stuck) for mail in mails})


def _seen(reader: str, manage: bool) -> list[Any]:
    return [] if manage else [or_(ReportPlan.target == MAIL + reader, ReportPlan.made_by == reader)]


def _view(row: ReportPlan, plan: Plan | None, stands: Standing | None, newest: _Newest, failed: Any, live: set[str],
          now: int) -> PlanView:
    zone, last = settings().timezone, newest.reports.get(row.id)
    coming, window, rests = None, None, stands.rests if stands and plan and plan.enabled else ""
    if plan and stands and plan.enabled and not rests:
        found = due.wanted(plan, stands, now, zone)
        window = found[0] if found else due_times.following(
            due_times.due(plan.period, plan.day, plan.hour, now, zone), zone)
        coming = due_times.sent_at(window, plan.day, plan.hour, zone)
    failed = failed if isinstance(failed, dict) else {}
    target = plan.target if plan else ""
    return PlanView(
        row.id, (row.name or "")[:plan_values.MOST_NAME], plan, newest.mails.get((row.id, "report")),
        newest.mails.get((row.id, "test")), when(last[0]) if last else None, when(last[1]) if last else None,
        when(coming), window,
        translate_stored(from_row(str(failed.get("why", "")) or None, failed.get("json"))), when(failed.get("next")),
        (MAIL if target.startswith(MAIL) else target) in live, bool(rests), translated(rests) if rests else "")


def _mail(m: Mail, stuck: Sequence[Mail]) -> MailView:
    """`stuck` are mails that failed: one that waits because its server rests says what another one has met."""
    told = m
    if m.state == "waiting" and not m.error:
        told = next((one for one in stuck if _lane(one) == _lane(m)), m)
    failing = m.state == "waiting" and told.error
    return MailView(m.state, translate_stored(from_row(told.error, told.error_json)), m.attempts, m.repeated == 1,
                    when(m.ended_ms or m.created_ms), when(told.next_ms) if failing else None)


def _lane(m: Mail) -> str:
    return MAIL if str(m.target).startswith(MAIL) else str(m.target)


def why_rests(plan: Plan) -> str:
    """Why nothing of a plan is sent, in the reader's language; "" when it is sent."""
    found = standing.of(SessionExecutor(db.session), [plan], now_ms())[plan.id].rests
    return translated(found) if found else ""


def read(row: ReportPlan) -> Plan | None:
    """The plan of a row; None for a damaged one."""
    try:
        return plan_values.read([getattr(row, name) for name in plan_values.FIELDS.split()])
    except Damaged:
        return None


def find(plan: int, reader: str, manage: bool) -> ReportPlan:
    """A plan that a person may change. Raises ActionRefused when there is none."""
    row = row_of(ReportPlan, plan, _("There is no such plan."))
    if not manage and reader not in (row.made_by, row.target.removeprefix(MAIL)):
        raise ActionRefused(_("There is no such plan."), unknown=True)
    if not manage and row.target != MAIL + reader:
        raise ActionRefused(_("Only who manages this installation can change this plan."), forbidden=True)
    return row


def check_target(target: str, reader: str, manage: bool, now: str = "") -> str:
    """The target of a plan that `reader` may make; `now` is what it has already. Raises ValidationError."""
    if target in (MAIL + reader, now) or manage and target.startswith(MAIL):
        return target
    if not manage:
        raise ValidationError(_("You can send reports to your own address only."))
    if target.removeprefix(CHANNEL) not in channels.known(SessionExecutor(db.session)):
        raise ValidationError(_("There is no such channel; ALERT_URLS of the monitor names them."))
    return target


def save(row: ReportPlan | None, values: dict[str, Any], limits: ReportFilter, past: bool, actor: str) -> int:
    """Write a plan of checked values (columns by name); returns its id. With `past` the last whole period is sent too.
    A plan that would rest because of who made it is taken over by who saves it. What was due while it rested is not
    sent. Raises ActionRefused when there are too many."""
    new, now = row is None, now_ms()
    if row is None:
        mine = select(func.count()).select_from(ReportPlan).where(ReportPlan.made_by == actor)
        if (db.session.scalar(mine) or 0) >= MOST_PLANS:
            raise ActionRefused(_("You have %(n)s plans already: delete one first.", n=MOST_PLANS))
        row = ReportPlan(made_by=actor, created_ms=now, enabled=1)
    before = None if new else read(row)
    rested = before is not None and bool(why_rests(before))
    moved = new or rested or any(getattr(row, name) != values[name] for name in ("period", "day", "hour"))
    for name, value in values.items():
        setattr(row, name, value)
    row.filter = json.dumps({name: value for name, value in asdict(limits).items() if value}, ensure_ascii=False)
    tx = SessionExecutor(db.session)
    rights = readers.rights_for(tx, [(row.target, row.made_by), (row.target, actor)])
    if readers.refusal(rights, row.target, row.made_by) and not readers.refusal(rights, row.target, actor):
        row.made_by = actor
    if moved or past:
        row.since_ms = _since(row.period, row.day, row.hour, past, now)
    db.session.add(row)
    db.session.flush()
    number = row.id
    commit_audited(actor, Message("new report plan") if new else Message("change report plan"), row.name,
                   Message("%(period)s, to %(target)s", period=row.period, target=row.target))
    return number


def _since(period: str, day: int, hour: int, past: bool, now: int) -> int:
    """From which end of a period on (ms) reports are sent: that of the next due one; with `past` the last whole one's,
    at once."""
    zone = settings().timezone
    if past:
        return due.asked_now(last(period, now, zone))
    return due_times.following(due_times.due(period, day, hour, now, zone), zone).until


def switch(row: ReportPlan, on: bool, actor: str) -> None:
    """Switch a plan on or off. What was due while it was off is not sent."""
    if on and not row.enabled and (plan := read(row)):
        row.since_ms = _since(plan.period, plan.day, plan.hour, False, now_ms())
    row.enabled = int(on)
    commit_audited(actor, Message("switch on report plan") if on else Message("switch off report plan"), row.name,
                   Message("done"))


def remove(row: ReportPlan, actor: str) -> None:
    """Delete a plan and its mails that wait."""
    name = row.name
    db.session.execute(delete(Mail).where(Mail.plan_id == row.id, Mail.state == "waiting"))
    db.session.delete(row)
    commit_audited(actor, Message("delete report plan"), name, Message("done"))


def request_test(row: ReportPlan, actor: str) -> int:
    """Ask the monitor to send the report of the latest period as a test; returns the id of the mail. Raises
    ActionRefused while one is under way, and for a plan that cannot be read."""
    if (plan := read(row)) is None:
        raise ActionRefused(_("This plan cannot be read: save it anew."))
    if why := why_rests(plan):
        raise ActionRefused(_("This plan rests: %(why)s.", why=why))
    waits = select(Mail.id).where(Mail.plan_id == row.id, Mail.kind == "test", Mail.state.in_(("waiting", "sending")))
    if db.session.scalar(waits.limit(1)) is not None:
        raise ActionRefused(_("A test of this plan is on its way already."))
    now = now_ms()
    mail = Mail(kind="test", target=row.target, language=row.language, plan_id=row.id, next_ms=now, created_ms=now)
    db.session.add(mail)
    commit_audited(actor, Message("test report plan"), row.name, Message("asked"))
    return mail.id
