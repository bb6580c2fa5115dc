"""Bulks: one job makes a batch of text jobs; their texts are read together afterwards.

plan -> texts, estimate, budget (the page shows them, the job checks them again)
begin -> one transaction: batch, jobs and generations of all texts, report of the rejected rows

The batch has the uuid of the bulk's own job as its id. So an attempt after a kill finds it, and nothing is dispatched
twice; all is written in one transaction, so nothing is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import insert, select, text
from sqlalchemy.engine import Engine

from app import registry
from app.extensions import db, reading
from app.integrations.csv_cells import write_rows
from app.ledger.dialect import SessionExecutor
from app.models import ImportReject, ImportRun, Job, JobBatch, JobHistory, Upload
from app.models.types import as_integer
from app.services.content import bulk_texts, estimates, generations
from app.services.content.bulk_texts import TEXT_TYPE, TYPE, Source, Texts, read
from app.services.content.estimates import Estimate, Room
from app.services.content.import_rows import entry
from app.services.jobs import batches
from app.services.jobs.dispatch import dispatch_many
from app.support.clock import now_ms
from app.support.json_values import streamed
from app.support.messages import Message, from_row, translate_stored
from app.support.settings import settings
from app.support.validation import ValidationError, stored_object

STEP = 500
COLUMNS = ("reference", "prompt", "status", "text", "tokens_in", "tokens_out", "cost", "currency", "error", "draft",
           "uuid")
_RESULTS = """SELECT g.id, g.uuid, g.reference, g.prompt, COALESCE(j.state, h.status, g.status), g.text, g.tokens_in,
 g.tokens_out, g.cost_nano, g.currency, COALESCE(h.error, g.error), COALESCE(h.error_json, g.error_json), g.draft
 FROM generations g LEFT JOIN jobs j ON j.uuid = g.uuid LEFT JOIN job_history h ON h.uuid = g.uuid
 WHERE g.batch_id = :b AND g.id > :last ORDER BY g.id LIMIT :n"""
_SUMS = """SELECT status, COUNT(*), SUM(CASE WHEN cost_nano BETWEEN 0 AND 9000000000000000 THEN cost_nano END),
 MAX(currency), SUM(CASE WHEN raw IS NOT NULL AND cost_nano IS NULL THEN 1 ELSE 0 END),
 SUM(CASE WHEN draft = 'waiting' THEN 1 ELSE 0 END) FROM generations WHERE batch_id = :b GROUP BY status"""


class OverBudget(ValidationError):
    """The budget has no room for the whole bulk; `hold`: nobody can overrule that."""

    def __init__(self, sentence: str, hold: bool) -> None:
        super().__init__(sentence)
        self.hold = hold


@dataclass(frozen=True)
class Wish:
    """A bulk as it was asked for."""

    source: Source
    tenant: str | None
    model: str
    template: str | None = None
    approve: bool = False
    over_budget: bool = False


@dataclass(frozen=True)
class Plan:
    """What a bulk would do now: its texts, their estimate, and the room of the budget (None: no budget)."""

    texts: Texts
    estimate: Estimate
    room: Room | None

    def check(self, wish: Wish) -> None:
        """Raises ValidationError when there is no text, and OverBudget."""
        if not self.texts.texts:
            raise ValidationError(
                Message("No content of the tenant is without a body, but those whose text is under way or waits for "
                        "approval.") if wish.source.missing else
                Message("There is no text to write: no row can be used."))
        if why := estimates.refusal(self.estimate, self.room, wish.over_budget):
            raise OverBudget(why, self.room is not None and self.room.hold)


def check(args: dict[str, Any], tenant: str | None) -> None:
    """Refuses a bulk that can never work, before its job is written. Raises ValidationError."""
    _check_model(args.get("model", "-"))
    bulk_texts.check(args.get("prompts"), args.get("path") is not None, args.get("missing", False),
                     args.get("approve", False))
    if args.get("missing"):
        bulk_texts.check_tenant(tenant)


def _check_model(model: str) -> None:
    if not model.strip() or len(model) > 100:
        raise ValidationError(Message("Name a model, in at most 100 characters."))


def plan(wish: Wish) -> Plan:
    """What the bulk would do now. Raises ValidationError when its source or template cannot be used."""
    _check_model(wish.model)
    with reading():  # a large file takes seconds, and nobody must wait for them to write
        return _plan(wish, read(wish.source, wish.tenant, wish.template, wish.approve))


def _plan(wish: Wish, texts: Texts) -> Plan:
    tx = SessionExecutor(db.session)
    found = estimates.estimate(tx, settings(), wish.model, wish.template, len(texts.texts), texts.chars)
    return Plan(texts, found, estimates.room(tx, settings(), wish.tenant))


def made(uuid: str) -> dict[str, Any] | None:
    """The result of the bulk's job when its batch exists, else None."""
    batch = db.session.get(JobBatch, uuid)
    if batch is None:
        return None
    run, kept = db.session.get(ImportRun, uuid), stored_object(batch.options)
    result = {"batch": uuid, "texts": batch.total_jobs, "rejected": run.rejected if run else 0,
              "estimate_nano": kept.get("estimate_nano"), "currency": kept.get("currency")}
    db.session.rollback()
    return result


