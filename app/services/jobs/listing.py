"""Live and finished jobs in one list: one filter feeds the rows, the count, the next page, bulk actions and the CSV.

    address -> JobFilter.read -> _parts (live, finished) -> _take -> page | count | chosen | everything

Live jobs come first, the latest first by id; then the finished by the id of `job_history`, which rises with
the time of finishing. Pages go by these ids (`before`, `after`), so the 1,000th costs what the first does.
Finished jobs are found through SQLite's full-text index as far as it reaches (the monitor fills it), and by
reading the few rows beyond; where there is no such index, by reading rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import func, select

from app import registry
from app.extensions import db
from app.ledger import search
from app.ledger.dialect import SessionExecutor
from app.ledger.queue_rates import first_id
from app.models import FailedJob, Job, JobHistory, JobMetric
from app.models.job import LIVE_STATES
from app.models.job_metric import FINAL
from app.models.types import as_integer as integer
from app.models.types import as_text
from app.services.jobs import payloads
from app.support.clock import millis, now_ms, when
from app.support.messages import cleaned, from_row, translate_stored
from app.support.messages import translate as _
from app.support.redaction import printable, redact
from app.support.validation import ValidationError, check_text, parse_queue, parse_tenant, parse_uuid

GROUPS = {"live": LIVE_STATES, "ended": FINAL, "unsuccessful": ("failed", "timeout"), "bin": ("failed", "timeout")}
OLD_NAMES = {"unhappy": "unsuccessful"}  # in addresses that people have kept
OF_BIN = ("restore", "erase")  # what can be done to jobs in the bin, and to no others
SIZE, COUNTED, NO_END = 50, 1000, 2**62
CURSOR = re.compile(r"[lh]\d{1,18}")
NAMES = ("state", "queue", "type", "tenant", "since", "until", "q")
MOST_ERROR = 2_000  # characters of an error that a list reads
_ROW = "r.uuid, r.job_type, r.tenant_id, r.queue, {payload}, r.attempts, r.tries, r.created_ms"
_COLUMNS = {
    "l": f"r.id, {_ROW}, r.state, substr(r.reason, 1, {MOST_ERROR}), NULL, r.available_ms, r.reserved_ms, "
         "r.progress_done, r.progress_total, r.reason_json",
    "h": f"r.id, {_ROW}, r.status, substr(r.error, 1, {MOST_ERROR}), r.finished_ms, NULL, NULL, NULL, NULL, r.error_json",
}
_PAYLOAD = {False: f"substr(r.payload, 1, {payloads.HEAD})", True: "r.payload"}  # whole for an export, which shows all arguments


@dataclass(frozen=True)
class JobFilter:
    """What a person asked for; `since` and `until` are days of `zone`, both included, of sending (live) or finishing."""

    state: str = ""
    queue: str = ""
    type: str = ""
    tenant: str = ""
    since: str = ""
    until: str = ""
    q: str = ""
    zone: Any = field(default=None, compare=False, repr=False)

    @classmethod
    def read(cls, given: Any, zone: Any) -> JobFilter:
        """From an address or a form; raises ValidationError with a sentence."""
        found = {name: check_text(str(given.get(name, ""))).strip() for name in NAMES}
        found["state"] = OLD_NAMES.get(found["state"], found["state"])
        if found["state"] not in ("", *GROUPS, *LIVE_STATES, *FINAL):
            raise ValidationError(_("Unknown state %(state)s.", state=repr(found["state"][:40])))
        parse_queue(found["queue"])
        parse_tenant(found["tenant"])
        if len(found["q"]) > 200 or len(found["type"]) > 255:
            raise ValidationError(_("The search is longer than 200 characters."))
        for name in ("since", "until"):
            try:
                found[name] = found[name] and date.fromisoformat(found[name]).isoformat()
            except ValueError:
                raise ValidationError(_("A date is written as 2026-11-23.")) from None
        return cls(**found, zone=zone)

    @property
    def query(self) -> dict[str, str]:
        """What stands in the address: the parts that are set."""
        return {name: getattr(self, name) for name in NAMES if getattr(self, name)}

    def states(self, of: tuple[str, ...]) -> list[str]:
        wanted = GROUPS.get(self.state, (self.state,)) if self.state else of
        return [s for s in of if s in wanted]

    def midnight(self, day: str, later: int) -> int:
        """Start of a day of the zone, `later` days on, in ms."""
        moment = date.fromisoformat(day)
        moment += timedelta(days=min(later, (date.max - moment).days))
        return millis(datetime(moment.year, moment.month, moment.day, tzinfo=self.zone))


@dataclass
class _Part:
    """One of the two tables (`l` live, `h` finished): conditions over alias r, its ids' range, and the ways to read it."""

    kind: str
    where: list[str] = field(default_factory=lambda: ["1 = 1"])
    values: dict[str, Any] = field(default_factory=dict)
    above: int = -1
    below: int = NO_END
    ways: list[tuple[str, str]] = field(default_factory=list)  # source, condition

    def add(self, condition: str, **values: Any) -> None:
        self.where.append(condition)
        self.values |= values


