"""What the dashboard and the page of workers say when workers are missing, frozen, stuck or silent."""

from __future__ import annotations

import html as entities
import json
import re

import pytest
from sqlalchemy import text

from app import registry
from app.extensions import db
from app.models import WorkerHeartbeat
from app.support.clock import naive, now_ms
from app.support.messages import Message, to_json
from tests.controllers.test_gate import JSON


def change(app, sql: str, **params) -> None:
    with app.app_context():
        db.session.execute(text(sql), params)
        db.session.commit()


def worker(app, name: str, stale: int = 0, reason: str | None = None) -> None:
    with app.app_context():
        at = naive(now_ms())
        db.session.add(WorkerHeartbeat(worker_id=name, worker_name=name, process_id=1, status="idle", queue="default", consumer_id="c", host="elsewhere",
                                       started_at=at, last_heartbeat=at, stale=stale, reason=reason, reason_json=to_json(reason)))
        db.session.commit()


def should_run(app, wanted: int, reason: str | None = None) -> None:
    change(app, "INSERT INTO consumers (consumer_id, host, process_id, queue, wanted, least, most, started_ms, beat_ms, reason, reason_json) "
                "VALUES ('c', 'box', 1, 'default', :n, :n, :n, 1, 1, :r, :f)", n=wanted, r=reason, f=to_json(reason))


def claimed(app, worker_id: str, age_ms: int = 0) -> str:
    with app.app_context():
        uuid = registry.find("TestEcho").with_options(timeout=60).dispatch()
        db.session.commit()
    change(app, "UPDATE jobs SET state = 'processing', worker_id = :w, reserved_ms = :at WHERE uuid = :u", w=worker_id, at=now_ms() - age_ms, u=uuid)
    return uuid


def plain(html: str) -> str:
    return " ".join(entities.unescape(re.sub(r"<[^>]*>", " ", html)).split())


@pytest.fixture(autouse=True)
def english(admin):
    admin.environ_base["HTTP_ACCEPT_LANGUAGE"] = "en"


@pytest.fixture
def parts(admin):
    def ask() -> dict[str, str]:
        found = admin.get("/admin/jobs/realtime-stats", headers=JSON | {"X-Partials": "cards,notices"}).json["partials"]
        return found | {"card": plain(found["cards"].split("</section>")[0])}

    return ask


def test_a_frozen_worker_stays_in_the_denominator_and_is_a_red_line_with_its_job(app, admin, parts):
    should_run(app, 2)
    worker(app, "well")
    worker(app, "cold", 1, Message("frozen: a signal has stopped its process"))
    uuid = claimed(app, "cold")
    found = parts()
    assert found["card"] == "Active workers 1 of 2 1 free, 1 does not respond"
    assert 'max="2" value="1"' in found["cards"].split("</section>")[0]
    for html in (found["notices"], admin.get("/admin/jobs/workers").text):
        assert "cold: frozen: a signal has stopped its process" in plain(html) and f"/admin/jobs/job/{uuid}" in html and 'class="strip"' in html
    answer = admin.get("/admin/jobs/workers", headers=JSON).json
    assert answer["expected"] == 2 and [t["name"] for t in answer["troubles"]] == ["cold"]
    assert "1 active of 2" in plain(admin.get("/admin/jobs/workers").text)
    workers = admin.get("/admin/jobs/realtime-stats", headers=JSON).json["stats"]["workers"]
    (trouble,) = workers.pop("troubles")
    assert (trouble["kind"], trouble["name"], trouble["uuid"]) == ("unresponsive", "cold", uuid)
    assert workers == {"active": 1, "total": 2, "idle": 1, "stale": 1, "expected": 2, "missing": 0}


def test_none_of_two_is_not_none_of_none(app, admin, parts):
    should_run(app, 2, Message("%(n)s of %(wanted)s workers missing", n=2, wanted=2))
    found = parts()
    assert found["card"] == "Active workers 0 of 2 2 missing" and "box: 2 of 2 workers missing" in plain(found["notices"])
    assert "0 active of 2" in plain(admin.get("/admin/jobs/workers").text)


