"""What pages ask: when a job begins and ends, when a queue is empty, how good predictions were.

monitor: outcomes -> run_times (learned by type) -> plan of the queues -> the fact `forecast` of `meta`, each 2 s
page: a row of `jobs`, its place in the queue -> the curve of the fact -> intervals

The fact may be missing or old (no monitor): then nothing is predicted and `why` is `monitor`. What is not known is None
with a code in `why`; nothing is guessed.
"""

from __future__ import annotations

import contextlib
import math
from bisect import bisect_right
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from app.ledger.dialect import Executor
from app.ledger.rows import among
from app.models.job import BY_LIMIT, BY_RATE, LINE, ORDER
from app.models.types import as_float, as_integer, as_text
from app.services.forecast import calibration, fact, plan as plans
from app.services.forecast.calibration import cut, kinds
from app.services.forecast.estimate import Accuracy, Estimate, Interval, JobForecast, QueueForecast
from app.services.forecast.fact import Fact
from app.services.forecast.plan import Curve
from app.services.forecast.run_times import TypeModel
from app.services.forecast.simulation import Rows, Server, simulate
from app.services.forecast.situation import running_job
from app.support.clock import MINUTE_MS
from app.support.validation import stored_json

LATEST = 500  # predictions that the accuracy is measured by
_ROW = f"""SELECT id, uuid, state, queue, rank, job_type, tenant_id, LENGTH(payload), available_ms, reserved_ms,
 timeout, progress_done, progress_total, hold_code, limit_key, {LINE} FROM jobs WHERE {{which}}"""
_EARLIER = f"(rank > :rank OR rank = :rank AND ({LINE} < :line OR {LINE} = :line AND id < :id))"
_AHEAD = f"FROM jobs WHERE state = 'pending' AND queue = :q AND {_EARLIER}"
_HEAD = f"SELECT rank, {LINE} FROM jobs WHERE state = 'pending' AND queue = :q ORDER BY {ORDER} LIMIT 1"
_KEY_AHEAD = f"SELECT COUNT(*) FROM jobs WHERE limit_key = :key AND state IN ('pending', 'held') AND {_EARLIER}"
# Of many rows at once: 75 ms with 90,000 rows of one key or queue.
_KEY_PLACES = f"""SELECT id, place FROM (
 SELECT id, ROW_NUMBER() OVER (PARTITION BY limit_key ORDER BY {ORDER}) AS place FROM jobs
 WHERE limit_key IN ({{keys}}) AND state IN ('pending', 'held')) r WHERE {{which}}"""
_PLACES = f"""SELECT id, place FROM (SELECT id, ROW_NUMBER() OVER (PARTITION BY queue ORDER BY {ORDER}) AS place
 FROM jobs WHERE state = 'pending' AND queue IN ({{queues}})) r WHERE {{which}}"""
_CHECKED = """SELECT inside, ended_ms - end_ms, ended_ms - average_ms FROM predictions
 WHERE ended_ms IS NOT NULL {which} ORDER BY ended_ms DESC LIMIT :n"""

Models = Callable[[str], TypeModel | None]


@dataclass(frozen=True, slots=True)
class JobRow:
    """What of a row of `jobs` matters here."""

    id: int
    uuid: str
    state: str
    queue: str
    rank: int
    job_type: str
    tenant: str | None
    size: int | None
    available_ms: int
    reserved_ms: int | None
    timeout: int
    done: int | None
    total: int | None
    hold_code: str | None
    limit_key: str | None
    line: float
    key_place: int | None = None  # among the rows of its limit_key, and
    place: int | None = None  # among the ready rows of its queue, where it was asked for many rows at once


def read_rows(tx: Executor, which: str, **values: object) -> list[JobRow]:
    """Rows of `jobs` that meet a condition in SQL."""
    found = []
    for row in tx.fetch_all(_ROW.format(which=which), **values):
        id_, uuid, state, queue, rank, job_type, tenant, size, available, reserved, timeout, *rest = row
        found.append(JobRow(
            id_, uuid, as_text(state) or "", as_text(queue) or "", as_integer(rank, 0) or 0, as_text(job_type) or "",
            as_text(tenant), as_integer(size), as_integer(available, 0) or 0, as_integer(reserved),
            as_integer(timeout, 0) or 0, as_integer(rest[0]), as_integer(rest[1]), as_text(rest[2]), as_text(rest[3]),
            as_float(rest[4], id_)))
    return found


