"""A flood of failures at once is not taken for the run time of work; a type that fails at once is still forecast well."""

from __future__ import annotations

import json

import pytest

from app.services.forecast.run_times import TypeModel

WORK = [1700 + n % 7 for n in range(300)]


def learned(*outcomes: tuple[list[int], bool], stored: bool = False) -> TypeModel:
    model = TypeModel()
    for runs, completed in outcomes:
        for run_ms in runs:
            model.learn("t1", 100, run_ms, 0, completed)
    return TypeModel(json.loads(json.dumps(model.as_json()))) if stored else model


@pytest.mark.parametrize("flood", [40, 340, 900])
@pytest.mark.parametrize("ms", [0, 3, 400])
def test_a_flood_of_failures_leaves_the_forecast_of_work(flood, ms):
    model = learned((WORK, True), ([ms] * flood, False), stored=True)
    assert model.estimate("t1", 100).mean_ms == pytest.approx(1700, rel=0.12)
    for _again in range(3):  # the same group is retried again and again, with work in between
        for outcomes in (([1700] * 30, True), ([ms] * flood, False)):
            for run_ms in outcomes[0]:
                model.learn("t1", 100, run_ms, 0, outcomes[1])
    assert model.estimate("t1", 100).mean_ms == pytest.approx(1700, rel=0.25)
    assert model.estimate("t1", 100).run.high >= 1700


def test_a_flood_before_the_first_completed_run(flood=340):
    model = learned(([0] * flood, False), (WORK[:20], True))
    assert model.estimate("t1", 100).mean_ms == pytest.approx(1700, rel=0.45), "not 17 ms or so"
    assert learned(([0] * flood, False), (WORK[:100], True)).estimate("t1", 100).mean_ms == pytest.approx(1700, rel=0.1)


def test_a_type_that_always_fails_at_once():
    assert learned(([0] * 340, False)).estimate("t1", 100).mean_ms == 0
    assert learned(([900] * 340, False)).estimate("t1", 100).mean_ms == pytest.approx(900)
    broken = learned((WORK, True), ([0] * 1600, False))
    assert broken.estimate("t1", 100).mean_ms < 20, "it has worked once, and works no longer"


@pytest.mark.parametrize("fails", [1, 4, 9, 30])
def test_the_share_of_failures_counts(fails):
    """One run of work, so many failures, one run of work: the mean is that of all of them."""
    model = learned((WORK[:8], True), *[((WORK[:1], True), ([0] * fails, False))[n % 2] for n in range(200)])
    assert model.estimate("t1", 100).mean_ms == pytest.approx(1700 / (fails + 1), rel=0.3)


def test_slow_failures_are_run_times():
    assert learned((WORK, True), ([60_000] * 300, False)).estimate("t1", 100).mean_ms == pytest.approx(60_000, rel=0.05)


@pytest.mark.parametrize("damaged", [{"gap": -1}, {"gap": "x"}, {"done": ["a"]}, {"done": 5}, {"gaps": [None]}, [1]])
def test_a_damaged_model_is_refused(damaged):
    with pytest.raises((TypeError, ValueError, AttributeError)):
        TypeModel({"early": damaged})
