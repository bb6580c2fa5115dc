"""Actions on one and on many: what they change and leave, which jobs the log keeps, and what an undo puts back. On both databases."""

from __future__ import annotations

import json

import pytest

from app.extensions import db
from app.ledger.rows import among
from app.services import audit
from app.services.audit import ActionRefused
from app.services.jobs import actions, ordering, selection, undo
from app.services.jobs.job_filter import JobFilter

COLUMNS = "uuid, state, queue, rank, hold_code, reason, available_ms"


@pytest.fixture
def site(ledger):
    with ledger.app.test_request_context(headers={"Accept-Language": "en"}):
        yield ledger


def rows(site, uuids) -> dict[str, tuple]:
    return {row[0]: row[1:] for row in site.connection.fetch_all(f"SELECT {COLUMNS} FROM jobs WHERE {among(uuids, 'uuid')}")}


def ids(site, uuids, table: str = "jobs") -> list[int]:
    return [row[0] for row in site.connection.fetch_all(f"SELECT id FROM {table} WHERE {among(uuids, 'uuid')} ORDER BY id")]


def touched(site, entry: int) -> list[str]:
    return [row[0] for row in site.connection.fetch_all("SELECT uuid FROM audit_jobs WHERE audit_id = :id ORDER BY uuid", id=entry)]


def failed(site, n: int) -> list[str]:
    uuids = [site.dispatch() for _ in range(n)]
    for _ in uuids:
        site.settle(site.claim(), "failed", error="boom", retry=False)
    return uuids


REVERSIBLE = {"move": {"queue": "high"}, "hold": {}, "delay": {"seconds": 3600}, "top": {}}


@pytest.mark.parametrize("action", REVERSIBLE)
def test_an_undo_puts_back_exactly_those_that_are_as_the_action_left_them(site, action):
    uuids = [site.dispatch(queue="low") for _ in range(5)]
    site.dispatch(queue="low")  # who stands before them at the top
    before = rows(site, uuids)
    done = actions.do_in_steps("ada", action, "5 ticked", ids(site, uuids), **REVERSIBLE[action])
    assert (done.count, done.total) == (5, 5) and touched(site, done.entry) == sorted(uuids)
    after = rows(site, uuids)
    assert all(after[u] != before[u] for u in uuids)
    site.change(f"UPDATE jobs SET claim_no = claim_no + 1 WHERE uuid = '{uuids[0]}'")  # it has run since
    actions.cancel(uuids[1], "bob")
    found = undo.undo(done.entry, "eve")
    assert (found.count, found.total) == (3, 5) and touched(site, found.entry) == sorted(uuids[2:])
    now = rows(site, uuids)
    assert {u: now[u] for u in uuids[2:]} == {u: before[u] for u in uuids[2:]} and now[uuids[0]] == after[uuids[0]]
    again = undo.undo(done.entry, "eve")
    assert (again.count, again.total) == (0, 2), "the other two stay as they are"


def test_release_and_the_bin_are_taken_back(site):
    uuids = [site.dispatch() for _ in range(3)]
    actions.do_in_steps("ada", "hold", "x", ids(site, uuids))
    before = rows(site, uuids)
    done = actions.do_in_steps("bob", "release", "x", ids(site, uuids))
    assert {row[0] for row in rows(site, uuids).values()} == {"pending"}
    assert undo.undo(done.entry, "bob").count == 3 and rows(site, uuids) == before, "held by ada, as it says"
    lost = failed(site, 3)
    deleted = actions.do_in_steps("ada", "delete", "x", ids(site, lost, "failed_jobs"))
    actions.act("restore", lost[0], "bob")
    assert (undo.undo(deleted.entry, "ada").count, site.one("SELECT COUNT(*) FROM failed_jobs WHERE deleted_at IS NULL")) == (2, 3)
    restored = site.one("SELECT MAX(id) FROM audit WHERE action = 'restore'")
    assert undo.undo(restored, "bob").count == 1 and site.one("SELECT COUNT(*) FROM failed_jobs WHERE deleted_at IS NULL") == 2


def test_what_ran_has_no_undo_and_nothing_is_undone_twice(site):
    uuids = failed(site, 2)
    done = actions.do_in_steps("ada", "retry", "x", ids(site, uuids, "failed_jobs"))
    assert touched(site, done.entry) == sorted(uuids)
    for entry, words in ((done.entry, "has no undo"), (10**6, "no such entry")):
        with pytest.raises(ActionRefused, match=words):
            undo.undo(entry, "ada")
    held = actions.do_in_steps("ada", "hold", "x", ids(site, uuids))
    assert undo.undo(held.entry, "ada").count == 2
    with pytest.raises(ActionRefused, match="taken back already"):
        undo.undo(held.entry, "ada")


def test_many_steps_keep_their_order_at_the_top_and_one_entry(site, monkeypatch):
    monkeypatch.setattr(actions, "STEP", 3)
    first = site.dispatch()
    uuids = [site.dispatch() for _ in range(8)]
    done = actions.do_in_steps("ada", "top", "x", ids(site, uuids))
    assert done.count == 8 and len(touched(site, done.entry)) == 8
    assert [site.claim(f"w{n}").uuid for n in range(9)] == [*uuids, first]
    assert [tuple(r) for r in site.connection.fetch_all("SELECT subject, result FROM audit")] == [("x", "8 of 8")]


