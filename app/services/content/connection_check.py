"""The test of a connection: account read, no transaction open -> a call that needs the secret -> result stored, unless
the connection was changed meanwhile."""

from __future__ import annotations

import threading

from app.config import Settings
from app.extensions import db, reading
from app.integrations import openai_text
from app.integrations.service_errors import ServiceError
from app.ledger.dialect import SessionExecutor
from app.models import Connection
from app.services.audit import ActionRefused, commit_audited, refuse_unless
from app.services.content import connections
from app.services.content.connections import SERVICES
from app.support.clock import now_ms
from app.support.messages import Message, _, text_of, to_json, translate_stored

TEST_S, MOST_TESTS = 20.0, 3  # a test takes at most so long; the web runs at most so many at once
_testing = threading.BoundedSemaphore(MOST_TESTS)
_TESTED = """UPDATE connections SET tested_ms = :now, test_ok = :ok, test_text = :said, test_json = :json
 WHERE id = :id AND updated_ms = :seen AND secret = :secret"""


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
