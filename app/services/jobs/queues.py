"""Queues as people see them: depth, longest wait, pace, forecast, pauses, and the next jobs in order."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select

from app import registry
from app.config import QUEUES
from app.extensions import db
from app.ledger import control, counts, queue_rates
from app.ledger.dialect import Connection, SessionExecutor
from app.models import Job, Queue, QueueMinute
from app.services.audit import ActionRefused, audit
from app.services.jobs import payloads
from app.support.clock import MINUTE_MS, now_ms, when
from app.support.messages import Message, translate_stored
from app.support.messages import translate as _
from app.support.validation import ValidationError

PACE_MS = 10 * MINUTE_MS
LINE_MINUTES = 180
MOST_MINUTES = 7 * 24 * 60
NEXT = 20


def queues() -> list[dict[str, Any]]:
    """In the order in which they are served; `in_minute` and `out_minute` are those of the last 10 minutes, by which `left_ms` is the forecast
    until empty, None without one."""
    now = now_ms()
    live, _age = counts.recent(SessionExecutor(db.session))
    pauses, rates, lines = _pauses(), queue_rates.rates(SessionExecutor(db.session), now - PACE_MS), _lines(now)
    result = []
    for name in QUEUES:
        here = live["queues"].get(name, {"depth": 0, "since": None})
        pause = pauses.get(name)
        sent, out = (n * MINUTE_MS / PACE_MS for n in rates.get(name, (0, 0)))
        left = round(here["depth"] / out * MINUTE_MS) if out and here["depth"] and pause is None else None
        oldest = max(now - here["since"], 0) if here["since"] is not None else None
        result.append({"name": name, "depth": here["depth"], "oldest_ms": oldest, "in_minute": sent,
                       "out_minute": out, "left_ms": left, "pause": pause, "line": lines.get(name, [])})
    return result


def _lines(now: int) -> dict[str, list[tuple[int, int]]]:
    """Depth at each minute of the last 3 h by queue: (minutes ago, depth)."""
    found: dict[str, list[tuple[int, int]]] = {}
    query = select(QueueMinute).where(QueueMinute.minute_ms > now - LINE_MINUTES * MINUTE_MS).order_by(QueueMinute.minute_ms)
    for row in db.session.scalars(query):
        found.setdefault(row.queue, []).append(((now - row.minute_ms) // MINUTE_MS, row.depth))
    return found


def _pauses() -> dict[str, dict[str, Any]]:
    rows = db.session.scalars(select(Queue).where(Queue.paused_at.is_not(None)))
    return {r.name: {"since": when(r.paused_at), "until": when(r.paused_until), "by": r.paused_by,
                     "reason": translate_stored(r.reason)} for r in rows}


def types() -> list[dict[str, Any]]:
    """Known types, and unknown ones that are paused, with their pause."""
    pauses = {name.removeprefix(control.TYPE): p for name, p in _pauses().items() if name.startswith(control.TYPE)}
    names = sorted({d.name for d in registry.known_types()} | set(pauses))
    return [{"name": name, "label": registry.label_of(name), "pause": pauses.get(name)} for name in names]


def next_jobs(queue: str, limit: int = NEXT) -> list[dict[str, Any]]:
    """The first ready jobs of a queue, in the order in which they will be taken."""
    now = now_ms()
    columns = Job.uuid, Job.job_type, Job.tenant_id, Job.available_ms, payloads.head(Job.payload).label("head")
    rows = db.session.execute(select(*columns).where(Job.state == "pending", Job.queue == queue).order_by(Job.rank.desc(), Job.id).limit(limit))
    return [{"place": n, "uuid": r.uuid, "job_type": r.job_type, "label": registry.label_of(r.job_type), "tenant_id": r.tenant_id,
             "summary": payloads.headline_argument(r.head), "waits_ms": max(now - r.available_ms, 0)} for n, r in enumerate(rows, 1)]


def tenant_backlog(queue: str) -> list[dict[str, Any]]:
    """Tenants that take turns in a queue, with their waiting jobs: of n tenants each gets every n-th turn."""
    query = select(Job.tenant_id, func.count().label("n")).where(Job.queue == queue, Job.rank < 0, Job.state == "pending")
    rows = db.session.execute(query.group_by(Job.tenant_id).order_by(func.count().desc()).limit(20))
    return [{"tenant_id": tenant, "waiting": int(n)} for tenant, n in rows]


def parse_minutes(text: str) -> int | None:
    """Length of a pause in minutes; None for blank: until somebody resumes."""
    text = text.strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and 1 <= len(text) <= 6 and 1 <= int(text) <= MOST_MINUTES):
        raise ValidationError(_("A pause lasts from 1 to %(n)s minutes; leave it empty to pause until somebody resumes.", n=MOST_MINUTES))
    return int(text)


def pause(name: str, actor: str, minutes: int | None = None, reason: str | None = None) -> None:
    """Pause a queue, or a type as `type:X`; for so many minutes or until resumed. Raises Refused for an unknown name."""
    _check(name)
    until = None if minutes is None else now_ms() + minutes * MINUTE_MS
    control.pause(SessionExecutor(db.session), name, until, actor, (reason or "").strip()[:500] or None)
    audit(actor, Message("pause"), name, Message("%(n)s minutes", n=minutes) if minutes else Message("until resumed"))
    db.session.commit()
    _move_rows(name)


def resume(name: str, actor: str) -> None:
    """End a pause; raises Refused when there is none."""
    if not control.resume(SessionExecutor(db.session), name):
        db.session.rollback()
        raise ActionRefused(_("This is not paused."))
    audit(actor, Message("resume"), name, Message("resumed"))
    db.session.commit()
    _move_rows(name)


def resume_all(actor: str) -> list[str]:
    """Resume every queue and type, and what a restore has put to rest; returns their names."""
    names = sorted(_pauses())
    for name in names:
        resume(name, actor)
    tx = SessionExecutor(db.session)
    if counts.load(tx, "paused_after_restore"):
        tx.execute("DELETE FROM meta WHERE key = 'paused_after_restore'")
        tx.execute("UPDATE recurring SET looked_ms = :now WHERE looked_ms < :now", now=tx.now())
        audit(actor, Message("resume"), Message("schedules and alerts"), Message("resumed"))
        names.append("schedules and alerts")
    db.session.commit()
    return names


def _check(name: str) -> None:
    kind = name.removeprefix(control.TYPE)
    if name not in QUEUES and (kind == name or not (registry.find(kind) or db.session.scalar(select(Job.id).where(Job.job_type == kind).limit(1)))):
        db.session.rollback()
        raise ActionRefused(_("There is no such queue or type."), unknown=True)


def _move_rows(name: str) -> None:
    """Rows of a type to held, or back; the monitor does it too, should this end in between."""
    if name.startswith(control.TYPE):
        connection = Connection(db.engine.url.render_as_string(hide_password=False), synchronous="FULL")
        try:
            control.sweep_types(connection)
        finally:
            connection.close()


