"""What a person is told of a move, what the log keeps, and the undo."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from app.extensions import db
from app.models import Audit
from app.models.audit import AuditJob
from app.services.audit import ActionRefused
from app.services.jobs import actions, ordering, queues
from app.support.validation import ValidationError


@pytest.fixture
def moving(ledger):
    with ledger.app.app_context():
        yield ledger
        db.session.rollback()


def order(queue: str = "default") -> list[str]:
    db.session.rollback()
    return next([job.uuid for job in line.jobs] for line in ordering.lines() if line.name == queue)


def test_a_move_is_one_entry_with_its_job_and_is_undone_once(moving):
    a, b, c, d = (moving.dispatch() for _ in range(4))
    moved = ordering.place([d], "ada", before=b)
    assert (moved.count, moved.queue, moved.place) == (1, "default", 2) and order() == [a, d, b, c]
    entry = db.session.get(Audit, moved.action)
    assert (entry.actor, entry.action, entry.subject, entry.result) == ("ada", "place", d, "place 2 of default")
    assert db.session.scalars(select(AuditJob.uuid).where(AuditJob.audit_id == entry.id)).all() == [d]
    assert ordering.last("bob") is None and ordering.last("ada").action == moved.action
    back = ordering.undo(moved.action, "bob")
    assert order() == [a, b, c, d] and (back.place, back.queue) == (4, "default") and ordering.last("ada") is None
    with pytest.raises(ActionRefused):
        ordering.undo(moved.action, "ada")
    moved = ordering.place([a, c], "ada", "low", number=ordering.END)
    assert order("low") == [a, c] and order() == [b, d]
    ordering.place([c], "bob", step="up")  # the later move stands
    assert ordering.undo(moved.action, "ada").count == 1 and order("low") == [c] and order() == [a, b, d]


def test_what_is_refused_is_said(moving):
    a, b, c = (moving.dispatch() for _ in range(3))
    held = moving.dispatch("TestEcho")
    moving.claim()
    queues.pause("type:TestEcho", "ada")
    actions.act("hold", c, "ada")
    gone = "00000000-0000-4000-8000-000000000000"
    for uuid, options, words in (
            (a, {"number": 1}, "it runs"), (held, {"number": 1}, "type of this job is paused"),
            (c, {"number": 1}, "it is now held"), (b, {"before": a, "after": held}, "have left the line"),
            (b, {"step": "up"}, "first or the last"), (gone, {"number": 1}, "no such job")):
        with pytest.raises(ActionRefused, match=words):
            ordering.place([uuid], "ada", **options)
    assert order() == [b] and not db.session.scalars(select(Audit).where(Audit.action == "place")).all()
    for text in ("0", "x", "-1", "1.5", "10.50", "٣", "9" * 13):
        with pytest.raises(ValidationError):
            ordering.parse_place(text)
    assert ordering.parse_place("5.000") == 5000 == ordering.parse_place(" 5000") and ordering.parse_place("1,000,000") == 1_000_000 and ordering.parse_job(b[:35]) == b
    for text in (a[:3], "zzzz", "%", b[:3]):
        with pytest.raises(ValidationError):
            ordering.parse_job(text)


def test_a_move_is_undone_after_its_neighbours_got_new_seats(moving):
    uuids = [moving.dispatch() for _ in range(6)]
    moved = ordering.place([uuids[2]], "ada", number=6)
    for _ in range(35):  # until no number is left behind the first
        ordering.place([uuids[4]], "bob", after=uuids[0])
        ordering.place([uuids[5]], "bob", after=uuids[0])
    assert ordering.undo(moved.action, "ada").count == 1
    found = order()
    assert found.index(uuids[2]) == found.index(uuids[3]) - 1


def test_an_undo_of_a_move_leaves_a_job_that_was_moved_and_moved_back(moving):
    a, b, c = (moving.dispatch() for _ in range(3))
    moved = ordering.place([a], "ada", number=3)
    ordering.place([a], "bob", number=1)
    ordering.place([a], "bob", number=3)
    with pytest.raises(ActionRefused, match="changed since"):
        ordering.undo(moved.action, "ada")
    assert order() == [b, c, a]
