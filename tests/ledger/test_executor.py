"""A statement of the ledger means the same through a kept connection and in the caller's session."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import DBAPIError

from app.extensions import db
from app.ledger.dialect import SessionExecutor

SQL = "SELECT '50%' || :a, CAST(:b AS INTEGER) % 3, '%(a)s', CAST(NULL AS VARCHAR)"


@pytest.fixture
def session(ledger):
    with ledger.app.app_context():
        yield SessionExecutor(db.session)
        db.session.rollback()


def test_percent_signs_parameters_and_lists_read_the_same(ledger, session):
    expected = [("50%ü:x", 2, "%(a)s", None)]
    assert session.fetch_all(SQL, a="ü:x", b=5) == ledger.connection.fetch_all(SQL, a="ü:x", b=5) == expected
    assert session.fetch_all("SELECT '7%'") == ledger.connection.fetch_all("SELECT '7%'") == [("7%",)]


def test_lists_many_rows_and_counts_work_in_a_session(ledger, session):
    uuids = [ledger.dispatch() for _ in range(3)]
    ids = [row[0] for row in session.fetch_all("SELECT id FROM jobs ORDER BY id")]
    assert session.fetch_all("SELECT j.id FROM jobs j WHERE j.id IN {ids} ORDER BY j.id {lock}", ids=str(ids[:2])) == [(i,) for i in ids[:2]]
    session.execute_many("UPDATE jobs SET rank = :rank WHERE uuid = :uuid", [{"uuid": u, "rank": n} for n, u in enumerate(uuids)])
    session.execute_many("UPDATE jobs SET rank = :rank WHERE uuid = :uuid", [])
    assert session.fetch_all("SELECT rank FROM jobs ORDER BY id") == [(0,), (1,), (2,)]
    assert session.execute("UPDATE jobs SET rank = 9 WHERE rank > :n", n=0) == 2


def test_an_error_in_a_session_is_one_of_sqlalchemy(session):
    with pytest.raises(DBAPIError):
        session.execute("UPDATE jobs SET no_such_column = :n", n=1)
