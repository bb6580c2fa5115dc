"""Lists live and finished jobs together. One filter serves the rows, the count, bulk actions and the CSV.

    address -> JobFilter -> _parts (live, finished) with their ways -> _take -> page | count | matching_ids | iterate

Live jobs come first, sorted by id, newest first. Finished jobs follow, sorted by the id of `job_history`, which rises
with the time of finishing. A cursor is such an id (`before`, `after`), so the 1,000th page costs as much as the first.
On SQLite a full-text index finds finished jobs; the monitor fills it, and the few rows past its watermark are read one
by one. Without such an index all rows are read.
"""

from __future__ import annotations

import re
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any

from sqlalchemy import func, select

from app import registry
from app.extensions import db
from app.ledger.dialect import SessionExecutor
from app.models import FINAL, LIVE_STATES, FailedJob, Job, JobHistory, JobMetric
from app.models.types import as_integer, as_text
from app.services.jobs import crew, payloads, search_index, waiting, why
from app.services.jobs.job_filter import BINNED, DIGITS, HOLDS, JobFilter
from app.services.jobs.queue_rates import first_id
from app.services.jobs.search_ways import Way, ways
from app.services.jobs.views import JobPage, JobRow
from app.support.clock import now_ms, when
from app.support.messages import cleaned, from_row, translate as _, translate_stored
from app.support.redaction import printable, redact
from app.support.validation import ValidationError, parse_uuid

OF_BIN = ("restore", "erase")  # actions on jobs in the bin, and on no others
SIZE, COUNTED, NO_END = 50, 1000, 2**62
PATIENCE_S = 1.5  # of a page for comparing words with jobs that no index has; it says where it stopped
CURSOR = re.compile(r"[lh]\d{1,18}")
MOST_ERROR = 2_000  # characters of an error that a list reads
_ROW = "r.id, r.uuid, r.job_type, r.tenant_id, r.queue, {payload}, r.attempts, r.tries, r.created_ms"
_COLUMNS = {
    "l": f"{_ROW}, r.state, substr(r.reason, 1, {MOST_ERROR}), r.reason_json, NULL, r.available_ms, r.reserved_ms, "
         "r.progress_done, r.progress_total",
    "h": f"{_ROW}, r.status, substr(r.error, 1, {MOST_ERROR}), r.error_json, r.finished_ms, NULL, NULL, NULL, NULL"}
# An export shows all arguments, so it reads the whole payload.
_PAYLOAD = {False: f"substr(r.payload, 1, {payloads.HEAD})", True: "r.payload"}
# A row as `_COLUMNS` reads it. SQLite may hold a value of any type in any column but the id.
_Read = namedtuple("_Read", "id uuid job_type tenant_id queue payload attempts tries created_ms state error error_json "
                            "finished_ms available_ms reserved_ms progress_done progress_total")


@dataclass
class _Part:
    """One of the two tables (`l` live, `h` finished): conditions over alias r with their parameters, exclusive bounds
    of the ids, and the ways to read it. Together the ways find all matching rows."""

    kind: str
    where: list[str] = field(default_factory=lambda: ["1 = 1"])
    values: dict[str, Any] = field(default_factory=dict)
    above: int = -1
    below: int = NO_END
    ways: list[Way] = field(default_factory=list)
    stopped: int | None = None  # the id at which the time was over; rows behind it were not read

    def add(self, condition: str, **values: Any) -> None:
        """Add a condition with its parameters."""
        self.where.append(condition)
        self.values |= values

    def join(self, table: str, condition: str) -> None:
        """Keep only the rows that have a row in `table` (with its alias) for which `condition` holds."""
        self.ways = [replace(way, source=f"{way.source} JOIN {table}") for way in self.ways]
        self.add(condition)


def snapshot_ids() -> dict[str, int]:
    """The highest ids now, by table (`l` live, `h` finished): a page rendered now shows no higher ones."""
    return {kind: db.session.scalar(select(func.max(table.id))) or 0 for kind, table in (("l", Job), ("h", JobHistory))}


