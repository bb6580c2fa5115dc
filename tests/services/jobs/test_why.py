"""Why a job does not run, when it begins and ends: the sentences as a table in both languages, then the facts on both databases."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from flask_babel import force_locale

from app.extensions import db
from app.ledger.dialect import Connection
from app.ledger.rescue import rescue
from app.models import WorkerHeartbeat
from app.services.audit import log
from app.services.forecast import outlook
from app.services.forecast.estimate import Accuracy, Estimate, Interval, JobForecast, QueueForecast
from app.services.jobs import actions, batch_actions, batch_pages, batches, limits, listing, lookup, queues, why
from app.services.jobs.listing import JobFilter
from app.services.jobs.queues import PauseView
from app.services.jobs.why import Facts
from app.support.clock import MINUTE_MS, naive, now_ms
from app.support.formatting import clock
from tests.ledger_fixture import Ledger

ZONE = ZoneInfo("Europe/Rome")
NOW = round(datetime(2026, 11, 26, 15, 0, tzinfo=ZONE).timestamp() * 1000)
RUN = Estimate(Interval(1, 2, 3), 2.0, 1.0, 340, "tenant")
BEGIN, END = (Interval(*(NOW + n * MINUTE_MS for n in ms)) for ms in ((8, 12, 31), (9, 15, 40)))
OPS = PauseView(datetime(2026, 11, 26, 13, 0, tzinfo=UTC), datetime(2026, 11, 26, 14, 40, tzinfo=UTC), "ops@example.org", "stock-taking")
FOREVER = PauseView(OPS.since, None, None, None)


def facts(state: str, **known) -> Facts:
    return Facts(state, "low", "CsvImport", **known)


def forecast(begin=BEGIN, end=END, code=None, place=None, turns=None, longer_than=None, run=RUN, names=()) -> JobForecast:
    return JobForecast(begin, end, code, place, turns, longer_than, run, names)


UNKNOWN = forecast(None, None, "person")
IN_ENGLISH = "Begins at about 15:12 (between 15:08 and 15:31). Ends at about 15:15 (between 15:09 and 15:40)."
IN_ITALIAN = "Inizia verso le 15:12 (tra le 15:08 e le 15:31). Finisce verso le 15:15 (tra le 15:09 e le 15:40)."
CAUSES = {
    "place": (facts("pending", workers=2, busy=2), forecast(place=51), "Place 51 of its queue, 2 of 2 workers busy.", "Posto 51 della sua coda, 2 worker su 2 occupati."),
    "turns": (facts("pending", workers=2, busy=2), forecast(place=51, turns=3), "Its tenant's turn comes after 3 others: place 51 of its queue, 2 of 2 workers busy.",
              "Il turno del suo tenant viene dopo altri 3: posto 51 della sua coda, 2 worker su 2 occupati."),
    "one turn": (facts("pending", workers=2, busy=2), forecast(place=51, turns=1), "Its tenant's turn comes after one other: place 51 of its queue, 2 of 2 workers busy.",
                 "Il turno del suo tenant viene dopo un altro: posto 51 della sua coda, 2 worker su 2 occupati."),
    "no turn": (facts("pending", workers=3, busy=2), forecast(place=2, turns=0), "Place 2 of its queue, 2 of 3 workers busy.", "Posto 2 della sua coda, 2 worker su 3 occupati."),
    "silent": (facts("pending", workers=1, busy=1, wanted=2, silent=1), forecast(place=10), "Place 10 of its queue, 1 of 2 workers busy, 1 does not respond.",
               "Posto 10 della sua coda, 1 worker su 2 occupati, 1 non risponde."),
    "all silent": (facts("pending", workers=0, busy=0, wanted=2, silent=2), forecast(place=10), "Place 10 of its queue, 0 of 2 workers busy, 2 do not respond.",
                   "Posto 10 della sua coda, 0 worker su 2 occupati, 2 non rispondono."),
    "missing": (facts("pending", workers=1, busy=1, wanted=3, silent=1), forecast(place=10), "Place 10 of its queue, 1 of 3 workers busy, 1 does not respond, 1 takes no jobs.",
                "Posto 10 della sua coda, 1 worker su 3 occupati, 1 non risponde, 1 non prende lavori."),
    "scaling": (facts("pending", workers=3, busy=3, wanted=2), forecast(place=10), "Place 10 of its queue, 3 of 3 workers busy.", "Posto 10 della sua coda, 3 worker su 3 occupati."),
    "not known what should run": (facts("pending", workers=1, busy=1, silent=1), forecast(place=10), "Place 10 of its queue, 1 of 2 workers busy, 1 does not respond.",
                                  "Posto 10 della sua coda, 1 worker su 2 occupati, 1 non risponde."),
    "own turns": (facts("pending", workers=2, busy=2, wanted=2, own=14), forecast(place=46, turns=2), "Its tenant's turn comes after 2 others, and 14 earlier jobs of its own: place 46 of its queue, 2 of 2 workers busy.",
                  "Il turno del suo tenant viene dopo altri 2, e dopo 14 lavori precedenti dello stesso tenant: posto 46 della sua coda, 2 worker su 2 occupati."),
    "one own turn": (facts("pending", workers=2, busy=2, wanted=2, own=1), forecast(place=4, turns=1), "Its tenant's turn comes after one other, and one earlier job of its own: place 4 of its queue, 2 of 2 workers busy.",
                     "Il turno del suo tenant viene dopo un altro, e dopo un lavoro precedente dello stesso tenant: posto 4 della sua coda, 2 worker su 2 occupati."),
    "starting": (facts("pending", workers=3, busy=2), forecast(place=1), "It is ready, and a free worker is starting it.", "È pronto, e un worker libero lo sta avviando."),
    "no worker": (facts("pending", workers=0, busy=0), forecast(None, None, "workers", place=1), "No worker serves the queue low: it waits until one is started.",
                  "Nessun worker serve la coda low: attende che ne venga avviato uno."),
    "no monitor": (facts("pending"), forecast(None, None, "monitor"), "It is ready, and begins when a worker is free.", "È pronto e inizia quando un worker è libero."),
    "queue paused": (facts("pending", pause=OPS, workers=2, busy=2), forecast(place=51), "The queue low is paused by ops@example.org until 15:40: «stock-taking».",
                     "La coda low è in pausa (ops@example.org) fino alle 15:40: «stock-taking»."),
    "paused by the platform": (facts("pending", pause=FOREVER), UNKNOWN, "The queue low is paused by the platform itself until somebody resumes it.",
                               "La coda low è in pausa (la piattaforma stessa) finché qualcuno non interviene."),
    "type paused": (facts("held", hold_code="type", reason="Its type is paused.", type_pause=OPS), forecast(), "The type Csv Import is paused by ops@example.org until 15:40: «stock-taking».",
                    "Il tipo Csv Import è in pausa (ops@example.org) fino alle 15:40: «stock-taking»."),
    "type paused just now": (facts("pending", type_pause=OPS, workers=2, busy=2), forecast(place=1), "The type Csv Import is paused by ops@example.org until 15:40: «stock-taking».",
                             "Il tipo Csv Import è in pausa (ops@example.org) fino alle 15:40: «stock-taking»."),
    "person": (facts("held", hold_code="person", reason="Held by ann."), UNKNOWN, "Held by ann.", "Held by ann."),
    "person unknown": (facts("held", hold_code="person"), UNKNOWN, "Held by a person.", "Trattenuto da una persona."),
    "held and waits": (facts("held", hold_code="person", reason="Held by ann.", waits="Waits for X"), UNKNOWN, "Held by ann. Waits for X.", "Held by ann. Waits for X."),
    "limit": (facts("held", hold_code="limit", reason="Its type is limited to 2 at once.", running=2), forecast(), "Its type is limited to 2 at once. 2 run now.", "Its type is limited to 2 at once. Ora ne girano 2."),
    "limit of one": (facts("held", hold_code="limit", reason="Its type is limited to 1 at once.", running=1), forecast(), "Its type is limited to 1 at once. One runs now.",
                     "Its type is limited to 1 at once. Ora ne gira uno."),
    "rate": (facts("held", hold_code="rate", reason="Its type is limited to 60 starts in 60 s.", next_start_ms=NOW + 20_000), forecast(),
             "Its type is limited to 60 starts in 60 s. They are used up until 15:00:20.", "Its type is limited to 60 starts in 60 s. Sono esauriti fino alle 15:00:20."),
    "rate without a worker": (facts("held", hold_code="rate", reason="Its type is limited to 6 starts in 60 s.", workers=2, busy=2, wanted=2), forecast(place=12), "Place 12 of its queue, 2 of 2 workers busy.",
                              "Posto 12 della sua coda, 2 worker su 2 occupati."),
    "rate with a free worker": (facts("held", hold_code="rate", reason="Its type is limited to 6 starts in 60 s.", workers=2, busy=1, wanted=2), forecast(place=12), "Its type is limited to 6 starts in 60 s.",
                                "Its type is limited to 6 starts in 60 s."),
    "budget": (facts("held", hold_code="budget", reason="The budget of acme is used up."), UNKNOWN, "The budget of acme is used up.", "The budget of acme is used up."),
    "no reason": (facts("held"), UNKNOWN, "It is held.", "È trattenuto."),
    "waiting": (facts("waiting", waits="Waits for X, which failed"), UNKNOWN, "Waits for X, which failed.", "Waits for X, which failed."),
    "blocked": (facts("blocked", reason="No such type."), UNKNOWN, "No such type.", "No such type."),
    "blocked without reason": (facts("blocked"), UNKNOWN, "It is blocked.", "È bloccato."),
    "scheduled": (facts("scheduled", available_ms=NOW + 60 * MINUTE_MS), forecast(), "It is scheduled for 16:00.", "È previsto alle 16:00."),
    "tomorrow": (facts("scheduled", available_ms=NOW + 24 * 60 * MINUTE_MS), forecast(), "It is scheduled for 15:00 on 27 Nov.", "È previsto alle 15:00 del 27 nov."),
    "second attempt": (facts("scheduled", available_ms=NOW + 60 * MINUTE_MS, attempts=1, tries=3, reason="Boom."), forecast(), "Attempt 2 of 3 is scheduled for 16:00. Boom.",
                       "Il tentativo 2 di 3 è previsto alle 16:00. Boom."),
    "attempt after a lost one": (facts("scheduled", available_ms=NOW + 60 * MINUTE_MS, attempts=2, lost=1, tries=3), forecast(), "Attempt 2 of 3 is scheduled for 16:00.", "Il tentativo 2 di 3 è previsto alle 16:00."),
    "running": (facts("processing", reserved_ms=NOW - MINUTE_MS), forecast(longer_than=0.5), "Running since 14:59:00.", "In esecuzione dalle 14:59:00."),
    "state of another program": (facts("odd"), UNKNOWN, "It is blocked.", "È bloccato."),
}


@pytest.fixture
def say(app):
    """`say(language, call)`: what a reader of that language gets."""
    def said(language, call):
        with app.test_request_context(), force_locale(language):
            return call()
    return said


@pytest.mark.parametrize("name", CAUSES)
def test_the_cause_in_both_languages(say, name):
    known, found, english, italian = CAUSES[name]
    for language, sentence, times in (("en", english, IN_ENGLISH), ("it", italian, IN_ITALIAN)):
        answer = say(language, lambda: why.told(known, found, Accuracy(500, 405, 1, 2), NOW))
        assert answer.cause == sentence
        told = " ".join(answer.when)
        if known.state == "processing":
            assert told == times.split(". ")[1] and answer.begins is None
        elif found.begin:
            assert told == times and (answer.begins, answer.ends) == (BEGIN, END)
        else:
            assert answer.begins is answer.ends is None and "15:" not in told
        assert bool(answer.rests) == bool(found.end)


@pytest.mark.parametrize(("code", "names", "clause"), [
    ("paused", (), "it is paused until somebody resumes it"), ("workers", (), "no worker serves the queue"), ("growing", (), "more arrives than ends"),
    ("types", (), "no run of a type before it yet"), ("types", ("TestEcho", "B", "C", "D"), "no run of Test Echo, B, C yet"),
    ("stuck", (), "when the jobs that run will end is not known"), ("monitor", (), "the monitor has made no forecast lately"), ("person", (), "a person must do something first"), ("parents", (), "what it waits for must complete first"),
    ("budget", (), "its budget must allow it first"), (None, (), "it came after the last forecast")])
def test_what_is_not_known_says_why(say, code, names, clause):
    def when(known, found):
        return say("en", lambda: why.told(known, found, Accuracy(0, 0, None, None), NOW)).when

    nothing = forecast(None, None, code, names=names)
    assert when(facts("pending"), nothing) == [f"When it begins is not known: {clause}."]
    own = "no run of Csv Import yet" if code == "types" else clause
    assert when(facts("processing", reserved_ms=NOW), nothing) == [f"When it ends is not known: {own}."]
    assert when(facts("pending"), forecast(BEGIN, None, code, names=names))[1:] == [f"When it ends is not known: {own}."]


@pytest.mark.parametrize(("longer_than", "halt", "said"), [
    (None, None, []), (0.89, None, []), (0.999, None, ["It has run longer than 99% of its kind."]), (1.0, None, ["It has run longer than every known run of its kind."]),
    (1.0, "It stands.", ["Running since 14:59:00.", "It has run longer than every known run of its kind."])])
def test_a_long_run(say, longer_than, halt, said):
    known = facts("processing", reserved_ms=NOW - MINUTE_MS, halt=halt)
    assert say("en", lambda: why.told(known, forecast(longer_than=longer_than), Accuracy(0, 0, None, None), NOW)).when[:-1] == said


def test_what_else_stands_in_the_way_of_a_job(say):
    answer = say("en", lambda: why.told(facts("scheduled", available_ms=NOW, pause=OPS, type_pause=FOREVER), UNKNOWN, Accuracy(0, 0, None, None), NOW))
    assert [more.split(" is ")[0] for more in answer.more] == ["The queue low", "The type Csv Import"]
    assert not say("en", lambda: why.told(facts("processing", pause=OPS), UNKNOWN, Accuracy(0, 0, None, None), NOW)).more, "it runs all the same"


@pytest.mark.parametrize(("known", "found", "brief"), [
    (facts("pending", workers=2, busy=2), forecast(place=51), "Place 51. Begins at about 15:12 (between 15:08 and 15:31)"),
    (facts("pending", workers=2, busy=2), forecast(None, None, "stuck", place=51), "Place 51 of its queue, 2 of 2 workers busy."),
    (facts("pending", pause=FOREVER), forecast(place=51), "The queue low is paused by the platform itself until somebody resumes it."),
    (facts("processing"), forecast(longer_than=0.99), "It has run longer than 99% of its kind. Ends at about 15:15 (between 15:09 and 15:40)"),
    (facts("processing"), UNKNOWN, None), (facts("held", reason="x"), forecast(), None)])
def test_one_line_for_a_list(say, known, found, brief):
    assert say("en", lambda: why.told(known, found, Accuracy(0, 0, None, None), NOW)).brief == brief


# ---- the facts -------------------------------------------------------------------------------------------------------


@pytest.fixture
def jobs(ledger):
    with ledger.app.app_context():
        yield ledger


def cause(uuid: str, key: str = "why"):
    db.session.rollback()
    shown = lookup.as_json(uuid)
    db.session.rollback()  # outside a request it may write, so it holds the lock of SQLite
    assert {"why", "begins", "ends", "place", "basis"} <= shown.keys()
    return shown[key]


def test_the_cause_of_each_state(jobs):
    one = jobs.dispatch("TestEcho", queue="low")
    queues.pause("low", "ops@example.org", None, "stock-taking")
    assert cause(one) == "The queue low is paused by ops@example.org until somebody resumes it: «stock-taking»."
    queues.resume("low", "ops@example.org")
    assert cause(one) == "It is ready, and begins when a worker is free."
    queues.pause("type:TestEcho", "ops@example.org", 30)
    assert cause(one).startswith("The type Test Echo is paused by ops@example.org until ")
    queues.resume("type:TestEcho", "ops@example.org")
    actions.act("hold", one, "ann@example.org")
    assert cause(one) == "Held by ann@example.org." and log()[0][0].actor == "ann@example.org"
    actions.act("release", one, "ann@example.org")
    actions.act("delay", one, "ann@example.org", seconds=3600)
    assert cause(one).startswith("It is scheduled for ")
    child = jobs.dispatch("TestEcho", after=[one])
    assert cause(child) == f"Waits for Test Echo {one[:8]}, which is scheduled."
    jobs.change("UPDATE jobs SET state = 'blocked', reason = 'No such type.' WHERE uuid = :u", u=one)
    assert cause(one) == "No such type."
    jobs.change("UPDATE jobs SET state = 'pending', reason = NULL WHERE uuid = :u", u=one)
    running = jobs.claim()
    assert cause(one).startswith("Running since ")
    jobs.settle(running)
    assert cause(one) is None and lookup.as_json(one)["ends"] is None


def test_limits_say_how_many_run_and_from_when_the_next_may_start(jobs):
    limits.change("TestEcho", "ann@example.org", concurrency=1, rate=(0, 0))
    first, second = jobs.dispatch("TestEcho"), jobs.dispatch("TestEcho")
    running = jobs.claim()
    assert jobs.claim("w2") is None and running.uuid == first
    assert cause(second) == "Its type is limited to 1 at once. One runs now."
    jobs.settle(running)
    limits.change("TestEcho", "ann@example.org", concurrency=0, rate=(1, 600_000))
    third = jobs.dispatch("TestEcho")
    jobs.settle(jobs.claim())
    assert jobs.claim("w2") is None
    with force_locale("en"):
        until = clock(jobs.one("SELECT MAX(at_ms) FROM rate_starts") + 600_000, now_ms(), seconds=True)
    assert cause(third) == f"Its type is limited to 1 starts in 600 s. They are used up until {until}."
    jobs.change("UPDATE rate_starts SET at_ms = at_ms - 600000")
    assert cause(third) == "Its type is limited to 1 starts in 600 s.", "a start is free again"


def test_a_paused_batch_holds_its_members(jobs):
    made = batches.begin("Import of March", created_by="ann@example.org")
    db.session.commit()
    one = jobs.dispatch("TestEcho", batch=made)
    batch_actions.change(batch_pages.find(made.id), "pause", "ann@example.org")
    assert "batch" in cause(one) and batch_pages.end_of(batch_pages.find(made.id), now_ms()) == (None, "It is paused.")


@pytest.fixture
def known(monkeypatch):
    """What the outlook answers, by uuid; every queue has 2 workers, both busy."""
    answers: dict[str, JobForecast] = {}
    asked: list[list[str]] = []

    def of_jobs(_tx, uuids, exact=False):
        asked.append(uuids)
        return {uuid: answers.get(uuid, UNKNOWN) for uuid in uuids}

    monkeypatch.setattr(outlook, "of_jobs", of_jobs)
    monkeypatch.setattr(outlook, "of_queues", lambda _tx: ({q: QueueForecast(END, None, (), 2, 2, None, 340) for q in ("high", "default", "low")}, 1500))
    monkeypatch.setattr(outlook, "accuracy", lambda _tx, _type=None: Accuracy(500, 405, 1, 2))
    answers["asked"] = asked
    return answers


def test_a_list_asks_once_for_all_its_rows(jobs, known, monkeypatch):
    uuids = [jobs.dispatch("TestEcho") for _ in range(12)]
    now = now_ms()
    begin = Interval(now + 500_000, now + 600_000, now + 900_000)
    known |= {uuid: forecast(begin, begin.later(5000), place=n) for n, uuid in enumerate(uuids, 1)}
    with monkeypatch.context() as cheap:
        cheap.setattr(outlook, "accuracy", None)  # a list does not ask for it
        found = {row.uuid: row.why for row in listing.page(JobFilter(state="pending")).rows}
    assert found[uuids[4]].startswith("Place 5. Begins at about ") and len(found) == 12
    assert len(known["asked"]) == 1 and set(known["asked"][0]) == set(uuids)
    shown = lookup.as_json(uuids[4])
    assert shown["place"] == 5 and shown["begins"]["at"] > shown["begins"]["from"] and shown["ends"]["to"] > shown["ends"]["at"]
    assert shown["why"] == "Place 5 of its queue, 2 of 2 workers busy."
    assert shown["basis"].startswith("It rests on the last runs of its type and tenant: 340. 81% of the last 500 predictions held")


def test_a_waiting_job_begins_when_those_before_it_have_ended(jobs, known):
    first = jobs.dispatch("TestEcho")
    second = jobs.dispatch("TestEcho", after=[first])
    third = jobs.dispatch("TestEcho", after=[second])
    jobs.change("INSERT INTO worker_heartbeats (worker_id, worker_name, process_id, status, queue, consumer_id, host, started_at, last_heartbeat) "
                "VALUES ('w1', 'w1', 1, 'idle', 'default', 'c', 'h', '2026-01-01 00:00:00', '2026-01-01 00:00:00')")
    now, run = now_ms(), Estimate(Interval(900, 1000, 1100), 1000.0, 100.0, 50, "job_type")
    known |= {first: forecast(END, Interval(now + 600_000, now + 700_000, now + 900_000), run=run), second: forecast(None, None, "parents", run=run),
              third: forecast(None, None, "parents", run=run)}
    with force_locale("en"):
        found = why.one(third)
    assert found.begins.middle == now + 701_000 and found.ends.middle == now + 702_000
    assert found.cause == f"Waits for Test Echo {second[:8]}, which waits too." and found.when[0].startswith("Begins at about ")
    assert "will then stand before it" in found.rests[1]
    known[first] = forecast(None, None, "types", run=run)
    with force_locale("en"):
        assert why.one(third).when == ["When it begins is not known: no run of a type before it yet."]
    actions.act("hold", first, "ann@example.org")
    known[first] = UNKNOWN
    with force_locale("en"):
        assert why.one(third).when == ["When it begins is not known: a person must do something first."]


def test_the_end_of_a_batch_is_that_of_its_last_members(jobs, known):
    made = batches.begin("Import of March")
    db.session.commit()
    uuids = [jobs.dispatch("TestEcho", batch=made) for _ in range(30)]
    now = now_ms()
    ends = {uuid: Interval(now + n * 1000, now + n * 2000, now + n * 3000) for n, uuid in enumerate(uuids, 1000)}
    known |= {uuid: forecast(end, end) for uuid, end in ends.items()}
    end, told = batch_pages.end_of(batch_pages.find(made.id), now)
    assert end == ends[uuids[-1]] and told.startswith("Ends at about ")
    assert len(known["asked"]) == 1 and len(known["asked"][0]) <= 48, "the same price for any number of members"
    known[uuids[-1]] = forecast(None, None, "types", names=("TestEcho",))
    assert batch_pages.end_of(batch_pages.find(made.id), now) == (None, "When it ends is not known: no run of Test Echo yet.")


def test_a_queue_tells_its_forecast_and_left_ms_is_its_middle(jobs, known, monkeypatch):
    jobs.dispatch("TestEcho", queue="low")
    now = now_ms()
    end = Interval(now + 500_000, now + 600_000, now + 900_000)
    monkeypatch.setattr(outlook, "of_queues", lambda _tx: ({"low": QueueForecast(end, None, (), 2, 2, 14 * MINUTE_MS, 340)}, 1500))
    low, high = (next(q for q in queues.queues() if q.name == name) for name in ("low", "high"))
    assert low.forecast[0] == "Does not move: 2 of 2 workers busy for 14 min" and low.forecast[1].startswith("Empty at about ")
    assert 595_000 < low.left_ms <= 600_000 and low.basis_runs == 340
    assert (high.forecast, high.left_ms, high.basis_runs) == ([], None, None), "empty"
    assert queues.basis().startswith("Made 1,5 s ago. 81% of the last 500") or queues.basis().startswith("Made 1.5 s ago. 81% of the last 500")
    queues.pause("low", "ops@example.org")
    assert next(q for q in queues.queues() if q.name == "low").forecast == []


def worker(jobs, name: str, stale: int = 0, reason: str | None = None, queue: str = "high,default,low", status: str = "active") -> None:
    with db.session.begin():
        db.session.add(WorkerHeartbeat(
            worker_id=name, worker_name=name, process_id=1, status=status, queue=queue, consumer_id="c", host="h", stale=stale, reason=reason,
            started_at=naive(now_ms()), last_heartbeat=naive(now_ms() - 45_300)))


def test_a_job_past_its_time_limit(jobs, known):
    uuid = jobs.dispatch("TestEcho")
    jobs.claim()
    now = now_ms()
    known[uuid] = forecast(None, Interval(now, now, now))
    jobs.change("UPDATE jobs SET reserved_ms = reserved_ms - timeout * 1000 - 1000")
    with force_locale("en"):
        found = why.one(uuid)
    assert found.cause == "It is past its time limit; 30 s after that its worker is killed." and found.ends is None and found.halted
    assert found.when[0].startswith("Running since ") and found.when[1:] == ["When it ends is not known: a job is past its time limit."]


@pytest.mark.parametrize(("stale", "reason"), [(1, "frozen: a signal has stopped its process"), (0, "busy, not reporting"), (1, "busy, not reporting"), (0, "not reporting")])
def test_a_job_of_a_worker_that_does_not_report_has_no_end(jobs, known, stale, reason):
    made = batches.begin("Import of March")
    db.session.commit()
    uuid, other = jobs.dispatch("TestEcho", batch=made), jobs.dispatch("TestEcho")
    child = jobs.dispatch("TestEcho", after=[uuid])
    jobs.claim()
    jobs.claim("w2")
    worker(jobs, "w1", stale, reason)
    worker(jobs, "w2")
    end = Interval(now_ms() + 60_000, now_ms() + 70_000, now_ms() + 90_000)
    known |= {uuid: forecast(None, end, longer_than=1.0), other: forecast(None, end), child: forecast(None, None, "parents")}
    said = f"Its worker has not reported for 45 s ({reason}); after 120 s without a report or CPU time it is killed and the job runs again."
    since = re.compile(" 4[5-9] s")  # a slow machine takes seconds to come here
    shown = lookup.as_json(uuid)
    assert (since.sub(" 45 s", shown["why"]), shown["ends"]) == (said, None) and lookup.as_json(other)["ends"]
    with force_locale("en"):
        assert why.one(uuid).when[-1] == "When it ends is not known: a worker does not report."
        assert why.one(child).when == ["When it begins is not known: a worker does not report."]
    db.session.rollback()
    rows = {row.uuid: row.why for row in listing.page(JobFilter(state="processing")).rows}
    assert since.sub(" 45 s", rows[uuid]) == f"{said} It has run longer than every known run of its kind." and rows[other].startswith("Ends at about ")
    assert batch_pages.end_of(batch_pages.find(made.id), now_ms()) == (None, "When it ends is not known: a worker does not report.")


def test_the_workers_of_a_queue_are_those_that_should_run(jobs, known, monkeypatch):
    jobs.change("INSERT INTO consumers (consumer_id, host, process_id, queue, wanted, least, most, started_ms, beat_ms) VALUES ('c', 'h', 1, 'high,default,low', 3, 3, 3, 1, 1), ('d', 'h', 2, 'high', 5, 5, 5, 1, 1)")
    worker(jobs, "w1", 1, "frozen")
    worker(jobs, "w2", 1, "frozen", queue="high")
    worker(jobs, "w3", 1, "frozen", status="stopped")
    worker(jobs, "w4")
    first, second = jobs.dispatch("TestEcho", queue="low"), jobs.dispatch("TestEcho", queue="high")
    known |= {first: forecast(END, END, place=10), second: forecast(END, END, place=10)}
    assert cause(first) == "Place 10 of its queue, 2 of 3 workers busy, 1 does not respond."
    assert cause(second) == "Place 10 of its queue, 2 of 8 workers busy, 2 do not respond, 4 take no jobs."
    monkeypatch.setattr(outlook, "of_queues", lambda _tx: ({"low": QueueForecast(END, None, (), 2, 2, 14 * MINUTE_MS, 340)}, 1500))
    assert next(q for q in queues.queues() if q.name == "low").forecast[0] == "Does not move: 2 of 3 workers busy for 14 min, 1 does not respond"


def test_a_lost_attempt_uses_up_no_try(jobs):
    uuid = jobs.dispatch("TestEcho")
    for _ in range(2):
        job = jobs.claim()
        rescue(jobs.connection, job, False, "frozen", "tickets")
    job = jobs.claim()
    shown = [lookup.find(uuid), lookup.queued()[0], listing.page(JobFilter()).rows[0]]
    assert {(one.attempts, one.lost) for one in shown} == {(3, 2)}
    db.session.rollback()
    jobs.settle(job)
    shown = [lookup.find(uuid), listing.page(JobFilter()).rows[0]]
    assert {(one.attempts, one.lost) for one in shown} == {(3, 2)}
    db.session.rollback()
    jobs.change("UPDATE job_history SET round = 2")
    assert lookup.find(uuid).lost == 0, "a round begins anew"


def test_free_starts_and_busy_workers_give_the_place(jobs, known):
    limits.change("TestEcho", "ann@example.org", concurrency=0, rate=(2, 600_000))
    uuids = [jobs.dispatch("TestEcho") for _ in range(5)]
    other = jobs.dispatch("TestEcho", queue="low")
    for name in ("w1", "w2"):
        jobs.settle(jobs.claim(name))
    assert jobs.claim() is None
    with force_locale("en"):
        until = clock(jobs.one("SELECT MIN(at_ms) FROM rate_starts") + 600_000, now_ms(), seconds=True)
    assert cause(uuids[4]) == f"Its type is limited to 2 starts in 600 s. They are used up until {until}." and cause(uuids[4], "place") is None
    jobs.change("UPDATE rate_starts SET at_ms = at_ms - 600000")
    jobs.change("UPDATE jobs SET state = 'pending', hold_code = NULL WHERE uuid = :u", u=uuids[2])
    assert cause(uuids[4]) == "Place 3 of its queue, 2 of 2 workers busy." and cause(uuids[4], "place") == 3
    assert cause(other) == "Place 1 of its queue, 2 of 2 workers busy."


def test_a_rate_that_was_lowered_lets_the_next_start_when_enough_are_over(jobs):
    limits.change("TestEcho", "ann@example.org", concurrency=0, rate=(4, 600_000))
    for _ in range(4):
        jobs.dispatch("TestEcho")
        jobs.settle(jobs.claim())
    now = now_ms()
    for n, (row,) in enumerate(jobs.connection.fetch_all("SELECT id FROM rate_starts ORDER BY id")):
        jobs.change("UPDATE rate_starts SET at_ms = :at WHERE id = :id", at=now - 400_000 + n * 60_000, id=row)
    limits.change("TestEcho", "ann@example.org", concurrency=0, rate=(2, 600_000))
    last = jobs.dispatch("TestEcho")
    assert jobs.claim() is None
    with force_locale("en"):
        assert cause(last).endswith(f"used up until {clock(now + 320_000, now, seconds=True)}.")


def test_the_turn_of_a_tenant_counts_its_own_earlier_jobs(jobs, known):
    uuids = [jobs.dispatch("TestEcho", tenant_id=tenant) for tenant in ("acme", "acme", "zeta", "acme")]
    jobs.change("UPDATE jobs SET rank = -1")
    known[uuids[3]] = forecast(END, END, place=4, turns=1)
    assert cause(uuids[3]) == "Its tenant's turn comes after one other, and 2 earlier jobs of its own: place 4 of its queue, 2 of 2 workers busy."


@pytest.mark.parametrize(("language", "window", "attempt"), [("en", "last 10 min", "1 of 1, after one lost"), ("it", "ultimi 10 min", "1 di 1, dopo uno perso")])
def test_pages_count_no_lost_attempt_and_name_the_window_of_rates(app, admin, language, window, attempt):
    connection = Connection(app.extensions["settings"].database_url)
    jobs = Ledger(app, connection, "sqlite")
    uuid = jobs.dispatch("TestEcho", tries=1)
    rescue(connection, jobs.claim(), False, "frozen", "tickets")
    jobs.claim()
    connection.close()
    admin.set_cookie("lang", language)
    assert f"<dd>{attempt}</dd>" in admin.get(f"/admin/jobs/job/{uuid}").text
    assert f">{attempt.split(',')[0]}</td>" in admin.get("/admin/jobs/list").text
    assert admin.get("/admin/jobs/queues").text.count(f'<span class="second">{window}</span></th>') == 2
