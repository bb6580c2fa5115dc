"""Connections as people set, remove and try them; connection_check.py and connection_keys.py have the rest.

    save: all values checked at once (Faults by field) -> links of another site forgotten -> sealed and written under
    one lock -> audit

Whoever changes the address or the user gives the secret again: else a stolen session could send it elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from app.config import Settings
from app.extensions import db
from app.ledger import manual
from app.ledger.dialect import SessionExecutor
from app.models import Connection
from app.services.audit import ActionRefused, commit_audited, row_of
from app.services.content import connection_sites as sites, connections
from app.services.content.connection_values import NEEDS_URL, Faults, Given, checked
from app.services.content.connection_views import find
from app.services.content.connections import LOCK, SERVICES, label_of
from app.services.jobs.actions import WAKE
from app.services.jobs.tickets import want_tickets
from app.support.clock import now_ms
from app.support.messages import Message, _, tell
from app.support.vault import Unreadable, Vault

# Jobs of its type that were claimed and wait for a time; those that somebody has delayed were not claimed yet.
_WAITING = """SELECT id FROM jobs WHERE state = 'scheduled' AND claim_no > 0 AND tenant_id = :t AND job_type = :type
 ORDER BY id LIMIT 1000"""


def save(tenant: str, service: str, url: str, user: str, secret: str, options: Mapping[str, str], actor: str,
         settings: Settings, forget: bool = False) -> tuple[int, int]:
    """Make or change the connection of a tenant to a service; returns its id, and how many links of another site were
    forgotten. A blank secret keeps the present one.

    Raises Faults, also for links of another site without `forget`, and ActionRefused when the file of the keys cannot
    be used, or a job uses the old site now."""
    given = checked(tenant, service, url, user, secret, options, settings.allow_private_hosts)
    row, forgotten = _forgotten(given, forget)
    tenant, service, url, name, new, wanted = given
    now = now_ms()
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
    if forgotten:
        result = Message("%(set)s, links forgotten: %(n)s", set=result, n=forgotten)
    commit_audited(actor, Message("set connection"), f"{tenant} {service}", result)
    return number, forgotten


def _forgotten(given: Given, forget: bool) -> tuple[Connection | None, int]:
    """(the row, under its lock; how many links of another site were forgotten). The last of them are deleted in the
    transaction of the change, those before in steps: a kill between leaves contents that a sync finds by their key."""
    tx, total = SessionExecutor(db.session), 0
    while True:
        tx.lock_key(LOCK)  # a rekey that runs meanwhile would drop the key of this row
        row = find(given.tenant, given.service, lock=True)
        if given.secret is None and (row is None or (row.url, row.user_name) != (given.url, given.user)):
            db.session.rollback()
            raise Faults({"secret": _("The secret is missing.") if row is None else
                          _("Enter the secret again: it was given for another address or user.")})
        left, was = sites.count(*given[:2]), row.url if row else sites.kept(tx, *given[:2])
        if given.service not in NEEDS_URL or not (left or was) or sites.site(was) == sites.site(given.url):
            return row, total
        if left and not forget:
            db.session.rollback()
            raise Faults({"forget": _(
                "Contents that live at %(url)s: %(n)s. Another site does not have them: agree that these links are "
                "forgotten. The next sync looks for each content there, and makes those that are missing.",
                url=was or _("another address"), n=left)})
        if sites.in_use(tx, *given[:2]):
            db.session.rollback()
            raise ActionRefused(_("A job of this tenant uses %(name)s now. Stop it, or wait for its end; then change "
                                  "the address.", name=SERVICES[given.service]))
        done = sites.forget(tx, *given[:2])
        total += done
        if done < sites.STEP:
            return row, total
        db.session.commit()


def remove(number: int, actor: str) -> str:
    """Remove a connection with its secret; returns 'tenant service'. Raises ActionRefused when there is none."""
    row = _row(number)
    subject = f"{row.tenant_id} {row.service}"
    sites.keep(SessionExecutor(db.session), row.tenant_id, row.service, row.url)
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
