"""New keys for the secrets of all connections.

    new key into the file -> every row sealed anew, in one transaction -> the file keeps the new key alone

Killed in the middle, the file has both keys, and the next rekey cleans up.
"""

from __future__ import annotations

from sqlalchemy import select

from app.config import Settings
from app.extensions import db
from app.ledger.dialect import SessionExecutor
from app.models import Connection
from app.services.audit import ActionRefused, commit_audited
from app.services.content.connections import LOCK
from app.support.messages import Message, _
from app.support.vault import Vault, new_key


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
