"""Connections as people set, test and remove them.

    save: all values checked at once (Faults by field) -> sealed and written under one lock -> audit
    test: account read, no transaction open -> a call that needs the secret -> result stored, unless it was changed
    rekey: new key into the file -> every row sealed anew, in one transaction -> the file keeps the new key alone

Whoever changes the address or the user gives the secret again: else a stolen session could send it elsewhere. Killed
in the middle of a rekey, the file has both keys, and the next rekey cleans up.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from app.config import Settings
from app.extensions import db, reading
from app.integrations import openai_text
from app.integrations.outside import ServiceError
from app.ledger import manual
from app.ledger.dialect import SessionExecutor
from app.models import Connection
from app.services.audit import ActionRefused, commit_audited, refuse_unless, row_of
from app.services.content import connections
from app.services.content.connection_values import Faults, checked
from app.services.content.connections import SERVICES, label_of
from app.services.jobs.actions import WAKE
from app.services.jobs.tickets import want_tickets
from app.support.clock import now_ms, when
from app.support.messages import Message, _, from_row, tell, text_of, to_json, translate_stored
from app.support.vault import Unreadable, Vault, new_key

LOCK = "connections"
TEST_S, MOST_TESTS = 20.0, 3  # a test takes at most so long; the web runs at most so many at once
_testing = threading.BoundedSemaphore(MOST_TESTS)
# Jobs of its type that were claimed and wait for a time; those that somebody has delayed were not claimed yet.
_WAITING = """SELECT id FROM jobs WHERE state = 'scheduled' AND claim_no > 0 AND tenant_id = :t AND job_type = :type
 ORDER BY id LIMIT 1000"""
_TESTED = """UPDATE connections SET tested_ms = :now, test_ok = :ok, test_text = :said, test_json = :json
 WHERE id = :id AND updated_ms = :seen AND secret = :secret"""


@dataclass(frozen=True)
class ConnectionView:
    """A connection without its secret. `url` "" is the service's own address.

    `test_ok` is None before the first test. `failures` have come in a row; nothing is tried before `held_until`, and
    `error` is the sentence of the last one.
    """

    id: int
    tenant_id: str
    service: str
    label: str
    url: str
    user_name: str | None
    options: dict[str, str]
    updated_at: datetime
    updated_by: str | None
    tested_at: datetime | None
    test_ok: bool | None
    test_text: str | None
    failures: int
    held_until: datetime | None
    error: str | None


def listing() -> list[ConnectionView]:
    """All connections by tenant and service."""
    rows = db.session.scalars(select(Connection).order_by(Connection.tenant_id, Connection.service))
    return [shown(row) for row in rows]


def shown(row: Connection) -> ConnectionView:
    """A row as its view."""
    def told(name: str) -> str | None:
        column = "test_text" if name == "test" else name
        return translate_stored(from_row(getattr(row, column), getattr(row, f"{name}_json")))

    return ConnectionView(
        id=row.id, tenant_id=row.tenant_id, service=row.service, label=SERVICES.get(row.service, row.service),
        url=row.url, user_name=row.user_name, options=connections.options_of(row.options),
        updated_at=when(row.updated_ms), updated_by=row.updated_by, tested_at=when(row.tested_ms),
        test_ok=None if row.tested_ms is None else bool(row.test_ok), test_text=told("test"), failures=row.failures,
        held_until=when(row.held_until_ms), error=told("error"))


def find(tenant: str, service: str) -> Connection | None:
    """The row of a tenant's connection to a service."""
    return db.session.scalar(select(Connection).where(Connection.tenant_id == tenant, Connection.service == service))


# ---- changes ---------------------------------------------------------------------------------------------------------


def save(tenant: str, service: str, url: str, user: str, secret: str, options: Mapping[str, str], actor: str,
         settings: Settings) -> int:
    """Make or change the connection of a tenant to a service; returns its id. A blank secret keeps the present one.

    Raises Faults, and ActionRefused when the file of the keys cannot be used."""
    tenant, service, url, name, new, wanted = checked(
        tenant, service, url, user, secret, options, settings.allow_private_hosts)
    SessionExecutor(db.session).lock_key(LOCK)  # a rekey that runs meanwhile would drop the key of this row
    row, now = find(tenant, service), now_ms()
    if new is None and (row is None or (row.url, row.user_name) != (url, name)):
        db.session.rollback()
        raise Faults({"secret": _("The secret is missing.") if row is None else
                      _("Enter the secret again: it was given for another address or user.")})
    if row is None:
        row = Connection(tenant_id=tenant, service=service, created_ms=now)
        db.session.add(row)
    row.url, row.user_name, row.options = url, name, json.dumps(wanted)
    row.updated_ms, row.updated_by = max(now, (row.updated_ms or 0) + 1), actor[:255]
    row.tested_ms = row.test_ok = row.test_text = row.test_json = None
    row.failures, row.hold_s, row.held_until_ms, row.error, row.error_json = 0, 0, None, None, None
    if new is not None:
        try:
            row.secret = Vault(settings.data_dir).seal(new, label_of(tenant, service, url, name))
        except Unreadable as error:
            db.session.rollback()
            raise ActionRefused(tell(error)) from None
    db.session.flush()
    number = row.id
    result = Message("%(url)s, new secret", url=url or SERVICES[service])
    if new is None:
        result = Message("%(url)s, secret kept", url=url or SERVICES[service])
    commit_audited(actor, Message("set connection"), f"{tenant} {service}", result)
    return number


