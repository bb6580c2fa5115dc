"""Tenants keep taking turns whatever puts a row back into a queue, on both databases."""

from __future__ import annotations

import inspect

import pytest

from app.extensions import db
from app.jobs import job
from app.ledger import control, manual, rescue
from app.services.jobs import actions


@job("TestTurns", tries=2, backoff=(0,), fair=True)
def take_turns(text: str = "") -> None:
    """Never run here."""


@pytest.fixture
def turns(ledger):
    with ledger.app.app_context():
        yield ledger
        db.session.rollback()


def fill(ledger, aside: bool = False) -> tuple[list[str], list[str], list[str]]:
    """Two jobs of acme that have failed (or wait in `low`: `aside`), then four waiting jobs of acme and four of beta; a person has put
    acme's last to the top, at rank 0."""
    back = [ledger.dispatch("TestTurns", tenant_id="acme", queue="low" if aside else "default", tries=1) for _ in range(2)]
    for _ in () if aside else back:
        ledger.settle(ledger.claim(), "failed", error="x")
    acme = [ledger.dispatch("TestTurns", tenant_id="acme") for _ in range(4)]
    beta = [ledger.dispatch("TestTurns", tenant_id="beta") for _ in range(4)]
    actions.act("top", acme[3], "ada")
    return back, acme, beta


def rounds(ledger, *sizes: int) -> list[set[str]]:
    """The uuids of `default` as workers take them, in portions of these sizes."""
    return [{ledger.claim(f"w{n}.{k}", ("default",)).uuid for k in range(size)} for n, size in enumerate(sizes)]


def expected(back, acme, beta) -> list[set[str]]:
    return [{acme[3]}, {acme[0], beta[0]}, {acme[1], beta[1]}, {acme[2], beta[2]}, {back[0], beta[3]}, {back[1]}]


def retry(uuid: str) -> None:
    actions.retry(uuid, "ada")


def edit(uuid: str) -> None:
    actions.retry_edited(uuid, {"text": "new"}, "ada")


def restore(uuid: str) -> None:
    actions.delete_failed(uuid, "ada")
    actions.act("restore", uuid, "ada")
    actions.retry(uuid, "ada")


def move(uuid: str) -> None:
    actions.act("move", uuid, "ada", queue="default")


@pytest.mark.parametrize("way", [retry, edit, restore, move], ids=lambda way: way.__name__)
def test_a_job_that_comes_back_takes_its_tenants_next_turn(turns, way):
    back, acme, beta = fill(turns, aside=way is move)
    for uuid in back:
        way(uuid)
    assert rounds(turns, 1, 2, 2, 2, 2, 1) == expected(back, acme, beta), "and nobody else's place changes"


def test_many_at_once_do_too(turns):
    back, acme, beta = fill(turns)
    assert actions.retry_all("ada") == 2
    assert rounds(turns, 1, 2, 2, 2, 2, 1) == expected(back, acme, beta)


@pytest.mark.parametrize("lost", [True, False], ids=["rescued", "tried again"])
def test_a_job_that_was_rescued_or_tried_again_keeps_its_place(turns, lost):
    back, acme, beta = fill(turns)
    running = turns.claim()
    assert running.uuid == acme[3]
    if lost:
        assert rescue.rescue(turns.connection, running, crash=False, why="x", store=turns.store) == "pending"
    else:
        assert turns.settle(running, "failed", error="x") == "retried"
        turns.change("UPDATE jobs SET available_ms = 1 WHERE state = 'scheduled'")
        rescue.promote(turns.connection)
    for uuid in back:
        retry(uuid)
    assert rounds(turns, 1, 2, 2, 2, 2, 1) == expected(back, acme, beta)


def test_jobs_of_other_types_come_back_at_rank_0(turns):
    fill(turns)
    plain = turns.dispatch("TestFail", tries=1, queue="high")
    turns.settle(turns.claim(), "failed", error="x")
    retry(plain)
    actions.act("move", plain, "ada", queue="default")
    assert turns.one("SELECT rank FROM jobs WHERE uuid = :u", u=plain) == 0


@pytest.mark.parametrize("function", [manual.requeue, control.move])
def test_no_caller_can_forget_the_turns(function):
    assert inspect.signature(function).parameters["fair"].default is inspect.Parameter.empty
