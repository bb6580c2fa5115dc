"""How long the longest waiting row of a queue has waited: whatever was handed back, moved to the top or delayed."""

from __future__ import annotations

from app.ledger import claim, counts, rescue

QUEUES = ("high", "default", "low")


def oldest(ledger) -> int | None:
    with ledger.connection.transaction() as tx:
        return counts.count(tx)["queues"].get("low", {}).get("since")


def test_rows_of_a_group_that_never_began_are_as_ready_as_before(ledger):
    uuids = [ledger.dispatch("TestNoop", queue="low") for _ in range(5)]
    ledger.change("UPDATE jobs SET available_ms = id")
    grouping = claim.Grouping(frozenset({"TestNoop"}), 4, 1)
    jobs = claim.claim_more(ledger.connection, claim.claim_statement(QUEUES), "w1", "w1", grouping)
    assert [job.uuid for job in jobs] == uuids[:4]
    ready = {job.uuid: job.available_ms for job in jobs}
    with ledger.connection.transaction() as tx:
        assert claim.hand_back(tx, jobs[2:]) == []
    assert {u: ledger.row(u).available_ms for u in uuids[2:4]} == {u: ready[u] for u in uuids[2:4]}
    with ledger.connection.transaction() as tx:
        assert claim.release(tx, jobs[0])
    assert ledger.row(uuids[0]).available_ms > 1_000_000, "a job that had begun is ready from its stop on"
    assert ledger.claim("w2").uuid == uuids[0]
    assert claim.claim(ledger.connection, claim.claim_statement(QUEUES), "w1", "w1").uuid == uuids[1], "left in hand by a claim"
    assert ledger.row(uuids[1]).available_ms == ready[uuids[1]]


def test_the_oldest_need_not_be_the_first_of_the_line(ledger):
    assert oldest(ledger) is None
    delayed = ledger.dispatch("TestNoop", queue="low", delay=60)
    old, new = (ledger.dispatch("TestNoop", queue="low") for _ in range(2))
    ledger.change("UPDATE jobs SET available_ms = 1000 WHERE uuid = :u", u=old)
    ledger.change("UPDATE jobs SET available_ms = 3000 WHERE uuid = :u", u=delayed)
    rescue.promote(ledger.connection)
    assert ledger.row(delayed).state == "pending"
    assert ledger.one("SELECT MIN(id) FROM jobs") == ledger.one("SELECT id FROM jobs WHERE uuid = :u", u=delayed)
    ledger.change("UPDATE jobs SET available_ms = 2000, rank = 5 WHERE uuid = :u", u=new)
    assert oldest(ledger) == 1000
