"""ProcessCsvImport: imports a CSV of contents (`reference,title,body`, other columns as attributes) into `contents`.

    begin   finds the record after which to go on (`row_no` of `import_runs`); a new round deletes the rejects before
    survey  reads all records once: counts them and finds the last good record of each reference
    save    writes 500 records in one short transaction: contents (import_write.py), import_rejects, import_runs

* A killed attempt: `row_no` and the counts are committed with each chunk, so the next attempt goes on after it and the
  result counts all attempts. A retry by a person is a new round and starts from the beginning.
* Two attempts at once (one was wrongly judged dead): a chunk is written only if `row_no` has not changed since this
  attempt read it; otherwise the attempt goes on after the new `row_no`.
* A bad record is stored in `import_rejects`. When a file has a reference twice, its last good record counts. The
  earlier ones change nothing; the report shows them with the line that counts, and they count as unchanged (and as
  repeated). So a second import of the same file changes nothing, and
  rows = inserted + updated + unchanged + rejected = all records of the file.
* The report stores the first 10,000 rows or 8 MB of text; all are counted. Without this limit a bad CSV of 16 MB made
  4.2 million rows, 521 MB in the database.
* A file that cannot be read, and a tenant without a connection to a service of `sync`, raise PermanentError with a
  sentence before any row is written.
* With `sync` the last step dispatches jobs for the contents of the file that a service does not have as they are here,
  once, whatever is killed (services/content/sync_start.py).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any, Literal

from huey.exceptions import CancelExecution
from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError, OperationalError

from app.execution.job_context import JobContext
from app.extensions import db, reading
from app.integrations.csv_files import CsvFile, peek_csv
from app.integrations.text_files import NAMES, find_encoding
from app.jobs.declare import job
from app.models import ImportReject, ImportRun
from app.registry import PermanentError, UploadedFile
from app.services.content import import_write, sync_start
from app.services.content.import_rows import KINDS, REQUIRED, LastOnes, Row, entry, located, read_rows
from app.support.clock import now_ms
from app.support.messages import Message, text_of
from app.support.validation import ValidationError

REPORT_ROWS, REPORT_BYTES = 10_000, 8 << 20
CHUNK_ROWS, CHUNK_CHARS, CHUNK_COUNTED = 500, 2 << 20, 20_000  # rows to write; characters; rows in all
SURVEY_STEP = 5000  # records between two reports of the progress
WRITE_TRIES = 5
COUNTS = ("inserted", "updated", "unchanged", "rejected")
CLEARING = -1  # `row_no` while the rejects of the previous round are being deleted
REJECTS, RUNS = ImportReject.__table__, ImportRun.__table__


@job("ProcessCsvImport", queue="low", tries=3, backoff=(60, 300, 1800), timeout=300, label="CSV Import",
     description=Message("Import a file of contents: returns the counts of all attempts of this round, "
                         "and the encoding it was read in."))
def process_csv_import(path: UploadedFile, encoding: Literal[NAMES] | None = None,  # type: ignore[valid-type]
                       columns: dict[str, str] | None = None,
                       kind: Literal[KINDS] = "contents",  # type: ignore[valid-type]
                       sync: list[Literal["wordpress", "prestashop"]] | None = None, *, ctx: JobContext) -> dict:
    """Import a file; returns the counts of all attempts of this round and the encoding, as `{"rows": 3, ...}`.

    `encoding` None detects it; `columns` renames columns: `{"titolo": "title"}`. `kind` "products": the file needs no
    body, and `name` is the title when it has none. With `sync` the contents of the file that these services do not have
    as they are here are synced afterwards; the result says so: `{"sync": {"batch": id, "jobs": 2, "syncs": 310}}`,
    None when there was nothing to sync.
    """
    done = begin(ctx.uuid, ctx.retry_round)
    try:
        source = located(peek_csv(path.path, REQUIRED, find_encoding(path.path, encoding), columns), columns, kind)
        for service in sync or ():
            sync_start.Wish(service).check([ctx.tenant_id or ""])
        db.session.rollback()
    except ValidationError as error:
        raise PermanentError(text_of(error)) from None
    last = LastOnes(path.path.stat().st_size)
    total = survey(source, last, done, ctx)
    facts = {"file": path.filename, "dialect": source.dialect, "n": total}
    resumed = Message("%(file)s: %(dialect)s, %(n)s records; going on behind record %(done)s", done=done, **facts)
    ctx.log(resumed if done else Message("%(file)s: %(dialect)s, %(n)s records", **facts))
    for chunk in chunks(source, done):
        done = save(chunk, source, last, done, ctx)
        ctx.progress(done, total, Message("%(done)s of %(total)s records", done=done, total=total))
    shown = (*COUNTS, "repeated", "kept")
    query = select(*(RUNS.c[name] for name in shown)).where(RUNS.c.uuid == ctx.uuid)
    counts = dict(db.session.execute(query).mappings().one())
    db.session.rollback()
    kept, found = counts.pop("kept"), counts["rejected"] + counts["repeated"]
    if kept < found:
        ctx.log(Message(
            "The report keeps the first %(kept)s of %(total)s rows; all are counted.", kept=kept, total=found), "WARN")
    ctx.progress(total, total, Message("%(done)s of %(total)s records", done=total, total=total))
    result = {"rows": sum(counts[name] for name in COUNTS), **counts, "encoding": source.encoding.shown}
    return result | {"sync": dispatch_syncs(source, path.filename, last, sync, ctx)} if sync else result


def begin(uuid: str, round_no: int) -> int:
    """The number of the last record that this round has committed, 0 at first. Raises CancelExecution when a later
    round has begun."""
    session, mine = db.session, RUNS.c.uuid == uuid
    while True:
        fresh = dict.fromkeys((*COUNTS, "repeated", "kept", "kept_bytes"), 0)
        fresh |= {"round": round_no, "touched_ms": now_ms()}
        run = session.execute(select(RUNS.c.round, RUNS.c.row_no).where(mine)).one_or_none()
        if run is None:
            try:
                session.execute(insert(RUNS).values(uuid=uuid, row_no=0, **fresh))
                session.commit()
            except IntegrityError:  # another attempt was first
                session.rollback()
        elif run.round > round_no:
            session.rollback()
            raise CancelExecution(Message("A later round of this import is under way."))
        elif run.round < round_no:
            session.execute(update(RUNS).where(mine, RUNS.c.round == run.round).values(row_no=CLEARING, **fresh))
            session.commit()
        elif run.row_no != CLEARING:
            session.rollback()
            return run.row_no
        else:
            _clear_some(mine & (RUNS.c.round == round_no) & (RUNS.c.row_no == CLEARING), uuid)


def _clear_some(clearing: Any, uuid: str) -> None:
    """Delete 500 rejects of the previous round; set `row_no` to 0 when none are left."""
    some = select(REJECTS.c.id).where(REJECTS.c.uuid == uuid).limit(CHUNK_ROWS)
    if db.session.execute(update(RUNS).where(clearing).values(touched_ms=now_ms())).rowcount:
        gone = db.session.execute(delete(REJECTS).where(REJECTS.c.id.in_(some))).rowcount
        if gone < CHUNK_ROWS:
            db.session.execute(update(RUNS).where(clearing).values(row_no=0))
    db.session.commit()


def survey(source: CsvFile, last: LastOnes, done: int, ctx: JobContext) -> int:
    """Read all records once and fill `last`; returns their number. Raises CancelExecution."""
    total = 0
    for row in read_rows(source):
        total = row.number
        if row.fault is None:
            last.note(row.reference, total, row.record.line)
        if total % SURVEY_STEP == 0:
            stop_if_asked(ctx, done)
            ctx.progress(done, None, Message("Checking the file: %(n)s records read", n=total))
    return total


def chunks(source: CsvFile, done: int) -> Iterator[list[Row]]:
    """The rows after record `done` in chunks: at most 500 rows to write, 20,000 in all, and 2 MB of text or one row."""
    chunk, written, size, refused = [], 0, 0, 0
    for row in read_rows(source):
        refused += row.fault is not None
        if row.number <= done:
            continue
        chunk.append(row)
        written += row.fault is None or refused <= REPORT_ROWS
        size += len(row.record.raw)
        if written == CHUNK_ROWS or size > CHUNK_CHARS or len(chunk) == CHUNK_COUNTED:
            yield chunk
            chunk, written, size = [], 0, 0
    if chunk:
        yield chunk


def save(chunk: list[Row], source: CsvFile, last: LastOnes, done: int, ctx: JobContext) -> int:
    """Write a chunk; returns the number of the last record written (by another attempt, if that was faster). Raises
    CancelExecution, and the database's error after 5 tries."""
    for attempt in range(1, WRITE_TRIES + 1):
        stop_if_asked(ctx, done)
        rows = [row for row in chunk if row.number > done]
        if not rows:
            return done
        good = [row for row in rows if row.fault is None]
        lost = {row.number: line for row in good if (line := last.later(row.reference, row.number))}
        articles = {row.reference: import_write.article(row, source) for row in good if row.number not in lost}
        try:
            if store(ctx, done, rows, articles, report(rows, lost, ctx.uuid), len(lost)):
                return rows[-1].number
        except (IntegrityError, OperationalError):
            # PostgreSQL: another import wrote one of the references first, or a deadlock. SQLite: a long lock.
            if attempt == WRITE_TRIES:
                raise
            time.sleep(0.1 * attempt)
        finally:
            db.session.rollback()
        done = begin(ctx.uuid, ctx.retry_round)
    return done


