"""Dispatch: writes a job as a row in the caller's transaction. Its ticket is published after the commit."""

from __future__ import annotations

import json
import os
import time
import uuid as uuids
from collections.abc import Collection, Iterable
from typing import Any

from flask import has_app_context

from app.config import QUEUES
from app.extensions import db
from app.ledger import batches, graph
from app.ledger.claimed_row import running
from app.ledger.dialect import SessionExecutor
from app.ledger.fairness import fair_rank
from app.ledger.rows import NEW_JOB, insert
from app.registry import InvalidArguments, JobDefinition
from app.services.jobs import uploads
from app.services.jobs.limits import key_for
from app.services.jobs.tickets import want_tickets
from app.support import disk
from app.support.messages import translate as _
from app.support.validation import MAX_BYTES, ValidationError, check_value, parse_delay, parse_tenant, parse_uuid

MOST_PARENTS = 1000
_latest = [0]  # the time of the last uuid; no lock, which a fork could inherit: threads share a unit at worst
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
INSERT = insert(
    "jobs", [*NEW_JOB, "rank", "waits"], attempts="0", available_at=":at / 1000", created_at=":now / 1000",
    created_ms=":now", available_ms=":at", retry_until_ms=":until",
    # A limit that a person has set for a type whose code declares none counts its jobs by their type.
    limit_key="COALESCE(:limit_key, (SELECT job_type FROM job_limits WHERE job_type = CAST(:job_type AS VARCHAR)))")


def dispatch(definition: JobDefinition, args: dict[str, Any], **options: Any) -> str:
    """Write one job; returns its uuid. `options` and errors as in `dispatch_many`."""
    return dispatch_many(definition, [args], **options)[0]


def dispatch_many(
    definition: JobDefinition, many: Iterable[dict[str, Any]], *, tenant_id: str | None = None,
    queue: str | None = None, delay: float = 0, tries: int | None = None, backoff: tuple[int, ...] | None = None,
    timeout: int | None = None, created_by: str | None = None, after: Collection[str] = (),
    batch: Any = None, uuid: str | None = None,
) -> list[str]:
    """Write a job for each of the arguments `many`; returns their uuids. The jobs exist once the caller commits.

    `delay`, `backoff` and `timeout` are in seconds. `after`: uuids of jobs that must complete before these begin.
    `batch`: the batch (services/jobs/batches.py) or its id. `created_by`: by default the uuid of the job whose code
    calls. `uuid`: that of the only job (repeats.py). Raises TypeError (arguments do not fit or are not JSON),
    ValidationError (queue, tenant, delay, size, unknown `after`, the type's own check), DiskLow, and RuntimeError
    outside an application context; then nothing is written.
    """
    if not has_app_context():
        raise RuntimeError(
            f"{definition.name}.dispatch needs the application: use `with app.app_context(): ...; db.session.commit()`")
    disk.require_room()
    options = definition.options
    queue = queue or options.queue
    if queue not in QUEUES:
        names = {"name": repr(str(queue)[:40]), "known": ", ".join(QUEUES)}
        raise ValidationError(_("Unknown queue %(name)s. Use %(known)s.", **names))
    tenant_id, delay, after = parse_tenant(tenant_id), parse_delay(delay), parse_after(after)
    batch_id = getattr(batch, "id", batch)
    session = db.session()  # the proxy looks it up at each use
    tx, rows = SessionExecutor(session), []
    for args in many:
        own, fitted = uuid or new_uuid(), definition.accept(args, tenant_id)
        fitted = uploads.to_ids(definition, fitted, tenant_id, own)
        rows.append({"uuid": own, "payload": payload(own, definition.name, fitted, tenant_id, queue),
                     "limit_key": key_for(definition, tenant_id, fitted)})
    if not rows:
        return []
    parents, job = _parents(tx, after), running.get()
    if batch_id is not None:
        try:
            batches.join(tx, batch_id, len(rows))
        except batches.BatchEnded:
            raise ValidationError(_("The batch has ended or is not known: begin another one.")) from None
    waits, now = sum(parents.values()), tx.now()
    ready = now + int(delay * 1000)
    state = "waiting" if waits else "scheduled" if delay else "pending"
    rank = fair_rank(tx, queue, tenant_id, definition.name) if options.fair else 0
    common = {
        "job_type": definition.name, "queue": queue, "tenant_id": tenant_id,
        "created_by": created_by or (job and job.uuid), "state": state,
        "now": now, "at": ready, "until": ready + options.retry_until * 1000, "tries": tries or options.tries,
        "backoff": ",".join(map(str, backoff if backoff is not None else options.backoff)),
        "timeout": timeout or options.timeout, "durable": int(options.durable), "batch_id": batch_id, "waits": waits}
    tx.execute_many(INSERT, [common | row | {"rank": rank - n if options.fair else 0} for n, row in enumerate(rows)])
    uuids = [row["uuid"] for row in rows]
    if parents:
        graph.add_edges(tx, ((parent, uuid, is_open) for uuid in uuids for parent, is_open in parents.items()))
    if state == "pending":
        want_tickets(session, uuids)
    return uuids