def snapshot_ids() -> dict[str, int]:
    """The highest ids there are now: what a page that is rendered now can show."""
    return {"l": db.session.scalar(select(func.max(Job.id))) or 0, "h": db.session.scalar(select(func.max(JobHistory.id))) or 0}


def _parts(wanted: JobFilter, top: dict[str, int] | None = None) -> list[_Part]:
    found = []
    for kind, all_states, column, time in (("l", LIVE_STATES, "state", "created_ms"), ("h", FINAL, "status", "finished_ms")):
        states = wanted.states(all_states)
        if not states:
            continue
        part = _Part(kind, below=NO_END if top is None else top[kind] + 1)
        if wanted.state:
            part.add(f"r.{column} IN ({', '.join(map(repr, states))})")
            if "completed" not in states:
                part.add(f"r.{column} <> 'completed'")  # names the partial index
        for name, of in (("queue", "queue"), ("type", "job_type"), ("tenant", "tenant_id")):
            if value := getattr(wanted, name):
                part.add(f"r.{of} = :{name}", **{name: value})
        if wanted.since:
            low = wanted.midnight(wanted.since, 0)
            part.add(f"r.{time} >= :low", low=low)
            part.above = _first_id(low) - 1 if kind == "h" else -1
        if wanted.until:
            high = wanted.midnight(wanted.until, 1)
            part.add(f"r.{time} < :high", high=high)
            part.below = min(part.below, _first_id(high) if kind == "h" else NO_END)
        _choose_ways(part, wanted, states)
        if wanted.state == "bin":
            part.ways = [(f"{source} JOIN failed_jobs b ON b.uuid = r.uuid", condition) for source, condition in part.ways]
            part.add("b.deleted_at IS NOT NULL")
        found.append(part)
    return found


def _first_id(at: int) -> int:
    """The lowest id of job_history finished at or after `at` (ms)."""
    return first_id(SessionExecutor(db.session), "job_history", "finished_ms", at)


def _choose_ways(part: _Part, wanted: JobFilter, states: list[str]) -> None:
    """By a whole uuid, the start of one, and words in arguments and error: through the index as far as it reaches."""
    tx, table = SessionExecutor(db.session), "jobs r" if part.kind == "l" else "job_history r"
    as_text, text = wanted.q.split(), wanted.q.lower()
    if parse_uuid(text):
        part.ways.append((table, "r.uuid = :uuid"))
        part.values["uuid"] = parse_uuid(text)
        return
    reach = search.watermark(tx) if part.kind == "h" else 0
    fields = {"job_type": wanted.type, "tenant_id": wanted.tenant, "queue": wanted.queue}
    reads = [search.like(tx, "reason" if part.kind == "l" else "error", f"w{n}") for n in range(len(as_text))]
    part.values |= {f"w{n}": search.pattern(word) for n, word in enumerate(as_text)}
    read = " AND ".join(reads) or "1 = 1"
    match = search.match(as_text, fields, states if wanted.state else []) if reach else ""
    if match and (as_text or any(fields.values())):
        part.ways += [(table, f"r.id > :reach AND {read}"), (search.SOURCE, search.MATCHES)]
        part.values |= {"reach": reach, "match": match}
    else:
        part.ways.append((table, read))
    if re.fullmatch(r"[0-9a-f-]{4,35}", text):
        part.ways.append((table, "r.uuid >= :start AND r.uuid < :stop"))
        part.values |= {"start": text, "stop": text + "g"}


