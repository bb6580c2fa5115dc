"""Schedules made, changed, retimed and deleted on the page: forms, errors beside fields, the page of each, the log."""

from __future__ import annotations

import json
import re

import pytest

from app import registry
from app.extensions import db
from app.models import Audit, Job, Recurring, RecurringRun, Schedule
from app.services.jobs import recurring, schedules
from app.support.clock import MINUTE_MS, now_ms
from app.support.settings import settings

JSON = {"Accept": "application/json"}
NEW, EDIT = "/admin/jobs/schedules/new", "/admin/jobs/schedules/edit/"
FORM = {"option-type": "TestForm", "option-name": "Ogni notte", "option-cron": "30 2 * * mon-fri", "option-queue": "low", "option-tenant": "acme",
        "option-overlap": "wait", "text": "ciao", "number": "7", "kind": "a", "ratio": "0.5", "extra": '{"password": "hunter2"}'}


@pytest.fixture
def send(admin):
    admin.set_cookie("lang", "en")

    def post(address: str, form: dict | None = None, **more):
        return admin.post(address, data={"csrf_token": admin.csrf, **(form or {}), **more}, headers={"Accept": "text/html"})
    return post


def rows(app, model):
    with app.app_context():
        return list(db.session.scalars(db.select(model)))


def test_a_schedule_is_made_shown_run_changed_and_deleted(app, admin, send):
    answer = send(NEW, FORM)
    assert answer.status_code == 303 and answer.location == "/admin/jobs/recurring/Ogni%20notte"
    (row,) = rows(app, Schedule)
    assert (row.cron, row.job_type, row.queue, row.tenant_id, row.overlap, row.catch_up) == ("30 2 * * MON-FRI", "TestForm", "low", "acme", "wait", 0)
    assert json.loads(row.args)["number"] == 7 and row.changed_by == "admin@example.org"
    page = admin.get(answer.location).text
    assert "From Monday to Friday at 02:30" in page and "A run waits until the one before has ended." in page
    assert "hunter2" not in page and page.count("<li><time") == 10
    table = admin.get("/admin/jobs/recurring").text
    assert "Ogni notte" in table and "yearly" in table and "made here" in table
    assert send("/admin/jobs/recurring/Ogni notte/run").status_code == 303
    (job,) = rows(app, Job)
    assert (job.queue, job.tenant_id) == ("low", "acme")
    form = admin.get(EDIT + "Ogni notte").text
    assert "hunter2" not in form and '>ciao<' in form
    hidden = form.split('name="extra"')[1].split(">")[1].split("<")[0].replace("&#34;", '"')
    changed = FORM | {"option-cron": "0 4 1 * *", "option-overlap": "allow", "extra": hidden, "option-seen": str(row.changed_ms)}
    assert send(EDIT + "Ogni notte", changed).status_code == 303
    (row,) = rows(app, Schedule)
    assert row.cron == "0 4 1 * *" and json.loads(row.args)["extra"] == {"password": "hunter2"}, "a secret that the page hides stays"
    asked = send("/admin/jobs/recurring/Ogni notte/delete", ask="1")
    assert asked.status_code == 200 and "Its history stays." in asked.text and rows(app, Schedule)
    assert send("/admin/jobs/recurring/Ogni notte/delete").status_code == 303 and not rows(app, Schedule)
    page = admin.get(answer.location).text
    assert "no longer there" in page and job.uuid in page and "by hand" in page
    acts = [r.action for r in rows(app, Audit) if r.subject == "Ogni notte"]
    assert acts == ["make a schedule", "run recurring", "change a schedule", "delete a schedule"]
    assert {r.actor for r in rows(app, Audit) if r.subject == "Ogni notte"} == {"admin@example.org"}
    assert re.search(r"\bschedule\b[^<]*Ogni notte", page) and "Ogni notte" in page, page[-4000:]
    assert [r.name for r in rows(app, Recurring) if r.name == "Ogni notte"] == []


@pytest.mark.parametrize(("field", "value", "sentence"), [
    ("option-name", "", "A name has 1 to 80 characters"), ("option-name", "a/b", "A name has 1 to 80"), ("option-name", "..", "A name has 1 to 80"), ("option-name", "n" * 81, "A name has 1 to 80"),
    ("option-name", "yearly", "There is a schedule of this name already."), ("option-name", "a\nb", "in one line"), ("option-name", "a\u202eb", "in one line"),
    ("option-cron", "", "five fields"), ("option-cron", "@daily", "five fields"), ("option-cron", "0 0 0 * * *", "five fields"), ("option-cron", "61 * * * *", "The minute cannot be 61."),
    ("option-cron", "* * * * mon-sun", "The day of the week cannot be MON-SUN."), ("option-cron", "0 0 31 2 *", "No month of these has such a day: this never comes."), ("option-cron", "9" * 90 + " * * * *", "cannot be"),
    ("option-queue", "nope", "Unknown queue"), ("option-tenant", "a b", "The tenant may have"), ("option-overlap", "never", "Use skip, wait or allow."),
    ("number", "x", "Write a whole number, for example 12."), ("number", "1,2,3", "Write a whole number"), ("kind", "c", "must be one of a, b"), ("text", "", "Fill in this field."), ("extra", "[1]", "must be an object"),
])
def test_a_bad_value_is_told_beside_its_field_and_the_form_stays(app, admin, send, field, value, sentence):
    answer = send(NEW, FORM | {field: value})
    assert answer.status_code == 400 and sentence in answer.text.replace("&#39;", "'")
    assert answer.text.count('class="wrong"') == 1 and 'value="acme"' in answer.text or field == "option-tenant"
    assert not rows(app, Schedule)
    told = admin.post(NEW, data={"csrf_token": admin.csrf} | FORM | {field: value}, headers=JSON)
    assert told.status_code == 400 and list(told.json["fields"]) == [field.removeprefix("option-")]