def begin(uuid: str, wish: Wish, texts: Texts, created_by: str | None, queue: str) -> None:
    """Write the batch of a bulk with all its jobs, in one transaction that is committed here.

    Raises ValidationError as `Plan.check` does, and IntegrityError when another attempt was first.
    """
    db.session.rollback()  # what was read before belongs to another transaction
    tx = SessionExecutor(db.session)
    tx.lock_key(f"bulk {wish.tenant or ''}")  # of two bulks the second sees what the first has reserved, and its texts
    if wish.source.missing:
        texts = read(wish.source, wish.tenant, wish.template, wish.approve)
    found = _plan(wish, texts)
    found.check(wish)
    n = len(texts.texts)
    name = Message("Bulk of one text") if n == 1 else Message("Bulk of %(n)s texts", n=n)
    made = batches.begin(name, tenant_id=wish.tenant, created_by=created_by, batch_id=uuid)
    tx.execute("UPDATE job_batches SET options = :options WHERE id = :b", b=uuid,
               options=estimates.options_of(found.estimate))
    common = {"model": wish.model, "template": wish.template} | ({"approve": True} if wish.approve else {})
    many = [common | {"prompt": one.prompt, "reference": one.reference}
            | ({"variables": one.variables} if one.variables else {}) for one in texts.texts]
    uuids = dispatch_many(registry.find(TEXT_TYPE), many, tenant_id=wish.tenant, queue=queue, created_by=created_by,
                          batch=made)
    rows = ((one, t.prompt, t.reference) for one, t in zip(uuids, texts.texts, strict=True))
    generations.plan(tx, rows, 1, wish.tenant, wish.model, wish.template, uuid)
    if texts.refused:
        _report(uuid, texts)
    made.seal()
    db.session.commit()


def _report(uuid: str, texts: Texts) -> None:
    """Write the rejected rows as the report of the job, like that of an import."""
    db.session.add(ImportRun(uuid=uuid, row_no=texts.rows, inserted=0, updated=0, unchanged=0, rejected=texts.refused,
                             retry_round=1, touched_ms=now_ms(), kept=len(texts.rejected)))
    db.session.execute(insert(ImportReject), [entry(row, uuid, row.fault or "") for row in texts.rejected])


# ---- afterwards ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BulkView:
    """The texts of a batch: `states` counts them by the status of their generation; `nano` of `currency` is what is
    known of their cost, without the `unknown`; `drafts` wait for approval; `estimate` is in the same unit, or None."""

    batch_id: str
    name: str
    tenant_id: str | None
    states: dict[str, int]
    nano: int
    currency: str
    unknown: int
    drafts: int
    estimate: int | None

    @property
    def texts(self) -> int:
        """How many texts it has."""
        return sum(self.states.values())


def view(batch_id: str) -> BulkView | None:
    """The texts of a batch in figures; None for a batch without texts."""
    rows = db.session.execute(text(_SUMS), {"b": batch_id}).all()
    if not rows:
        return None
    batch = db.session.get(JobBatch, batch_id)
    kept = stored_object(batch.options) if batch else {}
    nano, unknown, drafts = (sum(as_integer(row[at], 0) for row in rows) for at in (2, 4, 5))
    expected = as_integer(kept.get("estimate_nano"), -1)
    return BulkView(batch_id, translate_stored(batch.name) or "" if batch else batch_id,
                    batch.tenant_id if batch else None, {row[0]: row[1] for row in rows}, nano,
                    next((row[3] for row in rows if row[3]), str(kept.get("currency") or "USD")), unknown, drafts,
                    expected if expected >= 0 else None)


def started_with(upload: Upload) -> str | None:
    """The bulk that was started with this upload before, or None."""
    for table in (Job, JobHistory):
        found = db.session.scalar(select(table.uuid).where(table.uuid == upload.job_uuid, table.job_type == TYPE))
        if found:
            return found
    return None


def exists(batch_id: str) -> bool:
    """Whether a batch has texts."""
    return db.session.scalar(text("SELECT 1 FROM generations WHERE batch_id = :b LIMIT 1"), {"b": batch_id}) is not None


def results(engine: Engine, batch_id: str) -> Iterator[dict[str, Any]]:
    """All texts of a batch in the order of its prompts: COLUMNS, the cost as `cost_nano`.

    Each transaction reads 500: a slow download must not hold one open.
    """
    last, rows = 0, None
    while rows is None or len(rows) == STEP:
        with engine.connect().execution_options(begin="BEGIN") as connection:
            rows = connection.execute(text(_RESULTS), {"b": batch_id, "last": last, "n": STEP}).all()
        for _id, uuid, reference, prompt, status, body, i, o, nano, currency, error, error_json, draft in rows:
            done = status == "completed"
            yield {"uuid": uuid, "reference": reference, "prompt": prompt, "status": status, "text": body,
                   "tokens_in": i, "tokens_out": o, "cost_nano": nano, "currency": currency,
                   "error": None if done else translate_stored(from_row(error, error_json)), "draft": draft}
        last = rows[-1].id if rows else last


def as_csv(engine: Engine, batch_id: str) -> Iterator[str]:
    """The results as lines of CSV, `cost` in units of the currency."""
    rows = (r | {"cost": _units(r["cost_nano"])} for r in results(engine, batch_id))
    return write_rows(_lines(rows))


def _lines(rows: Iterator[dict[str, Any]]) -> Iterator[tuple]:
    yield COLUMNS
    for row in rows:
        yield tuple(row[name] for name in COLUMNS)


def _units(nano: Any) -> Decimal | None:
    return Decimal(nano).scaleb(-9) if isinstance(nano, int) else None


def as_json(engine: Engine, batch_id: str) -> Iterator[str]:
    """The results as one JSON object, `{"batch": id, "texts": [...]}`, a text a line."""
    return streamed("batch", batch_id, "texts", results(engine, batch_id))
