"""Tickets of a dispatch in a file, and the connection and the BEGIN that a dispatch pays for."""

from __future__ import annotations

import sqlite3

import pytest
from huey.signals import SIGNAL_ENQUEUED
from sqlalchemy.exc import OperationalError

from app import registry
from app.extensions import db, short_wait
from app.queue import ENOUGH, MAX_TICKETS
from app.support.outage import LOCKED, kind_of
from tests import jobtypes  # noqa: F401  (declares the types)


@pytest.fixture
def tickets(context):
    return context.extensions["publisher"].tickets


def dispatch(count: int = 1) -> None:
    for _ in range(count):
        registry.find("TestNoop").dispatch()
        db.session.commit()


def test_a_burst_publishes_enough_tickets_and_one_more_for_each_that_is_taken(tickets):
    dispatch(3)
    assert tickets.count() == 3
    dispatch(30)
    assert tickets.count() == ENOUGH
    tickets.huey.storage.dequeue()
    dispatch(2)
    assert tickets.count() == ENOUGH
    registry.find("TestNoop").dispatch_many([{}] * 100)
    db.session.commit()
    assert tickets.count() == ENOUGH


def test_a_ticket_that_is_taken_before_the_commit_is_replaced_after_it(tickets):
    """Whoever took it may have looked for a row before this one was there."""
    dispatch(ENOUGH)
    registry.find("TestNoop").dispatch()
    for _ in range(ENOUGH):
        tickets.huey.storage.dequeue()
    assert tickets.count() == 0
    db.session.commit()
    assert tickets.count() == 1


def test_the_row_is_committed_before_its_ticket_is_published(tickets, data_dir):
    seen: list[int] = []

    @tickets.huey.signal(SIGNAL_ENQUEUED)
    def count_rows(signal, task):
        outside = sqlite3.connect(data_dir / "ainstein.sqlite3")
        seen.append(outside.execute("SELECT COUNT(*) FROM jobs").fetchone()[0])
        outside.close()

    dispatch()
    assert seen == [1]


def test_a_rollback_publishes_no_ticket(tickets):
    registry.find("TestNoop").dispatch()
    db.session.rollback()
    db.session.commit()
    assert tickets.count() == 0


def test_tickets_of_another_process_or_in_an_unreadable_file_do_not_count(tickets):
    dispatch(ENOUGH)
    assert tickets.room() == 0
    opened, tickets.opened = tickets.opened, (0, *tickets.opened[1:])  # as after a fork
    assert tickets.room() == MAX_TICKETS
    tickets.opened = opened
    tickets.huey.storage.sql("DROP TABLE task", commit=True)
    assert tickets.room() == MAX_TICKETS


def test_the_connection_used_last_is_used_next(context):
    first, second = db.engine.connect(), db.engine.connect()
    last = second.connection.driver_connection
    first.close()
    second.close()
    with db.engine.connect() as connection:
        assert connection.connection.driver_connection is last


def test_a_begin_that_meets_a_lock_is_an_error_of_sqlalchemy_and_the_connection_goes_on(context, data_dir):
    other = sqlite3.connect(data_dir / "ainstein.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    connection = db.engine.connect()
    with short_wait(connection, 10), pytest.raises(OperationalError) as caught:
        connection.begin()
    assert kind_of(caught.value) == LOCKED and "BEGIN IMMEDIATE" in str(caught.value)
    other.close()
    with connection.begin():
        assert connection.exec_driver_sql("UPDATE meta SET value = value").rowcount >= 0
    connection.close()
