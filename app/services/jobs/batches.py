"""Batches of jobs for code, pages and commands.

with batch("Import of March", tenant_id="acme", then=finish) as b:
    job.with_options(batch=b).dispatch_many([...])

The batch is a row of the caller's transaction and is sealed at the end of the block. When the block raises, the batch
stays unsealed; if the caller rolls back, as it does by default, nothing of it was written. A team imports `batch` from
app.jobs.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from app import registry
from app.extensions import db
from app.ledger import batches
from app.ledger.claimed_row import running
from app.ledger.dialect import SessionExecutor
from app.models.job_batch import KEEP_GOING, ON_FAILURE
from app.services.jobs.dispatch import dispatch, new_uuid
from app.support.messages import translate as _
from app.support.validation import ValidationError, check_line, parse_tenant

MOST_NAME = 255
BY = "batch "  # by whom the job that follows a batch is created: this and its id


@dataclass(frozen=True)
class Batch:
    """A batch that takes members; `id` is its id, which `with_options(batch=...)` takes too."""

    id: str
    name: str
    tenant_id: str | None

    def seal(self) -> None:
        """No more members come: the batch may close."""
        batches.seal(SessionExecutor(db.session), self.id)


def begin(name: str, *, tenant_id: str | None = None, then: registry.JobDefinition | None = None,
          then_args: dict[str, Any] | None = None, on_failure: str = KEEP_GOING,
          created_by: str | None = None, batch_id: str | None = None) -> Batch:
    """Write a new batch in the caller's transaction; the caller seals it. `batch_id` is a uuid, by default a new one.

    `then` is dispatched once when no member is live any more and the batch was not cancelled; it gets `then_args`, and
    the argument `batch_id` when its function has one. `on_failure` is "keep going" or "stop": then the first final
    failure cancels the other members. `created_by` is the uuid of the job whose code calls, when nobody is named.
    Raises ValidationError and InvalidArguments.
    """
    if not isinstance(name, str) or not name.strip() or len(name) > MOST_NAME:
        raise ValidationError(_("A batch has a name of 1 to %(n)s characters.", n=MOST_NAME))
    check_line(name)
    if on_failure not in ON_FAILURE:
        raise ValidationError(_("on_failure is %(names)s.", names=", ".join(ON_FAILURE)))
    tenant_id, batch_id, then_json = parse_tenant(tenant_id), batch_id or new_uuid(), None
    job = running.get()
    if then is not None and not isinstance(then, registry.JobDefinition):
        raise ValidationError(_("then is a job type: the function below @job, or that with options."))
    if then is None and then_args:
        raise ValidationError(_("then_args are the arguments of then, which is missing."))
    if then is not None:
        args = dict(then_args or {})
        if "batch_id" not in args and any(field.name == "batch_id" for field in then.fields):
            args["batch_id"] = batch_id
        given = {"tenant_id": tenant_id, **then.given}
        then_json = json.dumps({"type": then.name, "args": then.accept(args, given["tenant_id"]), "given": given})
    batches.create(SessionExecutor(db.session), batch_id, name.strip(), tenant_id, on_failure, then_json,
                   created_by or (job and job.uuid))
    return Batch(batch_id, name.strip(), tenant_id)


@contextlib.contextmanager
def batch(name: str, **options: Any) -> Iterator[Batch]:
    """A batch that is sealed at the end of the block; `options` and errors as in `begin`."""
    made = begin(name, **options)
    yield made
    made.seal()


def follow_up(batch_id: str, then_json: str) -> bool:
    """Dispatch the `then` job of a batch and close it, in one transaction; False when it has a live member again."""
    tx, wanted = SessionExecutor(db.session), json.loads(then_json)
    definition = registry.find(wanted["type"])
    if definition is None:
        raise RuntimeError(f"batch {batch_id}: no job type {wanted['type']} is known here")
    uuid = dispatch(definition, wanted["args"], **wanted["given"], created_by=f"{BY}{batch_id}")
    closed = bool(batches.close(tx, batch_id, uuid))
    (db.session.commit if closed else db.session.rollback)()
    return closed
