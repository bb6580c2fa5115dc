"""Dispatch: a job becomes a row in the caller's own transaction; tickets go out after the commit."""

from __future__ import annotations

import json
import os
import time
import uuid as uuids
from typing import Any

from flask import has_app_context

from app.config import QUEUES
from app.extensions import db
from app.ledger.dialect import Executor, SessionExecutor
from app.ledger.fairness import fair_rank
from app.ledger.rows import NEW_JOB, insert
from app.registry import InvalidArguments, JobDefinition
from app.services.jobs import uploads
from app.services.jobs.tickets import want_tickets
from app.support import disk
from app.support.messages import translate as _
from app.support.validation import MAX_BYTES, ValidationError, check_value, parse_delay, parse_tenant

INSERT = insert(
    "jobs", [*NEW_JOB, "rank"], attempts="0", available_at=":at / 1000", created_at=":now / 1000", created_ms=":now",
    available_ms=":at", retry_until_ms=":until")


def dispatch(
    definition: JobDefinition, args: dict[str, Any], *, tenant_id: str | None = None, queue: str | None = None,
    delay: float = 0, tries: int | None = None, backoff: tuple[int, ...] | None = None, timeout: int | None = None,
    created_by: str | None = None,
) -> str:
    """Write one job; returns its uuid. `delay`, `backoff` and `timeout` in seconds.

    Raises TypeError (arguments do not fit or are not JSON), ValidationError (queue, tenant, delay,
    size) and RuntimeError outside an application context. The job exists once the caller commits.
    """
    if not has_app_context():
        raise RuntimeError(
            f"{definition.name}.dispatch needs the application: use `with app.app_context(): ...; db.session.commit()`"
        )
    disk.require_room()
    options = definition.options
    queue = queue or options.queue
    if queue not in QUEUES:
        raise ValidationError(_("Unknown queue %(name)s. Use %(known)s.", name=repr(str(queue)[:40]), known=", ".join(QUEUES)))
    tenant_id, delay = parse_tenant(tenant_id), parse_delay(delay)
    fitted = definition.fit(args)
    uuid = new_uuid()
    fitted = uploads.to_ids(definition, fitted, tenant_id, uuid)
    row = row_values(SessionExecutor(db.session), definition.name, uuid, fitted, queue, tenant_id, delay)
    row["tries"] = tries or options.tries
    row["backoff"] = ",".join(map(str, backoff if backoff is not None else options.backoff))
    row["timeout"] = timeout or options.timeout
    row["durable"] = int(options.durable)
    row["until"] = row["now"] + options.retry_until * 1000
    row["created_by"] = created_by
    row["rank"] = fair_rank(SessionExecutor(db.session), queue, tenant_id) if options.fair else 0
    SessionExecutor(db.session).execute(INSERT, **row)
    if not delay:
        want_tickets(db.session, [uuid])
    return uuid


def new_uuid() -> str:
    """A UUID of version 8 (RFC 9562, 5.8): 32 bits of time in 10 microseconds, which turn over after 12 hours, then 90
    random bits.

    Jobs that follow each other stand side by side in the four unique indexes that each of them passes (5 % of a
    settle), and still differ in the first eight digits, by which people call them.
    """
    start, rest = time.time_ns() // 10_000 & 0xFFFF_FFFF, int.from_bytes(os.urandom(12))
    return str(uuids.UUID(int=(start << 96 | rest) & ~(0xF << 76 | 0x3 << 62) | 0x8 << 76 | 0x2 << 62))


def row_values(
    tx: Executor, name: str, uuid: str, args: dict[str, Any], queue: str, tenant_id: str | None, delay: float
) -> dict[str, Any]:
    """The columns of a new row that follow from type, arguments, queue, tenant and delay."""
    now = tx.now()
    return {
        "uuid": uuid, "queue": queue, "payload": payload(uuid, name, args, tenant_id, queue), "job_type": name,
        "tenant_id": tenant_id, "now": now, "at": now + int(delay * 1000), "state": "scheduled" if delay else "pending",
    }


def payload(uuid: str, name: str, args: dict[str, Any], tenant_id: str | None, queue: str) -> str:
    """The JSON of the payload column; a clear TypeError when the arguments are not JSON."""
    try:
        check_value(args)
        text = json.dumps(
            {"uuid": uuid, "displayName": name, "args": args, "tenant_id": tenant_id, "queue": queue},
            ensure_ascii=False, allow_nan=False,
        )
    except ValidationError as error:
        raise InvalidArguments(_("Arguments of %(job)s: %(error)s", job=name, error=error)) from None
    if len(text.encode()) > MAX_BYTES:
        raise ValidationError(_("The arguments are larger than %(n)s KB. Put large data in a file.", n=MAX_BYTES // 1024))
    return text