def test_check_says_what_the_time_means_and_makes_nothing(app, admin, send):
    answer = send(NEW, FORM, check="1")
    assert answer.status_code == 200 and "From Monday to Friday at 02:30" in answer.text and answer.text.count("<li>Mon") >= 1
    assert not rows(app, Schedule) and '>ciao<' in answer.text
    bad = send(NEW, FORM | {"option-cron": "61 * * * *"}, check="1")
    assert "The minute cannot be 61." in bad.text
    asked = admin.get("/admin/jobs/schedules/next?cron=*/5+*+*+*+*", headers=JSON).json
    assert (asked["cron"], asked["words"], len(asked["next"])) == ("*/5 * * * *", "Every 5 minutes", 5)
    wrong = admin.get("/admin/jobs/schedules/next?cron=61+*+*+*+*", headers=JSON)
    assert (wrong.status_code, wrong.json) == (400, {"error": "The minute cannot be 61."})
    admin.set_cookie("lang", "it")
    assert admin.get("/admin/jobs/schedules/next?cron=0+8+*+*+SUN%231", headers=JSON).json["words"] == "La prima domenica del mese alle 08:00"


def test_only_types_of_the_web_without_a_needed_file_are_offered(admin, send):
    page = admin.get(NEW).text
    assert "type=TestForm" in page and "ProcessCsvImport" not in page and "TestHidden" not in page and "DemoWork" not in page
    assert admin.get(NEW + "?type=nothing").status_code == 404 and admin.get(NEW + "?type=ProcessCsvImport").status_code == 400
    assert admin.get(NEW + "?type=DemoWork").status_code == 403
    assert send(NEW, FORM | {"option-type": "DemoWork"}).status_code == 403
    assert 'type="file"' not in admin.get(NEW + "?type=TestForm").text


def test_a_declared_schedule_gets_another_time_and_the_codes_again(app, admin, send):
    form = admin.get(EDIT + "yearly").text
    assert "The code declares this schedule and says 0 3 1 1 *." in form and "option-queue" not in form
    assert send(EDIT + "yearly", {"option-cron": "x", "option-seen": "0"}).status_code == 400
    assert send(EDIT + "yearly", {"option-cron": "*/10 * * * *", "option-seen": "0"}).status_code == 303
    page = admin.get("/admin/jobs/recurring/yearly").text
    assert "Every 10 minutes" in page and "retimed by admin@example.org, the code says 0 3 1 1 *" in page
    with app.app_context():
        assert schedules.find("yearly").cron == "*/10 * * * *"
    stale = send(EDIT + "yearly", {"option-cron": "*/20 * * * *", "option-seen": "0"})
    assert stale.status_code == 400 and "admin@example.org has changed this schedule meanwhile." in stale.text and "*/20 * * * *" in stale.text
    assert send("/admin/jobs/recurring/yearly/reset").status_code == 303 and not rows(app, Schedule)
    assert "retimed" not in admin.get("/admin/jobs/recurring/yearly").text.split("Who changed what")[0]
    assert admin.post("/admin/jobs/recurring/yearly/reset", data={"csrf_token": admin.csrf}, headers=JSON).status_code == 409
    assert admin.post("/admin/jobs/recurring/yearly/delete", data={"csrf_token": admin.csrf}, headers=JSON).status_code == 409


def test_two_people_do_not_overwrite_each_other(app, admin, send):
    send(NEW, FORM)
    (row,) = rows(app, Schedule)
    one, two = (FORM | {"option-seen": str(row.changed_ms), "option-cron": cron} for cron in ("0 1 * * *", "0 2 * * *"))
    assert send(EDIT + "Ogni notte", one).status_code == 303
    answer = send(EDIT + "Ogni notte", two)
    assert answer.status_code == 400 and "has changed this schedule meanwhile" in answer.text and "0 2 * * *" in answer.text
    assert rows(app, Schedule)[0].cron == "0 1 * * *"