def report(rows: list[Row], lost: dict[int, int], uuid: str) -> list[dict[str, Any]]:
    """The rows of `import_rejects` for bad records and for those that a later line replaces (`lost`: its line number by
    record number), as far as the report has room."""
    query = select(RUNS.c.kept, RUNS.c.kept_bytes).where(RUNS.c.uuid == uuid)
    kept, size = db.session.execute(query).one_or_none() or (0, 0)
    db.session.rollback()  # SQLite: a transaction that has read cannot write after another process has written
    found: list[dict[str, Any]] = []
    for row in rows:
        if kept + len(found) >= REPORT_ROWS or size >= REPORT_BYTES:
            break
        if row.fault is not None or row.number in lost:
            found.append(entry := reject(row, uuid, lost.get(row.number, 0)))
            size += len(entry["row"].encode())
    return found


def reject(row: Row, uuid: str, again: int = 0) -> dict[str, Any]:
    """The row of `import_rejects`. `again` is the line that counts for its reference."""
    return entry(row, uuid, row.fault or Message(
        "The reference %(name)s stands again in line %(n)s: that row counts, this one changed nothing.",
        name=repr(row.reference[:80]), n=again))


def store(ctx: JobContext, done: int, rows: list[Row], articles: dict[str, dict[str, str]],
          entries: list[dict[str, Any]], repeated: int = 0) -> bool:
    """Write a chunk in one transaction; False, with nothing written, when another attempt has changed `row_no`."""
    session, now, tenant = db.session, now_ms(), ctx.tenant_id or ""
    plan = import_write.plan(ctx.uuid, tenant, articles, now)
    new, changed = len(plan.new), len(plan.changed)
    refused = sum(row.fault is not None for row in rows)
    counts = (new, changed, len(rows) - new - changed - refused, refused)
    mine = (RUNS.c.uuid == ctx.uuid, RUNS.c.round == ctx.retry_round, RUNS.c.row_no == done)
    size = sum(len(entry["row"].encode()) for entry in entries)
    more = dict(zip(COUNTS, counts, strict=True)) | {"repeated": repeated, "kept": len(entries), "kept_bytes": size}
    added = {name: RUNS.c[name] + n for name, n in more.items()}
    went_on = update(RUNS).where(*mine).values(row_no=rows[-1].number, touched_ms=now, **added)
    if not session.execute(went_on).rowcount:
        return False
    plan.write(again=ctx.retry_round > 1)
    if entries:
        session.execute(insert(REJECTS), entries)
    session.commit()
    return True


