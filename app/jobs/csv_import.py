"""ProcessCsvImport: a CSV of contents (`reference,title,body`, others as attributes) into `contents`.

    begin   row_no of `import_runs`: where to go on; a new round clears the one before
    survey  all records once: how many, and which is the last good one of each reference
    save    500 records at a time, one short transaction: contents, import_rejects, import_runs

* Killed: row_no and counts are committed with each chunk, so the next attempt goes on behind it
  and the result counts all attempts. A retry by hand is a new round and begins anew.
* Two attempts at once (one was given up for dead and lives): a chunk is written only while row_no
  is what this attempt has read; the other one sees that it is not, and goes on behind.
* A bad record is kept in `import_rejects`. A reference twice in one file: the last good record
  counts; those before it do nothing and count as unchanged. So the same file again changes
  nothing, and rows = inserted + updated + unchanged + rejected = all records of the file.
* A file that cannot be read at all: PermanentError with a sentence, before any row is written.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from huey.exceptions import CancelExecution
from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError, OperationalError

from app.clock import now_ms
from app.context import JobContext
from app.extensions import db
from app.integrations.csv_files import CsvFile, Record, open_csv
from app.models import Content, ImportReject, ImportRun
from app.redact import cut
from app.registry import PermanentError, UploadedFile, job
from app.strict import BadInput

REQUIRED = ("reference", "title", "body")
REFERENCE_MAX, RAW_BYTES = 255, 2048
CHUNK_ROWS, CHUNK_CHARS = 500, 2 << 20
SURVEY_STEP = 5000
WRITE_TRIES = 5
COUNTS = ("inserted", "updated", "unchanged", "rejected")
CLEARING = -1  # row_no while the rejects of the round before are being deleted
CONTENTS, REJECTS, RUNS = Content.__table__, ImportReject.__table__, ImportRun.__table__


class Row(NamedTuple):
    """A record with its number (from 1), its reference, and why it is refused (or None)."""

    number: int
    reference: str
    fault: str | None
    record: Record


@job("ProcessCsvImport", queue="low", tries=3, backoff=(60, 300, 1800), timeout=300, label="CSV Import")
def process_csv_import(path: UploadedFile, *, ctx: JobContext) -> dict:
    """Import a file; returns rows, inserted, updated, unchanged and rejected over all attempts of this round."""
    done = begin(ctx.uuid, ctx.round)
    try:
        source = open_csv(path.path, REQUIRED)
    except BadInput as error:
        raise PermanentError(str(error)) from None
    last = LastOnes(path.path.stat().st_size)
    total = survey(source, last, done, ctx)
    resumed = f"; going on behind record {done}" if done else ""
    ctx.log(f"{path.filename}: {source.dialect}, {total} records{resumed}")
    for chunk in chunks(source, done):
        done = save(chunk, source, last, done, ctx)
        ctx.progress(done, total, f"{done} of {total} records")
    query = select(*(RUNS.c[name] for name in COUNTS)).where(RUNS.c.uuid == ctx.uuid)
    counts = dict(db.session.execute(query).mappings().one())
    db.session.rollback()
    ctx.progress(total, total, f"{total} of {total} records")
    return {"rows": sum(counts.values()), **counts}


def begin(uuid: str, round_no: int) -> int:
    """Number of the record to go on behind: 0 at first, else what the attempts of this round have committed."""
    session, mine = db.session, RUNS.c.uuid == uuid
    while True:
        fresh = {"round": round_no, "touched_ms": now_ms(), **dict.fromkeys(COUNTS, 0)}
        run = session.execute(select(RUNS.c.round, RUNS.c.row_no).where(mine)).one_or_none()
        if run is None:
            try:
                session.execute(insert(RUNS).values(uuid=uuid, row_no=0, **fresh))
                session.commit()
            except IntegrityError:  # another attempt was first
                session.rollback()
        elif run.round > round_no:
            session.rollback()
            raise CancelExecution("A later round of this import is under way.")
        elif run.round < round_no:
            session.execute(update(RUNS).where(mine, RUNS.c.round == run.round).values(row_no=CLEARING, **fresh))
            session.commit()
        elif run.row_no != CLEARING:
            session.rollback()
            return run.row_no
        else:
            _clear_some(mine & (RUNS.c.round == round_no) & (RUNS.c.row_no == CLEARING), uuid)


def _clear_some(clearing: Any, uuid: str) -> None:
    """Delete 500 rejects of the round before; the run is at 0 when none are left."""
    some = select(REJECTS.c.id).where(REJECTS.c.uuid == uuid).limit(CHUNK_ROWS)
    if db.session.execute(update(RUNS).where(clearing).values(touched_ms=now_ms())).rowcount:
        gone = db.session.execute(delete(REJECTS).where(REJECTS.c.id.in_(some))).rowcount
        if gone < CHUNK_ROWS:
            db.session.execute(update(RUNS).where(clearing).values(row_no=0))
    db.session.commit()


class LastOnes:
    """Which record is the last of its reference, without keeping all references.

    A bit for each reference seen (one bit a byte of the file, so few collide); only what meets
    a bit that is set is remembered exactly. A file of 60,000 rows needs its size / 8 bytes.
    """

    def __init__(self, file_size: int) -> None:
        self._bits = bytearray(max(file_size // 8, 4096))
        self._last: dict[bytes, int] = {}

    def note(self, reference: str, number: int) -> None:
        """`reference` stands (also) in record `number`; numbers rise."""
        key = _hash(reference)
        place, bit = divmod(int.from_bytes(key[:8]) % (len(self._bits) * 8), 8)
        if self._bits[place] >> bit & 1:
            self._last[key] = number
        self._bits[place] |= 1 << bit

    def later(self, reference: str, number: int) -> bool:
        """Whether the reference stands in a record after this one."""
        return bool(self._last) and self._last.get(_hash(reference), number) > number


def _hash(reference: str) -> bytes:
    return hashlib.blake2b(reference.encode(), digest_size=16).digest()


def survey(source: CsvFile, last: LastOnes, done: int, ctx: JobContext) -> int:
    """Read all records once, writing nothing: fills `last`, returns how many there are."""
    total = 0
    for row in read_rows(source):
        total = row.number
        if row.fault is None:
            last.note(row.reference, total)
        if total % SURVEY_STEP == 0:
            stop_if_asked(ctx, done)
            ctx.progress(done, None, f"Checking the file: {total} records read")
    return total


def read_rows(source: CsvFile) -> Iterator[Row]:
    """All records, checked one by one."""
    keys = source.keys
    places = [(name, keys.index(name)) for name in REQUIRED]
    for number, record in enumerate(source.records(), 1):
        reference, fault = "", record.fault
        if fault is None:
            reference = record.cells[places[0][1]].strip()
            empty = [name for name, at in places if not record.cells[at].strip()]
            if empty:
                fault = f"Empty cell in a required column: {', '.join(empty)}."
            elif len(reference) > REFERENCE_MAX:
                fault = f"The reference has {len(reference)} characters; at most {REFERENCE_MAX} are allowed."
        yield Row(number, reference, fault, record)


def chunks(source: CsvFile, done: int) -> Iterator[list[Row]]:
    """The rows behind `done`, at most 500 (and 2 MB of text, beyond one row) at a time."""
    chunk, size = [], 0
    for row in read_rows(source):
        if row.number <= done:
            continue
        chunk.append(row)
        size += len(row.record.raw)
        if len(chunk) == CHUNK_ROWS or size > CHUNK_CHARS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def save(chunk: list[Row], source: CsvFile, last: LastOnes, done: int, ctx: JobContext) -> int:
    """Write a chunk; returns the number of the last record written (by another attempt, if one was faster)."""
    for attempt in range(1, WRITE_TRIES + 1):
        stop_if_asked(ctx, done)
        rows = [row for row in chunk if row.number > done]
        if not rows:
            return done
        good = [row for row in rows if row.fault is None and not last.later(row.reference, row.number)]
        articles = {row.reference: article(row, source) for row in good}
        rejects = [reject(row, ctx.uuid) for row in rows if row.fault is not None]
        try:
            if store(ctx, done, rows, articles, rejects):
                return rows[-1].number
        except (IntegrityError, OperationalError):
            # PostgreSQL: another import wrote one of the references first, or a deadlock. SQLite: a lock held long.
            if attempt == WRITE_TRIES:
                raise
            time.sleep(0.1 * attempt)
        finally:
            db.session.rollback()
        done = begin(ctx.uuid, ctx.round)
    return done


def article(row: Row, source: CsvFile) -> dict[str, str]:
    """The columns of `contents` that a row gives."""
    values, attributes = {}, {}
    for key, column, cell in zip(source.keys, source.columns, row.record.cells, strict=True):
        if key in REQUIRED:
            values[key] = cell
        else:
            attributes[column] = cell
    text = json.dumps(attributes, ensure_ascii=False, sort_keys=True)
    return {**values, "reference": row.reference, "attributes": text}


def reject(row: Row, uuid: str) -> dict[str, Any]:
    """The row of `import_rejects`: the record as read, cut to 2 KB."""
    text, was_cut = cut(row.record.raw.rstrip("\r\n"), RAW_BYTES)
    return {"uuid": uuid, "line": row.record.line, "reason": row.fault, "row": text + (" … [cut]" if was_cut else "")}


def store(
    ctx: JobContext, done: int, rows: list[Row], articles: dict[str, dict[str, str]], rejects: list[dict[str, Any]]
) -> bool:
    """One transaction; False (and nothing written) when another attempt has moved row_no since."""
    session, now, tenant = db.session, now_ms(), ctx.tenant_id or ""
    new, changed = dict(articles), []
    stored = (CONTENTS.c.title, CONTENTS.c.body, CONTENTS.c.attributes)
    query = select(CONTENTS.c.id, CONTENTS.c.reference, *stored)
    for at, reference, *texts in session.execute(
        query.where(CONTENTS.c.tenant_id == tenant, CONTENTS.c.reference.in_(list(articles)))
    ):
        given = new.pop(reference)
        if texts != [given["title"], given["body"], given["attributes"]]:
            changed.append({**given, "at": at, "updated_ms": now})
    counts = (len(new), len(changed), len(rows) - len(new) - len(changed) - len(rejects), len(rejects))
    mine = (RUNS.c.uuid == ctx.uuid, RUNS.c.round == ctx.round, RUNS.c.row_no == done)
    added = {name: RUNS.c[name] + n for name, n in zip(COUNTS, counts, strict=True)}
    went_on = update(RUNS).where(*mine).values(row_no=rows[-1].number, touched_ms=now, **added)
    if not session.execute(went_on).rowcount:
        return False
    if new:
        common = {"tenant_id": tenant, "created_ms": now, "updated_ms": now}
        session.execute(insert(CONTENTS), [{**given, **common} for given in new.values()])
    if changed:
        columns = {name: bindparam(f"new_{name}") for name in ("title", "body", "attributes", "updated_ms")}
        session.execute(
            update(CONTENTS).where(CONTENTS.c.id == bindparam("at")).values(columns),
            [{"at": row["at"], **{f"new_{name}": row[name] for name in columns}} for row in changed],
        )
    if rejects:
        session.execute(insert(REJECTS), rejects)
    session.commit()
    return True


def stop_if_asked(ctx: JobContext, done: int) -> None:
    """Raises CancelExecution when somebody cancelled the job, or another worker has it."""
    if ctx.cancelled():
        raise CancelExecution(f"Stopped on request behind record {done}; what was imported until then stays.")
