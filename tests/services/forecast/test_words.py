"""Forecasts in words: times without false precision, in both languages, and why one is not known."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from flask_babel import force_locale

from app.services.forecast import words
from app.services.forecast.estimate import Accuracy, Estimate, Interval, QueueForecast

ZONE = ZoneInfo("Europe/Rome")
NOW = round(datetime(2026, 11, 26, 15, 0, tzinfo=ZONE).timestamp() * 1000)
S, MIN, H = 1000, 60_000, 3_600_000


@pytest.fixture
def say(app):
    """`say(language, call)`: what a reader of that language gets."""
    def said(language, call):
        with app.test_request_context(), force_locale(language):
            return call()
    return said


def at(*ms: int) -> Interval:
    return Interval(*(NOW + n for n in ms))


@pytest.mark.parametrize(("interval", "english", "italian"), [
    (at(-9 * S, 0, 4 * S), "Begins now", "Inizia ora"),
    (at(0, S, 30 * S), "Begins now, or by 15:00:30", "Inizia ora, o entro le 15:00:30"),
    (at(20 * S, 40 * S, 60 * S), "Begins at about 15:00:40 (between 15:00:20 and 15:01:00)", "Inizia verso le 15:00:40 (tra le 15:00:20 e le 15:01:00)"),
    (at(0, 40 * S, 60 * S), "Begins at about 15:00:40 (between now and 15:01:00)", "Inizia verso le 15:00:40 (tra adesso e le 15:01:00)"),
    (at(8 * MIN, 12 * MIN, 31 * MIN), "Begins at about 15:12 (between 15:08 and 15:31)", "Inizia verso le 15:12 (tra le 15:08 e le 15:31)"),
    (at(H, H + 9 * S, H + 20 * S), "Begins at about 16:00", "Inizia verso le 16:00"),
    (at(8 * H, 9 * H + 40 * S, 14 * H), "Begins at about 00:01 on 27 Nov (between 23:00 on 26 Nov and 05:00)", "Inizia verso le 00:01 del 27 nov (tra le 23:00 del 26 nov e le 05:00)"),
    (at(40 * 24 * H, 41 * 24 * H, 42 * 24 * H), "Begins at about 15:00 on 6 Jan 2027 (between 15:00 on 5 Jan and 15:00 on 7 Jan)",
     "Inizia verso le 15:00 del 6 gen 2027 (tra le 15:00 del 5 gen e le 15:00 del 7 gen)"),
])
def test_an_interval_of_times(say, interval, english, italian):
    assert say("en", lambda: words.about(words.BEGINS, interval, NOW)) == english
    assert say("it", lambda: words.about(words.BEGINS, interval, NOW)) == italian


def test_a_time_that_no_calendar_has_is_no_error(say):
    assert "–" in say("en", lambda: words.about(words.ENDS, Interval(NOW, 2**60, 2**61), NOW))


def queue(empty=None, why=None, names=(), still_ms=None) -> QueueForecast:
    return QueueForecast(empty, why, names, 2, 2, still_ms, 340)


@pytest.mark.parametrize(("found", "english", "italian"), [
    (None, ["Not known: the monitor has made no forecast lately"], ["Non si sa: il monitor non ha fatto previsioni di recente"]),
    (queue(at(8 * MIN, 12 * MIN, 31 * MIN)), ["Empty at about 15:12 (between 15:08 and 15:31)"], ["Vuota verso le 15:12 (tra le 15:08 e le 15:31)"]),
    (queue(None, "growing"), ["Never at this rate: more arrives than ends"], ["Mai a questo ritmo: ne arrivano più di quanti ne finiscono"]),
    (queue(None, "types", ("TestEcho", "Other")), ["Not known: no run of Test Echo, Other yet"], ["Non si sa: ancora nessuna esecuzione di Test Echo, Other"]),
    (queue(None, "workers"), ["Not known: no worker serves the queue"], ["Non si sa: nessun worker serve la coda"]),
    (queue(None, "stuck", still_ms=14 * MIN), ["Does not move: 2 of 2 workers busy for 14 min", "Not known: when the jobs that run will end is not known"],
     ["Non si muove: 2 worker su 2 occupati da 14 min", "Non si sa: non si sa quando finiranno i lavori in corso"]),
    (queue(at(H, H, H), still_ms=14 * MIN), ["Does not move: 2 of 2 workers busy for 14 min", "Empty at about 16:00"],
     ["Non si muove: 2 worker su 2 occupati da 14 min", "Vuota verso le 16:00"]),
    (queue(None, None), ["Not known: it came after the last forecast"], ["Non si sa: è arrivato dopo l'ultima previsione"]),
])
def test_a_queue(say, found, english, italian):
    assert say("en", lambda: words.of_queue(found, NOW)) == english
    assert say("it", lambda: words.of_queue(found, NOW)) == italian


@pytest.mark.parametrize("basis", ["job_type", "tenant", "size", "tenant and size", "learned"])
def test_on_what_it_rests(say, basis):
    estimate = Estimate(Interval(1, 2, 3), 2.0, 1.0, 1340, basis)
    english, italian = (say(language, lambda: words.rests(estimate)) for language in ("en", "it"))
    assert "1,340" in english and "1.340" in italian and english != italian
    assert ("tenant" in english) == ("tenant" in basis) and ("size" in english) == ("size" in basis) and ("learned" in english) == (basis == "learned")


def test_how_many_predictions_held_is_rounded_down(say):
    assert say("en", lambda: words.held(Accuracy(500, 409, 1, 1))).startswith("81% of the last 500 predictions held")
    assert say("it", lambda: words.held(Accuracy(500, 409, 1, 1))).startswith("Previsioni riuscite: 81% delle ultime 500;")
    assert say("en", lambda: words.held(Accuracy(0, 0, None, None))) == "No such prediction has been checked yet."