def test_without_a_row_of_a_consumer_only_what_is_known_is_said(app, admin, parts):
    assert parts()["card"] == "Active workers 0 of 0 No worker runs" and "strip" not in parts()["notices"]
    worker(app, "w")
    assert parts()["card"] == "Active workers 1 of 1 1 free"
    should_run(app, 0)
    assert parts()["card"] == "Active workers 1 of 1 1 free", "one that retires is no second of none"


def test_a_worker_that_reports_nothing_is_at_work_as_soon_as_the_ledger_says_so(app, admin, parts):
    should_run(app, 1)
    worker(app, "w")
    uuid = claimed(app, "w")
    assert parts()["card"] == "Active workers 1 of 1 1 at work"
    (row,) = admin.get("/admin/jobs/workers", headers=JSON).json["workers"]
    assert (row["status"], row["health"], row["reason"], row["current_job_uuid"], row["current_job_type"]) == ("active", "healthy", "At work.", uuid, "TestEcho")
    change(app, "UPDATE worker_heartbeats SET reason = 'busy, not reporting'")
    (row,) = admin.get("/admin/jobs/workers", headers=JSON).json["workers"]
    assert (row["health"], row["reason"]) == ("watch", "busy, not reporting")
    assert "w: busy, not reporting" in plain(parts()["notices"])
    change(app, "UPDATE jobs SET reserved_ms = :at", at=now_ms() - 70_000)
    (row,) = admin.get("/admin/jobs/workers", headers=JSON).json["workers"]
    assert row["health"] == "stuck" and "past its time limit" in row["reason"] and "kill" in row["commands"]
    assert "w: Its job is past its time limit" in plain(parts()["notices"])


def test_memory_is_told_by_the_growth_since_the_start_as_the_alert_measures_it(app, admin):
    worker(app, "w")
    change(app, "UPDATE worker_heartbeats SET memory = :m, memory_start = :s", m=90 * 2**20, s=88 * 2**20)
    (row,) = admin.get("/admin/jobs/workers", headers=JSON).json["workers"]
    limit = app.extensions["settings"].worker_memory_mb * 2**20
    assert (row["grown"], row["growth_limit"], row["memory_limit"], row["health"]) == (2 * 2**20, limit, 88 * 2**20 + limit, "healthy")
    assert f"90 MB; grew by 2 MB of {limit // 2**20} MB" in plain(admin.get("/admin/jobs/workers", headers={"Accept-Language": "en"}).text)
    change(app, "UPDATE worker_heartbeats SET memory = memory_start + :m", m=limit * 81 // 100)
    assert admin.get("/admin/jobs/workers", headers=JSON).json["workers"][0]["health"] == "watch"


def test_five_lines_and_how_many_more(app, parts):
    for n in range(8):
        worker(app, f"w{n}", 1, Message("not reporting"))
    assert parts()["notices"].count('class="strip"') == 6 and "Workers: and 3 more." in plain(parts()["notices"])


def test_the_alert_of_workers_is_not_told_twice_on_the_dashboard(app, parts):
    facts = json.dumps({"n": 1, "limit": 0, "names": [["cold", "frozen", None]]})
    change(app, "INSERT INTO alerts (rule_id, kind, subject, severity, facts, link, opened_ms, seen_ms, tell_ms, told) "
                "VALUES (1, 'worker', '', 'critical', :f, '/admin/jobs/workers', 1, 1, 1, 0)", f=facts)
    assert "1 worker is missing, frozen, stuck or silent: cold (frozen)." in plain(parts()["notices"])
    worker(app, "cold", 1, Message("not reporting"))
    assert "1 worker is missing" not in plain(parts()["notices"]) and "cold: not reporting" in plain(parts()["notices"])


def test_a_row_of_another_program_does_not_break_the_pages(app, admin, parts):
    worker(app, "odd", 1, "no words of ours <b>")
    change(app, "UPDATE worker_heartbeats SET last_heartbeat = '2026-11-26 10:00:00'")
    claimed(app, "odd")
    change(app, "UPDATE jobs SET reserved_ms = NULL")
    assert "odd: no words of ours <b>" in plain(parts()["notices"]) and admin.get("/admin/jobs/workers").status_code == 200