def _take(part: _Part, columns: str, size: int, newest_first: bool = True) -> list[tuple]:
    """At most `size` rows of the part, in order of id (the first column), read in each of its ways and merged."""
    tx, rows, where, order = SessionExecutor(db.session), {}, " AND ".join(part.where), "DESC" if newest_first else "ASC"
    for source, condition in part.ways:
        key = "s.rowid" if source.startswith(search.SOURCE) else "r.id"
        statement = f"SELECT {columns} FROM {source} WHERE {condition} AND {where} AND {key} > :above AND {key} < :below "
        statement += f"ORDER BY {key} {order} LIMIT {size}"
        if ":start" in condition:
            statement = statement.replace("ORDER BY ", "ORDER BY +")  # by the index of uuids, not along the ids
        used = {name: value for name, value in part.values.items() if re.search(rf":{name}\b", statement)}
        rows |= {row[0]: row for row in tx.fetch_all(statement, above=part.above, below=part.below, **used)}
    return [rows[key] for key in sorted(rows, reverse=newest_first)[:size]]


def page(wanted: JobFilter, before: str = "", after: str = "", size: int = SIZE, whole: bool = False) -> dict[str, Any]:
    """`rows`, newest first, and the cursors `older` and `newer` (None at either end); with their arguments when `whole`.

    Raises ValidationError for a bad cursor.
    """
    cursor, newer = after or before, bool(after)
    if cursor and not CURSOR.fullmatch(cursor):
        raise ValidationError(_("This address is not complete: go back to the list."))
    rows: list[dict[str, Any]] = []
    seen: dict[str, int] = {}  # parts of which all rows were seen, so that nobody need count them again
    for part in reversed(_parts(wanted)) if newer else _parts(wanted):
        if cursor and part.kind != cursor[0] and part.kind == ("h" if newer else "l"):
            continue  # all of it lies on the other side of the cursor
        if cursor and part.kind == cursor[0]:
            at = int(cursor[1:])
            part.above, part.below = (max(part.above, at), part.below) if newer else (part.above, min(part.below, at))
        wanted_here = size + 1 - len(rows)
        found = _take(part, _COLUMNS[part.kind].format(payload=_PAYLOAD[whole]), wanted_here, not newer)
        rows += [_row(part.kind, row, whole) for row in found]
        if not cursor and len(found) < wanted_here:
            seen[part.kind] = len(found)
        if len(rows) > size:
            break
    more, rows = len(rows) > size, _with_times(rows[:size])
    rows = rows[::-1] if newer else rows
    return {
        "rows": rows, "whole": seen, "older": rows[-1]["key"] if rows and (more or newer) else None,
        "newer": rows[0]["key"] if rows and (more if newer else before) else None,
    }


def count(wanted: JobFilter, whole: dict[str, int] | None = None) -> tuple[int, bool]:
    """How many jobs match, counted to 1,000, and whether there are no more; `whole` is what `page` has counted already."""
    whole = whole or {}
    total = sum(whole.values())
    for part in _parts(wanted):
        if part.kind not in whole and total <= COUNTED:
            total += len(_take(part, "r.id", COUNTED + 1 - total))
    return min(total, COUNTED), total <= COUNTED


