"""ProcessBulkContentGeneration: a batch of texts from prompts, a CSV, or for the contents without a body.

read the texts -> estimate and budget -> one transaction with the batch and all its jobs (app/services/content/bulk.py)

Killed before this transaction is committed: nothing was dispatched. Killed after it: the next attempt finds the batch,
whose id is the uuid of this job. What cannot be used as a whole, and a budget without room, fail at once.
"""

from __future__ import annotations

from typing import Any, Literal

from huey.exceptions import CancelExecution
from sqlalchemy.exc import IntegrityError

from app.execution.job_context import JobContext
from app.extensions import db
from app.integrations.text_files import NAMES
from app.jobs.declare import job
from app.registry import PermanentError, UploadedFile
from app.services.content import bulk
from app.services.content.bulk_texts import Source
from app.support.disk import DiskLow
from app.support.messages import Message, text_of
from app.support.validation import ValidationError


@job(bulk.TYPE, label="Bulk Content Generation", timeout=300, check=bulk.check,
     description=Message("Write many texts with OpenAI: from prompts, a CSV, or for all contents without a body."))
def process_bulk_content_generation(
    prompts: list[str] | None = None, path: UploadedFile | None = None, missing: bool = False,
    model: str = "gpt-4o-mini", template: str | None = None, approve: bool = False, over_budget: bool = False,
    encoding: Literal[NAMES] | None = None, columns: dict[str, str] | None = None,  # type: ignore[valid-type]
    *, ctx: JobContext,
) -> dict[str, Any]:
    """Returns {"batch": its id, "texts": number, "rejected": rows, "estimate_nano": cost or None, "currency": ...}.

    One of `prompts`, `path` (a CSV: its columns fill the placeholders of `template`, `reference` names the content) and
    `missing`. With `approve` the texts are drafts. `over_budget` starts although a budget that only warns has no room.
    """
    if found := bulk.made(ctx.uuid):
        ctx.log(Message("The batch of an earlier attempt is there; nothing is dispatched again."))
        return found
    source = Source(prompts, path and path.path, missing, encoding, columns)
    wish = bulk.Wish(source, ctx.tenant_id, model, template, approve, over_budget)
    try:
        texts = bulk.plan(wish).texts
        if texts.refused:
            ctx.log(Message("%(n)s of %(total)s rows were rejected; the report has them.", n=texts.refused,
                            total=texts.rows), "WARN")
        if texts.more:
            ctx.log(Message("More contents are without a body: another bulk takes the next."), "WARN")
        if ctx.cancelled():
            raise CancelExecution(Message("Stopped on request."), retry=False)
        bulk.begin(ctx.uuid, wish, texts, ctx.created_by, ctx.queue)
    except DiskLow:
        raise
    except ValidationError as error:
        raise PermanentError(text_of(error)) from None
    except IntegrityError:  # another attempt, which was judged dead too early, was first
        db.session.rollback()
        if bulk.made(ctx.uuid) is None:
            raise
    return bulk.made(ctx.uuid) or {}