def remove(number: int, actor: str) -> str:
    """Remove a connection with its secret; returns 'tenant service'. Raises ActionRefused when there is none."""
    row = _row(number)
    subject = f"{row.tenant_id} {row.service}"
    db.session.delete(row)
    commit_audited(actor, Message("remove connection"), subject, Message("done"))
    return subject


def try_now(number: int, actor: str) -> int:
    """End the hold of a connection: its jobs that wait begin now; returns how many (at most 1,000). Raises
    ActionRefused when there is no such connection, or no hold."""
    row, tx = _row(number), SessionExecutor(db.session)
    if row.held_until_ms is None:
        db.session.rollback()
        raise ActionRefused(_("This connection is not held."))
    row.failures, row.hold_s, row.held_until_ms = connections.MOST_FAILURES - 1, 0, None
    db.session.flush()
    ids = [id for (id,) in tx.fetch_all(_WAITING, t=row.tenant_id, type=connections.TYPES.get(row.service))]
    count = manual.run_now(tx, ids) if ids else 0
    want_tickets(db.session, [""] * min(count, WAKE))
    commit_audited(actor, Message("try connection now"), f"{row.tenant_id} {row.service}",
                   Message("%(n)s jobs begin", n=count))
    return count


def _row(number: int) -> Connection:
    return row_of(Connection, number, _("There is no such connection."))


# ---- test ------------------------------------------------------------------------------------------------------------


def test(number: int, actor: str, settings: Settings) -> tuple[bool, str]:
    """(whether it works, a sentence about it): makes a call that needs the secret, and stores the result.

    It takes at most 20 s; no transaction is open meanwhile. Raises ActionRefused when there is no such connection, when
    it was changed or removed meanwhile, and when three others are being tested.
    """
    if not _testing.acquire(blocking=False):
        raise ActionRefused(_("%(n)s connections are being tested now. Try again in a moment.", n=MOST_TESTS))
    try:
        with reading():
            row = refuse_unless(db.session.get(Connection, number) if 0 < number < 2**62 else None,
                                _("There is no such connection."))
            refuse_unless(row.service in SERVICES, _("There is no such service."))
            seen, subject = row.updated_ms, f"{row.tenant_id} {row.service}"
            cells = (row.id, row.tenant_id, row.service, row.url, row.user_name, row.options, row.secret)
        try:
            ok, said = True, _try(connections.opened(cells, settings.data_dir), settings)
        except ServiceError as error:
            ok, said = False, text_of(error)
    finally:
        _testing.release()
    tx = SessionExecutor(db.session)
    stored = tx.execute(_TESTED, id=number, seen=seen, secret=cells[-1], now=now_ms(), ok=int(ok), said=said,
                        json=to_json(said))
    if not stored:
        db.session.rollback()
        raise ActionRefused(_("The connection was changed or removed meanwhile: test it again."))
    if ok:
        connections.note_success(tx, number)
    commit_audited(actor, Message("test connection"), subject, Message("works") if ok else said)
    return ok, translate_stored(said) or ""


def _try(account: connections.Account, settings: Settings) -> str:
    limits = {"total_s": TEST_S, "within_s": TEST_S}
    if account.service == "openai":
        with connections.open_outside(account, settings, **limits) as outside:
            return openai_text.check(outside, account.secret, account.options)
    service = connections.open_service(account, settings, **limits)
    try:
        return service.check()
    finally:
        service.close()


# ---- keys ------------------------------------------------------------------------------------------------------------


def rekey(actor: str, settings: Settings) -> int:
    """Encrypt all secrets with a new key, then forget the old ones; returns how many. Raises ActionRefused, and changes
    nothing, when one of them cannot be read."""
    vault, tx = Vault(settings.data_dir), SessionExecutor(db.session)
    tx.lock_key(LOCK)
    rows = list(db.session.scalars(select(Connection).order_by(Connection.id)))
    lost = [f"{row.tenant_id} {row.service}" for row in rows if not vault.reads(row.secret)]
    if lost:
        db.session.rollback()
        raise ActionRefused(_("These secrets cannot be read with the key in DATA_DIR: enter them again or remove the "
                              "connections, then rekey: %(names)s.", names=", ".join(lost[:20])))
    vault.keep([new_key(), *vault.lines()])
    for row in rows:
        row.secret = vault.rotated(row.secret)
    commit_audited(actor, Message("rekey connections"), "connections", Message("%(n)s secrets", n=len(rows)))
    tx.lock_key(LOCK)
    newest = vault.lines()[:1]
    if all(vault.reads(sealed, newest) for sealed in db.session.scalars(select(Connection.secret))):
        vault.keep(newest)
    db.session.rollback()
    return len(rows)
