"""Starts syncs: of one content, of many at once, and of what an import has written.

one   -> a job
many  -> one transaction: a batch with jobs of 200 references each, by tenant
after an import -> what its file names and a service does not have as it is here -> one transaction: a batch whose id is
         the uuid of the import's job, with jobs that wait for the import

* An attempt of an import after a kill finds the batch, so nothing is dispatched twice. Two attempts at once: the id of
  the batch is unique, and the second writes nothing.
* A tenant without a connection to the service is told before anything is written.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import or_, select, update
from sqlalchemy.exc import IntegrityError

from app import registry
from app.extensions import db
from app.models import Connection, Content, JobBatch, SyncLink
from app.services.audit import audit, row_of
from app.services.content.content_list import MOST, SERVICES, STEP
from app.services.jobs import batches
from app.services.jobs.dispatch import dispatch_many
from app.support.messages import Message, translate as _
from app.support.validation import CONTROL, ValidationError, stored_object

TYPES = {"wordpress": "ProcessWordPressSync", "prestashop": "ProcessPrestaShopSync"}
OF_A_JOB, BYTES = 200, 150_000  # references of a job, and the bytes of their JSON: its arguments have at most 256 KB
MOST_NAMED = 5
Named = tuple[str, str]  # tenant and reference of a content


@dataclass(frozen=True)
class Wish:
    """A sync as a person asks for it: the service, the status of posts ('' leaves it as it is), and whether it only
    says what it would do."""

    service: str
    status: str = ""
    dry_run: bool = False

    @property
    def definition(self) -> registry.JobDefinition:
        """The job type of the service. Raises ValidationError when no code declares it."""
        definition = registry.find(TYPES.get(self.service, ""))
        if definition is None:
            raise ValidationError(_("Choose a service: %(known)s.", known=", ".join(SERVICES.values())))
        return definition

    def check(self, tenants: Iterable[str]) -> None:
        """Raises ValidationError for an unknown service or status, and for a tenant without a connection."""
        known, name, tenants = statuses(self.definition), SERVICES[self.service], set(tenants)
        if self.status and not known:
            raise ValidationError(_("%(name)s knows no status: leave it out.", name=name))
        if self.status and self.status not in known:
            raise ValidationError(_("Unknown status %(name)s. Use %(known)s.", name=repr(self.status[:40]),
                                    known=", ".join(known)))
        if "" in tenants:
            raise ValidationError(Message("A content without a tenant cannot be synced: %(name)s is connected by "
                                          "tenant.", name=name))
        query = select(Connection.tenant_id).where(Connection.service == self.service,
                                                   Connection.tenant_id.in_(tenants))
        if missing := sorted(tenants - set(db.session.scalars(query))):
            shown = ", ".join(missing[:MOST_NAMED]) + (" …" if len(missing) > MOST_NAMED else "")
            raise ValidationError(Message("%(tenants)s has no connection to %(name)s. Add one first.", tenants=shown,
                                          name=name))

    def arguments(self, references: Iterable[str]) -> dict[str, Any]:
        """The arguments of its job for these references."""
        chosen = {"status": self.status, "dry_run": self.dry_run}
        return {"references": list(references)} | {name: value for name, value in chosen.items() if value}


def checking(service: str) -> Callable[[dict[str, Any], str | None], None]:
    """The check of the arguments of its job type, before a job is written: what can never work is refused then."""
    def check(args: dict[str, Any], tenant: str | None) -> None:
        if bool(args.get("references")) == bool(args.get("all")):
            raise ValidationError(Message("Give references, or all: one of both."))
        if not tenant:
            raise ValidationError(Message("A sync needs a tenant: dispatch it with one."))
        Wish(service).check([tenant])
    return check


def statuses(definition: registry.JobDefinition | None) -> tuple[str, ...]:
    """The statuses that a sync can give to what it writes; none for a shop."""
    return next((f.choices for f in definition.fields if f.name == "status"), ()) if definition else ()


def connected(tenant: str) -> list[str]:
    """The services that a tenant is connected to, in the order of SERVICES."""
    found = set(db.session.scalars(select(Connection.service).where(Connection.tenant_id == tenant)))
    return [service for service in SERVICES if service in found]


def any_connected() -> list[str]:
    """The services that some tenant is connected to, in the order of SERVICES."""
    found = set(db.session.scalars(select(Connection.service).distinct()))
    return [service for service in SERVICES if service in found]


def one(content: int, wish: Wish, actor: str) -> str:
    """Dispatch the sync of a content; returns the uuid of its job. Raises ValidationError, and ActionRefused when there
    is none of this number."""
    row = row_of(Content, content, _("There is no such content."))
    (uuid,) = add(wish, [(row.tenant_id, row.reference)], actor)
    audit(actor, Message("start"), uuid, wish.definition.name, [(uuid, None)])
    db.session.commit()
    return uuid


def named(contents: list[int], wish: Wish) -> list[Named]:
    """The contents of these ids as tenant and reference. Raises ValidationError when they cannot be synced at once."""
    if len(contents) > MOST:
        raise ValidationError(_("At most %(n)s contents are synced at once: narrow the filters.", n=MOST))
    query = select(Content.tenant_id, Content.reference).order_by(Content.id)
    found = [(tenant, reference) for at in range(0, len(contents), STEP) for tenant, reference in db.session.execute(
        query.where(Content.id.in_(contents[at : at + STEP])))]
    if not found:
        raise ValidationError(_("There is nothing to sync: no content is chosen."))
    wish.check(tenant for tenant, _reference in found)
    return found


def add(wish: Wish, contents: Iterable[Named], actor: str | None, **options: Any) -> list[str]:
    """Write the jobs of contents, each (tenant, reference), in the open transaction; returns their uuids. Raises
    ValidationError."""
    by_tenant: dict[str, list[str]] = defaultdict(list)
    for tenant, reference in contents:
        by_tenant[tenant].append(reference)
    wish.check(by_tenant)
    uuids = []
    for tenant, references in by_tenant.items():
        many = (wish.arguments(some) for some in parts(references))
        uuids += dispatch_many(wish.definition, many, tenant_id=tenant, created_by=actor, **options)
    return uuids


def parts(references: Iterable[str]) -> Iterator[list[str]]:
    """The references as those of a job each."""
    some: list[str] = []
    size = 0
    for reference in references:
        more = len(json.dumps(reference, ensure_ascii=False).encode()) + 2
        if some and (len(some) == OF_A_JOB or size + more > BYTES):
            yield some
            some, size = [], 0
        some.append(reference)
        size += more
    if some:
        yield some


def many(contents: list[Named], wish: Wish, actor: str) -> str:
    """Dispatch the sync of many contents as one batch; returns its id. Raises ValidationError."""
    tenants = {tenant for tenant, _reference in contents}
    name = Message("Sync of %(n)s contents", n=len(contents)) if len(contents) > 1 else Message("Sync of one content")
    batch = batches.begin(name, created_by=actor,
                          tenant_id=tenants.pop() if len(tenants) == 1 else None)
    uuids = add(wish, contents, actor, queue="low", batch=batch)
    batch.seal()
    audit(actor, Message("start"), Message("batch %(name)s (%(id)s)", name=name, id=batch.id[:8]),
          Message("%(n)s of %(total)s", n=len(uuids), total=len(uuids)), [(uuid, None) for uuid in uuids])
    db.session.commit()
    return batch.id


# ---- after an import -----------------------------------------------------------------------------------------------


def after_import(uuid: str, file: str, tenant: str, references: dict[str, list[str]], actor: str | None) -> None:
    """Dispatch the syncs of `references` (each a JSON list of those of a job, by service), to begin when the import
    `uuid` has completed, and commit. Another attempt that was first has done so already."""
    contents = sum(len(json.loads(part)) for parts_of in references.values() for part in parts_of)
    name = Message("Sync after import of %(file)s", file=CONTROL.sub("", file)[:200])
    try:
        batch = batches.begin(name, tenant_id=tenant, created_by=actor, batch_id=uuid)
        for service, parts_of in references.items():
            wish = Wish(service)
            dispatch_many(wish.definition, (wish.arguments(json.loads(part)) for part in parts_of), tenant_id=tenant,
                          created_by=actor, after=[uuid], batch=batch)
        db.session.execute(update(JobBatch).where(JobBatch.id == uuid).values(options=json.dumps({"syncs": contents})))
        batch.seal()
        db.session.commit()
    except IntegrityError:  # another attempt, which was judged dead too early, was first
        db.session.rollback()
        if made(uuid) is None:
            raise


def made(uuid: str) -> dict[str, Any] | None:
    """`{"batch": id, "jobs": number, "syncs": contents}` when the syncs of an import are dispatched, else None."""
    batch = db.session.get(JobBatch, uuid)
    found = batch and {"batch": uuid, "jobs": batch.total_jobs, "syncs": stored_object(batch.options).get("syncs")}
    db.session.rollback()
    return found


def unsynced(service: str, tenant: str, references: list[str]) -> list[str]:
    """Those of the references whose content the service does not have as it is here: never synced, or changed since.
    In their order."""
    c, link = Content, SyncLink
    query = select(c.reference).outerjoin(link, (link.content_id == c.id) & (link.service == service)).where(
        c.tenant_id == tenant, c.reference.in_(references),
        or_(link.content_ms.is_(None), c.updated_ms != link.content_ms))
    found = set(db.session.scalars(query))
    return [reference for reference in references if reference in found]
