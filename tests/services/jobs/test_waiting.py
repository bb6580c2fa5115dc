"""Jobs that wait for others: every sentence, the three choices for the tree, late retries, erased parents."""

from __future__ import annotations

import json

import pytest

from app import registry
from app.extensions import db
from app.ledger import rescue
from app.ledger.claim import release
from app.ledger.claimed_row import running
from app.services.audit import log
from app.services.instance import retention
from app.services.jobs import actions, batches, graph_figures, graph_walk, listing, lookup, tree, waiting
from app.services.jobs.listing import JobFilter
from app.support.validation import ValidationError

DAY_MS = 86_400_000


@pytest.fixture
def jobs(ledger):
    with ledger.app.app_context():
        yield ledger


def fail(jobs, uuid: str, status: str = "failed") -> None:
    jobs.change("UPDATE jobs SET rank = 9 WHERE uuid = :u", u=uuid)
    job = jobs.claim()
    assert job.uuid == uuid
    assert jobs.settle(job, status, error="on purpose", retry=False) == status


def sentence(uuid: str) -> str:
    """The sentence of a waiting job, which is the same in every place that shows it."""
    db.session.rollback()
    found = waiting.sentence_of(uuid)
    listed = {row.uuid: row.error for row in listing.page(JobFilter(state="waiting")).rows}
    queued = {row.uuid: row.reason for row in lookup.queued()}
    assert found == lookup.find(uuid).error == listed[uuid] == queued[uuid] == lookup.as_json(uuid)["error"]
    return found


def acted(action: str, parent: str, **how) -> None:
    actions.act(action, parent, "ann@example.org", **how)


def to_bin(jobs, parent: str) -> None:
    fail(jobs, parent)
    acted("delete", parent)


def erased(jobs, parent: str) -> None:
    to_bin(jobs, parent)
    acted("erase", parent)


WAYS = {
    "which is ready": lambda jobs, parent: None,
    "which is running": lambda jobs, parent: jobs.claim(),
    "which is held": lambda jobs, parent: acted("hold", parent),
    "which is scheduled": lambda jobs, parent: acted("delay", parent, seconds=60),
    "which is blocked": lambda jobs, parent: jobs.change("UPDATE jobs SET state = 'blocked' WHERE uuid = :u", u=parent),
    "which failed": fail,
    "which timed out": lambda jobs, parent: fail(jobs, parent, "timeout"),
    "which was cancelled": lambda jobs, parent: acted("cancel", parent),
    "which failed and is in the bin": to_bin,
    "which was erased": erased,
}


@pytest.mark.parametrize("words", WAYS)
def test_a_waiting_job_says_what_it_waits_for(jobs, words):
    parent = jobs.dispatch("TestEcho")
    child = jobs.dispatch("TestEcho", after=[parent])
    WAYS[words](jobs, parent)
    name = parent[:8] if "erased" in words else f"Test Echo {parent[:8]}"
    assert sentence(child) == f"Waits for {name}, {words}"


def test_the_one_that_needs_a_person_is_named_first_and_the_others_are_counted(jobs):
    parents = [jobs.dispatch("TestEcho") for _ in range(4)]
    one, two = jobs.dispatch("TestEcho", after=parents[:2]), jobs.dispatch("TestNoop", after=parents)
    grandchild = jobs.dispatch("TestNoop", after=[two])
    fail(jobs, parents[1])
    assert sentence(one) == f"Waits for Test Echo {parents[1][:8]}, which failed, and for one other"
    assert sentence(two) == f"Waits for Test Echo {parents[1][:8]}, which failed, and for 3 others"
    assert sentence(grandchild) == f"Waits for Test Noop {two[:8]}, which waits too"


def test_a_list_of_waiting_jobs_asks_once(jobs, monkeypatch):
    parents = [jobs.dispatch("TestEcho") for _ in range(30)]
    for parent in parents:
        jobs.dispatch("TestNoop", after=[parent])
    asked = []
    real = waiting.SessionExecutor.fetch_all
    monkeypatch.setattr(waiting.SessionExecutor, "fetch_all", lambda self, sql, **values: asked.append(sql) or real(self, sql, **values))
    assert sum(row.error.startswith("Waits for Test Echo") for row in listing.page(JobFilter(state="waiting")).rows) == 30
    assert sum("job_edges" in sql for sql in asked) == 1


def family_tree(jobs) -> tuple[str, list[str]]:
    """A parent; two children, one of which waits for another job too; a grandchild under each."""
    parent, other = jobs.dispatch("TestEcho"), jobs.dispatch("TestNoop", delay=3600)
    first, second = jobs.dispatch("TestEcho", after=[parent]), jobs.dispatch("TestEcho", after=[parent, other])
    return parent, [first, second, jobs.dispatch("TestEcho", after=[first]), jobs.dispatch("TestEcho", after=[second])]


ENDS = {"cancel": lambda jobs, parent: None, "stop": lambda jobs, parent: jobs.claim(), "delete": fail}