def matching_ids(wanted: JobFilter, action: str, top: dict[str, int]) -> list[int]:
    """Row ids that `action` may change among all that match and stood there at `top`: of `jobs` for cancel, else of `failed_jobs`."""
    ids: list[int] = []
    for part in _parts(wanted, top):
        if part.kind == "l" and action == "cancel":
            ids += [row[0] for row in _take(part, "r.id", 2**31)]
        elif part.kind == "h" and action != "cancel":
            part.ways = [(f"{source} JOIN failed_jobs f ON f.uuid = r.uuid", condition) for source, condition in part.ways]
            part.add("f.deleted_at IS NOT NULL" if action in OF_BIN else "f.deleted_at IS NULL")
            ids += [row[1] for row in _take(part, "r.id, f.id", 2**31)]
    return sorted(ids)


def rows_of(uuids: list[str], action: str) -> list[int]:
    """Row ids of the ticked jobs that `action` may change: of `jobs` for cancel, else of `failed_jobs`."""
    keys = [key for uuid in uuids if (key := parse_uuid(uuid))]
    query = select(Job.id).where(Job.uuid.in_(keys))
    if action != "cancel":
        deleted = FailedJob.deleted_at
        query = select(FailedJob.id).where(FailedJob.uuid.in_(keys), deleted.is_not(None) if action in OF_BIN else deleted.is_(None))
    return sorted(db.session.scalars(query))


def iterate(wanted: JobFilter, step: int = 200) -> Iterator[dict[str, Any]]:
    """All rows that match with their arguments, newest first, in short transactions: 200 rows of at most 256 KB at a time."""
    older = ""
    while older is not None:
        found = page(wanted, before=older, size=step, whole=True)
        db.session.rollback()
        yield from found["rows"]
        older = found["older"]


def _with_times(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Wait and run of each job's last attempt in ms, and whether it lies in the bin."""
    uuids, now = [row["uuid"] for row in rows], now_ms()
    query = select(JobMetric.uuid, JobMetric.wait_ms, JobMetric.processing_time).where(JobMetric.uuid.in_(uuids)).order_by(JobMetric.id)
    last = {uuid: (wait, ran) for uuid, wait, ran in db.session.execute(query)}
    binned = set(db.session.scalars(select(FailedJob.uuid).where(FailedJob.uuid.in_(uuids), FailedJob.deleted_at.is_not(None))))
    for row in rows:
        waited, ran = last.get(row["uuid"], (None, None))
        ready = row.pop("ready_ms")
        if row["state"] == "pending":
            waited, ran = max(now - (ready or now), 0), None
        elif row["state"] == "processing" and row["reserved_at"]:
            at = millis(row["reserved_at"])
            waited, ran = max(at - (ready or at), 0), max(now - at, 0)
        row |= {"waited_ms": waited, "ran_ms": ran, "in_bin": row["uuid"] in binned}
    return rows


def _row(kind: str, row: tuple, whole: bool) -> dict[str, Any]:
    uuid, job_type, tenant, queue, payload, state, error = (as_text(row[n]) for n in (1, 2, 3, 4, 5, 9, 10))
    said = error and cleaned(from_row(error, as_text(row[16])), lambda part: redact(printable(part)))
    attempts, tries = integer(row[6], 0), integer(row[7], 0)
    created, finished, available, reserved, done, total = (integer(row[n]) for n in (8, 11, 12, 13, 14, 15))
    return {
        "key": f"{kind}{row[0]}", "uuid": uuid, "job_type": job_type[:255], "label": registry.label_of(job_type[:255]), "queue": queue[:255],
        "tenant_id": tenant and tenant[:255], "args": payloads.arguments(payload) if whole else None, "summary": payloads.headline_argument(payload),
        "attempts": attempts, "tries": tries, "state": state, "error": translate_stored(said),
        "created_at": when(created), "finished_at": when(finished), "next_at": when(available) if state == "scheduled" else None,
        "reserved_at": when(reserved), "percent": min(100 * done // total, 100) if done is not None and total else None, "live": kind == "l",
        "ready_ms": available,
    }