def test_the_choice_says_how_many_cannot_and_why(site):
    done = failed(site, 1)
    ready, there, running = [site.dispatch(queue="low") for _ in range(3)], [site.dispatch(queue="high")], [site.dispatch(queue="high")]
    site.change(f"UPDATE jobs SET rank = 9 WHERE uuid = '{running[0]}'")
    site.claim()
    later = site.dispatch(queue="high", delay=600)
    everything = [*ready, *there, *running, *done, later]
    def told(action, **more):
        choice = selection.ticked(action, everything, **more)
        every = selection.matching(action, JobFilter(zone=None), {"l": 2**40, "h": 2**40}, **more)
        assert (choice.ids, choice.total, choice.left) == (every.ids, every.total, every.left)
        assert choice.total == len(everything)
        return len(choice.ids), choice.left
    assert told("move", queue="high") == (3, ["1 has ended.", "1 is running.", "2 are in that queue already."])
    assert told("hold") == (5, ["1 has ended.", "1 is running."])
    assert told("run_now") == (1, ["1 has ended.", "4 wait for no time.", "1 is running."])
    assert told("top") == (4, ["1 has ended.", "1 is not ready.", "1 is running."])
    assert told("retry") == (1, ["6 have not ended yet."])
    assert told("cancel") == (6, ["1 has ended."])


def test_the_log_finds_entries_by_person_action_day_and_job(site):
    one, two = site.dispatch(), site.dispatch()
    actions.act("hold", one, "ada")
    actions.do_in_steps("bob", "hold", "x", ids(site, [one, two]))
    actions.act("release", two, "ada")
    site.change("INSERT INTO audit (at_ms, actor, action, subject, result) VALUES (1000, 'old', 'move', :u, 'queue high')", u=one)
    def found(**parts):
        return [(row.actor, row.action) for row in audit.log(wanted=audit.LogFilter(**parts))[0]]
    assert found(actor="ada") == [("ada", "release"), ("ada", "hold")] and found(actions=("move",)) == [("old", "move")]
    assert found(until=2000) == [("old", "move")] and len(found(since=2000)) == 3
    assert found(job=two[:13]) == [("ada", "release"), ("bob", "hold")] and found(job=one) == [("old", "move"), ("ada", "hold")]
    by_id = {(row.actor, row.action): row for row in audit.log()[0]}
    assert (by_id["bob", "hold"].jobs, by_id["ada", "hold"].jobs, by_id["old", "move"].jobs) == (1, 1, 0), "held by ada already: bob changed one only"
    assert [row.action for row in audit.of_job(one, 0, ("move",))] == ["hold", "move"]


def test_the_jobs_below_a_cancelled_one_are_touched_too(site):
    from app import registry
    parent = site.dispatch()
    child = registry.find("TestNoop").with_options(after=[parent]).dispatch()
    db.session.commit()
    actions.cancel(parent, "ada", "cancel")
    entry = site.one("SELECT MAX(id) FROM audit")
    assert touched(site, entry) == sorted([parent, child]) and json.loads(site.one("SELECT result_json FROM audit"))[1]["n"] == 1


@pytest.mark.parametrize("action", ["hold", "top", "move"])
def test_an_undo_leaves_what_another_person_did_later_and_follows_what_was_taken_back(site, action):
    uuids = [site.dispatch() for _ in range(4)]
    low = site.dispatch(queue="low")
    first = actions.do_in_steps("ada", action, "x", ids(site, uuids[2:]), **({"queue": "low"} if action == "move" else {}))
    seats = "SELECT uuid, state, queue, rank, seat FROM jobs ORDER BY id"
    was = site.connection.fetch_all(seats)
    if action == "hold":
        released = actions.do_in_steps("bob", "release", "x", ids(site, uuids[2:3]))
        second = actions.do_in_steps("bob", "hold", "x", ids(site, uuids[2:3]))
        undo.undo(second.entry, "bob")
        undo.undo(released.entry, "bob")
        assert site.connection.fetch_all(seats) == was
        actions.do_in_steps("bob", "release", "x", ids(site, uuids[2:3]))
        actions.do_in_steps("bob", "hold", "x", ids(site, uuids[2:3]))
    else:
        moved = ordering.place([uuids[2]], "bob", after=low if action == "move" else uuids[3])
        ordering.undo(moved.action, "bob")
        ordering.place([uuids[2]], "bob", after=low if action == "move" else uuids[3])
    placed = site.connection.fetch_all(seats)
    assert undo.undo(first.entry, "ada").count == 1
    found = site.connection.fetch_all(seats)
    assert found[2] == placed[2] and found[3] != placed[3], "bob's stays, the other is put back"


def test_the_bin_is_not_undone_once_another_person_has_used_it(site):
    [lost] = failed(site, 1)
    site.change("UPDATE failed_jobs SET deleted_at = NULL")
    restores = []
    for who in ("ada", "bob"):
        actions.act("delete", lost, who)
        actions.act("restore", lost, who)
        restores.append(site.one("SELECT MAX(id) FROM audit WHERE action = 'restore'"))
    assert undo.undo(restores[0], "ada").count == 0 and undo.undo(restores[1], "bob").count == 1
