"""The short form of the campaign; scripts/chaos.sh runs the long one."""

from __future__ import annotations

import pytest

from tests.chaos import graphs, harness
from tests.process.product import Product
from tests.process.test_postgres import OnPostgres


@pytest.mark.timeout(300)
def test_300_jobs_and_20_kills_lose_nothing_and_end_nothing_twice(tmp_path):
    found = harness.run(tmp_path, jobs=300, kills=20, seed=11, say=lambda *_: None)
    assert harness.good(found), found
    assert found["kills"] == 20 and found["lost_attempts"] >= 1


@pytest.mark.timeout(180)
def test_a_paused_and_resumed_crowd_keeps_its_tickets_bounded(tmp_path):
    found = harness.pauses(tmp_path, jobs=3000)
    assert harness.calm(found), found


@pytest.mark.timeout(300)
def test_short_jobs_in_groups_survive_kills_and_no_innocent_is_poisoned(tmp_path):
    found = harness.short(tmp_path, jobs=6000, kills=15, seed=5, say=lambda *_: None)
    assert harness.fair(found), found


@pytest.mark.timeout(400)
def test_a_random_graph_under_kills_keeps_its_order_and_ends_whole(tmp_path):
    found = graphs.run(Product(harness.migrated(tmp_path), grace=3), jobs=80, kills=15, seed=5)
    assert graphs.good(found), found
    assert found["kills"] >= 5 and found["retried"] >= 3


@pytest.mark.timeout(400)
def test_a_random_graph_under_kills_on_postgresql(tmp_path, postgres):
    (tmp_path / "data").mkdir(mode=0o700)
    found = graphs.run(OnPostgres(tmp_path / "data", postgres.url), jobs=60, kills=12, seed=6)
    assert graphs.good(found), found