@pytest.mark.parametrize("action", ENDS)
@pytest.mark.parametrize("choice", tree.CHOICES)
def test_who_ends_a_job_chooses_what_becomes_of_the_tree(jobs, action, choice):
    parent, (first, second, third, fourth) = family_tree(jobs)
    ENDS[action](jobs, parent)
    assert tree.below([parent]) == 4
    actions.act(action, parent, "ann@example.org", choice)
    states = [lookup.state_of(uuid) for uuid in (first, second, third, fourth)]
    entry = log()[0][0]
    assert (entry.action, entry.subject) == (action, parent)
    if choice == "wait":
        assert states == ["waiting"] * 4 and entry.result == "done; left waiting: 4"
    elif choice == "cancel":
        assert states == ["cancelled"] * 4 and entry.result == "done; cancelled with it: 4 of 4"
        assert lookup.find(fourth).error == "Cancelled by ann@example.org, with the job that it waited for."
    else:
        assert states == ["pending", "waiting", "waiting", "waiting"] and entry.result == "done; let go: 2"
        assert sentence(second).endswith("which is scheduled")


def test_a_refused_change_touches_no_child(jobs):
    parent, uuids = family_tree(jobs)
    with pytest.raises(actions.ActionRefused):
        actions.act("delete", parent, "ann@example.org", "cancel")
    assert {lookup.state_of(uuid) for uuid in uuids} == {"waiting"}


@pytest.mark.parametrize("choice", tree.CHOICES)
def test_many_are_ended_at_once_with_what_waits_for_them(jobs, choice):
    """Of two trees; a job that is chosen itself is not counted among those that wait, and one that was retried keeps its children."""
    (one, uuids), (two, others) = family_tree(jobs), family_tree(jobs)
    three = jobs.dispatch("TestEcho")
    kept = jobs.dispatch("TestEcho", after=[three])
    ids = [jobs.one("SELECT id FROM jobs WHERE uuid = :u", u=uuid) for uuid in (one, two, uuids[0])]
    assert tree.below(actions.waiting_for("cancel", ids), ids) == 7
    assert actions.in_steps("ann@example.org", "cancel", "3 ticked", ids, choice) == 3
    entry, states = log()[0][0], [lookup.state_of(uuid) for uuid in (uuids[1], uuids[2], *others)]
    wanted = {"wait": (["waiting"] * 6, "left waiting: 7"), "cancel": (["cancelled"] * 6, "cancelled with it: 7 of 7"),
              "run": (["waiting", "pending", "pending", "waiting", "waiting", "waiting"], "let go: 4")}[choice]
    assert states == wanted[0] and entry.result == f"3 of 3; {wanted[1]}"
    db.session.rollback()
    fail(jobs, three)
    stale = [jobs.one("SELECT id FROM failed_jobs WHERE uuid = :u", u=three)]
    actions.retry(three, "ann@example.org")
    actions.in_steps("ann@example.org", "delete", "1 ticked", stale, choice)
    assert tree.settle_tree(waiting.SessionExecutor(db.session), [three], choice, "ann@example.org") == tree.Settled()
    assert lookup.state_of(kept) == "waiting"


def test_bad_choices_are_refused():
    assert tree.parse_choice(None) == tree.parse_choice(" ") == "wait"
    with pytest.raises(ValidationError, match="wait, cancel, run"):
        tree.parse_choice("all")


def test_a_waiting_job_runs_without_waiting(jobs):
    parent = jobs.dispatch("TestEcho")
    child, late = jobs.dispatch("TestEcho", after=[parent]), jobs.dispatch("TestEcho", after=[parent], delay=600)
    for uuid in (child, late):
        acted("run_without_waiting", uuid)
    assert [lookup.state_of(uuid) for uuid in (child, late)] == ["pending", "scheduled"]
    assert log()[0][0].action == "run without waiting"
    with pytest.raises(actions.ActionRefused):
        acted("run_without_waiting", parent)


@pytest.mark.parametrize("gone", [False, True], ids=["history kept", "history gone"])
def test_a_retry_after_a_hundred_days_lets_the_tree_go_on(jobs, gone):
    parent = jobs.dispatch("TestEcho")
    child = jobs.dispatch("TestEcho", after=[parent])
    grandchild = jobs.dispatch("TestEcho", after=[child])
    fail(jobs, parent)
    jobs.change("UPDATE job_history SET finished_ms = finished_ms - :d", d=100 * DAY_MS)
    jobs.change("UPDATE jobs SET created_ms = created_ms - :d, available_ms = available_ms - :d, retry_until_ms = retry_until_ms - :d", d=100 * DAY_MS)
    retention.delete_old(jobs.connection)
    if gone:
        jobs.change("DELETE FROM job_history")
    assert sentence(child) == f"Waits for Test Echo {parent[:8]}, which failed"
    actions.retry(parent, "ann@example.org")
    ran = []
    for _ in range(3):
        job = jobs.claim()
        ran.append(job.uuid)
        assert job.retry_until_ms > jobs.connection.now(), "the time for retries begins when it is ready"
        jobs.settle(job)
    assert ran == [parent, child, grandchild]


