"""Queues for pages and commands: depth, longest wait, rates, forecast, pauses, and the next jobs in order."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, or_, select

from app import registry
from app.config import QUEUES
from app.extensions import db
from app.ledger import control, counts
from app.ledger.dialect import Connection, SessionExecutor
from app.models import Job, JobMinute, QueueMinute
from app.models.job import BY_LIMIT, BY_RATE
from app.models.outcome_stats import COUNTED
from app.models.types import as_integer
from app.services.audit import ActionRefused, audit
from app.services.forecast import outlook, words
from app.services.jobs import crew, payloads, queue_rates
from app.support.clock import MINUTE_MS, now_ms, when
from app.support.formatting import duration
from app.support.messages import Message, translate as _, translate_stored
from app.support.moments import clock_text, parse_moment
from app.support.settings import settings
from app.support.validation import check_line

RATE_MS = 10 * MINUTE_MS
LINE_MINUTES = 180
NEXT, MOST_BESIDE = 20, 2000


@dataclass(frozen=True)
class PauseView:
    """A pause. `until` is None when it lasts until somebody resumes; `by` is None when the platform itself paused."""

    since: datetime
    until: datetime | None
    by: str | None
    reason: str | None


@dataclass(frozen=True)
class QueueView:
    """A queue with `depth` ready jobs, of which the oldest has waited for `oldest_ms`.

    `in_minute` and `out_minute` are jobs a minute, sent and ended, over the last 10 minutes. `line` is its depth at
    each minute of the last 3 h, as (minutes ago, depth), oldest first; so are `ages`, how long (ms) its oldest ready
    job had waited, and `ended`, the jobs that ended in that minute. `forecast` says when it will be empty, or why
    that is not known; [] when it is empty or paused. `left_ms` is the middle of that forecast, which rests on
    `basis_runs` runs; both are None when it is not known.
    """

    name: str
    depth: int
    oldest_ms: int | None
    in_minute: float
    out_minute: float
    left_ms: int | None
    pause: PauseView | None
    line: list[tuple[int, int]]
    ages: list[tuple[int, int]]
    ended: list[tuple[int, int]]
    forecast: list[str]
    basis_runs: int | None


@dataclass(frozen=True)
class TypeView:
    """A job type and its pause."""

    name: str
    label: str
    pause: PauseView | None


@dataclass(frozen=True)
class NextJob:
    """A ready job: its `place` in the queue (from 1), its telling argument, and how long it has waited."""

    place: int
    uuid: str
    job_type: str
    label: str
    tenant_id: str | None
    summary: str
    waits_ms: int


@dataclass(frozen=True)
class BacklogPart:
    """The waiting jobs of one type and state. `exact`: they are all the jobs of this type, state, tenant and queue (of
    the held ones: all that a limit holds), so the list can show exactly them."""

    job_type: str
    state: str
    waiting: int
    exact: bool


@dataclass(frozen=True)
class TenantBacklog:
    """The number of waiting jobs of a tenant that shares a queue fairly with other tenants, and its parts."""

    tenant_id: str | None
    waiting: int
    parts: list[BacklogPart]


def queues() -> list[QueueView]:
    """The queues in the order in which they are served."""
    now, tx = now_ms(), SessionExecutor(db.session)
    (live, _age), (found, _made) = counts.recent(tx), outlook.of_queues(tx)
    paused, rates, lines, crews = pauses(), queue_rates.rates(tx, now - RATE_MS), _lines(now), crew.crews()
    result = []
    for name in QUEUES:
        depth, since = (live["queues"].get(name, {}).get(key) for key in ("depth", "since"))
        sent, ended = (n * MINUTE_MS / RATE_MS for n in rates.get(name, (0, 0)))
        forecast = found.get(name)
        told = words.of_queue(forecast, now, *crews[name]) if depth and name not in paused else []
        left = max(forecast.empty.middle - now, 0) if told and forecast and forecast.empty else None
        oldest = max(now - since, 0) if since is not None else None
        rests = forecast.basis_runs if told and forecast and forecast.empty else None
        result.append(QueueView(name, depth or 0, oldest, sent, ended, left, paused.get(name),
                                *lines.get(name, ([], [], [])), told, rests))
    return result


def aside() -> dict[str, int]:
    """How many jobs are in no line, by state: their time has not come, they wait for others, or they are kept back."""
    live, _age = counts.recent(SessionExecutor(db.session))
    return {state: live[state] for state in ("scheduled", "waiting", "held", "blocked")}


def basis() -> str:
    """How old the forecasts of the queues are, and how good the last predictions were."""
    tx = SessionExecutor(db.session)
    _found, age = outlook.of_queues(tx)
    held = words.held(outlook.accuracy(tx))
    return held if age is None else _("Made %(time)s ago.", time=duration(age)) + " " + held


def _lines(now: int) -> dict[str, tuple[list[tuple[int, int]], ...]]:
    """Depth, age of the oldest (ms) and ended jobs at each minute of the last 3 h by queue: (minutes ago, number)."""
    found: dict[str, tuple[list[tuple[int, int]], ...]] = {}
    q, m, since = QueueMinute, JobMinute, now - LINE_MINUTES * MINUTE_MS
    query = select(m.minute_ms, m.queue, func.sum(m.count)).where(m.minute_ms > since, m.status.in_(COUNTED))
    ended = {tuple(row[:2]): as_integer(row[2], 0) for row in db.session.execute(query.group_by(m.minute_ms, m.queue))}
    for row in db.session.scalars(select(q).where(q.minute_ms > since).order_by(q.minute_ms)):
        numbers = row.depth, row.oldest_ms or 0, ended.get((row.minute_ms, row.queue), 0)
        for line, n in zip(found.setdefault(row.queue, ([], [], [])), numbers, strict=True):
            line.append(((now - row.minute_ms) // MINUTE_MS, n))
    return found


def pauses() -> dict[str, PauseView]:
    """Pauses by the name of the queue, or of the type as `type:X`."""
    return {name: PauseView(when(p.since), when(p.until), translate_stored(p.by), translate_stored(p.reason))
            for name, p in control.pauses(SessionExecutor(db.session)).items()}


def types() -> list[TypeView]:
    """Known types, and unknown ones that are paused, sorted by name."""
    paused = {name.removeprefix(control.TYPE): p for name, p in pauses().items() if name.startswith(control.TYPE)}
    names = sorted({d.name for d in registry.known_types()} | set(paused))
    return [TypeView(name, registry.label_of(name), paused.get(name)) for name in names]


def next_jobs(queue: str, limit: int = NEXT) -> list[NextJob]:
    """The first ready jobs of a queue, in the order in which workers will take them."""
    now = now_ms()
    columns = Job.uuid, Job.job_type, Job.tenant_id, Job.available_ms, payloads.head(Job.payload).label("head")
    query = select(*columns).where(Job.state == "pending", Job.queue == queue).order_by(*Job.order())
    return [NextJob(n, r.uuid, r.job_type, registry.label_of(r.job_type), r.tenant_id,
                    payloads.headline_argument(r.head), max(now - r.available_ms, 0))
            for n, r in enumerate(db.session.execute(query.limit(limit)), 1)]


def tenant_backlog(queue: str) -> list[TenantBacklog]:
    """The 20 tenants with the most jobs that are ready, or held by a limit, among those that share a queue fairly: each
    of n tenants gets every n-th place."""
    named, ready = (Job.tenant_id, Job.job_type, Job.state), Job.state == "pending"
    held, here = (Job.state == "held") & Job.hold_code.in_((BY_LIMIT, BY_RATE)), Job.queue == queue
    fair = select(*named, func.count()).where(here, Job.rank < 0, or_(ready, held)).group_by(*named)
    found: dict[str | None, list[tuple]] = {}
    for tenant, *part in db.session.execute(fair):
        found.setdefault(tenant, []).append(tuple(part))
    beside: set[tuple] = set()  # those that do not take turns: of other types, moved to the top, of older releases
    types = {job_type for parts in found.values() for job_type, _state, _n in parts}
    for condition in (ready, held & Job.job_type.in_(types)) if found else ():
        rows = db.session.execute(select(*named).where(here, Job.rank >= 0, condition).order_by(*Job.order())
                                  .limit(MOST_BESIDE + 1)).all()
        beside |= {tuple(row) for row in rows}
        if len(rows) > MOST_BESIDE:  # it is not known of which types the further ones are
            beside |= {(tenant, *part[:2]) for tenant, parts in found.items() for part in parts}
    most = sorted(found.items(), key=lambda item: (-sum(part[2] for part in item[1]), str(item[0])))[:20]
    return [TenantBacklog(tenant, sum(part[2] for part in parts), [
        BacklogPart(job_type, state, n, bool(tenant and job_type) and (tenant, job_type, state) not in beside)
        for job_type, state, n in sorted(parts, key=str)]) for tenant, parts in most]


def parse_pause(text: str) -> int | None:
    """The end of a pause in ms, from a length or a time (support/moments.py); None for a blank text: until somebody
    resumes. Raises ValidationError."""
    return parse_moment(check_line(text), now_ms(), settings().timezone)


def parse_reason(text: str | None) -> str | None:
    """The reason of a pause, at most 500 characters; None for a blank text. Raises ValidationError."""
    return check_line((text or "").strip())[:500] or None


def pause(name: str, actor: str, minutes: int | None = None, reason: str | None = None,
          until: int | None = None) -> None:
    """Pause a queue, or a type as `type:X`, for `minutes`, until `until` (ms), or until somebody resumes.

    Raises ActionRefused for an unknown name, ValidationError for a reason that is no line of text.
    """
    _check(name)
    reason = parse_reason(reason)
    until = until if minutes is None else now_ms() + minutes * MINUTE_MS
    control.pause(SessionExecutor(db.session), name, until, actor, reason)
    end = Message("until %(time)s", time=clock_text(until, settings().timezone)) if until else Message("until resumed")
    audit(actor, Message("pause"), name, end)
    db.session.commit()
    _move_rows(name)


def resume(name: str, actor: str) -> None:
    """End a pause; raises ActionRefused when there is none."""
    if not control.resume(SessionExecutor(db.session), name):
        db.session.rollback()
        raise ActionRefused(_("This is not paused."))
    audit(actor, Message("resume"), name, Message("resumed"))
    db.session.commit()
    _move_rows(name)


def resume_all(actor: str) -> list[str]:
    """Resume every queue and type, and the schedules and alerts that a restore has paused; returns the names."""
    names = sorted(pauses())
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
    """Raises ActionRefused when there is no such queue, or neither code nor a live job for the type."""
    job_type = name.removeprefix(control.TYPE)
    jobs = select(Job.id).where(Job.job_type == job_type).limit(1)
    if name not in QUEUES and (job_type == name or not (registry.find(job_type) or db.session.scalar(jobs))):
        db.session.rollback()
        raise ActionRefused(_("There is no such queue or type."), unknown=True)


def _move_rows(name: str) -> None:
    """Hold or release the rows of a type at once. The monitor does it too, in case this process ends before."""
    if name.startswith(control.TYPE):
        url = db.engine.url.render_as_string(hide_password=False)
        with closing(Connection(url, synchronous="FULL")) as connection:
            control.sweep_types(connection)
