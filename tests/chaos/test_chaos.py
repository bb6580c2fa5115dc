"""The short form of the campaign; scripts/chaos.sh runs the long one."""

from __future__ import annotations

import pytest

from tests.chaos import harness


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