@pytest.mark.parametrize("seen", ["9" * 30, "9" * 5000, "\u0663", "-1"])
def test_a_number_that_is_none_means_that_it_was_not_seen(app, admin, send, seen):
    send(NEW, FORM)
    answer = send(EDIT + "Ogni notte", FORM | {"option-seen": seen})
    assert answer.status_code == 400 and "has changed this schedule meanwhile" in answer.text


def test_at_most_500_are_made_and_the_list_goes_by_pages(app, admin, send):
    with app.app_context():
        db.session.add_all(Schedule(name=f"s{n:03}", cron="0 3 * * *", job_type="TestEcho", changed_by="ada", changed_ms=1) for n in range(500))
        db.session.commit()
    full = send(NEW, FORM)
    assert full.status_code == 400 and "There are 500 schedules of the page already." in full.text
    page = admin.get("/admin/jobs/recurring").text
    names = sorted([f"s{n:03}" for n in range(500)] + [schedule.name for schedule in registry.schedules()])  # another test's modules may have declared some
    assert page.count("<tr class=\"flow\"") == 50 and f"after={names[49]}" in page and f"{len(names)} schedules" in page
    assert admin.get("/admin/jobs/recurring?q=S42&after=").text.count('<tr class="flow"') == 10
    assert len(admin.get("/admin/jobs/recurring", headers=JSON).json["schedules"]) == 500 + len(registry.schedules())


def test_what_the_code_takes_over_and_what_fits_no_more_is_told(app, admin, send):
    with app.app_context():
        for name, job_type, args in (("yearly", "TestEcho", "{}"), ("gone", "NoSuchType", "{}"), ("odd", "TestEcho", '{"no": 1}'), ("left", None, "{}"), ("bent", "TestEcho", "[")):
            db.session.add(Schedule(name=name, cron="0 3 * * *", job_type=job_type, args=args, changed_by="ada", changed_ms=1))
        db.session.commit()
    page = admin.get("/admin/jobs/recurring").text
    assert "The code&#39;s runs." in page or "The code's runs." in page
    for sentence in ("No code declares the type NoSuchType here.", "has no argument no", "declares no schedule of this name any more", "must be a JSON object"):
        assert sentence in page, sentence
    for name in ("gone", "odd", "left", "bent", "yearly"):
        assert admin.get(f"/admin/jobs/recurring/{name}").status_code == 200
        assert admin.get(EDIT + name).status_code in (200, 400)
    assert admin.post("/admin/jobs/recurring/odd/run", data={"csrf_token": admin.csrf}, headers=JSON).status_code == 409
    for name in ("yearly", "left", "gone"):
        assert send(f"/admin/jobs/recurring/{name}/delete").status_code == 303
    assert {r.name for r in rows(app, Schedule)} == {"odd", "bent"}


def test_the_history_goes_by_pages_and_says_each_outcome(app, admin):
    now = now_ms() // MINUTE_MS * MINUTE_MS
    with app.app_context():
        uuid = registry.find("TestEcho").dispatch(text="x")
        whys = {1: "missed", 2: "merged", 3: "broken", 4: None}
        db.session.add_all(RecurringRun(name="yearly", minute_utc=now - n * MINUTE_MS, uuid={5: uuid, 6: "00000000-0000-0000-0000-000000000000"}.get(n), created_ms=now,
                                        why=whys.get(n, "missed" if n > 6 else None)) for n in range(1, 120))
        db.session.commit()
    admin.set_cookie("lang", "en")
    page = admin.get("/admin/jobs/recurring/yearly").text
    for word in ("Missed", "Caught up later", "Not dispatched", "Left out", "Pending", "No longer kept"):
        assert word in page, word
    assert page.count('data-key="r') == 50 and f'href="/admin/jobs/job/{uuid}" tabindex="-1"' in page
    older = admin.get("/admin/jobs/recurring/yearly", query_string={"before": str(now - 50 * MINUTE_MS)}).text
    assert older.count('data-key="r') == 50
    assert admin.get("/admin/jobs/recurring/yearly", query_string={"before": str(now - 100 * MINUTE_MS)}).text.count('data-key="r') == 19
    assert admin.get("/admin/jobs/recurring/nothing").status_code == 404
    runs = next(s for s in admin.get("/admin/jobs/recurring", headers=JSON).json["schedules"] if s["name"] == "yearly")["runs"]
    assert len(runs) == 30 and [r["outcome"] for r in runs[-6:]] == ["gone", "pending", "skipped", "broken", "merged", "missed"]


def test_the_monitor_runs_what_the_page_made(app, admin, send):
    send(NEW, FORM | {"option-cron": "* * * * *", "option-overlap": "skip"})
    with app.app_context():
        zone, now = settings().timezone, now_ms()
        assert recurring.run_due(zone, now + MINUTE_MS) == 1 and recurring.run_due(zone, now + MINUTE_MS) == 0
    (job,) = rows(app, Job)
    assert job.created_by == "recurring Ogni notte"
