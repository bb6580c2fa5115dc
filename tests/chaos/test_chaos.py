"""The short form of the campaign, CHAOS=2 twice as much of everything; scripts/chaos.sh runs the long one."""

from __future__ import annotations

import os

import pytest

from tests.chaos import graphs, harness
from tests.process.product import Product
from tests.process.test_postgres import OnPostgres

MUCH = int(os.environ.get("CHAOS", "1"))


@pytest.mark.timeout(300)
def test_jobs_under_kills_lose_nothing_and_end_nothing_twice(tmp_path):
    found = harness.run(tmp_path, jobs=150 * MUCH, kills=12 * MUCH, seed=11, say=lambda *_: None)
    assert harness.good(found), found
    assert found["kills"] == 12 * MUCH and found["lost_attempts"] >= 1


@pytest.mark.timeout(180)
def test_a_paused_and_resumed_crowd_keeps_its_tickets_bounded(tmp_path):
    found = harness.pauses(tmp_path, jobs=1500 * MUCH)
    assert harness.calm(found), found


@pytest.mark.timeout(300)
def test_short_jobs_in_groups_survive_kills_and_no_innocent_is_poisoned(tmp_path):
    found = harness.short(tmp_path, jobs=3000 * MUCH, kills=8 * MUCH, seed=5, say=lambda *_: None)
    assert harness.fair(found), found


@pytest.mark.timeout(400)
def test_a_random_graph_under_kills_keeps_its_order_and_ends_whole(tmp_path):
    found = graphs.run(Product(harness.migrated(tmp_path), grace=3), jobs=50 * MUCH, kills=10 * MUCH, seed=5)
    assert graphs.good(found), found
    assert found["kills"] >= 5 and found["retried"] >= 2


@pytest.mark.timeout(400)
def test_a_random_graph_under_kills_on_postgresql(tmp_path, postgres):
    (tmp_path / "data").mkdir(mode=0o700)
    found = graphs.run(OnPostgres(tmp_path / "data", postgres.url), jobs=40 * MUCH, kills=8 * MUCH, seed=6)
    assert graphs.good(found), found
