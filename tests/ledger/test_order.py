"""Moves in a line, against a plain list: at random while a worker drains, by several people at once, for ever."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from app.jobs import job
from app.ledger import claim as claiming, control, order
from app.ledger.dialect import Connection
from app.models.job import ORDER

QUEUES = ("high", "default", "low")


@job("TestTurnsOf", fair=True)
def take_turns() -> None:
    """Never run here."""


def lines(ledger) -> dict[str, list[str]]:
    return {q: [row[0] for row in ledger.connection.fetch_all(
        f"SELECT uuid FROM jobs WHERE state = 'pending' AND queue = :q ORDER BY {ORDER}", q=q)] for q in QUEUES}


def number(ledger, uuid: str) -> int:
    return ledger.one("SELECT id FROM jobs WHERE uuid = :u", u=uuid)


def place(ledger, uuids: list[str], queue: str, **where) -> list[order.Was]:
    with ledger.connection.transaction() as tx:
        return order.place(tx, [number(ledger, uuid) for uuid in uuids], queue, **where)


@pytest.mark.parametrize("seed", range(2))
def test_random_moves_while_a_worker_drains(ledger, seed, monkeypatch):
    monkeypatch.setattr(order, "NEAR", seed * 10)  # also as far back in a long line
    choose = random.Random(seed)
    for n in range(40):
        ledger.dispatch(queue=QUEUES[n % 3])
    ledger.change("UPDATE jobs SET rank = -(id % 4) WHERE id % 2 = 0")  # as fair types stand
    ledger.change(f"UPDATE jobs SET rank = {2**63 - 1} WHERE id = 9")  # as another program may write
    want = lines(ledger)
    for _ in range(90):
        queue, source = choose.choice(QUEUES), choose.choice(QUEUES)
        if choose.random() < 0.2 and (found := ledger.claim("w1", (source,))):
            assert found.uuid == want[source].pop(0)
            ledger.settle(found)
        moved = choose.sample(want[source], min(len(want[source]), choose.choice((1, 1, 1, 3))))
        if not moved:
            continue
        left = [uuid for uuid in want[queue] if uuid not in moved]
        at = choose.randint(0, len(left) + 1)
        beside = left[at] if at < len(left) else None
        where = choose.choice([{"number": at + 1}, {"before": beside}, {"after": beside}]) if beside else {"number": at + 1}
        before = lines(ledger)
        were = place(ledger, moved, queue, **where)
        assert [was.uuid for was in were] == moved
        for line in want.values():
            line[:] = [uuid for uuid in line if uuid not in moved]
        at += "after" in where
        want[queue][at:at] = moved
        assert lines(ledger) == want, where
        if len(moved) == 1 and choose.random() < 0.5:
            with ledger.connection.transaction() as tx:
                assert order.put_back(tx, number(ledger, moved[0]), were[0])
            want = lines(ledger)
            assert want == before
        if choose.random() < 0.1:  # who comes later changes nobody's order
            late = ledger.dispatch(queue=queue)
            now = lines(ledger)
            assert [u for u in now[queue] if u != late] == want[queue]
            want = now
    while any(want.values()):
        found = ledger.claim()
        assert found.uuid == next(line for line in want.values() if line).pop(0)
        ledger.settle(found)


def test_the_same_rows_moved_for_ever_stay_in_bounds(ledger):
    uuids = [ledger.dispatch() for _ in range(12)]
    ledger.dispatch()
    most = 0
    for n in range(300):
        seats, line = dict(ledger.connection.fetch_all("SELECT uuid, seat FROM jobs")), lines(ledger)["default"]
        moved = uuids[4 + n % 8]
        assert place(ledger, [moved], "default", **({"after": uuids[1]} if n % 2 else {"before": uuids[2]}))
        now = dict(ledger.connection.fetch_all("SELECT uuid, seat FROM jobs"))
        most = max(most, sum(now[uuid] != seats[uuid] for uuid in now))
        line.remove(moved)
        line.insert(line.index(uuids[1]) + 1 if n % 2 else line.index(uuids[2]), moved)
        assert lines(ledger)["default"] == line
    assert 1 < most <= order.WINDOW + 1  # the gap was used up at least once
    for n in range(100):  # to the end, and still ahead of who comes later
        assert place(ledger, [uuids[n % 8]], "default", number=99)
        assert lines(ledger)["default"][-1] == uuids[n % 8]
    assert lines(ledger)["default"][-1] != ledger.dispatch() == lines(ledger)["default"][-1]
    for n in range(50):
        assert place(ledger, [uuids[n % 8]], "default", number=1)
    assert ledger.one("SELECT MAX(rank) FROM jobs") <= 50


def test_an_older_move_is_undone_though_the_row_behind_has_moved_since(ledger):
    """Its place is known by the row ahead: it must not follow the other one to the front."""
    a, b, c, d, e, f = (ledger.dispatch() for _ in range(6))
    (was,) = place(ledger, [e], "default", before=b)
    place(ledger, [f], "default", before=c)
    with ledger.connection.transaction() as tx:
        assert order.put_back(tx, number(ledger, e), was)
    assert lines(ledger)["default"] == [a, b, f, c, d, e]
    (was,) = place(ledger, [c], "low", number=1)  # and where both rows beside have left, by its seat
    place(ledger, [f, d], "high", number=1)
    with ledger.connection.transaction() as tx:
        assert order.put_back(tx, number(ledger, c), was)
    assert lines(ledger)["default"] == [a, b, c, e]


def test_only_waiting_rows_move_and_only_to_places_that_are(ledger):
    a, b, c = (ledger.dispatch() for _ in range(3))
    assert ledger.claim().uuid == a and place(ledger, [a], "default", number=3) == []
    assert place(ledger, [c], "default", before=a) == []  # it runs meanwhile
    assert place(ledger, [c], "default", before=a, after=a, number=1) != []
    assert lines(ledger)["default"] == [c, b]
    with ledger.connection.transaction() as tx:
        control.hold(tx, [number(ledger, b)], "ada")
    assert place(ledger, [b], "low", number=1) == []
    assert place(ledger, [c], "low", number=7) and lines(ledger)["low"] == [c]


def test_fair_rows_keep_their_turns_beside_moved_ones(ledger):
    mine = [ledger.dispatch("TestTurnsOf", tenant_id="a") for _ in range(4)]
    assert place(ledger, [mine[3]], "default", number=2)
    other = ledger.dispatch("TestTurnsOf", tenant_id="b")
    line = lines(ledger)["default"]
    assert line[:2] == [mine[0], mine[3]] and line.index(other) <= 2
    assert place(ledger, [mine[2]], "low", number=1)
    with ledger.connection.transaction() as tx:
        assert control.move(tx, [number(ledger, mine[2])], "ada", "default", {"TestTurnsOf"}) == 1
    assert lines(ledger)["default"][-1] == mine[2]


def test_several_people_and_workers_at_once(ledger):
    """No row is lost or doubled, nobody waits for ever, and what was moved last stands where it was put."""
    uuids = [ledger.dispatch() for _ in range(60)]
    ids = {uuid: number(ledger, uuid) for uuid in uuids}
    done: list[str] = []

    def person(seed: int) -> None:
        choose = random.Random(seed)
        with closing(Connection(ledger.connection.url)) as connection:
            for _ in range(60):
                some = choose.sample(uuids, 3)
                with connection.transaction() as tx:
                    order.place(tx, [ids[uuid] for uuid in some], choose.choice(QUEUES), before=choose.choice(uuids),
                                number=choose.randint(1, 40))

    def worker() -> None:
        with closing(Connection(ledger.connection.url)) as connection:
            for _ in range(25):
                found = claiming.claim(connection, claiming.claim_statement(QUEUES), "w1", "w1")
                done.append(found.uuid)
                with connection.transaction() as tx:
                    tx.execute("DELETE FROM jobs WHERE id = :id", id=found.id)

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(person, 1), pool.submit(person, 2), pool.submit(person, 3), pool.submit(worker)]:
            future.result(timeout=60)
    left = [uuid for line in lines(ledger).values() for uuid in line]
    assert sorted(left + done) == sorted(uuids)
    assert place(ledger, [left[-1]], "high", number=1) and lines(ledger)["high"][0] == left[-1]