def models(tx: Executor, names: Collection[str] = ()) -> Models:
    """What is known of types: of `names` read at once, of any other when it is asked for."""
    types, named = _listed(names)
    rows = tx.fetch_all(f"SELECT job_type, model, learned FROM run_time_models WHERE job_type IN ({types})",
                        **named) if named else []
    found = dict.fromkeys(names) | {as_text(name) or "": read_model(*stored) for name, *stored in rows}
    return lambda name: found[name] if name in found else found.setdefault(name, models(tx, [name])(name))


def read_model(model: str, learned: str | None) -> TypeModel | None:
    """A model as it was stored; None when it is damaged."""
    for table in (stored_json(learned), None):
        with contextlib.suppress(TypeError, ValueError, AttributeError):
            return TypeModel(stored_json(model), table)
    return None


def of_queues(tx: Executor) -> tuple[dict[str, QueueForecast], int | None]:
    """{queue: forecast} and the age of the forecast in ms; ({}, None) without one."""
    known = fact.load(tx)
    if known is None:
        return {}, None
    now = tx.now()
    return {queue: _of_queue(known, queue, now) for queue in known.serving}, known.age_ms


def _of_queue(known: Fact, queue: str, now: int) -> QueueForecast:
    plan, serving, busy = known.plan, known.serving[queue], known.busy.get(queue, 0)
    names, start = tuple(sorted(plan.unknown.get(queue, ()))), known.last_start.get(queue)
    waits = queue in plan.ready
    still = now - start if waits and start and serving and busy >= serving and queue not in known.paused else None
    empty, code = None, None
    if waits:
        ms, spread, alone = plan.clear.get(queue, [math.nan, 0.0, math.nan])
        if math.isfinite(ms):  # how much arrives is known worse than how long the present rows take
            least = 0.5 * (alone - plan.ready[queue][0][1])
            empty, first = (_begins(known, queue, at, spread, now, least) for at in (ms, alone))
            empty = Interval(min(first.low, empty.low), empty.middle, empty.high + empty.middle - first.middle)
        else:
            code = _why_not(known, queue, ms)
            names = names or tuple(sorted({name for some in plan.unknown.values() for name in some}))
    blind = sum(1 for free in plan.free.get(queue, ()) if math.isinf(free))
    return QueueForecast(empty, code, names, serving, busy, still if still and still >= MINUTE_MS else None,
                         plan.runs, blind)


def _begins(known: Fact, queue: str, ms: float, spread: float, now: int, least: float = 0.0) -> Interval:
    """The interval of a begin `ms` after the plan, as times that are not past nor before `least` ms after the plan."""
    kind, first = f"begin {queue}", calibration.begin(ms, spread, known.plan.doubt)
    found = calibration.scaled(first, known.sides.get(kind, (1.0, 1.0)))
    pause = known.paused.get(queue, 0.0)  # infinite: until a person resumes it, then no begin is asked for
    earliest = known.plan.at_ms + round(max(pause if math.isfinite(pause) else 0.0, least))
    return cut(found.later(known.plan.at_ms), max(earliest, now), 2**62)


def of_job(tx: Executor, uuid: str) -> JobForecast:
    """The forecast of a live job, with its exact place."""
    return of_jobs(tx, [uuid], exact=True).get(uuid) or JobForecast(None, None, None, None, None, None, None)


def of_jobs(tx: Executor, uuids: Sequence[str], exact: bool = False) -> Mapping[str, JobForecast]:
    """The forecasts of live jobs, by uuid, with exact places. Without `exact` no turns of tenants are counted and times
    are those of the last plan, so that the number of statements is the same for any number of rows."""
    rows = read_rows(tx, among(uuids, "uuid")) if uuids else []
    if not rows:
        return {}
    known, of_type, now = fact.load(tx), models(tx, {row.job_type for row in rows}), tx.now()
    keys = known.plan.limited if known else {}
    limited = [row for row in rows if row.limit_key and (row.limit_key in keys or row.job_type in keys)]
    if len(limited) > 1:
        keys, named = _listed({row.limit_key for row in limited})
        places = dict(tx.fetch_all(_KEY_PLACES.format(keys=keys, which=among(row.id for row in limited)), **named))
        rows = [replace(row, key_place=places.get(row.id)) for row in rows]
    if not exact and (ready := [row for row in rows if row.state == "pending"]):
        queues, named = _listed({row.queue for row in ready})
        places = dict(tx.fetch_all(_PLACES.format(queues=queues, which=among(row.id for row in ready)), **named))
        rows = [replace(row, place=places.get(row.id)) for row in rows]
    return {row.uuid: of_row(tx, row, known, of_type, now, exact)[0] for row in rows}


