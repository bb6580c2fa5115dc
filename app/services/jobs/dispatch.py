"""Dispatch: a job becomes a row in the caller's own transaction; tickets go out after the commit."""

from __future__ import annotations

import json
import os
import time
import uuid as uuids
from typing import Any

from flask import has_app_context

from app import registry
from app.config import QUEUES
from app.extensions import db
from app.ledger.dialect import Executor, SessionExecutor
from app.registry import InvalidArguments, JobDefinition
from app.services.jobs import uploads
from app.services.jobs.tickets import want_tickets
from app.support import disk
from app.support.messages import translate as _
from app.support.validation import MAX_BYTES, ValidationError, check_value, parse_delay, parse_tenant

INSERT = """INSERT INTO jobs (uuid, queue, payload, attempts, available_at, created_at, state, job_type, tenant_id, tries, backoff,
 timeout, durable, created_ms, available_ms, retry_until_ms, created_by, rank) VALUES (:uuid, :queue, :payload, 0, :at / 1000, :now / 1000,
 :state, :job_type, :tenant_id, :tries, :backoff, :timeout, :durable, :now, :at, :until, :created_by, :rank)"""


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
    """A UUID of version 8 (RFC 9562, 5.8): 32 bits of time in 10 microseconds, which turn over after 12 hours, then 90 random bits.

    Jobs that follow each other stand side by side in the four unique indexes that each of them passes (5 % of a settle), and
    still differ in the first eight digits, by which people call them.
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


def fair_rank(tx: Executor, queue: str, tenant_id: str | None) -> int:
    """Rank of the next job of a tenant in a type whose tenants take turns: one behind the tenant's last, but not before the head.

    With n-th jobs of all tenants at the same rank, the claim (highest rank first) serves them in rounds, and a newcomer's first
    job stands beside the head: 10,000 jobs of one tenant hold up another's by one job each. Other types (rank 0) go first.
    """
    whose, named = ("tenant_id = :t", {"t": tenant_id}) if tenant_id else ("tenant_id IS NULL", {})
    last = tx.fetch_all(f"SELECT MIN(rank) FROM jobs WHERE queue = :q AND {whose} AND rank < 0", q=queue, **named)[0][0]
    head = tx.fetch_all("SELECT rank FROM jobs WHERE state = 'pending' AND queue = :q AND rank < 0 ORDER BY rank DESC LIMIT 1", q=queue)
    return min(last - 1 if last else -1, head[0][0] if head else -1)


def assign_fair_ranks(tx: Executor) -> None:
    """Ready rows of fair types without a turn (put back by hand) get theirs, in their order."""
    names = [d.name for d in registry.known_types() if d.options.fair]
    marks = ", ".join(f":t{n}" for n in range(len(names)))
    values = {f"t{n}": name for n, name in enumerate(names)}
    without = f"state = 'pending' AND rank = 0 AND job_type IN ({marks or 'NULL'})"
    rows = tx.fetch_all(f"SELECT id, queue, tenant_id FROM jobs WHERE {without} ORDER BY id", **values)
    places: dict[tuple, int] = {}
    for _id, queue, tenant in rows:
        key = queue, tenant
        places[key] = places[key] - 1 if key in places else fair_rank(tx, queue, tenant)
        tx.execute("UPDATE jobs SET rank = :r WHERE id = :id", r=places[key], id=_id)


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


registry.set_dispatcher(dispatch)
