"""Lists live and finished jobs together. One filter serves the rows, the count, bulk actions and the CSV.

    address -> JobFilter -> _parts (live, finished) with their ways -> _take -> page | count | ids | iterate

Live jobs come first, sorted by id, newest first. Finished jobs follow, sorted by the id of `job_history`, which rises
with the time of finishing. With `sort` both are sorted by a value, then by id; jobs without that value stand last. A
cursor (`before`, `after`) has the id and the value of a row, so the 1,000th page costs as much as the first.
An index of words finds finished jobs; the monitor fills it. Live jobs and the few rows past its watermark are read one
by one, and the page says where it stopped. Facts have indexes of their own: the one with the fewest rows is used
(`list_plan`). Where no index helps, rows are read, for 2 s at most: then `TooSlow` is raised.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from time import monotonic

from sqlalchemy import func, select

from app.extensions import db
from app.ledger.dialect import SessionExecutor, TooSlow, limited
from app.models import FINAL, LIVE_STATES, Deploy, Job, JobHistory
from app.models.types import as_text
from app.services.jobs import filter_sql, history_order, search_index, search_text
from app.services.jobs.job_filter import BINNED, DIGITS, GROUPS, HOLDS, SORTS, JobFilter
from app.services.jobs.list_plan import Part, Way, sort_finished, sort_live
from app.services.jobs.list_rows import COLUMNS, PAYLOAD, Read, rows_from
from app.services.jobs.views import JobPage, JobRow
from app.support.clock import now_ms
from app.support.messages import translate as _
from app.support.validation import ValidationError, parse_uuid

OF_BIN = ("restore", "erase")  # actions on jobs in the bin, and on no others
SIZE, COUNTED = 50, 1000
CURSOR = re.compile(r"([lhmi])(\d{1,18})(?:\.(-?\d{1,18})\.(\d{1,18}))?")  # segment, id, value, now
PAGE_S, COUNT_S, EXPORT_S = 2.0, 1.0, 60.0  # reading of a table, at most
CHEAP_S, CLICK_S = 0.15, 10.0  # counting on past COUNTED: unasked on the first look, and at a click
PLAIN, MOST_COUNTED = {"state", "queue", "type", "tenant", "batch", "hold", "since", "until", "deploy", "sort"}, 300_000
WORDS = 0.7  # of that time for comparing words one by one: then the page shows what it has, and goes on from there
TABLES = {"l": "jobs r", "h": "job_history r"}


def snapshot_ids() -> dict[str, int]:
    """The highest ids now, by table (`l` live, `h` finished): a page rendered now shows no higher ones."""
    return {kind: db.session.scalar(select(func.max(table.id))) or 0 for kind, table in (("l", Job), ("h", JobHistory))}


def _parts(wanted: JobFilter, top: dict[str, int] | None = None, now: int = 0) -> list[Part]:
    """What can hold matching jobs, in the order of the list; with `top` only rows up to these ids. `now` (ms) is the
    time until which running jobs have run. Nothing for a search that means nothing: it must not mean all jobs."""
    few = len(wanted.query) > 1 and wanted.sort.removeprefix("-") in SORTS and count(wanted)[1]
    found = _of_tables(wanted, top, now, few)
    if times := wanted.between("outcome"):  # what failed then, beside what ended then, read in the order of the list
        ended = {part.segment: part for part in _of_tables(replace(wanted, outcome=""), top, now, few, times)}
        found = [part.beside(ended[part.segment]) if part.kind == "h" else part for part in found]
    return found


def _of_tables(wanted: JobFilter, top: dict[str, int] | None, now: int, few: bool,
               ended: tuple[int, int] | None = None) -> list[Part]:
    """As `_parts`; with `ended` (ms) only jobs that completed or failed between these times. `few`: so few match that
    the index of the order is not worth it."""
    found, now, tx = [], now or now_ms(), SessionExecutor(db.session)
    if wanted.meaningless:
        return []
    had = filter_sql.had_outcome(tx, wanted)
    wanted = replace(wanted, **filter_sql.OF_OUTCOME) if had else wanted
    tables = ("l", LIVE_STATES, "state", "created_ms"), ("h", FINAL, "status", "finished_ms")
    for kind, all_states, column, time in tables:
        states, facts = wanted.states(all_states), filter_sql.live(wanted) if kind == "l" else ([], {})
        if not states or facts is None or (ended and kind == "l") or wanted.hold and (
                kind == "h" or "held" not in states):
            continue
        part = Part(kind, below=history_order.NO_END if top is None else top[kind] + 1, values={"now": now})
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
        _add_times(part, wanted, time, ended)
        conditions, values, part.check = filter_sql.arguments(wanted)
        for condition in (*facts[0], *conditions):
            part.add(condition, **facts[1], **values)
        if wanted.clock:
            table = "jobs" if kind == "l" else "job_history"
            part.add(filter_sql.clock(tx, wanted, table, time, now))
        part.ways = _ways(kind, wanted, states, had)
        if binned := BINNED.get(wanted.state):
            part.add(f"EXISTS (SELECT 1 FROM failed_jobs b WHERE b.uuid = r.uuid AND b.deleted_at {binned})")
        found += sort_live(part, wanted) if kind == "l" else sort_finished(tx, part, wanted, states, few)
    found.sort(key=lambda part: part.segment in "mi")
    return found[::-1] if wanted.sort == "when" else found


def _add_times(part: Part, wanted: JobFilter, column: str, ended: tuple[int, int] | None) -> None:
    """Bounds of the time `column`, which for finished jobs are bounds of the ids too."""
    lows = [wanted.moment("since")] if wanted.since else []
    if wanted.deploy:
        at = db.session.scalar(select(Deploy.at_ms).where(Deploy.id == int(wanted.deploy)))
        lows.append(2**62 if at is None else at)
    low, high = max(lows) if lows else None, wanted.moment("until") if wanted.until else None
    if low is not None:
        part.add(f"r.{column} >= :low", low=low)
    if high is not None:
        part.add(f"r.{column} < :high", high=high)
    if ended:
        part.add(f"r.{column} >= :ended_from AND r.{column} < :ended_to", ended_from=ended[0], ended_to=ended[1])
        part.add(f"r.status IN ({', '.join(map(repr, GROUPS['counted']))})")
        low, high = max(ended[0], low or 0), min(ended[1], high or history_order.NO_END)
    if part.kind == "h":
        above, below = history_order.bounds(SessionExecutor(db.session), low, high)
        part.above, part.below = above, min(part.below, below)


def _ways(kind: str, wanted: JobFilter, states: list[str], had: tuple[str, dict[str, object]] | None) -> list[Way]:
    """By the whole uuid of a job; else by words (search_index.py) and by the start of a uuid."""
    tx, table, text = SessionExecutor(db.session), TABLES[kind], wanted.q.strip().lower()
    also, of_had = (f" AND {had[0]}", had[1]) if had else ("", {})
    if (uuid := parse_uuid(text)) and any(tx.fetch_all(f"SELECT 1 FROM {of} WHERE uuid = :u", u=uuid)
                                          for of in TABLES.values()):
        return [Way(table, f"r.uuid = :uuid{also}", {"uuid": uuid} | of_had, unordered=True)]
    words = tuple([*search_text.words(wanted.q), *map(search_text.fold, filter_sql.words_of(wanted))])
    if wanted.action:  # the rows that it touched are read
        return [Way(f"audit_jobs a CROSS JOIN {table}", f"a.audit_id = :action AND r.uuid = a.uuid{also}",
                    {"action": int(wanted.action)} | of_had, unordered=True, words=words)]
    by_start = [Way(table, f"r.uuid >= :start AND r.uuid < :stop{also}", {"start": text, "stop": text + "g"} | of_had,
                    unordered=True)] if re.fullmatch(r"[0-9a-f-]{4,36}", text) else []
    if had:
        return [Way(table, *had, unordered=True, words=words), *by_start]
    columns = {"job_type": wanted.type, "tenant_id": wanted.tenant, "queue": wanted.queue,
               "status": states[0] if wanted.state and len(states) == 1 else ""}
    columns = {name: value for name, value in columns.items() if value}
    of_row = not wanted.batch and columns.keys() - {"status"}  # a batch has its own index, the others of a state too
    reach = search_index.reach(tx) if kind == "h" and (words or of_row and search_index.has_index(tx)) else 0
    ways = [Way(table, "1 = 1", {}, unordered=bool(wanted.batch and not words), words=words)]
    if reach:
        source, condition, values, key = search_index.lookup(tx, words, columns, indexed=not wanted.batch)
        ways = [Way(table, "r.id > :reach", {"reach": reach}, words=words),
                Way(table, search_index.CHANGED, {}, words=words),
                Way(source, f"{condition} AND {key} <= :reach", values | {"reach": reach}, key, bool(wanted.batch))]
    return [*ways, *by_start]


def _take(part: Part, columns: str, size: int, descending: bool = True) -> list[tuple]:
    """At most `size` rows of the part in its order, each after its value: the rows of all its ways, merged."""
    tx, rows = SessionExecutor(db.session), {}
    for way in part.ways:
        rows |= {row[1]: row for row in part.read(tx, way, columns, size, descending)}
    kept = [row for row in rows.values() if part.stopped is None or row[1] >= part.stopped]
    return sorted(kept, key=lambda row: row[:2], reverse=descending)[:size]


def page(wanted: JobFilter, before: str = "", after: str = "", size: int = SIZE, whole: bool = False,
         seconds: float = PAGE_S) -> JobPage:
    """The first page, or the page of older jobs than cursor `before`, or of newer jobs than cursor `after`.

    `whole`: with all arguments. Raises ValidationError for a bad cursor, TooSlow after `seconds` of reading.
    """
    cursor, newer = after or before, bool(after)
    parsed = CURSOR.fullmatch(cursor) if cursor else None
    segment, at, value, now = parsed.groups() if parsed else (None, 0, None, None)
    now = int(now or now_ms())
    parts = _parts(wanted, now=now)
    order = "hl" if wanted.sort == "when" else "lhmi" if wanted.sort else "lh"
    if cursor and (not parsed or segment not in order or any(
            part.segment == segment and bool(part.value) != bool(value) for part in parts)):
        raise ValidationError(_("This address is not complete: go back to the list."))
    descending = not wanted.sort or wanted.sort.startswith("-")
    read: list[tuple[Part, tuple, Read]] = []
    seen, stopped = {}, None  # `seen` saves counting these rows again
    for part in parts[::-1] if newer else parts:
        far = order.find(part.segment) - order.find(segment) if segment else 1
        if cursor and (far > 0 if newer else far < 0):
            continue  # all of it lies on the other side of the cursor
        part.at = (int(value or 0), int(at)) if cursor and not far else None
        part.until = monotonic() + seconds * WORDS
        wanted_here = size + 1 - len(read)
        with limited(db.session, seconds):
            found = _take(part, COLUMNS[part.kind].format(payload=PAYLOAD[whole]), wanted_here, descending != newer)
        read += [(part, row[:2], Read(*row[3:])) for row in found]
        if len(read) > size:
            break
        if part.stopped is not None:
            stopped = part.cursor(0, part.stopped, now)
            break
        if not cursor and not wanted.sort:
            seen[part.kind] = len(found)
    more, read = len(read) > size, read[:size][::-1 if newer else 1]
    rows = rows_from([(part.kind, row) for part, _at, row in read], whole)
    keys = [part.cursor(*at, now) for part, at, _row in read]
    tx, missing = SessionExecutor(db.session), any(part.by_facts for part in parts)
    return JobPage(rows, seen, stopped=stopped is not None,
                   older=stopped or (keys[-1] if rows and (more or newer) else None),
                   newer=keys[0] if rows and (more if newer else before) else None,
                   behind=filter_sql.behind(tx) if missing else 0)


def count(wanted: JobFilter, seen: dict[str, int] | None = None, most: int = COUNTED,
          seconds: float = COUNT_S) -> tuple[int, bool]:
    """The number of matching jobs, at most `most`, and whether it is exact; `seen` is `JobPage.seen`. When counting
    in a table takes longer than `seconds`, it is the number counted until then, and not exact."""
    seen = seen or {}
    total, whole = sum(seen.values()), True
    for part in _parts(replace(wanted, sort="")):
        if part.kind not in seen and total <= most:
            part.until = monotonic() + seconds * WORDS
            try:
                with limited(db.session, seconds):
                    total += len(_take(part, "r.id", most + 1 - total))
            except TooSlow:
                return min(total, most), False
            whole = whole and part.stopped is None
    return min(total, most), whole and total <= most


def count_all(wanted: JobFilter, seconds: float) -> int | None:
    """The exact number of matching jobs, when it can be counted within `seconds`; None else. What needs only the
    columns of a row (state, queue, type, tenant, batch, time) is counted by the database, anything else row by row."""
    total = 0
    for part in _parts(replace(wanted, sort="")):
        part.until = monotonic() + seconds * WORDS
        try:
            with limited(db.session, seconds):
                if wanted.query.keys() <= PLAIN:
                    sql = f"SELECT COUNT(*) FROM {TABLES[part.kind]} WHERE {' AND '.join(part.where)} AND r.id > :above"
                    rows = SessionExecutor(db.session).fetch_all(f"{sql} AND r.id < :below", **part.values,
                                                                 above=part.above, below=part.below)
                    total += rows[0][0]
                else:
                    total += len(_take(part, "r.id", MOST_COUNTED - total))
        except TooSlow:
            return None
        if part.stopped is not None or total >= MOST_COUNTED:
            return None
    return total


def live_ids(wanted: JobFilter, top: dict[str, int], until: float | None = None) -> list[int]:
    """Sorted ids of the matching rows of `jobs` up to `top`. Raises TooSlow after `until`, on time.monotonic()."""
    return sorted(row[-1] for part in _parts(replace(wanted, sort=""), top) if part.kind == "l"
                  for row in _whole(part, "r.id", 2**31, until))


def failed_ids(wanted: JobFilter, top: dict[str, int], until: float | None = None) -> tuple[list[int], list[int]]:
    """Sorted ids of the matching rows of `failed_jobs`, outside the bin and in it. Raises TooSlow as `live_ids`."""
    found: tuple[list[int], list[int]] = [], []
    for part in _parts(replace(wanted, sort=""), top):
        if part.kind == "h":
            part.join("failed_jobs g ON g.uuid = r.uuid", "1 = 1")
            columns = "g.id, CASE WHEN g.deleted_at IS NULL THEN 0 ELSE 1 END"
            for *_row, id_, binned in _whole(part, columns, 2**31, until):
                found[binned].append(id_)
    return sorted(found[0]), sorted(found[1])


def ended(wanted: JobFilter, top: dict[str, int], most: int, until: float | None = None) -> Counter[str]:
    """How many finished jobs match, by status, up to the ids `top`; of more than `most` only that many and one. Raises
    TooSlow as `live_ids`."""
    return Counter(as_text(row[-1]) or "" for part in _parts(replace(wanted, sort=""), top) if part.kind == "h"
                   for row in _whole(part, "r.status", most + 1, until))


def _whole(part: Part, columns: str, size: int, until: float | None) -> list[tuple]:
    part.until = until
    rows = _take(part, columns, size)
    if part.stopped is not None or until is not None and monotonic() > until:
        raise TooSlow
    return rows


def gone(action: str) -> int:
    """How many of the jobs that an action touched are in no list any more."""
    sql = """SELECT COUNT(*) FROM audit_jobs a WHERE a.audit_id = :action
 AND NOT EXISTS (SELECT 1 FROM jobs r WHERE r.uuid = a.uuid)
 AND NOT EXISTS (SELECT 1 FROM job_history r WHERE r.uuid = a.uuid)"""
    return int(SessionExecutor(db.session).fetch_all(sql, action=int(action))[0][0])


def iterate(wanted: JobFilter, step: int = 200) -> Iterator[JobRow]:
    """All matching jobs with their arguments, in their order. A transaction reads 200 jobs, each of at most 256 KB."""
    older: str | None = ""
    while older is not None:
        found = page(wanted, before=older, size=step, whole=True, seconds=EXPORT_S)
        db.session.rollback()
        yield from found.rows
        older = found.older