def test_the_history_of_a_parent_is_kept_while_a_child_waits_and_its_result_with_it(jobs):
    done, failed = jobs.dispatch("TestEcho"), jobs.dispatch("TestEcho")
    child = jobs.dispatch("TestEcho", after=[done, failed])
    jobs.change("UPDATE jobs SET rank = 9 WHERE uuid = :u", u=done)
    jobs.settle(jobs.claim(), result='"x"')
    fail(jobs, failed)
    jobs.change("UPDATE job_history SET finished_ms = finished_ms - :d", d=100 * DAY_MS)
    retention.delete_old(jobs.connection)
    assert lookup.state_of(done) == "completed"
    assert [p.state for p in waiting.family(child).parents] == ["failed", "completed"]


def test_an_erased_parent_leaves_a_way_out(jobs):
    parent = jobs.dispatch("TestEcho")
    children = [jobs.dispatch("TestEcho", after=[parent]) for _ in range(2)]
    erased(jobs, parent)
    assert waiting.family(children[0]).stuck == "never"
    with pytest.raises(ValidationError, match="no such job"):
        registry.find("TestEcho").with_options(after=[parent]).dispatch()
    db.session.rollback()
    acted("run_without_waiting", children[0])
    acted("cancel", children[1])
    assert [lookup.state_of(uuid) for uuid in children] == ["pending", "cancelled"]


def test_who_erases_a_job_chooses_too_and_its_own_edges_go(jobs):
    first = jobs.dispatch("TestEcho")
    parent = jobs.dispatch("TestEcho", after=[first])
    child = jobs.dispatch("TestEcho", after=[parent])
    jobs.settle(jobs.claim())
    to_bin(jobs, parent)
    acted("erase", parent, children="run")
    assert lookup.state_of(child) == "pending"
    assert jobs.connection.fetch_all("SELECT child_uuid FROM job_edges") == [(child,)]


def test_the_json_of_a_job_names_its_parents_and_children(jobs):
    parent = jobs.dispatch("TestEcho")
    child = jobs.dispatch("TestEcho", after=[parent])
    assert lookup.as_json(child)["parents"] == [parent] and lookup.as_json(parent)["children"] == [child]
    assert json.dumps(lookup.as_json(child))


@pytest.mark.parametrize("freed", ["rescued", "stopped"])
def test_a_job_that_had_dispatched_others_after_itself_is_marked_when_its_worker_is_gone(jobs, freed):
    """It does not write its own row while it runs, so the rescue or the stop marks it."""
    parent = jobs.dispatch("TestEcho")
    job = jobs.claim()
    token = running.set(job)
    child = registry.find("TestEcho").with_options(after=[parent]).dispatch()
    db.session.commit()
    running.reset(token)
    if freed == "rescued":
        assert rescue.rescue(jobs.connection, job, True, "killed", jobs.store) == "pending"
    else:
        with jobs.connection.transaction() as tx:
            assert release(tx, job)
    again = jobs.claim()
    assert again.uuid == parent and again.has_children
    jobs.settle(again)
    assert lookup.state_of(child) == "pending"


def test_the_graph_is_read_on_both_databases(jobs):
    """Of a job both ways; of a batch its members, and outside of it what they wait for."""
    outside, brother = jobs.dispatch("TestEcho"), jobs.dispatch("TestEcho")
    with batches.batch("b") as batch:
        first = registry.find("TestEcho").with_options(batch=batch, after=[outside]).dispatch()
        second = registry.find("TestNoop").with_options(batch=batch, after=[first, brother]).dispatch()
    db.session.commit()
    fail(jobs, outside)
    found = graph_walk.of_batch(batch.id)
    assert graph_walk.batch_name(batch.id) == "b" and graph_walk.batch_name("x") is None
    assert {uuid: node.state for uuid, node in found.nodes.items()} == {outside: "failed", brother: "pending", first: "waiting", second: "waiting"}
    assert found.edges == {(outside, first): True, (first, second): True, (brother, second): True} and not found.cut
    assert set(graph_walk.around(first).nodes) == {outside, first, second}
    assert graph_figures.halting(found) == [outside]
    assert [node.uuid for node in graph_figures.causes(found, second)] == [outside, brother]
    actions.retry(outside, "ann@example.org")
    assert graph_walk.around(first).nodes[outside].state == "pending"


def test_lines_of_uuids_are_checked(jobs):
    uuid = jobs.dispatch("TestEcho")
    assert tree.parse_lines([uuid, f" {uuid[:8]} ", "", uuid.upper()]) == [uuid]
    with pytest.raises(ValidationError, match="nonsense, 00000000"):
        tree.parse_lines(["nonsense", "00000000", uuid])
