"""Batches as plain values for pages, JSON and the command line.

`listing` and `running` read the columns of `job_batches`, which the monitor keeps: at most a second old, and the same
price for any number of members. `one` counts the members exactly. Members whose rows are no longer kept are counted in
`total` only, so `total` may be more than the sum of the states.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import and_, case, func, or_, select

from app import registry
from app.extensions import db
from app.ledger import batch_counts
from app.ledger.costs import Cost, of_batch
from app.ledger.dialect import SessionExecutor
from app.models import LIVE_STATES, JobBatch
from app.services.forecast import words
from app.services.forecast.estimate import Interval
from app.services.instance.retention import KEEP_DAYS
from app.services.jobs import crew, graph_figures, graph_walk, history_order, lookup
from app.services.jobs.views import FailedJobView
from app.support import privacy
from app.support.clock import DAY_MS, HOUR_MS, MINUTE_MS, iso, millis, now_ms, when
from app.support.messages import translate as _, translate_stored
from app.support.validation import ValidationError, stored_object

PAGE, MOST_FAILED, MOST_RUNNING = 50, 10, 3
RATE_MS, LEAST_MS, LAST = 5 * MINUTE_MS, 5_000, 8
MOST_WALKED, MOST_A_PAGE = 500, 2000  # members of a batch, and of all batches of a page, whose graph is read
IDLE = ("held", "blocked", "waiting")  # states in which a member does not run by itself
# SQLite's index of a batch holds the id of each row as well: only those of the last hour are read.
_ENDED = """SELECT batch_id, COUNT(*) FROM job_history WHERE batch_id IN ({ids})
 AND status IN ('completed', 'failed', 'timeout') AND id > :first AND finished_ms >= :since GROUP BY batch_id"""
_LAST = " UNION ALL ".join(f"""SELECT * FROM (SELECT batch_id, uuid FROM jobs WHERE batch_id = {{id}}
 AND state = '{state}' ORDER BY id DESC LIMIT {LAST}) {state}""" for state in LIVE_STATES)
_EDGES = """SELECT j.batch_id, COUNT(*) FROM jobs j JOIN job_edges e ON e.child_uuid = j.uuid AND e.is_open = 1
 WHERE j.batch_id IN ({ids}) GROUP BY j.batch_id"""
_MEMBERS = f"SELECT batch_id, uuid FROM jobs WHERE batch_id IN ({{ids}}) ORDER BY id LIMIT {2 * MOST_A_PAGE}"
CURSOR = re.compile(r"([01])\.(-?\d{1,18})\.(.+)", re.DOTALL)
_is_open = case((JobBatch.closed_ms.is_(None), 1), else_=0)
_moment = func.coalesce(JobBatch.closed_ms, JobBatch.created_ms)  # with the former and the id: the order of the list
IN_JSON = ("id", "name", "state", "tenant_id", "created_by", "on_failure", "total_jobs", "pending_jobs", "failed_jobs",
           "then", "then_uuid")
TIMES = ("created", "sealed", "paused", "cancelled", "finished")


@dataclass(frozen=True)
class BatchView:
    """A batch. `state` is processing, paused, completed, failed (ended, with failed members) or cancelled. `ended` of
    `total_jobs` members have ended; `failed_jobs` wait for a decision. `then` is the type of the job that follows,
    `then_uuid` that job once it is there. `unsealed_long`: a caller may still add members, since over an hour.
    `ours`: no other program wrote the row, so its numbers are those of our jobs. `listed`: besides, no member is so old
    that its row is deleted, so the lists of jobs have all."""

    id: str
    name: str
    state: str
    tenant_id: str | None
    created_by: str | None
    on_failure: str
    total_jobs: int
    pending_jobs: int
    failed_jobs: int
    then: str | None
    then_uuid: str | None
    created: datetime | None
    sealed: datetime | None
    paused: datetime | None
    cancelled: datetime | None
    finished: datetime | None
    unsealed_long: bool
    ours: bool
    listed: bool
    key: str

    @property
    def ended(self) -> int:
        """How many members have ended."""
        return max(self.total_jobs - self.pending_jobs, 0)

    @property
    def then_known(self) -> bool:
        """Whether code here declares the type of the job that follows."""
        return self.then is None or registry.find(self.then) is not None


@dataclass(frozen=True)
class Pace:
    """`a_minute`: members that ended a minute, over the last `over_ms`; `left_ms`: to the end at this pace, None when
    nothing ended lately, or when no member runs by itself. `ends`: the predicted end, None when it is not known;
    `told` says it, or why it is not known ("" once the batch has ended)."""

    a_minute: float
    over_ms: int
    left_ms: int | None
    ends: Interval | None = None
    told: str = ""


@dataclass(frozen=True)
class BatchPage:
    """All of a batch: `members` by live state or final status ("undecided" failed, "bin" in the bin), exact;
    `no_longer_kept` of them have no row any more; `failed` are the newest that failed."""

    batch: BatchView
    members: dict[str, int]
    no_longer_kept: int
    pace: Pace
    costs: list[Cost]
    failed: list[FailedJobView]


def listing(q: str = "", before: str = "", size: int = PAGE, only_open: bool = False) -> tuple[list[BatchView], bool]:
    """At most `size` batches after the cursor `before`, and whether there are more: open ones, then those that ended,
    each the newest first. `q` is searched in names. Raises ValidationError for a bad cursor."""
    b, query = JobBatch, select(JobBatch).order_by(_is_open.desc(), _moment.desc(), JobBatch.id.desc()).limit(size + 1)
    if only_open:
        query = query.where(b.closed_ms.is_(None))
    if q:
        privacy.refuse_search()
        query = query.where(b.name.icontains(q, autoescape=True))
    if before:
        found = CURSOR.fullmatch(before)
        if not found:
            raise ValidationError(_("This address is not complete: go back to the list."))
        is_open, at, last = int(found[1]), int(found[2]), found[3]
        later = or_(_moment < at, and_(_moment == at, b.id < last))
        query = query.where(or_(_is_open < is_open, and_(_is_open == is_open, later)))
    rows = [_view(row) for row in db.session.scalars(query)]
    return rows[:size], len(rows) > size


def running() -> tuple[list[tuple[BatchView, Pace]], int]:
    """The newest open batches, at most 3, with their pace; and how many are open."""
    rows, more = listing(size=MOST_RUNNING, only_open=True)
    open_ones = select(func.count()).select_from(JobBatch).where(JobBatch.closed_ms.is_(None))
    total = db.session.scalar(open_ones) if more else len(rows)
    paces = _paces([(row, row.pending_jobs, 0) for row in rows], now_ms())
    return list(zip(rows, paces, strict=True)), int(total or 0)


def find(text: str) -> BatchView | None:
    """The batch with this id, or whose id begins with these eight or more digits; None when there is none. Raises
    ValidationError when there are several."""
    return exact(lookup.called(text, (JobBatch.id,)))


def exact(batch_id: str) -> BatchView | None:
    """The batch with this id."""
    row = db.session.get(JobBatch, batch_id[:255])
    return _view(row) if row else None


def one(batch: BatchView) -> BatchPage:
    """All of a batch, counted now."""
    tx = SessionExecutor(db.session)
    members = batch_counts.members(tx, batch.id)
    members["undecided"] = members.pop("failed", 0) + members.pop("timeout", 0)
    live = sum(members.get(state, 0) for state in LIVE_STATES)
    idle = sum(members.get(state, 0) for state in IDLE)
    failed = lookup.failed(MOST_FAILED, batch.id) if members["undecided"] else []
    return BatchPage(batch, members, max(batch.total_jobs - sum(members.values()), 0),
                     *_paces([(batch, live, idle)], now_ms()), of_batch(tx, batch.id), failed)


def _paces(batches: list[tuple[BatchView, int, int]], now: int) -> list[Pace]:
    """Of each (batch, live members, those of them that do not run by themselves)."""
    tx, ended, found = SessionExecutor(db.session), {}, []
    if is_open := [batch for batch, _live, _idle in batches if batch.finished is None]:
        first = history_order.bounds(tx, now - RATE_MS, None)[0]
        ended = _by_batch(tx, _ENDED, is_open, first=first, since=now - RATE_MS)
    ends = ends_of([batch for batch, _live, _idle in batches], now)
    for batch, live, idle in batches:
        age = now - millis(batch.created) if batch.created else RATE_MS
        over, count = min(RATE_MS, max(-(-age // 1000) * 1000, LEAST_MS)), sum(ended.get(batch.id, ()))
        known = count and live > idle and batch.paused is None
        found.append(Pace(count * MINUTE_MS / over, over, round(live * over / count) if known else None,
                          *ends[batch.id]))
    return found


def _by_batch(tx: SessionExecutor, statement: str, batches: list[BatchView], **values: Any) -> dict[str, list[Any]]:
    """What a statement finds of each batch, asked once for all: `{ids}` stands for all of them, `{id}` for each."""
    named, found = {f"b{n}": batch.id for n, batch in enumerate(batches)}, defaultdict(list)
    text = " UNION ALL ".join(statement.format(id=f":{name}") for name in named) if "{id}" in statement else (
        statement.format(ids=", ".join(f":{name}" for name in named)))
    for batch_id, value in tx.fetch_all(text, **named, **values):
        found[batch_id].append(value)
    return found


def end_of(batch: BatchView, now: int) -> tuple[Interval | None, str]:
    """When a batch ends; as `ends_of`."""
    return ends_of([batch], now)[batch.id]


def ends_of(batches: list[BatchView], now: int) -> dict[str, tuple[Interval | None, str]]:
    """When the last live members of each batch end: in each state those with the highest ids, which are the last in
    line unless a person moved others; when some of at most 500 members wait for others, that of their graph. With no
    member left to end, or one whose end is not known, the sentence says so. The number of statements does not grow
    with the batches."""
    tx, last, found = SessionExecutor(db.session), {}, {}
    said = {batch.id: (None, _("It is paused.") if batch.ours and batch.paused and not batch.finished else "")
            for batch in batches}
    asked = [batch for batch in batches if batch.ours and batch.paused is None and batch.finished is None]
    for start in range(0, len(asked), PAGE):  # SQLite takes 500 parts of a statement
        last |= _by_batch(tx, _LAST, asked[start : start + PAGE])
    if last:
        found = crew.forecasts([uuid for uuids in last.values() for uuid in uuids])
    chains = _chains(tx, [batch for batch in asked if batch.total_jobs <= MOST_WALKED and any(
        found[uuid].why == "parents" for uuid in last.get(batch.id, ()) if uuid in found)])
    for batch in asked:
        members = [found[uuid] for uuid in last.get(batch.id, ()) if uuid in found]
        missing, chain = next((one for one in members if one.end is None), None), chains.get(batch.id)
        if not members:
            said[batch.id] = None, _("No member is left.")
        elif missing and not (chain and chain.end):
            why, names = (chain.why, chain.types) if chain else (missing.why, missing.names)
            said[batch.id] = None, _("When it ends is not known: %(why)s.", why=words.unknown(why, names))
        else:
            end = chain and chain.end or graph_figures.latest([one.end for one in members if one.end])
            said[batch.id] = end, words.about(words.ENDS, end, now)
    return said


def _chains(tx: SessionExecutor, batches: list[BatchView]) -> dict[str, graph_figures.Forecast]:
    """The forecasts of the graphs of batches, read together. With MOST_A_PAGE members, or twice as many edges, no more
    are read: of the others it is not known."""
    found, some, left = {}, [], MOST_A_PAGE
    edges = _by_batch(tx, _EDGES, batches) if batches else {}
    for batch in batches:
        left -= max(batch.total_jobs, sum(edges.get(batch.id, ())) // 2)
        found[batch.id] = graph_figures.Forecast([], 0.0, 0.0, 0, why=graph_figures.CUT)
        some += [batch] if left >= 0 else []
    if some:
        members = _by_batch(tx, _MEMBERS, some)
        graph = graph_walk.before([uuid for uuids in members.values() for uuid in uuids], 2 * MOST_A_PAGE)
        looked = graph_figures.look(graph, MOST_A_PAGE)
        for name, part in graph_walk.parts(graph, members):
            found[name] = graph_figures.forecast(part, looked.of(part))
    return found


def _view(row: JobBatch) -> BatchView:
    then = stored_object(row.then_json).get("type")
    if row.closed_ms is None:
        state = "paused" if row.paused_ms is not None else "processing"
    else:
        state = "cancelled" if row.cancelled_at is not None else "failed" if row.failed_jobs else "completed"
    is_open = row.closed_ms is None and row.sealed_ms is None
    # A row that another program wrote has times in seconds only.
    created = row.created_ms or (row.created_at or 0) * 1000
    copied = {name: getattr(row, name) for name in (
        "id", "tenant_id", "created_by", "on_failure", "total_jobs", "pending_jobs", "failed_jobs", "then_uuid")}
    return BatchView(
        **copied, name=translate_stored((row.name or row.id)[:255]), state=state,
        then=then if isinstance(then, str) else None,
        created=when(created), sealed=when(row.sealed_ms), paused=when(row.paused_ms),
        cancelled=when(row.cancelled_at and row.cancelled_at * 1000), finished=when(row.closed_ms),
        unsealed_long=is_open and now_ms() - created > HOUR_MS,
        ours=row.created_ms > 0, listed=row.created_ms > now_ms() - KEEP_DAYS * DAY_MS,
        key=f"0.{row.closed_ms}.{row.id}" if row.closed_ms is not None else f"1.{row.created_ms}.{row.id}")


def as_json(batch: BatchView) -> dict[str, Any]:
    """A batch as `batches list --json` prints it; times in UTC."""
    times = {name: getattr(batch, name) for name in TIMES}
    return {name: getattr(batch, name) for name in IN_JSON} | {
        f"{name}_at": iso(millis(at)) if at else None for name, at in times.items()}


def page_as_json(page: BatchPage) -> dict[str, Any]:
    """A batch as `batches show --json` prints it, with the numbers of its members; costs in billionths."""
    return as_json(page.batch) | {
        "members": page.members, "no_longer_kept": page.no_longer_kept, "ended_a_minute": round(page.pace.a_minute, 2),
        "left_ms": page.pace.left_ms, "costs": [cost._asdict() for cost in page.costs],
        "newest_failed": [job.uuid for job in page.failed], "ends": words.plain(page.pace.ends)}