def _parts(wanted: JobFilter, top: dict[str, int] | None = None) -> list[_Part]:
    """The tables that can hold matching jobs, the live one first; with `top` only rows up to these ids. None for a
    search of which no character is left: it must not mean all jobs."""
    found: list[_Part] = []
    if wanted.meaningless:
        return found
    tables = ("l", LIVE_STATES, "state", "created_ms"), ("h", FINAL, "status", "finished_ms")
    for kind, all_states, column, time in tables:
        states = wanted.states(all_states)
        if not states or wanted.hold and (kind == "h" or "held" not in states):
            continue
        part = _Part(kind, below=NO_END if top is None else top[kind] + 1)
        if wanted.state:
            part.add(f"r.{column} IN ({', '.join(map(repr, states))})")
            if "completed" not in states:
                part.add(f"r.{column} <> 'completed'")  # names the partial index
        if wanted.hold:
            part.add(f"r.state = 'held' AND r.hold_code IN ({', '.join(map(repr, HOLDS[wanted.hold]))})")
        for name, of in (("queue", "queue"), ("type", "job_type"), ("tenant", "tenant_id")):
            if value := getattr(wanted, name):
                part.add(f"r.{of} = :{name}", **{name: value})
        if (start := wanted.batch) and DIGITS.fullmatch(start):  # "g" follows every digit
            part.add("r.batch_id >= :batch AND r.batch_id < :after_it", batch=start, after_it=start + "g")
        elif start:
            part.add("r.batch_id = :batch", batch=start)
        if wanted.since:
            low = wanted.start_of(wanted.since)
            part.add(f"r.{time} >= :low", low=low)
            part.above = _first_id(low) - 1 if kind == "h" else -1
        if wanted.until:
            high = wanted.start_of(wanted.until, 1)
            part.add(f"r.{time} < :high", high=high)
            part.below = min(part.below, _first_id(high) if kind == "h" else NO_END)
        part.ways = ways(SessionExecutor(db.session), kind, wanted)
        if binned := BINNED.get(wanted.state):
            part.join("failed_jobs b ON b.uuid = r.uuid", f"b.deleted_at {binned}")
        found.append(part)
    return found


def _first_id(at: int) -> int:
    """The lowest id of job_history with a finishing time of `at` (ms) or later."""
    return first_id(SessionExecutor(db.session), "job_history", "finished_ms", at)


def _take(part: _Part, columns: str, size: int, newest_first: bool = True, until: float | None = None) -> list[tuple]:
    """At most `size` rows of the part, sorted by id (the first column): the rows of all its ways, merged. After `until`
    (on time.monotonic()) it stops comparing words, and `part.stopped` says where."""
    tx, rows, order = SessionExecutor(db.session), {}, "DESC" if newest_first else "ASC"
    more = search_index.READ.format("r.reason" if part.kind == "l" else "r.error")
    for way in part.ways:
        where = " AND ".join([way.condition, *part.where, f"{way.key} > :above AND {way.key} < :below"])
        by = f"+{way.key}" if way.unordered else way.key  # no index holds a sum, so the condition's own index is used
        shown = f"{columns}, {more}" if way.words else columns
        sql = f"SELECT {shown} FROM {way.source} WHERE {where} ORDER BY {by} {order} LIMIT {{}}"

        def fetch(last: int | None, n: int, sql: str = sql, way: Way = way) -> list[tuple]:
            above = part.above if last is None or newest_first else last
            below = part.below if last is None or not newest_first else last
            return tx.fetch_all(sql.format(n), above=above, below=below, **part.values, **way.values)

        if way.words:
            found, stopped = search_index.read_on(fetch, way.words, size, until)
            if stopped is not None:
                part.stopped = max(stopped, part.stopped or 0)
        else:
            found = fetch(None, size)
        rows |= {row[0]: row for row in found}
    kept = sorted((key for key in rows if part.stopped is None or key >= part.stopped), reverse=newest_first)
    return [rows[key] for key in kept[:size]]


def page(wanted: JobFilter, before: str = "", after: str = "", size: int = SIZE, whole: bool = False) -> JobPage:
    """The first page, or the page of older jobs than cursor `before`, or of newer jobs than cursor `after`.

    `whole`: with all arguments. Raises ValidationError for a bad cursor.
    """
    cursor, newer = after or before, bool(after)
    if cursor and not CURSOR.fullmatch(cursor):
        raise ValidationError(_("This address is not complete: go back to the list."))
    read: list[tuple[str, _Read]] = []
    seen: dict[str, int] = {}  # saves counting these rows again
    until, stopped = None if newer or whole else monotonic() + PATIENCE_S, None
    for part in reversed(_parts(wanted)) if newer else _parts(wanted):
        if cursor and part.kind != cursor[0] and part.kind == ("h" if newer else "l"):
            continue  # all of it lies on the other side of the cursor
        if cursor and part.kind == cursor[0]:
            at = int(cursor[1:])
            part.above, part.below = (max(part.above, at), part.below) if newer else (part.above, min(part.below, at))
        wanted_here = size + 1 - len(read)
        found = _take(part, _COLUMNS[part.kind].format(payload=_PAYLOAD[whole]), wanted_here, not newer, until)
        read += [(part.kind, _Read(*row)) for row in found]
        if len(read) > size:
            break
        if part.stopped is not None:
            stopped = f"{part.kind}{part.stopped}"
            break
        if not cursor:
            seen[part.kind] = len(found)
    more, rows = len(read) > size, _rows(read[:size], whole)
    rows = rows[::-1] if newer else rows
    return JobPage(rows, seen, older=stopped or (rows[-1].key if rows and (more or newer) else None),
                   newer=rows[0].key if rows and (more if newer else before) else None, stopped=stopped is not None)


def count(wanted: JobFilter, seen: dict[str, int] | None = None) -> tuple[int, bool]:
    """The number of matching jobs, at most 1,000, and whether it is exact (not when the time of a search was over);
    `seen` is `JobPage.seen`."""
    seen = seen or {}
    total, whole, until = sum(seen.values()), True, monotonic() + PATIENCE_S
    for part in _parts(wanted):
        if part.kind not in seen and total <= COUNTED:
            total += len(_take(part, "r.id", COUNTED + 1 - total, until=until))
            whole = whole and part.stopped is None
    return min(total, COUNTED), whole and total <= COUNTED


