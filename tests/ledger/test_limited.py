"""A reading ends after its time, on both databases, and the session goes on."""

from __future__ import annotations

import time

import pytest

from app.extensions import db
from app.ledger.dialect import SessionExecutor, TooSlow, limited

LONG = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000000000) SELECT COUNT(*) FROM n"


def test_a_reading_ends_after_its_time_and_the_session_goes_on(ledger):
    with ledger.app.app_context():
        tx, begun = SessionExecutor(db.session), time.monotonic()
        with pytest.raises(TooSlow), limited(db.session, 0.2):
            tx.fetch_all(LONG)
        assert time.monotonic() - begun < 20
        with limited(db.session, 20):
            assert tx.fetch_all("SELECT 1") == [(1,)]
        few = LONG.replace("2000000000", "300000")  # longer than the limit that has ended
        assert tx.fetch_all(few) == [(300000,)]
        with pytest.raises(TooSlow), limited(db.session, 0.2):
            raise TooSlow  # by a reader that looks at the time itself
        assert ledger.connection.sqlite or tx.fetch_all("SHOW statement_timeout") == [("0",)]
        assert tx.fetch_all(few) == [(300000,)]
        with pytest.raises(ZeroDivisionError), limited(db.session, 20):
            raise ZeroDivisionError