def dispatch_syncs(source: CsvFile, name: str, last: LastOnes, services: list[str],
                   ctx: JobContext) -> dict[str, Any] | None:
    """Dispatch the syncs of this import once; returns `sync_start.made`, None when there is nothing to sync. Raises
    CancelExecution."""
    found = sync_start.made(ctx.uuid)
    if found is None:
        wanted = {service: [json.dumps(part, ensure_ascii=False) for part in sync_start.parts(
            _unsynced(source, last, service, ctx))] for service in dict.fromkeys(services)}
        if not any(wanted.values()):
            ctx.log(Message("Nothing to sync: the services have all of this file as it is here."))
            return None
        try:
            sync_start.after_import(ctx.uuid, name, ctx.tenant_id or "", wanted, ctx.created_by)
        except ValidationError as error:  # the connection was removed meanwhile
            db.session.rollback()
            raise PermanentError(text_of(error)) from None
        found = sync_start.made(ctx.uuid) or {}
    ctx.log(Message("Syncs that follow: %(n)s; jobs: %(jobs)s.", n=found["syncs"], jobs=found["jobs"]))
    return found


def _unsynced(source: CsvFile, last: LastOnes, service: str, ctx: JobContext) -> Iterator[str]:
    """The references of the file that the service does not have as they are here, each once."""
    good = (row.reference for row in read_rows(source) if not (row.fault or last.later(row.reference, row.number)))
    while some := list(islice(good, CHUNK_ROWS)):
        if ctx.cancelled():
            raise CancelExecution(Message("Stopped on request: the file is imported, and nothing of it is synced."))
        with reading():
            found = sync_start.unsynced(service, ctx.tenant_id or "", some)
        yield from found


def stop_if_asked(ctx: JobContext, done: int) -> None:
    """Raises CancelExecution when somebody cancelled the job or another worker has claimed it."""
    if ctx.cancelled():
        raise CancelExecution(Message(
            "Stopped on request behind record %(n)s; what was imported until then stays.", n=done))