def parse_after(after: Collection[str]) -> list[str]:
    """The uuids of jobs to wait for, each once. Raises ValidationError for a text that is no uuid."""
    if isinstance(after, str) or not isinstance(after, Collection):
        raise ValidationError(_("after is a list of uuids."))
    found = {text: parse_uuid(text) if isinstance(text, str) else None for text in after}
    if bad := [str(text)[:40] for text, uuid in found.items() if uuid is None]:
        raise ValidationError(_("%(names)s is no uuid of a job.", names=", ".join(bad[:5])))
    if len(found) > MOST_PARENTS:
        raise ValidationError(_("A job waits for at most %(n)s others.", n=MOST_PARENTS))
    return list(dict.fromkeys(uuid for uuid in found.values() if uuid))


def _parents(tx: SessionExecutor, after: list[str]) -> dict[str, bool]:
    if not after:
        return {}
    job = running.get()
    try:
        parents = graph.lock_parents(tx, after, job and job.uuid)
    except graph.UnknownParents as error:
        text = _("It cannot wait for %(names)s: no such job is known here.", names=", ".join(error.uuids[:5]))
        raise ValidationError(text) from None
    if job and job.uuid in parents:
        job.has_children = 1  # its own settle looks for children
    return parents


def new_uuid() -> str:
    """A UUID of version 8 (RFC 9562, 5.8): 32 bits of time, then 90 random bits. The unit of time is 10 microseconds,
    and the time begins again at 0 after 12 hours.

    Consecutive jobs are neighbours in the four unique indexes that hold each job; this saves 5 % of a settle. Those of
    one process differ in the first eight digits, by which people name them: a burst takes one unit after the other.
    """
    _latest[0] = max(time.time_ns() // 10_000, _latest[0] + 1)
    start, rest = _latest[0] & 0xFFFF_FFFF, int.from_bytes(os.urandom(12))
    return str(uuids.UUID(int=(start << 96 | rest) & ~(0xF << 76 | 0x3 << 62) | 0x8 << 76 | 0x2 << 62))


def payload(uuid: str, name: str, args: dict[str, Any], tenant_id: str | None, queue: str) -> str:
    """The JSON text of the payload column.

    Raises InvalidArguments (a TypeError) when the arguments are not JSON, ValidationError when the text is too large.
    """
    content = {"uuid": uuid, "displayName": name, "args": args, "tenant_id": tenant_id, "queue": queue}
    try:
        check_value(args)
        text = _encode(content)
    except ValidationError as error:
        raise InvalidArguments(_("Arguments of %(job)s: %(error)s", job=name, error=error)) from None
    if len(text.encode()) > MAX_BYTES:
        kib = MAX_BYTES // 1024
        raise ValidationError(_("The arguments are larger than %(n)s KB. Put large data in a file.", n=kib))
    return text