def _listed(texts: Collection[str | None]) -> tuple[str, dict[str, str | None]]:
    """Texts for `IN (...)`: the names of parameters, and their values."""
    named = {f"p{n}": text for n, text in enumerate(texts)}
    return ", ".join(f":{name}" for name in named), named


def of_row(tx: Executor, row: JobRow, known: Fact | None, of_type: Models, now: int,
           exact: bool) -> tuple[JobForecast, tuple[Interval | None, Interval | None]]:
    """The forecast of a row, and the first intervals of begin and end (ms from now) from which it was made."""
    model = of_type(row.job_type)
    run = model.estimate(row.tenant, row.size, now) if model else None
    if row.state == "processing":
        return _running(row, model, run, known, now)
    place, turns, curve, at = _line(tx, row, known, run, exact)
    code = None if known else "monitor"
    if curve is None or known is None:
        code = _why_aside(row) or code or (known and _why_not(known, row.queue, math.nan))
        return JobForecast(None, None, code, place, turns, None, run), (None, None)
    ms, spread = plans.at_place(curve, at) or (math.nan, 0.0)
    if row.state == "scheduled" and row.available_ms - known.plan.at_ms > curve[-1][0]:
        ms = max(ms if math.isfinite(ms) else 0.0, float(row.available_ms - known.plan.at_ms))
    if not math.isfinite(ms):
        return JobForecast(None, None, _why_not(known, row.queue, ms), place, turns, None, run), (None, None)
    # however soon the workers are free: half of what the jobs before it take
    begin = _begins(known, row.queue, ms, spread, now, 0.5 * (ms - curve[0][1]) if row.state == "pending" else 0.0)
    if row.state == "scheduled":
        begin = cut(begin, max(row.available_ms, now), 2**62)
    ahead = calibration.begin(max(ms + known.plan.at_ms - now, 0.0), spread, known.plan.doubt)
    if run is None:
        return JobForecast(begin, None, "types", place, turns, None, None), (ahead, None)
    sides = [known.sides.get(kind, (1.0, 1.0)) for kind in kinds(row.queue, row.job_type, False)]
    first = calibration.end(calibration.scaled(ahead, sides[0]), run)
    last = calibration.after(calibration.scaled(first, sides[1]).later(now), begin, run)
    return JobForecast(begin, last, None, place, turns, None, run), (ahead, first)


def _running(row: JobRow, model: TypeModel | None, run, known: Fact | None, now: int):
    job = running_job(now, row.job_type, row.tenant, row.size, row.reserved_ms, row.timeout, "", row.done, row.total)
    began, most = now - job.ran_ms, job.timeout_ms - job.ran_ms
    left = (model or TypeModel()).remaining(row.tenant, row.size, job.ran_ms, most, job.share, now)
    longer = model.longer_than(row.tenant, row.size, job.ran_ms) if model else None
    start = Interval(began, began, began)
    if left is None:
        return JobForecast(start, None, "longer" if model else "types", None, None, longer, run), (None, None)
    sides = known.sides.get(kinds(row.queue, row.job_type, True)[1], (1.0, 1.0)) if known else (1.0, 1.0)
    last = cut(calibration.scaled(left[0], sides), 0, max(most, 0))
    return JobForecast(start, last.later(now), None, None, None, longer, run), (None, left[0])


