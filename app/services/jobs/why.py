"""Why an unfinished job does not run now, when it begins and ends, and on what that rests, in the reader's language.

uuids -> rows of `jobs`, pauses, limits, edges, forecasts: once for all of them, not once a row -> Facts -> `told` ->
Why

`told` knows plain values only. It names exactly one cause, in this order: a pause of the queue, a pause of the type,
then its state. What is not known is said, with the reason. A job that ends meanwhile is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import func, or_, select

from app import registry
from app.extensions import db
from app.ledger import limits
from app.ledger.control import TYPE
from app.ledger.dialect import SessionExecutor
from app.models import Job
from app.models.job import BY_LIMIT, BY_PERSON, BY_RATE, BY_TYPE
from app.services.forecast import outlook, words
from app.services.forecast.estimate import Accuracy, Interval, JobForecast
from app.services.jobs import crew, graph_figures, graph_walk, queues, waiting
from app.services.jobs.queues import PauseView
from app.support.clock import millis, now_ms
from app.support.formatting import clock, number
from app.support.messages import cleaned, from_row, translate as _, translate_stored
from app.support.redaction import printable, redact

MOST_BEFORE = 300  # jobs that a waiting one waits for: a page asks again every few seconds
LONG = 0.9  # the share of its kind from which a run is called long
_LAST = """SELECT at_ms FROM rate_starts WHERE limit_key = :key AND at_ms > :since
 ORDER BY at_ms DESC LIMIT 1 OFFSET :n"""
COLUMNS = (Job.uuid, Job.job_type, Job.queue, Job.state, Job.hold_code, Job.reason, Job.reason_json, Job.attempts,
           Job.tries, Job.available_ms, Job.reserved_ms, Job.waits, Job.limit_key, Job.rank, Job.id, Job.tenant_id,
           Job.line.label("line"))


@dataclass(frozen=True)
class Facts:
    """What is known of a job now. `reason`, `waits` and `halt` (why it does not go on although it runs) are sentences;
    `lost` of its attempts use up no tries. `workers` serve its queue, `busy` of them have a job (None: not known);
    `wanted` should, `silent` do not respond. `own` jobs of its tenant have an earlier turn. `running` jobs count for
    its limit now; from `next_start_ms` its rate lets one start (None: one is free)."""

    state: str
    queue: str
    job_type: str
    reason: str | None = None
    waits: str | None = None
    hold_code: str | None = None
    attempts: int = 0
    lost: int = 0
    tries: int = 1
    available_ms: int | None = None
    reserved_ms: int | None = None
    halt: str | None = None
    pause: PauseView | None = None
    type_pause: PauseView | None = None
    workers: int | None = None
    busy: int | None = None
    wanted: int = 0
    silent: int = 0
    own: int = 0
    running: int | None = None
    next_start_ms: int | None = None


@dataclass(frozen=True)
class Why:
    """`cause` says why the job does not run, or that it runs; `more` what else stands in its way; `when` when it begins
    and ends; `rests` on what that rests; `brief` is one line for a list, None where its reason says enough. `halted`:
    it runs, but stands still."""

    cause: str
    more: list[str]
    when: list[str]
    rests: list[str]
    brief: str | None
    begins: Interval | None
    ends: Interval | None
    place: int | None
    halted: bool = False

    def plain(self) -> dict[str, Any]:
        """For scripts; times in UTC."""
        return {"why": self.cause, "begins": words.plain(self.begins), "ends": words.plain(self.ends),
                "place": self.place, "basis": " ".join(self.rests) or None}


NOTHING = {"why": None, "begins": None, "ends": None, "place": None, "basis": None}  # of a job that has ended


def paused(what: str, pause: PauseView, now: int) -> str:
    """Who paused a queue or a type, until when, and why."""
    until = _("until %(time)s", time=clock(millis(pause.until), now)) if pause.until else (
        _("until somebody resumes it"))
    return _("%(what)s is paused by %(by)s %(until)s%(reason)s.", what=what, by=pause.by or _("the platform itself"),
             until=until, reason=f": «{pause.reason}»" if pause.reason else "")


def told(facts: Facts, found: JobForecast, checked: Accuracy, now: int) -> Why:
    """The sentences about a job at `now` (ms)."""
    state, more = facts.state, []
    queue_paused = facts.pause and paused(_("The queue %(name)s", name=facts.queue), facts.pause, now)
    label = registry.label_of(facts.job_type)
    type_paused = facts.type_pause and paused(_("The type %(name)s", name=label), facts.type_pause, now)
    by_type = state == "pending" or facts.hold_code == BY_TYPE
    if state == "processing":
        since = _("Running since %(time)s.", time=clock(facts.reserved_ms or now, now, seconds=True))
        cause = facts.halt or since
    elif state == "pending" and queue_paused:
        cause, queue_paused = queue_paused, None
    elif by_type and type_paused:
        cause, type_paused = type_paused, None
    else:
        cause = {"held": _held, "scheduled": _scheduled, "pending": _ready}.get(state, _other)(facts, found, now)
    if state != "processing":
        more = [said for said in (queue_paused, type_paused) if said]
    when, begins, ends = [], found.begin, found.end
    if state == "processing":
        begins = None
        when = [*([since] if facts.halt else []), *_running(found)]
    elif begins:
        when.append(words.about(words.BEGINS, begins, now) + ".")
    else:
        when.append(_("When it begins is not known: %(why)s.", why=words.unknown(found.why, found.names)))
    if ends:
        when.append(words.about(words.ENDS, ends, now) + ".")
    elif begins or state == "processing":
        when.append(_("When it ends is not known: %(why)s.", why=words.unknown(found.why, [facts.job_type])))
    rests = [words.rests(found.run)] if found.run and (begins or ends) else []
    if rests and state == "waiting":
        rests.append(_("Jobs that will then stand before it in its queue are not counted."))
    return Why(cause, more, when, [*rests, words.held(checked)] if rests else [],
               _brief(facts, found, cause, now), begins, ends, found.place, facts.halt is not None)


def _running(found: JobForecast) -> list[str]:
    """How long a running job has run, compared with its kind."""
    said, share = [], found.longer_than
    if share is not None and share >= 1:
        said.append(_("It has run longer than every known run of its kind."))
    elif share is not None and share >= LONG:
        said.append(_("It has run longer than %(n)s%% of its kind.", n=math.floor(share * 100)))
    return said


def _ready(facts: Facts, found: JobForecast, _now: int) -> str:
    workers, busy, place = facts.workers, facts.busy, found.place
    total, idle = words.crew(workers or 0, facts.wanted, facts.silent)
    if workers == 0 == total:
        return _("No worker serves the queue %(name)s: it waits until one is started.", name=facts.queue)
    if workers is None or busy is None or place is None:
        return _("It is ready, and begins when a worker is free.")
    if place <= workers - busy:
        return _("It is ready, and a free worker is starting it.")
    numbers = {"place": number(place), "busy": number(busy), "workers": number(total), "idle": idle}
    if not found.turns:
        return _("Place %(place)s of its queue, %(busy)s of %(workers)s workers busy%(idle)s.", **numbers)
    own = _(", and one earlier job of its own") if facts.own == 1 else (
        _(", and %(n)s earlier jobs of its own", n=number(facts.own)) if facts.own else "")
    if found.turns == 1:
        return _("Its tenant's turn comes after one other%(own)s: place %(place)s of its queue, %(busy)s of "
                 "%(workers)s workers busy%(idle)s.", own=own, **numbers)
    return _("Its tenant's turn comes after %(turns)s others%(own)s: place %(place)s of its queue, %(busy)s of "
             "%(workers)s workers busy%(idle)s.", turns=number(found.turns), own=own, **numbers)


def _scheduled(facts: Facts, _found: JobForecast, now: int) -> str:
    at = clock(facts.available_ms or now, now)
    said = _("It is scheduled for %(time)s.", time=at) if not facts.attempts else (
        _("Attempt %(n)s of %(tries)s is scheduled for %(time)s.", n=number(facts.attempts - facts.lost + 1),
          tries=number(facts.tries), time=at))
    return f"{said} {facts.reason}" if facts.reason else said


def _held(facts: Facts, found: JobForecast, now: int) -> str:
    if (facts.hold_code == BY_RATE and not facts.next_start_ms and not facts.waits and found.place
            and facts.workers is not None and facts.workers == facts.busy):
        return _ready(facts, found, now)  # starts are free, but those let go before it wait for a worker
    said = facts.reason or (_("Held by a person.") if facts.hold_code == BY_PERSON else _("It is held."))
    if facts.running is not None:
        said += " " + (_("One runs now.") if facts.running == 1 else _("%(n)s run now.", n=number(facts.running)))
    if facts.next_start_ms:
        said += " " + _("They are used up until %(time)s.", time=clock(facts.next_start_ms, now, seconds=True))
    return f"{said} {facts.waits}." if facts.waits else said


def _other(facts: Facts, _found: JobForecast, _now: int) -> str:
    """Of a job that waits for others, or that is blocked."""
    if facts.state == "waiting":
        return f"{facts.waits or _('Waits for nothing more: it goes on within a minute')}."
    return facts.reason or _("It is blocked.")


def _brief(facts: Facts, found: JobForecast, cause: str, now: int) -> str | None:
    if facts.state == "processing":
        said = [words.about(words.ENDS, found.end, now)] if found.end else []
        return " ".join([*([facts.halt] if facts.halt else []), *_running(found), *said]) or None
    if facts.state != "pending":
        return None
    if facts.pause or facts.type_pause or not found.begin:
        return cause
    place = [_("Place %(n)s.", n=number(found.place))] if found.place else []
    return " ".join([*place, words.about(words.BEGINS, found.begin, now)])


# ---- the facts -------------------------------------------------------------------------------------------------------


def of(uuids: Iterable[str], brief: bool = False) -> dict[str, Why]:
    """{uuid: Why} of those that are not finished. `brief`: a list shows no more than `Why.brief`."""
    tx, now, wanted = SessionExecutor(db.session), now_ms(), list(uuids)
    rows = db.session.execute(select(*COLUMNS).where(Job.uuid.in_(wanted))).all() if wanted else []
    if not rows:
        return {}
    halted = crew.halted(row.uuid for row in rows)
    found = crew.forecasts([row.uuid for row in rows], not brief, halted)
    lost = crew.lost(row.uuid for row in rows if row.state == "scheduled" and row.attempts)
    (of_queue, _age), crews = outlook.of_queues(tx), crew.crews()
    pauses, waits = queues.pauses(), waiting.sentences(row.uuid for row in rows if row.waits)
    checked = {} if brief else {name: outlook.accuracy(tx, name) for name in {row.job_type for row in rows}}
    result = {}
    for row in rows:
        queue, forecast = of_queue.get(row.queue), found.get(row.uuid)
        reason = from_row(row.reason, row.reason_json)
        if forecast is None:
            continue
        facts = Facts(
            row.state, row.queue, row.job_type,
            translate_stored(reason and cleaned(reason, lambda part: redact(printable(part)))), waits.get(row.uuid),
            row.hold_code if row.state == "held" else None, row.attempts, lost.get(row.uuid, 0), row.tries,
            row.available_ms, row.reserved_ms, halted.get(row.uuid, (None, None))[1],
            pauses.get(row.queue), pauses.get(TYPE + row.job_type), queue and queue.workers, queue and queue.busy,
            *crews.get(row.queue, (0, 0)), _before(row, "pending", Job.rank < 0, Job.tenant_id == row.tenant_id)
            if forecast.turns else 0, *_limited(tx, row, now))
        if queue and not forecast.names:
            forecast = replace(forecast, names=queue.names)
        if row.state == "waiting" and not brief:
            forecast = _after_others(row.uuid, forecast)
        elif facts.hold_code == BY_RATE and not facts.next_start_ms and not brief:
            ahead = _before(row, "pending") + _before(row, "held", Job.limit_key == row.limit_key,
                                                      Job.hold_code.in_((BY_LIMIT, BY_RATE)))
            forecast = replace(forecast, place=ahead + 1)
        result[row.uuid] = told(facts, forecast, checked.get(row.job_type, Accuracy(0, 0, None, None)), now)
    return result


def one(uuid: str) -> Why | None:
    """Why of one job; None when it has ended."""
    return of([uuid]).get(uuid)


def _before(row: Any, state: str, *which: Any) -> int:
    """How many jobs of its queue with this state stand before a row."""
    earlier = or_(Job.rank > row.rank, (Job.rank == row.rank) & (
        or_(Job.line < row.line, (Job.line == row.line) & (Job.id < row.id))))
    return db.session.scalar(select(func.count()).where(Job.state == state, Job.queue == row.queue, earlier, *which))


def _after_others(uuid: str, found: JobForecast) -> JobForecast:
    """The forecast of a job that waits for others, by those before it; with more than MOST_BEFORE it is not known."""
    graph = graph_walk.before([uuid], MOST_BEFORE)
    if graph.cut:
        return replace(found, why=graph_figures.CUT)
    chain = graph_figures.forecast(graph, graph_figures.look(graph))
    if uuid not in chain.ends:
        return replace(found, why=chain.why or found.why, names=tuple(chain.types))
    return replace(found, begin=chain.begins[uuid], end=chain.ends[uuid], why=None)


def _limited(tx: SessionExecutor, row: Any, now: int) -> tuple[int | None, int | None]:
    """(running jobs that count for the limit, when its rate lets one start) of a job that its limit holds."""
    if row.state != "held" or row.hold_code not in (BY_LIMIT, BY_RATE) or not row.limit_key:
        return None, None
    if row.hold_code == BY_LIMIT:
        return dict(limits.running(tx, row.job_type)).get(row.limit_key, 0), None
    limit = limits.of_type(tx, row.job_type)
    if not limit.rate_count:
        return None, None
    key, since = limit.rate_key(row.job_type, row.limit_key), now - limit.rate_ms
    used_up = tx.fetch_all(_LAST, key=key, since=since, n=limit.rate_count - 1)  # none: a start is free
    return None, used_up[0][0] + limit.rate_ms if used_up else None