def matching_ids(wanted: JobFilter, action: str, top: dict[str, int]) -> list[int]:
    """Sorted ids of the matching rows up to `top` that `action` may change: of `jobs` for cancel, else of
    `failed_jobs`."""
    ids: list[int] = []
    for part in _parts(wanted, top):
        if part.kind == "l" and action == "cancel":
            ids += [job for (job,) in _take(part, "r.id", 2**31)]
        elif part.kind == "h" and action != "cancel":
            binned = "IS NOT NULL" if action in OF_BIN else "IS NULL"
            part.join("failed_jobs f ON f.uuid = r.uuid", f"f.deleted_at {binned}")
            ids += [failed for _job, failed in _take(part, "r.id, f.id", 2**31)]
    return sorted(ids)


def rows_of(uuids: list[str], action: str) -> list[int]:
    """Sorted row ids of these jobs that `action` may change: of `jobs` for cancel, else of `failed_jobs`."""
    keys = [key for uuid in uuids if (key := parse_uuid(uuid))]
    query = select(Job.id).where(Job.uuid.in_(keys))
    if action != "cancel":
        deleted = FailedJob.deleted_at
        binned = deleted.is_not(None) if action in OF_BIN else deleted.is_(None)
        query = select(FailedJob.id).where(FailedJob.uuid.in_(keys), binned)
    return sorted(db.session.scalars(query))


def iterate(wanted: JobFilter, step: int = 200) -> Iterator[JobRow]:
    """All matching jobs with their arguments, newest first. A transaction reads 200 jobs, each of at most 256 KB."""
    older: str | None = ""
    while older is not None:
        found = page(wanted, before=older, size=step, whole=True)
        db.session.rollback()
        yield from found.rows
        older = found.older


def _rows(read: list[tuple[str, _Read]], whole: bool) -> list[JobRow]:
    """The rows with facts of other tables: wait and run time of the last attempt, whether the job is in the bin."""
    uuids, now = [as_text(row.uuid) for _kind, row in read], now_ms()
    query = select(JobMetric.uuid, JobMetric.wait_ms, JobMetric.processing_time).where(JobMetric.uuid.in_(uuids))
    last = {uuid: (wait, ran) for uuid, wait, ran in db.session.execute(query.order_by(JobMetric.id))}
    deleted = FailedJob.uuid.in_(uuids), FailedJob.deleted_at.is_not(None)
    binned = set(db.session.scalars(select(FailedJob.uuid).where(*deleted)))
    waits = waiting.sentences(uuid for (_kind, row), uuid in zip(read, uuids, strict=True) if row.state == "waiting")
    told = {} if whole else why.of((uuid for (_kind, row), uuid in zip(read, uuids, strict=True)
                                    if row.state in ("pending", "processing")), brief=True)
    rows = [_row(kind, row, whole, now, uuid in binned, waits.get(uuid), *last.get(uuid, (None, None)))
            for (kind, row), uuid in zip(read, uuids, strict=True)]
    lost = {} if whole else crew.lost(row.uuid for row in rows if row.attempts)
    return [replace(row, why=told[row.uuid].brief if row.uuid in told else None, lost=lost.get(row.uuid, 0))
            for row in rows]


def _row(kind: str, r: _Read, whole: bool, now: int, in_bin: bool, waits: str | None, waited: int | None,
         ran: int | None) -> JobRow:
    job_type, tenant, payload, state, error = map(as_text, (r.job_type, r.tenant_id, r.payload, r.state, r.error))
    error = waits or from_row(error, as_text(r.error_json))
    ready, reserved, done, total = map(as_integer, (r.available_ms, r.reserved_ms, r.progress_done, r.progress_total))
    if state == "pending":
        waited, ran = max(now - (ready or now), 0), None
    elif state == "processing" and when(reserved):
        waited, ran = max(reserved - (ready or reserved), 0), max(now - reserved, 0)
    return JobRow(
        key=f"{kind}{r.id}", uuid=as_text(r.uuid), job_type=job_type[:255], label=registry.label_of(job_type[:255]),
        queue=as_text(r.queue)[:255], tenant_id=tenant and tenant[:255],
        args=payloads.arguments(payload) if whole else None, summary=payloads.headline_argument(payload),
        attempts=as_integer(r.attempts, 0), tries=as_integer(r.tries, 0), state=state,
        error=translate_stored(error and cleaned(error, lambda part: redact(printable(part)))),
        created_at=when(as_integer(r.created_ms)), finished_at=when(as_integer(r.finished_ms)),
        next_at=when(ready) if state == "scheduled" else None, reserved_at=when(reserved),
        percent=min(100 * done // total, 100) if done is not None and total else None,
        live=kind == "l", waited_ms=waited, ran_ms=ran, in_bin=in_bin, why=None)
