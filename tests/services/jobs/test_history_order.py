"""Lists by time have all jobs of the time, whatever order their rows were written in."""

from __future__ import annotations

import pytest

from app.ledger import counts
from app.services.jobs import facts, history_order, listing
from app.services.jobs.job_filter import JobFilter
from app.support.clock import DAY_MS, HOUR_MS, iso, now_ms

HOURS = {"set back": (-40, -30, -20, -35, -34, -33, -10, -9), "written later": (-5, -4, -3, -90, -80, -70, -2, -1), "a time ahead": (-9, 400, -8, -7, -6, -5, -4, -3),
         "in order": (-9, -8, -7, -6, -5, -4, -3, -2)}
SPANS = [(-100, 0), (-36, -31), (-21, -19), (-6, -2), (-95, -75), (-3, 0), (399, 401), (-9, -8), (-34.5, -33.5)]


def write(ledger, hours: tuple[int, ...], base: int) -> None:
    for hour in hours:
        uuid = ledger.dispatch()
        ledger.settle(ledger.claim(), "failed", error="boom", retry=False)
        ledger.change("UPDATE job_history SET finished_ms = :at WHERE uuid = :u", at=base + hour * HOUR_MS, u=uuid)


def listed(ledger, since: int, until: int) -> int:
    with ledger.app.app_context():
        return len(listing.page(JobFilter.read({"since": iso(since), "until": iso(until)}, None)).rows)


@pytest.mark.parametrize("seeded", [False, True], ids=["as they come", "of an earlier version"])
@pytest.mark.parametrize("hours", HOURS.values(), ids=HOURS)
def test_a_span_has_all_its_jobs(ledger, hours, seeded):
    base = now_ms() - 60_000
    for part in (hours[:3], hours[3:5], hours[5:]) if not seeded else (hours,):
        write(ledger, part, base)
        if not seeded:
            facts.advance(ledger.connection)
    facts.advance(ledger.connection)
    for start, end in SPANS:
        wanted = sum(start <= hour < end for hour in hours)
        assert listed(ledger, base + int(start * HOUR_MS), base + int(end * HOUR_MS)) == wanted, (start, end)


def test_only_what_is_out_of_order_is_read_whole(ledger):
    base = now_ms() - 60_000
    write(ledger, (-30, -80, -20, -10, -1), base)
    facts.advance(ledger.connection)
    bounds = [history_order.bounds(ledger.connection, base + hour * HOUR_MS, None)[0] for hour in (-30, -12, -3)]
    assert bounds[0] == -1 and bounds[0] < bounds[1] < bounds[2], "younger times begin at their own id"
    assert history_order.bounds(ledger.connection, None, base - 15 * HOUR_MS)[1] < history_order.NO_END
    assert history_order.bounds(ledger.connection, base + DAY_MS, None)[0] == -1, "what lies ahead may stand anywhere"


def test_after_a_clock_that_was_ahead_new_rows_are_in_order_again(ledger):
    base = now_ms() - 60_000
    write(ledger, (-3, -2), base)
    facts.advance(ledger.connection)
    ahead = now_ms() + 90_000 * HOUR_MS
    with ledger.connection.transaction() as tx:
        counts.save(tx, history_order.KEY, [2, ahead, 0, 0])  # as a monitor notes while its clock says so
    write(ledger, (-1, 0), base)
    facts.advance(ledger.connection)
    assert listed(ledger, base - 4 * HOUR_MS, base + HOUR_MS) == 4
    _read, latest, broken, reaches = counts.load(ledger.connection, history_order.KEY)[0]
    assert latest < now_ms() and broken == 2 and reaches < now_ms() + 2 * HOUR_MS


class Later:
    """A connection at a later time."""

    def __init__(self, connection, ms: int) -> None:
        self.fetch_all, self.now = connection.fetch_all, lambda: connection.now() + ms


@pytest.mark.parametrize("fact", [None, [1, 26, 0, 0]], ids=["its clock was right", "its clock was ahead too"])
def test_a_job_of_a_clock_that_was_ahead_is_listed_once_its_time_has_come(ledger, fact):
    base = now_ms() - 60_000
    write(ledger, (26, -1, 0), base)
    if fact:
        with ledger.connection.transaction() as tx:
            counts.save(tx, history_order.KEY, [fact[0], base + fact[1] * HOUR_MS, *fact[2:]])
    facts.advance(ledger.connection)
    later = Later(ledger.connection, 27 * HOUR_MS)
    assert history_order.bounds(later, base + 25 * HOUR_MS, None)[0] < 1, "the first row is read"
    assert history_order.bounds(Later(ledger.connection, 60 * HOUR_MS), base + 50 * HOUR_MS, None)[0] > 0


def test_a_damaged_time_hides_no_other_job(ledger):
    base = now_ms() - 60_000
    write(ledger, (-5, -4, -3, -2), base)
    if not ledger.connection.sqlite:
        return  # its columns hold numbers only
    ledger.change("UPDATE job_history SET finished_ms = 'abc' WHERE id = (SELECT MIN(id) + 2 FROM job_history)")
    facts.advance(ledger.connection)
    assert listed(ledger, base - 6 * HOUR_MS, base) == 3 and listed(ledger, base - int(4.5 * HOUR_MS), base - int(3.5 * HOUR_MS)) == 1


@pytest.mark.parametrize("value", [{}, [1, 2], ["a", "b", "c", "d"], None])
def test_a_damaged_fact_is_read_anew(ledger, value):
    base = now_ms() - 60_000
    write(ledger, (-5, -90, -4), base)
    facts.advance(ledger.connection)  # these rows are never read again but for the fact
    with ledger.connection.transaction() as tx:
        counts.save(tx, history_order.KEY, value)
    facts.advance(ledger.connection)
    assert listed(ledger, base - 6 * HOUR_MS, base - 3 * HOUR_MS) == 2