def _line(tx: Executor, row: JobRow, known: Fact | None, run: Estimate | None,
          exact: bool) -> tuple[int | None, int | None, Curve | None, float]:
    """The line in which a row waits: its place, the tenants before it, the curve and where on it the row stands."""
    place, turns, ahead = None, None, {"rank": row.rank, "line": row.line, "id": row.id}
    marks = known.plan.marks.get(row.queue) if known else None
    at = _planned(marks, row.rank, row.line) if marks else None
    if row.state == "pending" and exact:
        place = tx.fetch_all(f"SELECT COUNT(*) {_AHEAD}", q=row.queue, **ahead)[0][0] + 1
        if marks and (head := tx.fetch_all(_HEAD, q=row.queue)):  # the rows before it have begun since the plan
            at = place + _planned(marks, as_integer(head[0][0], 0) or 0, as_float(head[0][1], 0)) - 1
        if row.rank < 0:
            others = f"SELECT COUNT(DISTINCT tenant_id) {_AHEAD} AND rank < 0 AND tenant_id <> :tenant"
            turns = tx.fetch_all(others, q=row.queue, tenant=row.tenant or "", **ahead)[0][0]
    elif row.state == "pending" and known and row.id > known.plan.newest and row.rank == 0:
        at = (known.plan.ready.get(row.queue) or [[0]])[-1][0] + 1  # it came since: behind those of the plan
    if row.state == "pending" and not exact:
        place = row.place
    limited = row.state == "held" and row.hold_code in (BY_LIMIT, BY_RATE)
    if known is None or row.state not in ("pending", "scheduled") and not limited:
        return place, turns, None, 0.0
    if row.state == "scheduled":
        at = max(row.available_ms - known.plan.at_ms, 0)
        return None, None, known.plan.later.get(row.queue) or [[float(at), float(at), 0.0]], float(at)
    key = row.limit_key if row.limit_key in known.plan.limited else row.job_type
    if row.limit_key is not None and key in known.plan.limited:
        turn = row.key_place or tx.fetch_all(_KEY_AHEAD, key=row.limit_key, **ahead)[0][0] + 1
        return place, turns, known.plan.limited[key], float(turn)
    if limited:
        return place, turns, None, 0.0
    return (place, turns, *_on_curve(known, row.queue, at or place or 1, run))


def _planned(marks: list[list], rank: int, line: float) -> int:
    """The place of a row in the plan: that of the last group which does not begin behind it."""
    return marks[max(bisect_right(marks, [[-rank, line], math.inf]) - 1, 0)][1]


def _on_curve(known: Fact, queue: str, at: float, run: Estimate | None) -> tuple[Curve | None, float]:
    """The curve of a queue for a row at the place `at`. What came after the plan was made stands behind it: rows like
    this one are added, on the workers as the plan has left them."""
    curve, free = known.plan.ready.get(queue), known.plan.free.get(queue, [])
    if curve and at <= curve[-1][0]:
        return curve, at
    if run is None or not free or queue in known.paused and not curve:
        return curve, at
    if not curve:
        servers = [Server(ms, 0, (queue,)) for ms in free]
        (more,) = simulate([Rows(queue, math.ceil(at), run.mean_ms, run.spread_ms)], servers)
        return [[1.0, more.first_ms, 0.0], [max(at, 1.5), more.last_ms, more.spread_ms]], at
    last, ms, spread = curve[-1]
    more_ms = ms + (at - last) * run.mean_ms / len(free)
    return [*curve, [at, more_ms, math.hypot(spread, run.spread_ms * math.sqrt(at - last) / len(free))]], at


def _why_aside(row: JobRow) -> str | None:
    """Why a row is in no line."""
    if row.state == "waiting":
        return "parents"
    if row.state == "blocked" or row.state == "held" and row.hold_code == "person":
        return "person"
    return row.hold_code if row.state == "held" else None


def _why_not(known: Fact, queue: str, ms: float) -> str:
    if known.paused.get(queue) == math.inf:
        return "paused"
    if not known.serving.get(queue):
        return "workers"
    if all(math.isinf(free) for free in known.plan.free.get(queue, ())):
        return "stuck"
    return "types" if math.isnan(ms) else "growing"


def accuracy(tx: Executor, job_type: str | None = None) -> Accuracy:
    """How good the last 500 predictions of a type, or of all types, were."""
    which, named = ("AND job_type = :t", {"t": job_type}) if job_type is not None else ("", {})
    rows = tx.fetch_all(_CHECKED.format(which=which), n=LATEST, **named)
    errors = [abs(error) for _inside, error, _average in rows if isinstance(error, int)]
    averages = [abs(average) for _inside, _error, average in rows if isinstance(average, int)]
    return Accuracy(len(rows), sum(1 for row in rows if row[0]), round(median(errors)) if errors else None,
                    round(median(averages)) if averages else None)
